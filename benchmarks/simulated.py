"""A simulated workspace in a thread of its own, beside a benchmark that waits for an exporter."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from aiohttp import web

from exporter.simulator.middlewares import Handler
from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace

T = TypeVar("T")


class Simulated:
    """A running simulator; whatever touches it goes through `do`, in its thread."""

    def __init__(
        self, server: SimulatorServer, loop: asyncio.AbstractEventLoop, delays: dict[str, float]
    ) -> None:
        self.server = server
        self.url = server.url
        # Seconds that each answer takes, by a part of its path.
        self.delays = delays
        self._loop = loop

    def do(self, work: Callable[[], T]) -> T:
        """The result of work in the simulator's thread."""

        async def done() -> T:
            return work()

        return asyncio.run_coroutine_threadsafe(done(), self._loop).result()


@contextmanager
def simulated(workspace: Workspace) -> Iterator[Simulated]:
    """A simulator until the context ends."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator")
    thread.start()
    delays: dict[str, float] = {}

    @web.middleware
    async def delaying(request: web.Request, handler: Handler) -> web.StreamResponse:
        began = time.monotonic()
        response = await handler(request)
        whole = sum(delay for part, delay in delays.items() if part in request.path)
        # The simulator's own work is a part of it.
        await asyncio.sleep(max(began + whole - time.monotonic(), 0))
        return response

    server = SimulatorServer(workspace, middlewares=[delaying])
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        yield Simulated(server, loop, delays)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
