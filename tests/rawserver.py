"""A server that answers with any bytes, where no library would: it reads one request and closes."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

END_OF_HEAD = b"\r\n\r\n"


@asynccontextmanager
async def raw_server(answer: Callable[[str], bytes], tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """The address of a server whose answer is what `answer` makes of the head of a request."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(END_OF_HEAD)
            writer.write(answer(head.decode("latin-1")))
            await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass  # the test sees its own side of this
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        port = server.sockets[0].getsockname()[1]
        yield f"{'http' if tls is None else 'https'}://127.0.0.1:{port}"
    finally:
        server.close()
        await server.wait_closed()


def http_answer(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """A whole answer with these header lines."""
    lines = [f"HTTP/1.1 {status}", *headers, f"Content-Length: {len(body)}", "Connection: close", "", ""]
    return "\r\n".join(lines).encode("latin-1") + body
