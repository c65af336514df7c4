"""Under what terms requests are made: who goes first, until when, and how often each is tried."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import IntEnum

from exporter.databricks.errors import TryAgain


class Priority(IntEnum):
    """Who goes first where requests wait for their turn."""

    LISTS = 0  # the two lists of a poll, and what a login needs
    PENDING = 1  # runs that need an answer of their own
    BACKGROUND = 2  # sweeps and job names


class RequestContext:
    """The terms of some requests. `deadline`: by the loop's clock.

    `attempts`: how often one request is tried in all, None for as often as the deadline allows. `timeout`:
    seconds for one request, None for `api.timeout`. `may_go_on`: is asked before a second page of a run.
    """

    def __init__(
        self,
        priority: Priority,
        *,
        deadline: float = float("inf"),
        attempts: int | None = None,
        timeout: float | None = None,
        may_go_on: Callable[[], bool] = lambda: True,
    ) -> None:
        self.priority = priority
        self.deadline = deadline
        self.attempts = attempts
        self.timeout = timeout
        self.may_go_on = may_go_on
        # Why the latest attempt failed: what the log says when the time is over.
        self.last_fault: str | None = None
        self._patience = 0.0
        self._timeout: asyncio.Timeout | None = None

    def page_came(self) -> None:
        """Begin the wait anew: the work gets on."""
        if self._timeout is not None:
            self.deadline = asyncio.get_running_loop().time() + self._patience
            self._timeout.reschedule(self.deadline)

    @classmethod
    @asynccontextmanager
    async def while_pages_come(cls, priority: Priority, seconds: float) -> "AsyncIterator[RequestContext]":
        """Work that is given up when for so many seconds no page came. Raises TryAgain then."""
        context = cls(priority)
        try:
            async with asyncio.timeout(seconds) as context._timeout:
                context._patience = seconds
                context.page_came()
                yield context
        except TimeoutError:
            why = context.last_fault or "the workspace answers too slowly, or api.rate is too low for it"
            raise TryAgain(f"no page came within {seconds:g} s: {why}") from None
