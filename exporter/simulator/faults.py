"""What can go wrong on purpose: which requests a fault meets, and what they get.

A fault either answers in the endpoint's place (`answer`) or lets the endpoint answer and then does damage
to it (`damage`, a word of `exporter.simulator.damage`), after `delay` seconds in both cases.
"""

import asyncio
import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate

from exporter.simulator.damage import Damage


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it goes out."""

    status: int
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)


def error(status: int, code: str | int, message: str, **headers: str) -> Answer:
    """The API's JSON error; a number as `code` is what some gateways send. `retry_after` is Retry-After."""
    body = json.dumps({"error_code": code, "message": message}).encode()
    return Answer(
        status, body, headers={name.replace("_", "-").title(): word for name, word in headers.items()}
    )


def throttled(retry_after: int | None = 1) -> Answer:
    """429 with Retry-After in seconds, or without it."""
    headers = {} if retry_after is None else {"retry_after": str(retry_after)}
    return error(429, "REQUEST_LIMIT_EXCEEDED", "Request is rejected due to throttling.", **headers)


def throttled_until(epoch_seconds: float) -> Answer:
    """429 with Retry-After as an HTTP date."""
    return error(
        429,
        "REQUEST_LIMIT_EXCEEDED",
        "Request is rejected due to throttling.",
        retry_after=formatdate(epoch_seconds, usegmt=True),
    )


def unavailable() -> Answer:
    return error(
        503, "TEMPORARILY_UNAVAILABLE", "The service is temporarily unavailable. Please try again later."
    )


def html(status: int, title: str) -> Answer:
    """A gateway's error page."""
    page = f"<html><head><title>{title}</title></head><body><pre>{title}</pre></body></html>"
    return Answer(status, page.encode(), "text/html")


def plain(status: int, text: str) -> Answer:
    return Answer(status, text.encode(), "text/plain")


def empty(status: int) -> Answer:
    return Answer(status)


def login_page() -> Answer:
    """200 with HTML: what a workspace behind a private link shows to those outside."""
    return Answer(
        200, b"<!doctype html><html><body><form action='/login.html'></form></body></html>", "text/html"
    )


def redirect(location: str = "/login.html?error=private-link-validation-error", status: int = 302) -> Answer:
    return Answer(status, headers={"Location": location})


def _always(_query: Mapping[str, str]) -> bool:
    return True


@dataclass(slots=True, eq=False)
class Fault:
    """One thing that goes wrong.

    It meets requests to `endpoint` (runs/list, runs/get, jobs/list, token; None: all of them) whose query
    satisfies `when`: the first `skip` pass, then `times` of them are hit (None: until it is removed), each
    with `probability`. `hits` counts them. `pace` is the seconds between two bytes of a drip.
    """

    answer: Answer | None = None
    damage: Damage | None = None
    endpoint: str | None = None
    delay: float = 0.0
    times: int | None = None
    skip: int = 0
    probability: float = 1.0
    when: Callable[[Mapping[str, str]], bool] = _always
    pace: float = 0.05
    hits: int = 0


class Faults:
    """The faults that are on; the first that meets a request is the one that hits it."""

    def __init__(self, seed: int = 0) -> None:
        self._faults: list[Fault] = []
        self._random = random.Random(seed)
        self._cleared = asyncio.Event()

    def add(self, fault: Fault) -> Fault:
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        self._faults.remove(fault)

    def clear(self) -> None:
        """Switch all off; requests that hang are let go."""
        self._faults.clear()
        self._cleared.set()
        self._cleared = asyncio.Event()

    async def wait_cleared(self) -> None:
        await self._cleared.wait()

    def strike(self, endpoint: str, query: Mapping[str, str]) -> Fault | None:
        """The fault that hits this request, which is counted as a hit."""
        return next((fault for fault in self._faults if self._hits(fault, endpoint, query)), None)

    def _hits(self, fault: Fault, endpoint: str, query: Mapping[str, str]) -> bool:
        if fault.endpoint not in {None, endpoint} or not fault.when(query):
            return False
        if fault.times is not None and fault.hits >= fault.times:
            return False
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        if fault.skip > 0:
            fault.skip -= 1
            return False
        fault.hits += 1
        return True
