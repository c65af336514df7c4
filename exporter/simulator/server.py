"""The simulated workspace on a socket: real HTTP on a loopback port.

It has no faults of its own. `middlewares` are the seam for them: aiohttp middlewares that run inside the
request log and around everything else. So a test decides what any request gets (see tests/faults).
"""

import asyncio
import ssl
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

import msgspec
from aiohttp import hdrs, web
from aiohttp.typedefs import Middleware

from exporter.simulator.credentials import Credentials, TokenRefusedError
from exporter.simulator.endpoints import ENDPOINTS, PATHS, VERSIONS, Endpoint
from exporter.simulator.middlewares import (
    TOKEN_PATH,
    Handler,
    dating,
    json_response,
    logging,
    packing,
    refusing,
)
from exporter.simulator.traffic import RateLimit, RequestLog
from exporter.simulator.workspace import Workspace

_DISCOVERY_PATH = "/oidc/.well-known/oauth-authorization-server"


def create_app(
    workspace: Workspace,
    *,
    credentials: Credentials,
    requests: RequestLog,
    limits: Mapping[str, int] | None = None,
    middlewares: Sequence[Middleware] = (),
) -> web.Application:
    """The application; `limits` are requests per second by endpoint (`DOCUMENTED_LIMITS`), off by default."""
    app = web.Application(
        middlewares=[logging(requests), *middlewares, refusing(RateLimit(limits or {})), packing]
    )
    app.on_response_prepare.append(dating(workspace))
    for version in VERSIONS:
        for name, path in PATHS.items():
            app.router.add_get(
                f"/api/{version}/{path}", _reading(workspace, credentials, ENDPOINTS[name], version)
            )
    app.router.add_post(TOKEN_PATH, _issuing(credentials))
    app.router.add_get(_DISCOVERY_PATH, _discovery)
    return app


def _reading(workspace: Workspace, credentials: Credentials, endpoint: Endpoint, version: str) -> Handler:
    async def read(request: web.Request) -> web.Response:
        if version not in workspace.api_versions:
            raise web.HTTPNotFound
        credentials.check(request.headers.get(hdrs.AUTHORIZATION))
        return json_response(200, endpoint(workspace, request.query, version))

    return read


def _issuing(credentials: Credentials) -> Handler:
    async def issue(request: web.Request) -> web.Response:
        try:
            answer = credentials.issue(request.headers.get(hdrs.AUTHORIZATION), await request.post())
        except TokenRefusedError as refused:
            return json_response(refused.status, msgspec.json.encode(refused.body))
        return json_response(200, msgspec.json.encode(answer))

    return issue


async def _discovery(request: web.Request) -> web.Response:
    origin = str(request.url.origin())
    endpoints = {
        "authorization_endpoint": f"{origin}/oidc/v1/authorize",
        "token_endpoint": origin + TOKEN_PATH,
    }
    return json_response(200, msgspec.json.encode(endpoints))


class SimulatorServer:
    """A running simulator: `async with SimulatorServer() as server:` listens at `server.url` until then."""

    def __init__(
        self,
        workspace: Workspace | None = None,
        *,
        credentials: Credentials | None = None,
        limits: Mapping[str, int] | None = None,
        port: int = 0,
        tls: ssl.SSLContext | None = None,
        middlewares: Sequence[Middleware] = (),
    ) -> None:
        """`limits` as in `create_app`; with `tls` it speaks HTTPS."""
        self.workspace = Workspace() if workspace is None else workspace
        self.credentials = Credentials() if credentials is None else credentials
        self.requests = RequestLog()
        self.url = ""
        self._limits = limits
        self._port = port
        self._tls = tls
        self._middlewares = middlewares
        self._runner: web.AppRunner | None = None

    async def start(self) -> Self:
        app = create_app(
            self.workspace,
            credentials=self.credentials,
            requests=self.requests,
            limits=self._limits,
            middlewares=self._middlewares,
        )
        # A request that hangs on purpose must hold up neither the stop nor a client that went away.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self._port, ssl_context=self._tls).start()
        self._port = self._runner.addresses[0][1]
        self.url = f"{'http' if self._tls is None else 'https'}://127.0.0.1:{self._port}"
        return self

    async def stop(self) -> None:
        """Close the port; a later `start` listens on the same one again, like a workspace that was away."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None
            await asyncio.sleep(0)  # the event loop closes what was just cut

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()
