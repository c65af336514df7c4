"""Every kind of fault by its name: what tests go through, and what docs/reliability.md has rows for."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from tests.faults.answers import (
    Answer,
    empty,
    error,
    html,
    login_page,
    plain,
    redirect,
    throttled,
    throttled_until,
    unavailable,
)
from tests.faults.broken import BREAKS, Break
from tests.faults.faults import Fault

# What no reader of a list asked for, and every error that a server or something in front of it may invent.
STATUSES = (201, 202, 204, 205, 206, 300, 301, 302, 303, 304, 305, 307, 308, *range(400, 600))
# A faster drip would end before any timeout.
_DRIP_PACE = 1.0
_LONG_AGO = 0.0
_YEAR = 365 * 86400.0

ANSWERS: dict[str, Callable[[], Answer]] = {
    **{f"status {status}": partial(html, status, "of a gateway") for status in STATUSES},
    "bad page token": lambda: error(400, "INVALID_PARAMETER_VALUE", "Invalid page token."),
    "unauthenticated": lambda: error(401, "UNAUTHENTICATED", "Token is expired."),
    "permission denied": lambda: error(403, "PERMISSION_DENIED", "You may not view this."),
    "refused address": lambda: error(403, "PERMISSION_DENIED", "Source IP address is blocked by an IP ACL."),
    "other 400": lambda: error(400, "INVALID_PARAMETER_VALUE", "Something is wrong."),
    "conflict": lambda: error(409, "RESOURCE_CONFLICT", "It is being changed."),
    "internal error": lambda: error(500, "INTERNAL_ERROR", "oops"),
    "internal error as a number": lambda: error(500, 500, "oops"),
    "unavailable": unavailable,
    "throttled": throttled,
    "throttled without a time": lambda: throttled(None),
    "throttled until a date": lambda: throttled_until(_LONG_AGO),
    "throttled by an uneasy gateway": lambda: error(429, "SLOW_DOWN", "later", retry_after="soon"),
    "login page": login_page,
    "redirect to a login page": redirect,
    "text": lambda: plain(200, "OK"),
    "no body": lambda: empty(200),
    "empty error": lambda: empty(502),
    "JSON, but no object": lambda: Answer(200, b"[]"),
    "JSON nested too deep": lambda: Answer(200, b"[" * 100_000),
}


def _answered(answer: Callable[[], Answer]) -> Callable[[], Fault]:
    return lambda: Fault(answer())


def _broken(way: Break) -> Callable[[], Fault]:
    return lambda: Fault(broken=way, pace=_DRIP_PACE)


FAULTS: dict[str, Callable[[], Fault]] = {
    **{name: _answered(answer) for name, answer in ANSWERS.items()},
    **{name: _broken(way) for name, way in BREAKS.items()},
    "date a year ahead": lambda: Fault(clock_error=_YEAR),
    "date a year back": lambda: Fault(clock_error=-_YEAR),
    "slow": lambda: Fault(delay=0.05),
    "too slow": lambda: Fault(delay=2.0),
}


def fault_of(kind: str, **fields: Any) -> Fault:
    """A new fault of this kind; `fields` are those of `Fault`."""
    return replace(FAULTS[kind](), **fields)
