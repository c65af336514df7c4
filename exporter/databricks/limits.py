"""When the next request may go: rate, requests in flight, waits the server asked for, and who goes first.

What must stay true: no second sees more than 1.3 times the rate; a wait the server asked for is kept by
every request; a background request (a sweep, job names) goes only while no other waits for its turn.
"""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from typing import NamedTuple, Self

from aiolimiter import AsyncLimiter

from exporter.databricks.errors import TryAgain

# This much of a second's requests may go at once. The rest of the 0.3 is room for what the network bunches.
BURST_SECONDS = 0.1
# What any second may see, in rates; and by how much requests may come closer to each other on their way.
MOST = 1.3
BUNCHED_SECONDS = 0.04


class RequestContext(NamedTuple):
    """Under what terms requests go: until when, by the loop's clock, and whether they let others pass."""

    deadline: float
    background: bool = False

    @classmethod
    def within(cls, seconds: float, *, background: bool = False) -> Self:
        """The context of work that must end in so many seconds from now."""
        return cls(asyncio.get_running_loop().time() + seconds, background)


class RequestLimits:
    """The limits of one workspace; `rate` is in requests per second."""

    def __init__(self, concurrency: int, rate: float) -> None:
        # Of a low rate, 0.3 is less than one request: its second is stretched a little instead.
        pace = min(rate, max(math.floor(rate * MOST), 1) / (1 + BUNCHED_SECONDS))
        burst = max(1.0, pace * BURST_SECONDS)
        self._limiter = AsyncLimiter(burst, burst / pace)
        self._in_flight = asyncio.Semaphore(concurrency)
        self._waiting = 0
        self._nobody_waits = asyncio.Event()
        self._nobody_waits.set()
        self._resume_at = 0.0

    def pause(self, seconds: float) -> None:
        """Keep every request back for so long, because the server asked for it."""
        self._resume_at = max(self._resume_at, asyncio.get_running_loop().time() + seconds)

    @asynccontextmanager
    async def turn(self, context: RequestContext) -> AsyncIterator[None]:
        """Wait for a turn and hold it while the request is in flight."""
        async with AsyncExitStack() as stack:
            if context.background:
                await self._let_others_pass()
                stack.callback(self._in_flight.release)
                await self._go(context)
            else:
                with self._in_the_queue():
                    await stack.enter_async_context(self._in_flight)
                    await self._go(context)
            yield

    async def _let_others_pass(self) -> None:
        """Take a place in flight while nobody else waits: what came while we waited for it goes first."""
        while True:
            await self._nobody_waits.wait()
            await self._in_flight.acquire()
            if self._nobody_waits.is_set():
                return
            self._in_flight.release()

    @contextmanager
    def _in_the_queue(self) -> Iterator[None]:
        self._waiting += 1
        self._nobody_waits.clear()
        try:
            yield
        finally:
            self._waiting -= 1
            if not self._waiting:
                self._nobody_waits.set()

    async def _go(self, context: RequestContext) -> None:
        """Wait until the server wants to hear from us again and the rate allows it."""
        loop = asyncio.get_running_loop()
        while (left := self._resume_at - loop.time()) > 0:
            if self._resume_at >= context.deadline:
                raise TryAgain(f"the workspace asked for no requests for another {left:.0f} s", left)
            await asyncio.sleep(left)
        await self._limiter.acquire()
