"""Damage to an answer that was good: on its way through the transport, or in its bytes.

`DAMAGES` is the table. Each entry writes what is left of the answer to the client's connection.
"""

import asyncio
import gzip
import json
import socket
import struct
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Literal

from aiohttp import hdrs, web

from exporter.simulator.index import NEWEST
from exporter.simulator.paging import token

Damage = Literal[
    "reset",
    "reset mid-body",
    "truncated",
    "hang",
    "hang mid-body",
    "drip",
    "broken JSON",
    "broken gzip",
    "empty body",
    "huge body",
    "gzip bomb",
    "wrong content type",
    "same page token",
    "page out of order",
    "page twice",
    "date a year ahead",
    "date a year back",
]

# Of a request: how many seconds the clock of whoever answers it is ahead.
CLOCK_ERROR = web.RequestKey("CLOCK_ERROR", float)
_GZIP_HEADER = 10  # bytes
_HUGE = 200 * 2**20  # bytes
_BLOCK = b" " * 2**20
_YEAR = 365 * 86400.0
_FIRST_PAGE = {
    "runs/list": token("runs", *NEWEST),
    "runs/get": token("run", 0),
    "list": token("jobs", *NEWEST),
}


@dataclass(frozen=True, slots=True)
class Victim:
    """A request, the body that it should have got, and how to do the damage."""

    request: web.Request
    body: bytes
    pace: float
    released: Callable[[], Awaitable[None]]

    @property
    def half(self) -> bytes:
        return self.body[: len(self.body) // 2]


async def _reset(victim: Victim) -> web.StreamResponse:
    _cut_connection(victim.request)
    return web.Response()


async def _reset_mid_body(victim: Victim) -> web.StreamResponse:
    response = await _half_sent(victim)
    _cut_connection(victim.request)
    return response


async def _truncated(victim: Victim) -> web.StreamResponse:
    """Closes in an orderly way, with half of the promised length sent."""
    response = await _half_sent(victim)
    if victim.request.transport is not None:
        victim.request.transport.close()
    return response


async def _hang(victim: Victim) -> web.StreamResponse:
    await victim.released()
    return _json(victim.body)


async def _hang_mid_body(victim: Victim) -> web.StreamResponse:
    response = await _half_sent(victim)
    await victim.released()
    await response.write(victim.body[len(victim.half) :])
    return response


async def _drip(victim: Victim) -> web.StreamResponse:
    response = await _begun(victim)
    for place in range(len(victim.body)):
        await response.write(victim.body[place : place + 1])
        await asyncio.sleep(victim.pace)
    return response


async def _broken_json(victim: Victim) -> web.StreamResponse:
    return _json(victim.half)


async def _broken_gzip(victim: Victim) -> web.StreamResponse:
    """A gzip stream that breaks right after its header."""
    packed = gzip.compress(victim.body)
    response = _json(packed[:_GZIP_HEADER] + b"\xff" * len(packed))
    response.headers["Content-Encoding"] = "gzip"
    return response


async def _empty_body(_victim: Victim) -> web.StreamResponse:
    return _json(b"")


async def _same_page_token(victim: Victim) -> web.StreamResponse:
    """Says that there is more, and that it is where the client has just been: for ever."""
    body = json.loads(victim.body)
    first = _FIRST_PAGE.get(victim.request.path.partition("/jobs/")[2], "")
    body["next_page_token"] = victim.request.query.get("page_token") or first
    return _json(json.dumps(body).encode())


async def _huge_body(victim: Victim) -> web.StreamResponse:
    """Spaces without end in front of the JSON: a good answer, for whoever has the memory."""
    response = web.StreamResponse()
    response.content_type = "application/json"
    await response.prepare(victim.request)
    with suppress(ConnectionError):  # nobody has to read all of it
        for _ in range(_HUGE // len(_BLOCK)):
            await response.write(_BLOCK)
        await response.write(victim.body)
    return response


async def _gzip_bomb(victim: Victim) -> web.StreamResponse:
    """The same, packed a thousandfold."""
    response = _json(_bomb() + gzip.compress(victim.body))
    response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    return response


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(level=9, wbits=31)
    return b"".join(packer.compress(_BLOCK) for _ in range(_HUGE // len(_BLOCK))) + packer.flush()


async def _wrong_content_type(victim: Victim) -> web.StreamResponse:
    """Good JSON that says it is an image."""
    return web.Response(body=victim.body, content_type="image/png")


async def _page_out_of_order(victim: Victim) -> web.StreamResponse:
    """The items of a page in the opposite order: oldest first."""
    return _json(_with_items(victim.body, lambda items: items[::-1]))


async def _page_twice(victim: Victim) -> web.StreamResponse:
    """Every item of a page two times."""
    return _json(_with_items(victim.body, lambda items: items + items))


def _with_items(body: bytes, change: Callable[[list[object]], list[object]]) -> bytes:
    page = json.loads(body)
    for name in ("runs", "jobs"):
        if name in page:
            page[name] = change(page[name])
    return json.dumps(page).encode()


def _dated(seconds: float) -> Callable[[Victim], Awaitable[web.StreamResponse]]:
    async def dated(victim: Victim) -> web.StreamResponse:
        """A good answer from a machine whose clock is wrong."""
        victim.request[CLOCK_ERROR] = seconds
        return _json(victim.body)

    return dated


DAMAGES: dict[Damage, Callable[[Victim], Awaitable[web.StreamResponse]]] = {
    "reset": _reset,
    "reset mid-body": _reset_mid_body,
    "truncated": _truncated,
    "hang": _hang,
    "hang mid-body": _hang_mid_body,
    "drip": _drip,
    "broken JSON": _broken_json,
    "broken gzip": _broken_gzip,
    "empty body": _empty_body,
    "huge body": _huge_body,
    "gzip bomb": _gzip_bomb,
    "wrong content type": _wrong_content_type,
    "same page token": _same_page_token,
    "page out of order": _page_out_of_order,
    "page twice": _page_twice,
    "date a year ahead": _dated(_YEAR),
    "date a year back": _dated(-_YEAR),
}


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


async def _begun(victim: Victim) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/json"
    response.content_length = len(victim.body)
    await response.prepare(victim.request)
    return response


async def _half_sent(victim: Victim) -> web.StreamResponse:
    response = await _begun(victim)
    await response.write(victim.half)
    return response


def _cut_connection(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    # Without lingering the kernel sends RST where it would otherwise end the stream in good order.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
