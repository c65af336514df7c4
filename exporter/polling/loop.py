"""The one loop: do a turn, survive what goes wrong in it, wait, and again until told to stop."""

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from exporter.databricks.errors import WorkspaceError
from exporter.state.errors import StateError

_log = structlog.stdlib.get_logger(__name__)


async def run_loop(
    name: str,
    workspace: str,
    turn: Callable[[], Awaitable[float]],
    failed: Callable[[str], float],
    stop: asyncio.Event,
) -> None:
    """Do turns until told to stop.

    `turn` returns the seconds to wait until the next one. `failed` is told why a turn failed, says so in
    the log, and returns the seconds to wait.
    """
    while not stop.is_set():
        try:
            pause = await turn()
        except (WorkspaceError, StateError) as fault:
            pause = failed(str(fault))
        except Exception as fault:  # the one place that survives unexpected errors
            _log.exception("unexpected error; please report it", loop=name, workspace=workspace)
            pause = failed(f"{type(fault).__name__}: {fault}")
        await sleep(stop, pause)


async def sleep(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await stop.wait()
    except TimeoutError:
        pass
