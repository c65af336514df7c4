"""A small CONNECT proxy on real sockets: it sends every tunnel to one upstream and remembers who asked."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

END_OF_HEAD = b"\r\n\r\n"


@dataclass
class ConnectProxy:
    """`upstream`: the port on 127.0.0.1 that every name leads to. `refusal`: a status line to answer with."""

    upstream: int
    refusal: str | None = None
    authorization: str | None = None
    url: str = ""
    heads: list[str] = field(default_factory=list)

    @property
    def targets(self) -> list[str]:
        """What was asked for, `host:port`."""
        return [head.split()[1] for head in self.heads]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one CONNECT and carry bytes both ways until one side ends."""
        try:
            head = (await reader.readuntil(END_OF_HEAD)).decode()
            self.heads.append(head)
            if (status := self._status(head)) != "200 Connection established":
                writer.write(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())
                await writer.drain()
                return
            there, back = await asyncio.open_connection("127.0.0.1", self.upstream)
            writer.write(f"HTTP/1.1 {status}\r\n\r\n".encode())
            await asyncio.gather(_carry(reader, back), _carry(there, writer))
        except (OSError, asyncio.IncompleteReadError):
            pass  # whoever tests it sees its own side of this
        finally:
            writer.close()

    def _status(self, head: str) -> str:
        if self.refusal is not None:
            return self.refusal
        if self.authorization is not None and f"Proxy-Authorization: {self.authorization}" not in head:
            return "407 Proxy Authentication Required"
        return "200 Connection established"


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(65536):
            writer.write(chunk)
            await writer.drain()
    finally:
        writer.close()


@asynccontextmanager
async def proxying(
    upstream: str,
    *,
    refusal: str | None = None,
    authorization: str | None = None,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[ConnectProxy]:
    """A running proxy; `upstream` is the address of the server behind it."""
    proxy = ConnectProxy(int(upstream.rpartition(":")[2]), refusal, authorization)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0, ssl=tls)
    port = server.sockets[0].getsockname()[1]
    proxy.url = f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
    try:
        yield proxy
    finally:
        server.close()
