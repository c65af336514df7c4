"""The command: parse, wire, run, exit code. 0 all is well, 1 it could not run, 2 the settings are wrong."""

import asyncio
import gc
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from types import FrameType
from typing import TextIO

import structlog

from exporter.app import serve
from exporter.check import check
from exporter.config import Invocation, Notice, SettingsError, parse
from exporter.config.characters import visible
from exporter.config.files import SYSTEM_TRUST_VARIABLES
from exporter.logs import setup as logs
from exporter.server.web_config import WebConfigError
from exporter.state.errors import StateError

# Threads commit and render while the loop reads. With the default of 5 ms, one would wait for the other
# longer than most of its work takes.
SWITCH_SECONDS = 0.0005

# Allocations between two searches for reference cycles. Runs and pages have none.
GC_THRESHOLD = 50_000

# A stop takes at most 5 seconds, also while a thread waits for the system.
STOP_SECONDS = 4.0
LAST_WORDS_SECONDS = 0.3

_log = structlog.stdlib.get_logger("exporter")


def main(argv: Sequence[str]) -> int:
    """Run the command with these arguments, without the program's name; its exit code."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A job's name may hold what the terminal's encoding cannot write.
        sys.stdout.reconfigure(errors="backslashreplace")
    for variable in SYSTEM_TRUST_VARIABLES:
        # Empty counts as not set, as for our own variables. OpenSSL would load no CAs at all.
        if not os.environ.get(variable, "unset"):
            del os.environ[variable]
    try:
        invocation = parse(argv, os.environ)
    except SettingsError as error:
        _print(str(error), sys.stderr)  # there is no log before the settings are read
        return 2
    if isinstance(invocation, Notice):
        return _print_notice(invocation.text)
    secrets = [secret for access in invocation.workspaces for secret in access.secrets()]
    redactor = logs.configure(invocation.settings.log.level, invocation.settings.log.format, secrets)
    sys.setswitchinterval(SWITCH_SECONDS)
    # What is loaded now stays. What a poll reads is freed by reference counts, not by the collector.
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    try:
        return asyncio.run(_command(invocation, redactor))
    except WebConfigError as error:
        _log.error("the web config file is wrong", cause=str(error))
        return 2
    except (StateError, OSError) as error:
        _log.error("the command cannot run", cause=str(error))
        return 1
    except Exception:  # noqa: BLE001  logged, so that what it holds is redacted
        _log.exception("unexpected error")
        return 1


async def _command(invocation: Invocation, redactor: logs.Redactor) -> int:
    if invocation.command == "check":

        def say(line: str) -> None:
            _print(visible(redactor.text(line)), sys.stdout)

        return 0 if await check(invocation, say, redactor.add) else 1
    stop, loop = asyncio.Event(), asyncio.get_running_loop()

    def begin_to_stop(_number: int, _frame: FrameType | None) -> None:
        watchdog = threading.Timer(STOP_SECONDS, _leave)
        watchdog.daemon = True
        watchdog.start()
        with suppress(RuntimeError):  # the loop is closed: it has ended already
            loop.call_soon_threadsafe(stop.set)

    # Not the loop's own handlers: those wait for a loop that may hang while it writes to the log.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, begin_to_stop)
    await serve(invocation, redactor, stop)
    return 0


def _leave() -> None:
    """End the process though a thread hangs, in a name look-up or on a disk: what is committed is safe."""
    warn = threading.Thread(
        target=_log.warning, args=("a thread did not end in time; the process ends without it",), daemon=True
    )
    warn.start()
    warn.join(LAST_WORDS_SECONDS)
    os._exit(0)


def _print_notice(text: str) -> int:
    try:
        _print(text, sys.stdout)
    except OSError as error:
        _print(f"standard output cannot be written: {error.strerror}", sys.stderr)
        return 1
    return 0


def _print(text: str, stream: TextIO) -> None:
    """Prints a text. A reader that goes away, as `head` does, changes neither the work nor the exit code."""
    try:
        print(text, file=stream, flush=True)
    except BrokenPipeError:
        # What is still to come is thrown away: https://docs.python.org/3/library/signal.html#note-on-sigpipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
