"""Accepts connections, and ends those that exceed a limit.

What must stay true: no more connections are open than `Limits.connections`, TLS handshakes included, and no
connection outlives its deadline. When all places are taken, a new client replaces one that the exporter waits
for. A client that sends a request and reads the answer is served, however many others do neither.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from exporter.server.connection import Connection, Hooks, Limits, Phase
from exporter.server.sockets import bound_sockets, peer_of

_ACCEPTS_PER_TURN = 64
_CHECK_SECONDS = 1.0
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
)

_log = structlog.stdlib.get_logger(__name__)


class Listener:
    """The open connections of a server, and the sockets that accept them. Owned by one event loop."""

    def __init__(
        self,
        make_server: Callable[[], asyncio.Protocol],
        tls_context: Callable[[], Awaitable[ssl.SSLContext | None]],
        limits: Limits | None = None,
    ) -> None:
        """`make_server` returns the protocol of one connection.

        `tls_context` returns the TLS context for the next connection; None means plain HTTP.
        """
        self._hooks = Hooks(make_server, self.reject, _log_rejection, self._forget)
        self._tls_context = tls_context
        self._limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._sockets: list[socket.socket] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_plain = True

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[str]:
        """Accept while the context is open; gives the address, with the real port. Raises OSError."""
        self._sockets = await bound_sockets(host, port)
        try:
            self._check()
            address, real_port = self._sockets[0].getsockname()[:2]
            yield f"[{address}]:{real_port}" if ":" in address else f"{address}:{real_port}"
        finally:
            self.stop_accepting()
            await self._end_all()

    def stop_accepting(self) -> None:
        """Close the listening sockets. Open connections stay open."""
        if self._timer is not None:
            self._timer.cancel()
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()
        self._sockets = []

    def reject(self, connection: Connection, cause: str) -> None:
        """End a connection, and log the cause."""
        _log_rejection(connection, cause)
        self._end(connection)

    def _end(self, connection: Connection) -> None:
        self._forget(connection)
        connection.end()

    def _forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    async def _end_all(self) -> None:
        admissions = [connection.admission for connection in self._connections if connection.admission]
        for connection in tuple(self._connections):
            connection.end()
        await asyncio.gather(*admissions, return_exceptions=True)
        await asyncio.sleep(0)  # the transport calls connection_lost in the next turn of the loop

    # --- new connections

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_PER_TURN):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_RESOURCES:
                    raise
                self._pause_accepting(listening, error)
                return
            accepted.setblocking(False)
            connection = Connection(peer_of(address[0]), self._limits, self._hooks)
            if self._has_room():
                self._connections.add(connection)
                connection.admission = asyncio.create_task(
                    self._admit(connection, accepted), name="admission"
                )
            else:
                self._refuse(connection, accepted)

    def _pause_accepting(self, listening: socket.socket, error: OSError) -> None:
        """Until the next check: without file descriptors or memory, to try again at once would be in vain."""
        _log.warning("no new connections for a second: the system has no resources", cause=error.strerror)
        self._loop.remove_reader(listening)

    async def _admit(self, connection: Connection, accepted: socket.socket) -> None:
        try:
            context = connection.tls_context = await self._tls_context()
            self._is_plain = context is None
            timeouts = (
                {"ssl_handshake_timeout": self._limits.head_seconds, "ssl_shutdown_timeout": _CHECK_SECONDS}
                if context
                else {}
            )
            await self._loop.connect_accepted_socket(lambda: connection, accepted, ssl=context, **timeouts)
        except (OSError, asyncio.CancelledError) as error:
            self._forget(connection)
            accepted.close()
            if isinstance(error, ssl.SSLError):
                # OpenSSL's reason is a constant such as HTTP_REQUEST: nothing in it comes from the client.
                _log_rejection(connection, f"the TLS handshake failed ({error.reason or 'unknown reason'})")
        finally:
            connection.admission = None

    def _has_room(self) -> bool:
        """Where all places are taken, end the oldest replaceable connection of the address that has most."""
        if len(self._connections) < self._limits.connections:
            return True
        now = self._loop.time()
        replaceable = [connection for connection in self._connections if connection.can_be_replaced(now)]
        if not replaceable:
            return False
        of_peer = Counter(connection.peer for connection in self._connections)
        self.reject(
            min(replaceable, key=lambda connection: (-of_peer[connection.peer], connection.since)),
            "all places are taken, and a new client needs one",
        )
        return True

    def _refuse(self, connection: Connection, accepted: socket.socket) -> None:
        _log_rejection(connection, "all places are taken, each by an answer under way")
        with contextlib.suppress(OSError), accepted:
            if self._is_plain:
                accepted.send(_FULL)

    # --- deadlines

    def _check(self) -> None:
        """Once a second: accept on every socket, and end the connections that exceed a deadline."""
        for each in self._sockets:
            self._loop.add_reader(each, self._accept, each)
        now = self._loop.time()
        for connection in tuple(self._connections):
            phase = connection.overdue(now)
            if phase in {Phase.HEAD, Phase.ANSWER}:
                self.reject(connection, phase.value)
            elif phase is not None:
                self._end(connection)
        self._timer = self._loop.call_later(_CHECK_SECONDS, self._check)


def _log_rejection(connection: Connection, cause: str) -> None:
    """One line a minute per cause: the log leaves out the others, and counts them in `repeated`."""
    _log.warning("connection refused or ended", cause=cause, client=connection.peer)
