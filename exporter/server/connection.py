"""One connection, and what its client may take."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import Enum
from typing import NamedTuple, cast


class Limits(NamedTuple):
    """What a client may take. Two hundred scrapers with a connection each stay far below all of it."""

    connections: int = 400
    # To finish the TLS handshake, and to send the head of a request once it has begun.
    head_seconds: float = 10.0
    # Between two requests. Prometheus closes its own end after 5 minutes.
    idle_seconds: float = 360.0
    # Without taking anything of what was sent. Shorter where somebody else waits for the place.
    unread_seconds: float = 30.0
    unread_seconds_when_full: float = 3.0
    # For a whole answer: a megabyte, which is ten uncompressed, arrives at 9 kB/s.
    answer_seconds: float = 120.0
    # Sent, and not yet answered.
    request_bytes: int = 64 * 1024


class Hooks(NamedTuple):
    """What a connection needs of the one who lets it in."""

    make_server: Callable[[], asyncio.Protocol]
    cut: Callable[["Connection", str], None]
    forget: Callable[["Connection"], None]


class Phase(Enum):
    HEAD = "did not finish its request"
    ANSWER = "did not take its answer in time"
    IDLE = "sent nothing more"


class Connection(asyncio.Protocol):
    """Hands everything on to the server's protocol, and remembers since when the client does what it does."""

    def __init__(self, peer: str, limits: Limits, hooks: Hooks) -> None:
        self.peer = peer
        self.admission: asyncio.Task[None] | None = None
        self._transport: asyncio.Transport | None = None
        self._inner: asyncio.Protocol | None = None
        self._limits = limits
        self._hooks = hooks
        self._loop = asyncio.get_running_loop()
        self._phase = Phase.HEAD
        self.since = self._loop.time()
        self._unread_since: float | None = None
        self._unanswered_bytes = 0

    # --- what the transport tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._enter(Phase.HEAD)
        self._inner = self._hooks.make_server()
        self._inner.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        if self._phase is Phase.IDLE:
            self._enter(Phase.HEAD)
        self._unanswered_bytes += len(data)
        if self._unanswered_bytes > self._limits.request_bytes:
            self._hooks.cut(self, "sent too much")
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
        self._hooks.forget(self)
        inner, self._inner, self._transport = self._inner, None, None
        if inner is not None:
            # Without the reason: aiohttp would raise it where a body waits to be taken; a future, its error
            # and the waiting frame would keep each other and the body until the garbage collector comes by.
            inner.connection_lost(None)

    # --- what the listener asks

    @contextmanager
    def answering(self) -> Iterator[None]:
        """While its request is answered."""
        self._unanswered_bytes = 0
        self._enter(Phase.ANSWER)
        try:
            yield
        finally:
            self._enter(Phase.IDLE)

    def overdue(self, now: float) -> Phase | None:
        """What it does for longer than it may."""
        taken, limits = now - self.since, self._limits
        if self._unread_since is not None and now - self._unread_since > limits.unread_seconds:
            return Phase.ANSWER
        if self._phase is Phase.IDLE and self._transport and self._transport.get_write_buffer_size():
            return Phase.ANSWER if taken > limits.unread_seconds else None
        allowed = {
            Phase.HEAD: limits.head_seconds,
            Phase.ANSWER: limits.answer_seconds,
            Phase.IDLE: limits.idle_seconds,
        }
        return self._phase if taken > allowed[self._phase] else None

    def keeps_us_waiting(self, now: float) -> bool:
        """Whether its place may go to somebody else."""
        if self._phase is not Phase.ANSWER:
            return True
        return (
            self._unread_since is not None
            and now - self._unread_since > self._limits.unread_seconds_when_full
        )

    def end(self) -> None:
        """Close at once, whatever is still to be sent."""
        if self._transport is not None:
            self._transport.abort()
        elif self.admission is not None:
            self.admission.cancel()

    def _enter(self, phase: Phase) -> None:
        self._phase, self.since = phase, self._loop.time()
