"""Every kind of fault by its name: what a test goes through, and what docs/reliability.md has rows for."""

from collections.abc import Callable
from functools import partial

from exporter.simulator.damage import DAMAGES, Damage
from exporter.simulator.faults import (
    Answer,
    Fault,
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

# What no reader of a list asked for, and every error a server or something in front of it may invent.
STATUSES = (201, 202, 204, 205, 206, 300, 301, 302, 303, 304, 305, 307, 308, *range(400, 600))
# Bytes in a hurry would end before any timeout.
_DRIP_PACE = 1.0
_LONG_AGO = 0.0

ANSWERS: dict[str, Callable[[], Answer]] = {
    **{f"status {status}": partial(html, status, "of a gateway") for status in STATUSES},
    "bad page token": lambda: error(400, "INVALID_PARAMETER_VALUE", "Invalid page token."),
    "unauthenticated": lambda: error(401, "UNAUTHENTICATED", "Token is expired."),
    "permission denied": lambda: error(403, "PERMISSION_DENIED", "You may not view this."),
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


def _damaged(damage: Damage) -> Callable[[], Fault]:
    return lambda: Fault(damage=damage, pace=_DRIP_PACE)


KINDS: dict[str, Callable[[], Fault]] = {
    **{name: _answered(answer) for name, answer in ANSWERS.items()},
    **{name: _damaged(name) for name in DAMAGES},
    "slow": lambda: Fault(delay=0.05),
    "too slow": lambda: Fault(delay=2.0),
}
