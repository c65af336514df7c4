"""An answer that was good, broken on its way or in its bytes.

`BREAKS` is the table. Each entry writes what is left of the answer to the client's connection.
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

from aiohttp import hdrs, web

from exporter.simulator.index import NEWEST
from exporter.simulator.paging import token

_GZIP_HEADER = 10  # bytes
_HUGE = 200 * 2**20  # bytes
_BLOCK = b" " * 2**20
_FIRST_PAGE = {
    "runs/list": token("runs", *NEWEST),
    "runs/get": token("run", 0),
    "list": token("jobs", *NEWEST),
}


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request, the body of its good answer, and when a request that hangs is answered."""

    request: web.Request
    body: bytes
    pace: float
    released: asyncio.Event

    @property
    def half(self) -> bytes:
        return self.body[: len(self.body) // 2]


Break = Callable[[Exchange], Awaitable[web.StreamResponse]]


async def _reset(exchange: Exchange) -> web.StreamResponse:
    _cut_connection(exchange.request)
    return web.Response()


async def _reset_mid_body(exchange: Exchange) -> web.StreamResponse:
    response = await _half_sent(exchange)
    _cut_connection(exchange.request)
    return response


async def _truncated(exchange: Exchange) -> web.StreamResponse:
    """Closes in an orderly way, with half of the promised length sent."""
    response = await _half_sent(exchange)
    if exchange.request.transport is not None:
        exchange.request.transport.close()
    return response


async def _hang(exchange: Exchange) -> web.StreamResponse:
    await exchange.released.wait()
    return _json(exchange.body)


async def _hang_mid_body(exchange: Exchange) -> web.StreamResponse:
    response = await _half_sent(exchange)
    await exchange.released.wait()
    await response.write(exchange.body[len(exchange.half) :])
    return response


async def _drip(exchange: Exchange) -> web.StreamResponse:
    response = await _begun(exchange)
    for place in range(len(exchange.body)):
        await response.write(exchange.body[place : place + 1])
        await asyncio.sleep(exchange.pace)
    return response


async def _broken_json(exchange: Exchange) -> web.StreamResponse:
    return _json(exchange.half)


async def _broken_gzip(exchange: Exchange) -> web.StreamResponse:
    """A gzip stream that breaks right after its header."""
    packed = gzip.compress(exchange.body)
    response = _json(packed[:_GZIP_HEADER] + b"\xff" * len(packed))
    response.headers["Content-Encoding"] = "gzip"
    return response


async def _empty_body(_exchange: Exchange) -> web.StreamResponse:
    return _json(b"")


async def _same_page_token(exchange: Exchange) -> web.StreamResponse:
    """Says that there is more, and that it is where the client has just been: for ever."""
    body = json.loads(exchange.body)
    first = _FIRST_PAGE.get(exchange.request.path.partition("/jobs/")[2], "")
    body["next_page_token"] = exchange.request.query.get("page_token") or first
    return _json(json.dumps(body).encode())


async def _huge_body(exchange: Exchange) -> web.StreamResponse:
    """Spaces without end in front of the JSON: a good answer, for whoever has the memory."""
    response = web.StreamResponse()
    response.content_type = "application/json"
    await response.prepare(exchange.request)
    with suppress(ConnectionError):  # nobody has to read all of it
        for _ in range(_HUGE // len(_BLOCK)):
            await response.write(_BLOCK)
        await response.write(exchange.body)
    return response


async def _gzip_bomb(exchange: Exchange) -> web.StreamResponse:
    """The same, packed a thousandfold."""
    response = _json(_bomb() + gzip.compress(exchange.body))
    response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    return response


@cache
def _bomb() -> bytes:
    packer = zlib.compressobj(level=9, wbits=31)
    return b"".join(packer.compress(_BLOCK) for _ in range(_HUGE // len(_BLOCK))) + packer.flush()


async def _wrong_content_type(exchange: Exchange) -> web.StreamResponse:
    """Good JSON that says it is an image."""
    return web.Response(body=exchange.body, content_type="image/png")


async def _page_out_of_order(exchange: Exchange) -> web.StreamResponse:
    """The items of a page in the opposite order: oldest first."""
    return _json(_with_items(exchange.body, lambda items: items[::-1]))


async def _page_twice(exchange: Exchange) -> web.StreamResponse:
    """Every item of a page two times."""
    return _json(_with_items(exchange.body, lambda items: items + items))


def _with_items(body: bytes, change: Callable[[list[object]], list[object]]) -> bytes:
    page = json.loads(body)
    for name in ("runs", "jobs"):
        if name in page:
            page[name] = change(page[name])
    return json.dumps(page).encode()


BREAKS: dict[str, Break] = {
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
}


def _json(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="application/json")


async def _begun(exchange: Exchange) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_type = "application/json"
    response.content_length = len(exchange.body)
    await response.prepare(exchange.request)
    return response


async def _half_sent(exchange: Exchange) -> web.StreamResponse:
    response = await _begun(exchange)
    await response.write(exchange.half)
    return response


def _cut_connection(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    # Without lingering the kernel sends RST where it would otherwise end the stream in good order.
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport.abort()
