"""Who is let in, and who has to leave.

What must stay true: no more connections are open than `Limits.connections`, TLS handshakes included, and none
outlives its deadline. When all places are taken, the newcomer gets that of a client that keeps us waiting:
whoever sends a request and reads the answer is served, however many others do neither.
"""

import asyncio
import contextlib
import errno
import socket
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

from exporter.server.connection import Connection, Hooks, Limits, Phase
from exporter.server.sockets import bound_sockets, peer_of

_ACCEPTS_AT_ONCE = 64
_LOOK_ROUND_SECONDS = 1.0
_LOG_SECONDS = 60.0
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
_FULL = (
    b"HTTP/1.1 503 Service Unavailable\r\nConnection: close\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n"
)

_log = structlog.stdlib.get_logger(__name__)


class Listener:
    """Accepts connections for a server, and ends those that take too much. Owned by one event loop."""

    def __init__(
        self,
        make_server: Callable[[], asyncio.Protocol],
        context: ssl.SSLContext | None,
        limits: Limits | None = None,
    ) -> None:
        """`make_server` gives the protocol of one connection."""
        self._hooks = Hooks(make_server, self.cut, self.forget)
        self._context = context
        self._limits = limits or Limits()
        self._loop = asyncio.get_running_loop()
        self._connections: set[Connection] = set()
        self._sockets: list[socket.socket] = []
        self._timers: dict[str, asyncio.TimerHandle] = {}
        # What has been done since it was last told.
        self._rejections: Counter[str] = Counter()
        self._told = -_LOG_SECONDS

    @asynccontextmanager
    async def listening(self, host: str, port: int) -> AsyncIterator[str]:
        """Accept while the context is open; gives the address, with the real port. Raises OSError."""
        self._sockets = await bound_sockets(host, port)
        try:
            for each in self._sockets:
                self._loop.add_reader(each, self._accept, each)
            self._look_round()
            where, real_port = self._sockets[0].getsockname()[:2]
            yield f"[{where}]:{real_port}" if ":" in where else f"{where}:{real_port}"
        finally:
            self.stop_accepting()
            await self._end_all()

    def stop_accepting(self) -> None:
        """Close the listening sockets; what is open stays open."""
        for timer in self._timers.values():
            timer.cancel()
        for each in self._sockets:
            self._loop.remove_reader(each)
            each.close()
        self._sockets = []

    def cut(self, connection: Connection, why: str) -> None:
        """End a connection before its time, and tell of it."""
        self._rejections[why] += 1
        self.forget(connection)
        connection.end()

    def forget(self, connection: Connection) -> None:
        self._connections.discard(connection)

    async def _end_all(self) -> None:
        admissions = [connection.admission for connection in self._connections if connection.admission]
        for connection in tuple(self._connections):
            connection.end()
        await asyncio.gather(*admissions, return_exceptions=True)
        await asyncio.sleep(0)  # a connection is lost one turn of the loop after it was ended

    # --- who comes

    def _accept(self, listening: socket.socket) -> None:
        for _ in range(_ACCEPTS_AT_ONCE):
            try:
                accepted, address = listening.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                if error.errno not in _NO_RESOURCES:
                    raise
                self._rest(listening)
                return
            accepted.setblocking(False)
            if self._has_room():
                connection = Connection(peer_of(address[0]), self._limits, self._hooks)
                self._connections.add(connection)
                connection.admission = asyncio.create_task(
                    self._admit(connection, accepted), name="admission"
                )
            else:
                self._refuse(accepted)

    def _rest(self, listening: socket.socket) -> None:
        """The system has no file descriptor or memory for us: a loop that tried at once would spin."""
        self._rejections["came when the system had no resources"] += 1
        self._loop.remove_reader(listening)
        self._timers["rest"] = self._loop.call_later(
            _LOOK_ROUND_SECONDS, self._loop.add_reader, listening, self._accept, listening
        )

    async def _admit(self, connection: Connection, accepted: socket.socket) -> None:
        handshake = (
            {"ssl_handshake_timeout": self._limits.head_seconds, "ssl_shutdown_timeout": _LOOK_ROUND_SECONDS}
            if self._context
            else {}
        )
        try:
            await self._loop.connect_accepted_socket(
                lambda: connection, accepted, ssl=self._context, **handshake
            )
        except (OSError, asyncio.CancelledError):
            # ssl.SSLError is one of them: not TLS, no common version, no good certificate.
            self.forget(connection)
            accepted.close()
        finally:
            connection.admission = None

    def _has_room(self) -> bool:
        """Makes room where somebody keeps us waiting: the longest, of the address with most connections."""
        if len(self._connections) < self._limits.connections:
            return True
        now = self._loop.time()
        waiting = [connection for connection in self._connections if connection.keeps_us_waiting(now)]
        if not waiting:
            return False
        crowd = Counter(connection.peer for connection in self._connections)
        self.cut(
            min(waiting, key=lambda connection: (-crowd[connection.peer], connection.since)),
            "made room for another",
        )
        return True

    def _refuse(self, connection: socket.socket) -> None:
        self._rejections["found no room"] += 1
        with contextlib.suppress(OSError), connection:
            if self._context is None:
                connection.send(_FULL)

    # --- who stays too long

    def _look_round(self) -> None:
        now = self._loop.time()
        for connection in tuple(self._connections):
            phase = connection.overdue(now)
            if phase is Phase.IDLE:
                self.forget(connection)
                connection.end()
            elif phase is not None:
                self.cut(connection, phase.value)
        if self._rejections and now - self._told >= _LOG_SECONDS:
            _log.warning(
                "connections were cut or refused", open=len(self._connections), clients=dict(self._rejections)
            )
            self._rejections.clear()
            self._told = now
        self._timers["look round"] = self._loop.call_later(_LOOK_ROUND_SECONDS, self._look_round)
