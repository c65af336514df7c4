"""Logging: one line per event on standard error, logfmt or JSON, never with a secret in it.

Owns the root logger's only handler. Every module gets its logger with

    log = structlog.stdlib.get_logger("exporter.poller")
    log.info("poll finished", workspace="adb-1.2.azuredatabricks.net", runs=3)

and libraries that log through `logging` (aiohttp, asyncio, warnings) come out in the same format. A line has
`ts` (RFC 3339, UTC, milliseconds), `level`, `logger`, `msg`, then the event's own keys. Above debug, a line
comes at most once a minute per cause: `repeated` says how many more there were since the last such one.

What must stay true: redaction is the last step before rendering and sees only plain values, so whatever an
event holds has become text by then; and writing a log line never raises.
"""

import contextlib
import json
import logging
import re
import sys
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from math import isfinite
from typing import TextIO
from urllib.parse import quote, quote_plus

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from exporter.config import LogFormat, LogLevel
from exporter.logs.deduplication import Deduplication, cause_in

REDACTED = "[redacted]"
# Access tokens live about an hour. Those of the last hours may still be in an exception; older ones are dead.
_ROTATING_KEPT = 64
_DEEPEST = 6
_BARE = re.compile(r'[^\s"=\\]+')
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.\-]")


class Redactor:
    """Replaces known secrets in any text by `[redacted]`.

    The secrets given at the start stay; of those added later (tokens that rotate) the last 64 do. Safe to
    use from several threads.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._fixed = frozenset(secret for secret in secrets if secret)
        self._rotating: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()
        self._pattern = self._compile()

    def add(self, secret: str) -> None:
        """Makes one more secret known. An empty one is none."""
        if not secret or secret in self._fixed:
            return
        with self._lock:
            self._rotating[secret] = None
            self._rotating.move_to_end(secret)
            if len(self._rotating) > _ROTATING_KEPT:
                self._rotating.popitem(last=False)
            self._pattern = self._compile()

    def text(self, text: str) -> str:
        """`text` without any known secret."""
        return self._pattern.sub(REDACTED, text) if self._pattern else text

    def _compile(self) -> re.Pattern[str] | None:
        forms = {form for secret in (*self._fixed, *self._rotating) for form in _forms(secret)}
        if not forms:
            return None
        # Longest first: a secret that another one begins with must not leave the other's end behind.
        return re.compile("|".join(re.escape(form) for form in sorted(forms, key=len, reverse=True)))


def configure(
    level: LogLevel,
    log_format: LogFormat,
    secrets: Iterable[str],
    monotonic: Callable[[], float] = time.monotonic,
) -> Redactor:
    """Sends all logging of the process to standard error. Call once at the start; again to start over.

    `monotonic` is the clock that says when a cause may be told again.

    Returns:
        What knows the secrets; `add` the ones that are obtained later.
    """
    redactor = Redactor(secrets)
    handler = _StandardError(sys.stderr)
    handler.addFilter(_OncePerMinute(monotonic))
    render: Processor = _render_json if log_format == "json" else _render_logfmt
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            processors=[_describe, structlog.processors.format_exc_info, _Plain(redactor), render],
            # `_describe` fills in the arguments of foreign records: it survives ones that do not fit.
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
        """Says that an event was lost, where that can still be said: standard error itself may be gone."""
        with contextlib.suppress(Exception):
            error = sys.exc_info()[0]
            lost = logging.makeLogRecord(
                {"name": record.name, "levelname": "ERROR", "levelno": logging.ERROR}
            )
            lost.msg = f"an event could not be written: {error.__name__ if error else 'unknown error'}"
            self.stream.write(self.format(lost) + self.terminator)
            self.flush()


class _OncePerMinute(logging.Filter):
    """Keeps quiet what was told less than a minute ago, but for whoever debugs."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        super().__init__()
        self._monotonic = monotonic
        self._throttle = Deduplication()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.INFO:
            return True
        unsaid = self._throttle.admit(_cause(record), self._monotonic())
        if unsaid:
            record.repeated = unsaid
        return unsaid is not None


def _cause(record: logging.LogRecord) -> tuple[str, ...]:
    """What tells the line's cause from others: who says what, of which workspace and run, and why."""
    event = record.msg if isinstance(record.msg, dict) else {"event": record.msg}
    error = sys.exc_info()[0] if event.get("exc_info") is True else (record.exc_info or (None,))[0]
    said = (_shown(words) for words in (event.get("event", ""), record.args or "", event.get("cause", "")))
    workspace = _shown(event.get("workspace", ""))
    # What is told of one run is told once anyway: another run is another cause.
    run = str(event.get("run", ""))
    return (record.name, workspace, run, *map(cause_in, said), error.__name__ if error else "")


def _describe(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Puts the four keys that every line has in front."""
    record: logging.LogRecord = event.pop("_record")
    del event["_from_structlog"]
    if (repeated := getattr(record, "repeated", 0)) > 0:
        event["repeated"] = repeated
    moment = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
    head = {
        "ts": moment.replace("+00:00", "Z"),
        "level": record.levelname.lower(),
        "logger": record.name,
        "msg": _fill_in(event.pop("event", ""), event.pop("positional_args", ())),
    }
    return head | {key: value for key, value in event.items() if key not in head}


def _fill_in(message: object, arguments: object) -> str:
    """`message % arguments`, or both side by side where they do not fit."""
    text = _shown(message)
    if not arguments:
        return text
    try:
        return text % arguments
    except Exception:  # noqa: BLE001 -- also whatever the arguments' own formatting raises
        return f"{text} {_shown(arguments)}"


class _Plain:
    """Turns an event into strings, numbers, lists and dicts only, every string redacted."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, _logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {self._text(key): self._plain(value, depth=1) for key, value in event.items()}

    def _plain(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool | int) or (isinstance(value, float) and isfinite(value)):
            return value
        if depth <= _DEEPEST and isinstance(value, Mapping):
            return {self._text(key): self._plain(item, depth + 1) for key, item in value.items()}
        if depth <= _DEEPEST and isinstance(value, list | tuple | set | frozenset):
            return [self._plain(item, depth + 1) for item in value]
        return self._text(value)

    def _text(self, value: object) -> str:
        return self._redactor.text(_shown(value))


def _shown(value: object) -> str:
    """Any value as text. An exception shows its type, because many have no text of their own."""
    try:
        return repr(value) if isinstance(value, BaseException | bytes | bytearray) else str(value)
    except Exception:  # noqa: BLE001 -- a value that cannot show itself must not stop the line
        return f"<{type(value).__name__}>"


def _render_json(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return json.dumps(event)


def _render_logfmt(_logger: WrappedLogger, _method: str, event: EventDict) -> str:
    return " ".join(
        f"{_NOT_IN_KEYS.sub('_', key) or '_'}={_logfmt_value(value)}" for key, value in event.items()
    )


def _logfmt_value(value: object) -> str:
    """Bare where no parser can misread it, else quoted with JSON's escapes: always one line."""
    text = value if isinstance(value, str) else json.dumps(value)
    if text.isprintable() and _BARE.fullmatch(text):
        return text
    return json.dumps(text, ensure_ascii=not text.isprintable())


def _forms(secret: str) -> set[str]:
    """The secret, and what URLs, JSON and `repr` make of it."""
    return {
        secret,
        quote(secret),
        quote(secret, safe=""),
        quote_plus(secret),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    }
