"""From a log event to one line of text.

What must stay true: redaction is the last step before the renderer and sees only plain values, so whatever
an event holds has become text by then; no value can begin a new line or look like another key; no step
raises for any value.
"""

import logging
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from math import isfinite

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from exporter.config import LogFormat
from exporter.config.characters import visible
from exporter.logs.redaction import Redactor

_DEEPEST = 6
_NOT_IN_KEYS = re.compile(r"[^A-Za-z0-9_.\-]")


def processors(log_format: LogFormat, redactor: Redactor) -> list[Processor]:
    """The steps from an event to its line, in order."""
    render: list[Processor] = [structlog.processors.JSONRenderer()]
    if log_format == "logfmt":
        render = [_fit_for_logfmt, structlog.processors.LogfmtRenderer(bool_as_flag=False)]
    return [_describe, structlog.processors.format_exc_info, _Plain(redactor), *render]


def _describe(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Put the four keys that every line has in front."""
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
    text = as_text(message)
    if not arguments:
        return text
    try:
        return text % arguments
    except Exception:  # noqa: BLE001 -- also whatever the arguments' own formatting raises
        return f"{text} {as_text(arguments)}"


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
        return self._redactor.text(as_text(value))


def as_text(value: object) -> str:
    """Any value as text. An exception shows its type, because many have no text of their own."""
    try:
        return repr(value) if isinstance(value, BaseException | bytes | bytearray) else str(value)
    except Exception:  # noqa: BLE001 -- a value that cannot show itself must not stop the line
        return f"<{type(value).__name__}>"


def _fit_for_logfmt(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """What the library's renderer does not do: it refuses some keys, and escapes line feeds alone."""
    return {_NOT_IN_KEYS.sub("_", key) or "_": _visible(value) for key, value in event.items()}


def _visible(value: object) -> object:
    """A text with its control characters written as escapes; line breaks are left to the renderer."""
    return "\n".join(map(visible, value.split("\n"))) if isinstance(value, str) else value
