"""The simulated workspace with faults in front of it."""

import asyncio
import ssl
import zlib
from collections.abc import Mapping

from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from exporter.simulator import server as simulator
from exporter.simulator.credentials import Credentials
from exporter.simulator.endpoints import ENDPOINTS
from exporter.simulator.middlewares import CLOCK_ERROR, Handler, endpoint_of, json_response
from exporter.simulator.paging import RefusedError
from exporter.simulator.workspace import Workspace
from tests.faults.answers import Answer, error
from tests.faults.broken import Exchange
from tests.faults.faults import Fault, Faults


class SimulatorServer(simulator.SimulatorServer):
    """A running simulator whose `faults` decide what goes wrong. Without any it is the simulator as it is."""

    def __init__(
        self,
        workspace: Workspace | None = None,
        *,
        credentials: Credentials | None = None,
        limits: Mapping[str, int] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        workspace = Workspace() if workspace is None else workspace
        self.faults = Faults(workspace)
        super().__init__(
            workspace,
            credentials=credentials,
            limits=limits,
            tls=tls,
            middlewares=(_striking(self.faults, workspace),),
        )

    async def stop(self) -> None:
        self.faults.clear()
        await super().stop()


def _striking(faults: Faults, workspace: Workspace) -> Middleware:
    @web.middleware
    async def struck(request: web.Request, handler: Handler) -> web.StreamResponse:
        fault = faults.strike(endpoint_of(request), request.query)
        if fault is None:
            return await handler(request)
        request[CLOCK_ERROR] = fault.clock_error
        await asyncio.sleep(fault.delay)
        return await _answer(fault, workspace, request, handler)

    return struck


async def _answer(
    fault: Fault, workspace: Workspace, request: web.Request, handler: Handler
) -> web.StreamResponse:
    if fault.answer is not None:
        return _sent(fault.answer)
    if isinstance(fault.earlier, Workspace):
        version = request.path.split("/")[2]
        try:
            body = ENDPOINTS[endpoint_of(request)](fault.earlier, request.query, version)
        except RefusedError as refusal:  # there was no such run yet
            return _sent(error(refusal.status, refusal.code, refusal.message))
        return json_response(200, body)
    if fault.earlier is not None:
        # Between the two replacements nothing waits: no other request can see the earlier run.
        now = workspace.runs.replace(fault.earlier)
        try:
            response = await handler(request)
        finally:
            workspace.runs.replace(now)
    else:
        response = await handler(request)
    if fault.broken is None or not isinstance(response, web.Response):
        return response
    return await fault.broken(Exchange(request, _body(response), fault.pace, fault.released))


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
