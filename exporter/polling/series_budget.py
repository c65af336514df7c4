"""The series that all workspaces of the process share, and what the log says when they run out.

What must stay true: whoever takes room does so in its turn and notes what was taken before the turn ends, so
that no two workspaces are let into the same room.
"""

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog

_log = structlog.stdlib.get_logger(__name__)


class SeriesBudget:
    """Owns how many series each workspace takes up. `limit`: `limits.series`, 0 is none."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._turn = asyncio.Lock()
        self._charges: dict[str, int] = {}
        self._limited: dict[str, int] = {}

    @asynccontextmanager
    async def turn(self, workspace: str) -> AsyncIterator[float]:
        """The time to let in jobs of a workspace; how many series it may have in all."""
        async with self._turn:
            others = sum(charge for name, charge in self._charges.items() if name != workspace)
            yield self._limit - others if self._limit else math.inf

    def note(self, workspace: str, charge: int) -> None:
        """How many series a workspace takes up now."""
        self._charges[workspace] = charge

    def note_limited(self, workspace: str, jobs: int) -> None:
        """How many jobs of a workspace are limited now; the first of all are worth a warning."""
        before = sum(self._limited.values())
        self._limited[workspace] = jobs
        after = sum(self._limited.values())
        if after and not before:
            _log.warning(
                "the series budget is used up: new jobs are counted together as job_id OTHER until there is "
                "room; raise limits.series, shorten limits.idle or set collect.tasks to false",
                workspace=workspace,
                limit=self._limit,
                limited_jobs=after,
            )
        elif before and not after:
            _log.info("the series budget has room again: every job is counted by itself", workspace=workspace)
