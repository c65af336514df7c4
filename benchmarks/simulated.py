"""A simulated workspace in a thread of its own, beside a benchmark that waits for an exporter."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace

T = TypeVar("T")


class Simulated:
    """A running simulator; whatever touches it goes through `do`, in its thread."""

    def __init__(self, server: SimulatorServer, loop: asyncio.AbstractEventLoop) -> None:
        self.server = server
        self.url = server.url
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
    server = SimulatorServer(workspace)
    try:
        asyncio.run_coroutine_threadsafe(server.start(), loop).result()
        yield Simulated(server, loop)
    finally:
        asyncio.run_coroutine_threadsafe(server.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
