"""What happens to every request on its way to its endpoint and back.

From the outside in: it is remembered, a fault may strike, the rate may be exceeded, a refusal becomes an
error body, and the answer is compressed.
"""

import asyncio
import time
import zlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from exporter.simulator.damage import CLOCK_ERROR, DAMAGES, Victim
from exporter.simulator.endpoints import PATHS, VERSIONS
from exporter.simulator.faults import Answer, Faults
from exporter.simulator.paging import RefusedError
from exporter.simulator.traffic import RateLimit, Request, RequestLog
from exporter.simulator.workspace import Workspace

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

TOKEN_PATH = "/oidc/v1/token"
_WORTH_PACKING = 1000  # bytes
_ENDPOINT_OF_PATH = {
    TOKEN_PATH: "token",
    **{f"/api/{version}/{path}": name for name, path in PATHS.items() for version in VERSIONS},
}


def dating(workspace: Workspace) -> Callable[[web.Request, web.StreamResponse], Awaitable[None]]:
    async def date(request: web.Request, response: web.StreamResponse) -> None:
        moment = workspace.clock() + request.get(CLOCK_ERROR, 0)
        response.headers[hdrs.DATE] = formatdate(int(moment), usegmt=True)

    return date


def logging(log: RequestLog) -> Middleware:
    @web.middleware
    async def logged(request: web.Request, handler: Handler) -> web.StreamResponse:
        seen = Request(
            arrival=time.monotonic(),
            endpoint=_ENDPOINT_OF_PATH.get(request.path, "other"),
            path=request.path,
            query=dict(request.query),
            authorization=request.headers.get(hdrs.AUTHORIZATION),
        )
        log.begin(seen)
        try:
            response = await handler(request)
        finally:
            log.end()
        # A connection that was cut on purpose has no status to remember.
        if request.transport is not None and not request.transport.is_closing():
            seen.status = response.status
        return response

    return logged


def striking(faults: Faults) -> Middleware:
    @web.middleware
    async def struck(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = faults.strike(_ENDPOINT_OF_PATH.get(request.path, "other"), request.query)
        if fault is None:
            return await handler(request)
        if fault.delay:
            await asyncio.sleep(fault.delay)
        if fault.answer is not None:
            return _sent(fault.answer)
        response = await handler(request)
        if fault.damage is None or not isinstance(response, web.Response):
            return response
        victim = Victim(request, _body(response), fault.pace, faults.wait_cleared)
        return await DAMAGES[fault.damage](victim)

    return struck


def _sent(answer: Answer) -> web.Response:
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={**answer.headers, hdrs.CONTENT_TYPE: answer.content_type},
    )


def _body(response: web.Response) -> bytes:
    body = response.body if isinstance(response.body, bytes) else b""
    packed = response.headers.get(hdrs.CONTENT_ENCODING) == "gzip"
    return zlib.decompress(body, wbits=31) if packed else body


def refusing(limit: RateLimit) -> Middleware:
    @web.middleware
    async def refused(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not limit.admits(_ENDPOINT_OF_PATH.get(request.path, "other")):
            response = _error(429, "REQUEST_LIMIT_EXCEEDED", "Request is rejected due to throttling.")
            response.headers[hdrs.RETRY_AFTER] = "1"
            return response
        try:
            return await handler(request)
        except RefusedError as refusal:
            return _error(refusal.status, refusal.code, refusal.message)
        except (web.HTTPNotFound, web.HTTPMethodNotAllowed):
            return _error(404, "ENDPOINT_NOT_FOUND", f"Bad Target: {request.path}")

    return refused


@web.middleware
async def packing(request: web.Request, handler: Handler) -> web.StreamResponse:
    response = await handler(request)
    if (
        "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "")
        and isinstance(response, web.Response)
        and isinstance(response.body, bytes)
        and len(response.body) >= _WORTH_PACKING
    ):
        response.body = zlib.compress(response.body, level=1, wbits=31)
        response.headers[hdrs.CONTENT_ENCODING] = "gzip"
    return response


def json_response(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def _error(status: int, code: str, message: str) -> web.Response:
    return json_response(status, msgspec.json.encode({"error_code": code, "message": message}))
