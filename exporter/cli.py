"""The command: parse, wire, run, exit code. 0 all is well, 1 it could not run, 2 the settings are wrong."""

import asyncio
import gc
import os
import signal
import sys
from collections.abc import Sequence

import structlog

from exporter.app import serve
from exporter.check import check
from exporter.config import Invocation, Notice, SettingsError, parse
from exporter.logs import setup as logs
from exporter.server.web_config import WebConfigError
from exporter.state.errors import StateError

# Threads commit and render while the loop reads: with the default of 5 ms one would keep the other waiting
# longer than most of their work takes.
SWITCH_SECONDS = 0.0005

# Allocations between two looks for cycles, of which runs and pages have none.
GC_THRESHOLD = 50_000

_log = structlog.stdlib.get_logger("exporter")


def main(argv: Sequence[str]) -> int:
    """Run the command with these arguments, without the program's name; its exit code."""
    try:
        invocation = parse(argv, os.environ)
    except SettingsError as error:
        print(error, file=sys.stderr)  # noqa: T201  there is no log before the settings are read
        return 2
    if isinstance(invocation, Notice):
        print(invocation.text)  # noqa: T201  help and version were asked for
        return 0
    secrets = [secret for access in invocation.workspaces for secret in access.secrets()]
    redactor = logs.configure(invocation.settings.log.level, invocation.settings.log.format, secrets)
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is loaded by now stays; what a poll reads is freed by counting references, not by the collector.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        return asyncio.run(_command(invocation, redactor))
    except WebConfigError as error:
        _log.error("the web config file is wrong", cause=str(error))
        return 2
    except (StateError, OSError) as error:
        _log.error("can't run", cause=str(error))
        return 1
    except Exception:  # noqa: BLE001  logged, so that what it holds is redacted
        _log.exception("failed in a way nobody foresaw")
        return 1


async def _command(invocation: Invocation, redactor: logs.Redactor) -> int:
    if invocation.command == "check":
        return 0 if await check(invocation, lambda line: print(redactor.text(line)), redactor.add) else 1  # noqa: T201
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(invocation, redactor, stop)
    return 0
