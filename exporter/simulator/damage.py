"""Damage to an answer that was good: on its way through the transport, or in its bytes.

`DAMAGES` is the table. Each entry writes what is left of the answer to the client's connection.
"""

import asyncio
import gzip
import json
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from aiohttp import web

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
    "same page token",
]


_GZIP_HEADER = 10  # bytes
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
    "same page token": _same_page_token,
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
