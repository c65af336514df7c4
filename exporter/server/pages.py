"""The pages: /metrics, /, /-/healthy, /-/ready. Reads only.

What must stay true: a request never touches the Databricks API and never waits for a poll; with basic auth
on, all but the two health paths is shut.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import NamedTuple

import structlog
from aiohttp import hdrs, web

from exporter.config import HEALTHY_PATH, READY_PATH, Settings
from exporter.exposition.exposition import Exposition
from exporter.exposition.negotiation import allows_gzip, format_for
from exporter.exposition.snapshot import Body, Format
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.server import Connection, Limits, Listener
from exporter.server.requests import RequestHandler
from exporter.server.status_page import landing_page
from exporter.server.web_config import TooManyChecks, WebConfigFile

# The loop is dead when nothing at all has happened for so many intervals.
DEAD_AFTER_INTERVALS = 10
SHUTDOWN_SECONDS = 1.0

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # Instead of the names and versions of Python and aiohttp.
    "Server": "databricks-jobs-exporter",
}

_log = structlog.stdlib.get_logger(__name__)
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WorkspaceView(NamedTuple):
    """What the pages show of a workspace; the last sign of life is by the loop's clock."""

    own_metrics: WorkspaceMetrics
    is_ready: Callable[[], bool]
    last_sign_of_life: Callable[[], float]


class WebServer:
    """Serves the pages of one exporter."""

    def __init__(
        self,
        settings: Settings,
        web_config: WebConfigFile | None,
        exposition: Exposition,
        own_metrics: OwnMetrics,
        views: Sequence[WorkspaceView],
        limits: Limits | None = None,
    ) -> None:
        self._limits = limits
        self._settings = settings
        self._web_config = web_config
        self._exposition = exposition
        self._own_metrics = own_metrics
        self._views = views

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """Listen while the context is open; gives the address, with the real port where 0 was asked for."""
        listen = self._settings.web.listen_address
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(self._settings.web.telemetry_path, self._metrics)
        app.router.add_get("/", self._landing_page)
        app.router.add_get(HEALTHY_PATH, self._healthy)
        app.router.add_get(READY_PATH, self._ready)
        app.on_response_prepare.append(self._dress)
        runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("a runner that is set up has a server")
        context = self._web_config.listener_context if self._web_config else None
        listener = Listener(lambda: RequestHandler(server, self._headers), context, self._limits)
        async with AsyncExitStack() as stack:
            if self._web_config:
                stack.callback(self._web_config.auth.close)
            address = await stack.enter_async_context(listener.listening(listen.host, listen.port))
            stack.push_async_callback(runner.cleanup)
            stack.callback(listener.stop_accepting)
            yield address

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        # None where the client went away before its turn came.
        protocol = request.transport.get_protocol() if request.transport else None
        connection = protocol if isinstance(protocol, Connection) else None
        with connection.answering() if connection else nullcontext():
            refusal = await self._refusal(request, connection.peer if connection else "")
            return await handler(request) if refusal is None else refusal

    async def _refusal(self, request: web.Request, peer: str) -> web.Response | None:
        config = self._web_config
        if config is None:
            return None
        if config.refresh() and config.error is not None:
            _log.error("the web config file is broken; the last good one stays", cause=str(config.error))
        if request.path in {HEALTHY_PATH, READY_PATH}:
            return None
        try:
            if await config.auth.allows(request.headers.get(hdrs.AUTHORIZATION), peer):
                return None
        except TooManyChecks:
            return web.Response(status=503, text="Too many logins at once\n", headers={hdrs.RETRY_AFTER: "1"})
        return web.Response(status=401, text="Unauthorized\n", headers={hdrs.WWW_AUTHENTICATE: "Basic"})

    async def _dress(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers())

    def _headers(self) -> Mapping[str, str]:
        """Those of every answer."""
        return {**_HEADERS, **(self._web_config.config.headers if self._web_config else {})}

    async def _metrics(self, request: web.Request) -> web.StreamResponse:
        form = format_for(",".join(request.headers.getall(hdrs.ACCEPT, [])))
        snapshot = self._exposition.ready(form)
        if snapshot is None:
            snapshot = await asyncio.to_thread(self._exposition.prepare, form)
        own = self._own_metrics.openmetrics() if form is Format.OPENMETRICS else self._own_metrics.text()
        headers = {hdrs.CONTENT_TYPE: form.value, hdrs.VARY: "Accept, Accept-Encoding"}
        if allows_gzip(",".join(request.headers.getall(hdrs.ACCEPT_ENCODING, []))):
            headers[hdrs.CONTENT_ENCODING] = "gzip"
            body = snapshot.gzipped(form, own)
        else:
            body = snapshot.plain(form, own)
        response = web.StreamResponse(headers=headers)
        response.content_length = body.length
        with suppress(ConnectionError):
            # An error that left this method would keep itself and the body until the garbage collector comes
            # by: aiohttp's task knows the error, and the error's traceback knows the task.
            await _send(response, request, body)
        return response

    async def _healthy(self, _: web.Request) -> web.Response:
        now = asyncio.get_running_loop().time()
        limit = DEAD_AFTER_INTERVALS * self._settings.poll.interval
        dead = [view for view in self._views if now - view.last_sign_of_life() > limit]
        return _verdict(dead, "no sign of life for ten intervals from the polling loop of")

    async def _ready(self, _: web.Request) -> web.Response:
        waiting = [view for view in self._views if not view.is_ready()]
        return _verdict(waiting, "waiting for the first successful poll of")

    async def _landing_page(self, _: web.Request) -> web.Response:
        page = landing_page(
            self._settings.web.telemetry_path,
            self._exposition.snapshot.series,
            [view.own_metrics for view in self._views],
        )
        return web.Response(text=page, content_type="text/html")


def _verdict(bad: Sequence[WorkspaceView], complaint: str) -> web.Response:
    if not bad:
        return web.Response(text="OK\n")
    names = ", ".join(view.own_metrics.workspace for view in bad)
    return web.Response(status=503, text=f"{complaint} {names}\n")


async def _send(response: web.StreamResponse, request: web.Request, body: Body) -> None:
    """Raises ConnectionError where the client went away."""
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        for part in body.parts:
            await response.write(part)
            # A client that keeps up with us makes no write wait: let others have their turn.
            await asyncio.sleep(0)
    await response.write_eof()
