"""When the next request may go: rate, requests in flight, waits the server asked for, and who goes first.

What must stay true: no second sees more than 1.3 times the rate; a wait that the server asked for is kept by
every request to that endpoint; pending runs get at least a quarter of the turns and the background a
sixteenth, else lists go first, then pending runs; however many requests hang, lists find a place in flight.
"""

import asyncio
import math
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import NamedTuple

from aiolimiter import AsyncLimiter

from exporter.databricks.context import Priority, RequestContext
from exporter.databricks.errors import TryAgain

# This much of a second's requests may go at once. The rest of the 0.3 is room for what the network bunches.
BURST_SECONDS = 0.1
# What any second may see, in rates; and by how much requests may come closer to each other on their way.
MOST = 1.3
BUNCHED_SECONDS = 0.04
# While others wait too, every so many turns one is of this priority.
_TURN_AT_LEAST = {Priority.PENDING: 4, Priority.BACKGROUND: 16}


class _Waiter(NamedTuple):
    endpoint: str
    granted: asyncio.Future[None]


class RequestLimits:
    """The limits of one workspace; `rate` is in requests per second."""

    def __init__(self, concurrency: int, rate: float) -> None:
        # Of a low rate, 0.3 is less than one request: its second is stretched a little instead.
        pace = min(rate, max(math.floor(rate * MOST), 1) / (1 + BUNCHED_SECONDS))
        burst = max(1.0, pace * BURST_SECONDS)
        self._limiter = AsyncLimiter(burst, burst / pace)
        background = 2 if concurrency >= 8 else 1
        self.pending_at_once = max(min(concurrency * 3 // 4, concurrency - background - 1), 1)
        self._most = {
            Priority.LISTS: concurrency,
            Priority.PENDING: self.pending_at_once,
            Priority.BACKGROUND: background,
        }
        self._concurrency = concurrency
        self._in_flight = dict.fromkeys(Priority, 0)
        self._waiting: dict[Priority, deque[_Waiter]] = {priority: deque() for priority in Priority}
        # How many turns went to others since this priority, while it waited, had one.
        self._passed = dict.fromkeys(Priority, 0)
        self._resume_at: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._dispatcher: asyncio.Task[None] | None = None

    def pause(self, endpoint: str, seconds: float) -> None:
        """Keep requests to an endpoint back for so long, because the server asked for it."""
        resume_at = asyncio.get_running_loop().time() + seconds
        self._resume_at[endpoint] = max(self._resume_at.get(endpoint, 0.0), resume_at)
        self._changed.set()

    @asynccontextmanager
    async def turn(self, endpoint: str, context: RequestContext) -> AsyncIterator[None]:
        """Wait for a turn and hold it while the request is in flight.

        Raises TryAgain where the server asked for a wait that is longer than the context has time.
        """
        await self._wait(endpoint, context)
        try:
            yield
        finally:
            self._in_flight[context.priority] -= 1
            self._changed.set()

    async def close(self) -> None:
        """End what hands out turns."""
        if self._dispatcher is not None:
            self._dispatcher.cancel()
            await asyncio.wait([self._dispatcher])

    async def _wait(self, endpoint: str, context: RequestContext) -> None:
        loop = asyncio.get_running_loop()
        resume_at = self._resume_at.get(endpoint, 0.0)
        if resume_at >= context.deadline:
            left = resume_at - loop.time()
            raise TryAgain(f"the workspace asked for no requests for another {left:.0f} s", left)
        waiter = _Waiter(endpoint, loop.create_future())
        self._waiting[context.priority].append(waiter)
        self._changed.set()
        if self._dispatcher is None or self._dispatcher.done():
            self._dispatcher = asyncio.create_task(self._dispatch(), name="request turns")
        try:
            await waiter.granted
        except asyncio.CancelledError:
            if waiter.granted.done() and not waiter.granted.cancelled():
                self._in_flight[context.priority] -= 1
            self._changed.set()
            raise

    async def _dispatch(self) -> None:
        """Hand out turns for as long as any request waits."""
        while any(self._waiting.values()):
            self._changed.clear()
            if self._next() is None:
                await self._change(self._soonest())
                continue
            await self._limiter.acquire()
            # Who waits may have changed meanwhile: the one that goes first now gets the turn.
            if (found := self._next()) is not None:
                self._grant(*found)

    def _next(self) -> tuple[Priority, _Waiter] | None:
        """The request that goes first of those that may go, None where none may."""
        if sum(self._in_flight.values()) >= self._concurrency:
            return None
        found = {
            priority: waiter
            for priority in Priority
            if self._in_flight[priority] < self._most[priority]
            and (waiter := self._first(priority)) is not None
        }
        for priority, turns in _TURN_AT_LEAST.items():
            if priority in found and self._passed[priority] >= turns - 1:
                return priority, found[priority]
        return min(found.items(), default=None, key=lambda item: item[0])

    def _first(self, priority: Priority) -> _Waiter | None:
        now = asyncio.get_running_loop().time()
        waiting = self._waiting[priority]
        while waiting and waiting[0].granted.done():
            waiting.popleft()
        for waiter in waiting:
            if not waiter.granted.done() and self._resume_at.get(waiter.endpoint, 0.0) <= now:
                return waiter
        return None

    def _grant(self, priority: Priority, waiter: _Waiter) -> None:
        self._waiting[priority].remove(waiter)
        self._in_flight[priority] += 1
        for other in Priority:
            self._passed[other] = (
                0 if other is priority or not self._waiting[other] else self._passed[other] + 1
            )
        waiter.granted.set_result(None)

    def _soonest(self) -> float | None:
        """Seconds until an endpoint that is waited for may be asked again, None where none is paused."""
        now = asyncio.get_running_loop().time()
        paused = [
            self._resume_at[waiter.endpoint] - now
            for waiters in self._waiting.values()
            for waiter in waiters
            if self._resume_at.get(waiter.endpoint, 0.0) > now
        ]
        return min(paused, default=None)

    async def _change(self, seconds: float | None) -> None:
        """Wait until something changed, so many seconds at most."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass
