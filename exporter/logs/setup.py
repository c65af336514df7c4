"""Logging: one line per event on standard error, logfmt or JSON, never with a secret in it.

Owns the root logger's only handler. Every module gets its logger with

    log = structlog.stdlib.get_logger("exporter.poller")
    log.info("poll finished", workspace="adb-1.2.azuredatabricks.net", runs=3)

and libraries that log through `logging` (aiohttp, asyncio, warnings) come out in the same format. A line has
`ts` (RFC 3339, UTC, milliseconds), `level`, `logger`, `msg`, then the event's own keys. From info on, each
cause is logged at most once a minute: `repeated` says how often the line was left out since the last one.

What must stay true: writing a log line never raises.
"""

import contextlib
import logging
import sys
import time
from collections.abc import Callable, Iterable
from typing import TextIO

import structlog

from exporter.config import LogFormat, LogLevel
from exporter.logs.deduplication import Deduplication, cause_in
from exporter.logs.redaction import Redactor
from exporter.logs.rendering import as_text, processors

__all__ = ["Redactor", "configure"]


def configure(
    level: LogLevel,
    log_format: LogFormat,
    secrets: Iterable[str],
    monotonic: Callable[[], float] = time.monotonic,
) -> Redactor:
    """Send all logging of the process to standard error. Call once at the start; again to start over.

    `monotonic` is the clock of the log de-duplication.

    Returns:
        What knows the secrets; `add` the ones that are obtained later.
    """
    redactor = Redactor(secrets)
    handler = _StandardError(sys.stderr)
    handler.addFilter(_OncePerMinute(monotonic))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=processors(log_format, redactor),
            # The first step fills in the arguments of foreign records: it survives ones that do not fit.
            use_get_message=False,
            pass_foreign_args=True,
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # One line per scrape says nothing that a metric does not.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(True)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            structlog.contextvars.merge_contextvars,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        wrapper_class=structlog.stdlib.BoundLogger,
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    return redactor


class _StandardError(logging.StreamHandler[TextIO]):
    """Never raises, and never falls back to the library's report, which prints events as they came."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the library's name
        """Report that an event was lost, unless standard error itself is closed."""
        with contextlib.suppress(Exception):
            error = sys.exc_info()[0]
            lost = logging.makeLogRecord(
                {"name": record.name, "levelname": "ERROR", "levelno": logging.ERROR}
            )
            lost.msg = f"an event could not be written: {error.__name__ if error else 'unknown error'}"
            self.stream.write(self.format(lost) + self.terminator)
            self.flush()


class _OncePerMinute(logging.Filter):
    """Leaves out a line whose cause was logged less than a minute ago, except at debug."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._deduplication = Deduplication()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        repeated = self._deduplication.admit(_cause(record), self._monotonic())
        if repeated:
            record.repeated = repeated
        return repeated is not None


def _cause(record: logging.LogRecord) -> tuple[str, ...]:
    """What two lines of the same cause share: logger, workspace, run, words and type of exception."""
    event = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
    error = sys.exc_info()[0] if event.get("exc_info") is True else (record.exc_info or (None,))[0]
    words = (as_text(text) for text in (event.get("event", ""), record.args or "", event.get("cause", "")))
    workspace = as_text(event.get("workspace", ""))
    # A line about one run is written once anyway: another run is another cause.
    run = as_text(event.get("run", ""))
    return (record.name, workspace, run, *map(cause_in, words), error.__name__ if error else "")
