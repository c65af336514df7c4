"""A server in this process, and clients with plain sockets that may misbehave."""

import asyncio
import socket
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from exporter.config import Settings
from exporter.exposition.exposition import Exposition
from exporter.own_metrics import OwnMetrics
from exporter.runs.layout import Layout
from exporter.runs.records import Job
from exporter.server import Limits
from exporter.server.pages import WebServer
from exporter.server.web_config import WebConfigFile

PATIENCE_SECONDS = 30.0
GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
HEALTHY = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@dataclass
class LocalServer:
    """A server in this process, and clients of it."""

    host: str
    port: int
    exposition: Exposition

    async def connect(self, first: bytes = b"", source: str = "127.0.0.1", buffer: int = 0) -> socket.socket:
        """A socket that has sent `first`. A small `buffer` makes it receive little at a time."""
        made = socket.socket()
        if buffer:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
        made.setblocking(False)
        made.bind((source, 0))
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await loop.sock_connect(made, (self.host, self.port))
                await loop.sock_sendall(made, first)
        except BaseException:
            made.close()
            raise
        return made

    async def ask(self, request: bytes = HEALTHY, source: str = "127.0.0.1") -> bytes:
        """The whole answer to a request, until the connection is closed; empty after a reset."""
        with await self.connect(request, source) as made:
            return await rest(made)

    async def status(self, request: bytes = HEALTHY, source: str = "127.0.0.1") -> int:
        """The status of the first answer; 0 for none."""
        answer = await self.ask(request, source)
        return int(answer.split(b" ", 2)[1]) if answer else 0


async def rest(made: socket.socket) -> bytes:
    """Everything that is received until the other side closes the connection, which it must do."""
    loop = asyncio.get_running_loop()
    got: list[bytes] = []
    async with asyncio.timeout(PATIENCE_SECONDS):
        try:
            while data := await loop.sock_recv(made, 1 << 16):
                got.append(data)
        except ConnectionError:
            pass
    return b"".join(got)


async def some(made: socket.socket) -> bytes:
    """The next bytes that are received."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        return await asyncio.get_running_loop().sock_recv(made, 1 << 16)


@contextmanager
def closing(sockets: Sequence[socket.socket]) -> Iterator[None]:
    with ExitStack() as stack:
        for each in sockets:
            stack.enter_context(each)
        yield


def open_files() -> int:
    """The file descriptors of this process."""
    return len(list(Path("/proc/self/fd").iterdir()))


def with_a_large_body(exposition: Exposition, megabytes: int) -> None:
    """Make the body of the metrics this large, with long names of jobs."""
    jobs = {str(number): (Job(name=f"{number:01000}"), None) for number in range(megabytes * 1000)}
    exposition.update("adb-1.2.test", {}, jobs)


@asynccontextmanager
async def local_server(
    limits: Limits | None = None, web_config: WebConfigFile | None = None
) -> AsyncIterator[LocalServer]:
    """A server without workspaces, on loopback."""
    own_metrics = OwnMetrics()
    exposition = Exposition(own_metrics, Layout())
    settings = Settings.model_validate({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, web_config, exposition, own_metrics, [], limits).listening() as address:
        host, _, port = address.rpartition(":")
        yield LocalServer(host, int(port), exposition)
