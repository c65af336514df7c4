"""What was read of a workspace, sorted. Runs that are not understood are logged once, as are odd times.

A long list is read in slices of start time side by side: the pages of one slice come one after another.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, NamedTuple

import structlog

from exporter.databricks.client import WorkspaceClient
from exporter.databricks.clock import Instant
from exporter.databricks.context import RequestContext
from exporter.databricks.errors import NotUnderstood
from exporter.databricks.models import Run
from exporter.databricks.responses import DecodeError, RunPage
from exporter.databricks.sanity import without_impossible_times
from exporter.own_metrics import WorkspaceMetrics
from exporter.polling.side_by_side import together
from exporter.runs.outcomes import is_finished

# So many runs that were logged are remembered: far more than a workspace has at a time. One that falls out is
# logged again.
REMEMBERED = 10_000
# A slice is cut in two once so many of its pages came and more follow, and so many are read side by side.
PAGES_BEFORE_A_CUT = 2
SLICES_AT_ONCE = 8
# More runs and task attempts than this in one list of a poll: the listing never ends.
MAX_ITEMS = 2_000_000

_WITHHELD = (
    "Jobs API 2.1 gives no tasks of a run that has more than a hundred; "
    "ask Databricks for Jobs API 2.2 in this workspace"
)

_log = structlog.stdlib.get_logger(__name__)


class Read(NamedTuple):
    """Runs by what the answers say of them, by run id."""

    finished: dict[int, Run]
    active: dict[int, Run]

    @classmethod
    def nothing(cls) -> "Read":
        """What has been read before anything is."""
        return cls({}, {})


class Reader:
    """Reads runs of one workspace and sorts them."""

    def __init__(self, client: WorkspaceClient, own_metrics: WorkspaceMetrics) -> None:
        self.client = client
        self._own_metrics = own_metrics
        self._logged: dict[str, None] = {}

    async def list_runs(self, context: RequestContext, **params: str | int) -> Read:
        """All pages of a listing; a long one in slices side by side."""
        return await _Listing(self, context, params).read()

    def sort(self, page: RunPage, read: Read) -> None:
        """Add a page's runs to what has been read."""
        for error in page.decode_errors:
            self.log_once(error)
        now = self.client.now()
        for run in page.runs:
            self.check_times(run, now)
            _add(run, read)

    def check_times(self, run: Run, now: Instant) -> None:
        """Leave out times that can't be; the run itself counts."""
        if fields := without_impossible_times(run, now.latest_ms):
            self._log_run(
                str(run.run_id), "a run has times that can't be; they are left out", ", ".join(fields)
            )

    def note_withheld(self, run: Run) -> None:
        """Log a finished run whose tasks the old API leaves out: the run is counted, they can't be."""
        if self.client.withholds_tasks and is_finished(run) and not run.tasks and (run.run_duration or 0) > 0:
            self.log_once(
                DecodeError(str(run.run_id), _WITHHELD), "a run is counted without its task attempts"
            )

    def log_once(
        self,
        error: DecodeError,
        what: str = "a run is not understood and is left out; please report its shape",
    ) -> None:
        """Count and log a run that is not understood, once, however often it is listed."""
        if self._log_run(error.key, what, error.reason):
            self._own_metrics.decode_errors.inc()

    def _log_run(self, key: str, what: str, cause: str) -> bool:
        """Whether this was not logged yet."""
        if key in self._logged:
            return False
        if len(self._logged) >= REMEMBERED:
            del self._logged[next(iter(self._logged))]
        self._logged[key] = None
        _log.warning(what, workspace=self.client.workspace, run=key, cause=cause)
        return True


class _Slice:
    """An interval of start times, both ends inclusive, newest first; None is without an end."""

    def __init__(self, from_ms: int | None, to_ms: int | None) -> None:
        self.from_ms = from_ms
        self.to_ms = to_ms
        self.pages = 0
        self.newest_ms: float | None = None
        self.oldest_ms: float | None = None
        # Whether all pages came in their documented order: else nothing says what is still to come.
        self.in_order = True

    def note(self, page: RunPage) -> None:
        self.pages += 1
        for run in page.runs:
            start_ms = run.start_time or 0
            # A run without a start may stand anywhere.
            if not start_ms or (self.oldest_ms is not None and start_ms > self.oldest_ms):
                self.in_order = False
            if self.newest_ms is None:
                self.newest_ms = start_ms
            self.oldest_ms = start_ms

    @property
    def is_over(self) -> bool:
        """Whether what follows belongs to another slice."""
        return (
            self.in_order
            and self.from_ms is not None
            and self.oldest_ms is not None
            and self.oldest_ms < self.from_ms
        )

    def cut(self, reach: int) -> "_Slice | None":
        """Give the older part away, and keep the newer one; None where start times don't allow that.

        Without a known lower end the part that is kept is `reach` times as long as what was read so far.
        """
        if self.pages < PAGES_BEFORE_A_CUT or not self.in_order or not self.oldest_ms or not self.newest_ms:
            return None
        oldest_ms = int(self.oldest_ms)
        if self.from_ms is None:
            middle_ms = oldest_ms - reach * max(int(self.newest_ms) - oldest_ms, 1)
        else:
            middle_ms = (self.from_ms + oldest_ms) // 2
        if middle_ms <= (self.from_ms or 0) or middle_ms >= oldest_ms:
            return None
        older = _Slice(self.from_ms, middle_ms)
        self.from_ms = middle_ms
        return older


class _Listing:
    """One listing while it is read."""

    def __init__(self, reader: Reader, context: RequestContext, params: dict[str, str | int]) -> None:
        self._reader = reader
        self._context = context
        self._params = params
        self._read = Read.nothing()
        self._slices = 0
        self._reach = 2
        self._items = 0

    async def read(self) -> Read:
        from_ms = self._params.get("start_time_from")
        async with together() as group:
            group.create_task(
                self._read_slice(_Slice(None if from_ms is None else int(from_ms), None), group)
            )
        return self._read

    async def _read_slice(self, part: _Slice, group: asyncio.TaskGroup) -> None:
        self._slices += 1
        async with aclosing(self._pages(part)) as pages:
            async for page in pages:
                part.note(page)
                self._take(page)
                if part.is_over or page.next_page_token is None:
                    break
                if self._slices < SLICES_AT_ONCE and (older := part.cut(self._reach)) is not None:
                    if older.from_ms is None:
                        self._reach *= 2
                    group.create_task(self._read_slice(older, group))
                    # It begins now: what is read meanwhile knows of it.
                    await asyncio.sleep(0)
        self._slices -= 1

    def _pages(self, part: _Slice) -> AsyncGenerator[RunPage, None]:
        bounds: dict[str, Any] = {"start_time_from": part.from_ms, "start_time_to": part.to_ms}
        params = self._params | {name: value for name, value in bounds.items() if value is not None}
        return self._reader.client.list_runs(self._context, **params)

    def _take(self, page: RunPage) -> None:
        self._items += sum(1 + len(run.tasks or ()) for run in page.runs)
        if self._items > MAX_ITEMS:
            raise NotUnderstood(
                f"runs/list: more than {MAX_ITEMS} runs and tasks in one list; please report it"
            )
        self._reader.sort(page, self._read)


def _add(run: Run, read: Read) -> None:
    if not is_finished(run):
        read.active[run.run_id] = run
        return
    other = read.finished.get(run.run_id)
    if other is None or (run.end_time or 0) > (other.end_time or 0):
        read.finished[run.run_id] = run
