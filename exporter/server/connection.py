"""One connection: how long its client takes, and how much it sends."""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple, cast

_TOO_LARGE_TEXT = b"The request is larger than 32 kB. Look for a large Cookie or Authorization header.\n"
_TOO_LARGE = (
    b"HTTP/1.1 431 Request Header Fields Too Large\r\nConnection: close\r\n"
    b"Server: databricks-jobs-exporter\r\nX-Content-Type-Options: nosniff\r\nContent-Type: text/plain\r\n"
    b"Content-Length: %d\r\n\r\n%s" % (len(_TOO_LARGE_TEXT), _TOO_LARGE_TEXT)
)


class Limits(NamedTuple):
    """The limits of all connections. Two hundred scrapers with a connection each stay far below them."""

    connections: int = 400
    # For the TLS handshake, and from the first byte of a request to the end of its head.
    head_seconds: float = 10.0
    # Between two requests. Prometheus closes an idle connection after 5 minutes.
    idle_seconds: float = 360.0
    # While the client reads nothing of the answer. The second limit holds when a new client needs the place.
    unread_seconds: float = 30.0
    unread_seconds_when_full: float = 3.0
    # For a whole answer. A body of ten megabytes is one megabyte of gzip, which arrives in time at 9 kB/s.
    answer_seconds: float = 120.0
    # Received and not yet answered. A scrape has about ten header lines of a hundred bytes each.
    request_bytes: int = 32 * 1024


class Hooks(NamedTuple):
    """The callbacks of a connection: a new protocol of the server, and what the listener must know."""

    make_server: Callable[[], asyncio.Protocol]
    reject: Callable[["Connection", str], None]
    log: Callable[["Connection", str], None]
    closed: Callable[["Connection"], None]


class Phase(Enum):
    """What the connection is doing; the value is the cause in the log when that takes too long."""

    HEAD = "the request was not complete in time"
    ANSWER = "the answer was not read in time"
    IDLE = "no new request came"
    REFUSED = "the request was too large"


class Connection(asyncio.Protocol):
    """Passes everything on to the protocol of the server, and measures how long each phase takes."""

    def __init__(self, peer: str, limits: Limits, hooks: Hooks) -> None:
        self.peer = peer
        self.admission: asyncio.Task[None] | None = None
        self.tls_context: ssl.SSLContext | None = None
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self._limits = limits
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.HEAD
        self.since = self._loop.time()
        self._unread_since: float | None = None
        self._unanswered_bytes = 0

    # --- called by the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._enter(Phase.HEAD)
        self._inner = self._hooks.make_server()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.REFUSED:
            return
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._unanswered_bytes += len(data)
        if self._unanswered_bytes > self._limits.request_bytes:
            self._refuse_request()
        elif self._inner is not None:
            self._inner.data_received(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def pause_writing(self) -> None:
        self._unread_since = self._loop.time()
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        self._unread_since = None
        if self._inner is not None:
            self._inner.resume_writing()

    def connection_lost(self, _: Exception | None) -> None:
        self._hooks.closed(self)
        inner, self._inner, self._transport = self._inner, None, None
        if inner is not None:
            # Without the exception: aiohttp would raise it in the handler that waits to send a body. The
            # handler's frame, its future and the exception would then keep each other and the body alive
            # until the garbage collector runs.
            inner.connection_lost(None)

    # --- called by the pages and the listener

    @contextmanager
    def answering(self) -> Iterator[None]:
        """The time in which a request of this connection is answered."""
        self._unanswered_bytes = 0
        self._enter(Phase.ANSWER)
        try:
            yield
        finally:
            self._enter(Phase.IDLE)

    def overdue(self, now: float) -> Phase | None:
        """The phase that takes longer than its limit; None while all is well."""
        taken, limits = now - self.since, self._limits
        if self._unread_since is not None and now - self._unread_since > limits.unread_seconds:
            return Phase.ANSWER
        if self._phase is Phase.IDLE and self._transport and self._transport.get_write_buffer_size():
            return Phase.ANSWER if taken > limits.unread_seconds else None
        allowed = {
            Phase.HEAD: limits.head_seconds,
            Phase.ANSWER: limits.answer_seconds,
            Phase.IDLE: limits.idle_seconds,
            # Time for the client to send the rest and to read the reason: a reset would discard it.
            Phase.REFUSED: 1.0,
        }
        return self._phase if taken > allowed[self._phase] else None

    def can_be_replaced(self, now: float) -> bool:
        """Whether the exporter waits for this client, so that a new client may take the place."""
        if self._phase is not Phase.ANSWER:
            return True
        return (
            self._unread_since is not None
            and now - self._unread_since > self._limits.unread_seconds_when_full
        )

    def end(self) -> None:
        """Close at once, and drop what is still to be sent."""
        if self._transport is not None:
            self._transport.abort()
        elif self.admission is not None:
            self.admission.cancel()

    def _refuse_request(self) -> None:
        """Answer with the reason, where no other answer is under way, and read no more."""
        if self._phase is not Phase.HEAD or self._transport is None:
            self._hooks.reject(self, "more than 32 kB were sent before the answer was read")
            return
        self._hooks.log(self, "the request is larger than 32 kB")
        self._enter(Phase.REFUSED)
        self._transport.write(_TOO_LARGE)

    def _enter(self, phase: Phase) -> None:
        self._phase, self.since = phase, self._loop.time()
