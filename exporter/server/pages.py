"""The pages: /metrics, /, /-/healthy, /-/ready. They only read.

What must stay true: a request never touches the Databricks API and never waits for a poll. With basic auth
on, only the two health paths are open.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, nullcontext, suppress
from typing import NamedTuple

from aiohttp import hdrs, web

from exporter.config import HEALTHY_PATH, READY_PATH, Settings
from exporter.config.characters import visible
from exporter.exposition.exposition import Exposition
from exporter.exposition.negotiation import allows_gzip, format_for
from exporter.exposition.snapshot import Body, Format
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.server import Connection, Limits, Listener
from exporter.server.requests import RequestHandler
from exporter.server.status_page import status_page
from exporter.server.web_config import TooManyChecks, WebConfigFile

# A polling loop counts as dead after this many intervals without a sign of life.
DEAD_AFTER_INTERVALS = 10
SHUTDOWN_SECONDS = 1.0

_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    # aiohttp would name itself and Python, with their versions.
    "Server": "databricks-jobs-exporter",
}

_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class WorkspaceView(NamedTuple):
    """What the pages show of one workspace. `last_sign_of_life` is in seconds of the loop's clock."""

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
        """Listen while the context is open. Gives the address; a port of 0 is replaced by the real one."""
        listen = self._settings.web.listen_address
        app = web.Application(middlewares=[self._guard])
        app.router.add_get(self._settings.web.telemetry_path, self._metrics)
        app.router.add_get("/", self._status_page)
        app.router.add_get(HEALTHY_PATH, self._healthy)
        app.router.add_get(READY_PATH, self._ready)
        app.on_response_prepare.append(self._add_headers)
        runner = web.AppRunner(app, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        server = runner.server
        if server is None:
            raise RuntimeError("after its set-up a runner has a server")
        listener = Listener(
            lambda: RequestHandler(server, self._headers), self._current_tls_context, self._limits
        )
        async with AsyncExitStack() as stack:
            if self._web_config:
                stack.callback(self._web_config.auth.close)
            address = await stack.enter_async_context(listener.listening(listen.host, listen.port))
            stack.push_async_callback(runner.cleanup)
            stack.callback(listener.stop_accepting)
            yield address

    async def _current_tls_context(self) -> ssl.SSLContext | None:
        """The TLS context for a new connection, after a change of the web config file was taken over."""
        if self._web_config is None:
            return None
        await self._web_config.refresh()
        return self._web_config.config.tls_context

    @web.middleware
    async def _guard(self, request: web.Request, handler: _Handler) -> web.StreamResponse:
        # None when the client closed the connection before its request was read.
        protocol = request.transport.get_protocol() if request.transport else None
        connection = protocol if isinstance(protocol, Connection) else None
        with connection.answering() if connection else nullcontext():
            if connection and await self._current_tls_context() is not connection.tls_context:
                # The TLS settings have changed: clients connect again, and must meet the new ones.
                connection.end()
                raise ConnectionError("the TLS settings have changed")
            refusal = await self._refusal(request, connection.peer if connection else "")
            return await handler(request) if refusal is None else refusal

    async def _refusal(self, request: web.Request, peer: str) -> web.Response | None:
        if self._web_config is None or request.path in {HEALTHY_PATH, READY_PATH}:
            return None
        try:
            if await self._web_config.auth.allows(request.headers.get(hdrs.AUTHORIZATION), peer):
                return None
        except TooManyChecks:
            return web.Response(
                status=503,
                text="Too many passwords wait to be checked, try again\n",
                headers={hdrs.RETRY_AFTER: "1"},
            )
        return web.Response(status=401, text="Unauthorized\n", headers={hdrs.WWW_AUTHENTICATE: "Basic"})

    async def _add_headers(self, _: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(self._headers())

    def _headers(self) -> Mapping[str, str]:
        """The headers of every answer."""
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
            # An exception that left this method would keep itself and the body alive until the garbage
            # collector runs: aiohttp's task refers to the exception, and its traceback to the task.
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

    async def _status_page(self, _: web.Request) -> web.Response:
        page = status_page(
            self._settings.web.telemetry_path,
            self._exposition.snapshot.series,
            [view.own_metrics for view in self._views],
        )
        return web.Response(text=page, content_type="text/html")


def _verdict(bad: Sequence[WorkspaceView], complaint: str) -> web.Response:
    if not bad:
        return web.Response(text="OK\n")
    names = visible(", ".join(view.own_metrics.workspace for view in bad))
    return web.Response(status=503, text=f"{complaint} {names}\n")


async def _send(response: web.StreamResponse, request: web.Request, body: Body) -> None:
    """Raises ConnectionError where the client has gone."""
    await response.prepare(request)
    if request.method != hdrs.METH_HEAD:
        for part in body.parts:
            await response.write(part)
            # `write` does not wait while the client reads fast enough: let other requests run.
            await asyncio.sleep(0)
    await response.write_eof()
