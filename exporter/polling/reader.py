"""What every way of reading a workspace shares: sorting, details, decode_errors told once, waiting."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, NamedTuple, TypeVar

import structlog

from exporter.databricks.client import WorkspaceClient
from exporter.databricks.errors import AccessRefused, RunGone, TryAgain
from exporter.databricks.limits import RequestContext
from exporter.databricks.models import Run
from exporter.databricks.responses import DecodeError, RunPage
from exporter.own_metrics import WorkspaceMetrics
from exporter.polling.recorder import Recorder
from exporter.runs.outcomes import is_finished

# So many decode errors and refused runs are remembered: far more than a workspace has at a time. One that
# falls out is told of again, or fails two more polls.
REMEMBERED = 10_000
# A run that access is refused to in so many readings, while its workspace can be listed, is given up: its job
# was taken out of our sight. Should it come back, a list or a sweep shows the run again.
REFUSALS = 3

_WITHHELD = (
    "Jobs API 2.1 gives no tasks of a run that has more than a hundred; "
    "ask Databricks for Jobs API 2.2 in this workspace"
)

_log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")
U = TypeVar("U")


class Read(NamedTuple):
    """Runs by what the answers say of them, by run id; `gone` can't be fetched any more."""

    finished: dict[int, Run]
    active: dict[int, Run]
    gone: set[int]

    @classmethod
    def nothing(cls) -> "Read":
        """What has been read before anything is."""
        return cls({}, {}, set())


class Reader:
    """Reads runs of one workspace and sorts them."""

    def __init__(
        self, client: WorkspaceClient, recorder: Recorder, own_metrics: WorkspaceMetrics, at_once: int
    ) -> None:
        """`at_once`: how many `runs/get` are asked for side by side."""
        self.client = client
        self._recorder = recorder
        self._own_metrics = own_metrics
        self._at_once = at_once
        self._decode_errors: dict[str, None] = {}
        self._refusals: dict[int, int] = {}

    async def list_runs(self, context: RequestContext, **params: str | int) -> Read:
        """All pages of a listing."""
        read = Read.nothing()
        async for page in self.client.list_runs(context, **params):
            self.sort(page, read)
        return read

    def sort(self, page: RunPage, read: Read) -> None:
        """Add a page's runs to what has been read."""
        for decode_error in page.decode_errors:
            self._tell(decode_error)
        for run in page.runs:
            _add(run, read)

    async def get_runs(self, run_ids: Iterable[int], context: RequestContext) -> Read:
        """These runs with all their details; one that is not understood is left out."""
        read = Read.nothing()

        async def get(run_id: int) -> None:
            try:
                run = await self.client.get_run(run_id, context)
            except RunGone:
                read.gone.add(run_id)
            except AccessRefused as refusal:
                self._give_up_or_raise(run_id, refusal)
                read.gone.add(run_id)
            else:
                self._refusals.pop(run_id, None)
                if isinstance(run, DecodeError):
                    self._tell(run)
                else:
                    _add(run, read)
                    self._tell_if_withheld(run)

        await side_by_side(get, run_ids, self._at_once)
        return read

    async def detailed(
        self, listed: Mapping[int, Run], context: RequestContext, *, with_tasks: bool = True
    ) -> Read:
        """Finished items of a list, with the details that the list could not give fetched.

        `with_tasks` says whether the list gave tasks. An item that is settled already or too old to matter
        is left out where that saves a request. One that is running again by now comes back as active.
        """
        tracker = self._recorder.tracker
        known = await self._recorder.known(listed.values())
        wanted = {
            run_id
            for run_id, run in listed.items()
            if tracker.needs_details(run, known)
            or (not with_tasks and run_id not in known and tracker.matters(run))
        }
        read = await self.get_runs(wanted, context)
        for run_id, run in listed.items():
            # Of a run that can't be fetched any more, the list's answer is all there will ever be.
            if run_id not in wanted or (run_id in read.gone and run_id not in known):
                read.finished.setdefault(run_id, run)
                if with_tasks and run_id not in known and tracker.matters(run):
                    self._tell_if_withheld(run)
        return read

    def _give_up_or_raise(self, run_id: int, refusal: AccessRefused) -> None:
        """Let a refused run fail its poll for a while, and then no more."""
        if not refusal.perhaps_of_this_run:
            raise refusal
        _make_room(self._refusals, run_id)
        self._refusals[run_id] = self._refusals.get(run_id, 0) + 1
        if self._refusals[run_id] < REFUSALS:
            raise refusal
        if self._refusals[run_id] == REFUSALS:
            _log.warning(
                "a run can be listed or was active, but access to it is refused; it is given up",
                workspace=self.client.workspace,
                run=run_id,
                cause=str(refusal),
            )

    def _tell_if_withheld(self, run: Run) -> None:
        """Tell of a finished run whose tasks the old API leaves out: the run is counted, they can't be."""
        if self.client.withholds_tasks and is_finished(run) and not run.tasks and (run.run_duration or 0) > 0:
            self._tell(DecodeError(str(run.run_id), _WITHHELD), "a run is counted without its task attempts")

    def _tell(
        self,
        decode_error: DecodeError,
        what: str = "a run is not understood and is left out; please report its shape",
    ) -> None:
        """Count and log a run that is not understood, once, however often it is listed."""
        if decode_error.key in self._decode_errors:
            return
        _make_room(self._decode_errors, decode_error.key)
        self._decode_errors[decode_error.key] = None
        self._own_metrics.decode_errors.inc()
        _log.warning(what, workspace=self.client.workspace, run=decode_error.key, cause=decode_error.reason)


