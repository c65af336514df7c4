"""What happens to every request on its way to its endpoint and back.

From the outside in: it is remembered, the rate may be exceeded, a refusal becomes an error body, and the
answer is compressed.
"""

import time
import zlib
from collections.abc import Awaitable, Callable
from email.utils import formatdate

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from exporter.simulator.endpoints import PATHS, VERSIONS
from exporter.simulator.paging import RefusedError
from exporter.simulator.traffic import RateLimit, Request, RequestLog
from exporter.simulator.workspace import Workspace

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

# Of a request, where a middleware sets it: how many seconds the Date of its answer is ahead.
CLOCK_ERROR = web.RequestKey("CLOCK_ERROR", float)
TOKEN_PATH = "/oidc/v1/token"
_WORTH_PACKING = 1000  # bytes
_ENDPOINT_OF_PATH = {
    TOKEN_PATH: "token",
    **{f"/api/{version}/{path}": name for name, path in PATHS.items() for version in VERSIONS},
}


def endpoint_of(request: web.Request) -> str:
    """Which endpoint it asks: runs/list, runs/get, jobs/list, token or other."""
    return _ENDPOINT_OF_PATH.get(request.path, "other")


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
            endpoint=endpoint_of(request),
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


def refusing(limit: RateLimit) -> Middleware:
    @web.middleware
    async def refused(request: web.Request, handler: Handler) -> web.StreamResponse:
        if not limit.admits(endpoint_of(request)):
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