def _add(run: Run, read: Read) -> None:
    if not is_finished(run):
        read.active[run.run_id] = run
        return
    other = read.finished.get(run.run_id)
    if other is None or (run.end_time or 0) > (other.end_time or 0):
        read.finished[run.run_id] = run


def _make_room(remembered: dict[T, Any], key: T) -> None:
    """Forget the oldest where there is no room for a new one."""
    if key not in remembered and len(remembered) >= REMEMBERED:
        del remembered[next(iter(remembered))]


@asynccontextmanager
async def in_time(seconds: float) -> AsyncIterator[RequestContext]:
    """The context of work that must end in so many seconds; TryAgain when it does not."""
    try:
        async with asyncio.timeout(seconds):
            yield RequestContext.within(seconds)
    except TimeoutError:
        raise TryAgain(
            f"not done within {seconds:g} s: the workspace answers too slowly, or api.rate is too low for it"
        ) from None


async def sleep(stop: asyncio.Event, seconds: float) -> None:
    """Wait so long, or until told to stop."""
    try:
        async with asyncio.timeout(max(seconds, 0)):
            await stop.wait()
    except TimeoutError:
        pass


async def side_by_side(work: Callable[[T], Awaitable[None]], items: Iterable[T], at_once: int) -> None:
    """Do work on items, so many at once; the first error stops all and is raised as it is."""
    queue = list(items)[::-1]

    async def worker() -> None:
        while queue:
            await work(queue.pop())

    async with _together() as group:
        for _ in range(min(at_once, len(queue))):
            group.create_task(worker())


async def both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """Two things side by side; the first error stops both and is raised as it is."""
    async with _together() as group:
        one = group.create_task(_awaited(first))
        two = group.create_task(_awaited(second))
    return one.result(), two.result()


@asynccontextmanager
async def _together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group whose first error is raised as it is."""
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        # Before Python 3.13 the group's own request to cancel its parent is left standing, and before 3.11.5
        # the parent's next timeout takes it for a real one: the loop would end after its first failed poll.
        if sys.version_info < (3, 13) and task and task.cancelling() > cancelled_before:
            task.uncancel()
        raise _first(errors) from None


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
