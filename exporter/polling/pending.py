"""Reads the runs that need an answer of their own, beside the polls, each with a back-off of its own.

What must stay true: one run's fault is that run's alone, whatever the answer was; no poll, sweep or other run
waits for it. Which runs are pending is part of the state; when each is asked again is in memory only, so a
restart asks for all of them at once.
"""

import asyncio
from dataclasses import dataclass
from typing import Literal

import structlog

from exporter.config import Settings
from exporter.databricks.client import WorkspaceClient
from exporter.databricks.context import Priority, RequestContext
from exporter.databricks.errors import AccessRefused, Postponed, RunGone, TryAgain, WorkspaceError
from exporter.databricks.models import Run
from exporter.databricks.responses import DecodeError
from exporter.families import PENDING_REASONS
from exporter.own_metrics import WorkspaceMetrics
from exporter.polling.reader import Reader
from exporter.polling.recorder import Recorder
from exporter.runs.changes import Observation
from exporter.state.errors import StateError

# How long a run waits after an answer that did not settle it: doubled each time.
FIRST_BACKOFF_SECONDS, MOST_BACKOFF_SECONDS = 30.0, 30 * 60.0
MOST_DOUBLINGS = 10  # a run may fail thousands of times: no number must grow with that
# The part of the places in flight for slow runs: those that failed before, and those of many pages.
SLOW_PART = 1 / 3
# A run has this part of api.timeout to answer at first: some that hang must not hold up the others for long.
FIRST_TIMEOUT_PART, FIRST_ATTEMPTS = 0.25, 2
# Answers that come within this time are committed together.
TOGETHER_SECONDS = 0.1
# How often it is looked whether a run is due.
LOOK_SECONDS = 1.0
# More pending runs than this are counted for the metrics once per look, not after each of them.
CHEAP_TO_COUNT = 1_000

_log = structlog.stdlib.get_logger(__name__)


@dataclass
class _Schedule:
    """When a run is asked for again, by the loop's clock, and what is known of the answers so far.

    `since_ms`: when the run became pending; one that does so again begins afresh.
    """

    since_ms: int
    due: float = 0.0
    failures: int = 0
    # The latest failure, where it says more than why the run is pending.
    problem: Literal["refused", "failing"] | None = None
    logged: bool = False
    # From the first request until its answer is committed, and until it is there.
    reading: bool = False
    in_flight: bool = False
    many_pages: bool = False

    @property
    def is_slow(self) -> bool:
        """Whether it may take long to read."""
        return self.many_pages or self.failures > 0


class PendingReader:
    """Reads the pending runs of one workspace until it is told to stop."""

    def __init__(
        self, reader: Reader, recorder: Recorder, own_metrics: WorkspaceMetrics, settings: Settings
    ) -> None:
        self._client: WorkspaceClient = reader.client
        self._reader = reader
        self._recorder = recorder
        self._own_metrics = own_metrics
        self._first_timeout = settings.api.timeout * FIRST_TIMEOUT_PART
        self._at_once = reader.client.pending_at_once
        self._slow_at_once = max(int(self._at_once * SLOW_PART), 1)
        self._schedules: dict[int, _Schedule] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[int, Run | None] = {}
        self._answered = asyncio.Event()
        self._look = recorder.pending_changed
        self._note_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Read what is due, and commit what was read."""
        stopped = asyncio.create_task(stop.wait(), name="stop")
        committing = asyncio.create_task(self._commit_answers(), name="commit pending runs")
        try:
            while not stop.is_set():
                self._look.clear()
                self._forget()
                self._start_reading()
                now = asyncio.get_running_loop().time()
                if now >= self._note_at or len(self._recorder.tracker.pending) < CHEAP_TO_COUNT:
                    self.note()
                    self._note_at = now + LOOK_SECONDS
                looking = asyncio.create_task(self._look.wait(), name="look")
                await asyncio.wait(
                    [looking, stopped, committing],
                    timeout=LOOK_SECONDS,
                    return_when=asyncio.FIRST_COMPLETED,
                )
                looking.cancel()
                if committing.done():
                    committing.result()
        finally:
            ending = [stopped, committing, *self._tasks]
            for task in ending:
                task.cancel()
            await asyncio.wait(ending)
            self._answers.clear()
            for schedule in self._schedules.values():
                schedule.reading = False

    def retry_all(self) -> None:
        """Ask again for every run now: what failed may have been the workspace's fault."""
        for schedule in self._schedules.values():
            schedule.due = 0.0
        self._look.set()

    def is_idle(self) -> bool:
        """Whether every pending run has been asked for, and its answer committed."""
        now = asyncio.get_running_loop().time()
        return not (self._tasks or self._answers) and all(
            (schedule := self._schedules.get(run_id)) is not None
            and schedule.since_ms == pending.since_ms
            and schedule.due > now
            and not schedule.reading
            for run_id, pending in self._recorder.tracker.pending.items()
        )

    def note(self) -> None:
        """Bring the metrics up to date."""
        counts = dict.fromkeys(PENDING_REASONS, 0)
        oldest_ms: int | None = None
        for run_id, pending in self._recorder.tracker.pending.items():
            schedule = self._schedules.get(run_id)
            counts[(schedule.problem if schedule else None) or pending.reason] += 1
            oldest_ms = pending.since_ms if oldest_ms is None else min(oldest_ms, pending.since_ms)
        self._own_metrics.note_pending(counts, None if oldest_ms is None else oldest_ms / 1000)

    # --- which run is read next

    def _forget(self) -> None:
        pending = self._recorder.tracker.pending
        for run_id in [run_id for run_id in self._schedules if run_id not in pending]:
            if not self._schedules[run_id].reading:
                del self._schedules[run_id]

    def _start_reading(self) -> None:
        """Begin to read runs that are due: fresh ones first, each kind by how long it waits."""
        now = asyncio.get_running_loop().time()
        free = self._at_once - len(self._tasks)
        if free <= 0:
            return
        slow_free = self._slow_free()
        for run_id, pending in self._recorder.tracker.pending.items():  # in the order in which they became so
            if free <= 0:
                return
            schedule = self._schedules.get(run_id)
            if schedule is None or (schedule.since_ms != pending.since_ms and not schedule.reading):
                schedule = self._schedules[run_id] = _Schedule(
                    pending.since_ms, many_pages=pending.reason == "large"
                )
            if schedule.reading or schedule.due > now:
                continue
            if schedule.is_slow:
                if slow_free <= 0:
                    continue
                slow_free -= 1
            free -= 1
            schedule.reading = schedule.in_flight = True
            task = asyncio.create_task(self._read(run_id, schedule), name=f"run {run_id}")
            self._tasks.add(task)
            task.add_done_callback(self._done)

    def _slow_free(self) -> int:
        """How many more slow runs may be read now."""
        return self._slow_at_once - sum(
            1 for schedule in self._schedules.values() if schedule.in_flight and schedule.is_slow
        )

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._look.set()

    # --- reading one

    async def _read(self, run_id: int, schedule: _Schedule) -> None:
        """Read a run and hand its answer over; whatever goes wrong is noted in its schedule."""

        def may_go_on() -> bool:
            if not schedule.many_pages and (schedule.is_slow or self._slow_free() > 0):
                schedule.many_pages = True
            return schedule.many_pages

        timeout = None if schedule.failures >= FIRST_ATTEMPTS else self._first_timeout
        context = RequestContext(Priority.PENDING, attempts=1, timeout=timeout, may_go_on=may_go_on)
        try:
            run = await self._client.get_run(run_id, context)
        except RunGone as gone:
            self._failed(run_id, schedule, None, str(gone))
            self._hand_over(run_id, None)
        except Postponed:
            schedule.many_pages, schedule.reading = True, False
        except WorkspaceError as fault:
            self._failed(
                run_id, schedule, "refused" if isinstance(fault, AccessRefused) else "failing", str(fault)
            )
            if isinstance(fault, TryAgain) and fault.retry_after is not None:
                schedule.due = max(schedule.due, asyncio.get_running_loop().time() + fault.retry_after)
            schedule.reading = False
        except Exception as error:
            _log.exception("unexpected error; please report it", workspace=self._client.workspace, run=run_id)
            self._failed(run_id, schedule, "failing", f"{type(error).__name__}: {error}")
            schedule.reading = False
        else:
            self._take(run_id, run, schedule)
        finally:
            schedule.in_flight = False

    def _take(self, run_id: int, run: Run | DecodeError, schedule: _Schedule) -> None:
        if isinstance(run, DecodeError):
            self._reader.log_once(run)
            schedule.logged = True
            self._failed(run_id, schedule, "failing", run.reason)
            schedule.reading = False
            return
        self._reader.check_times(run, self._client.now())
        self._reader.note_withheld(run)
        # Where this answer settles nothing, the next one is asked for later.
        self._back_off(schedule)
        schedule.problem = None
        self._hand_over(run_id, run)

    def _failed(
        self,
        run_id: int,
        schedule: _Schedule,
        problem: Literal["refused", "failing"] | None,
        cause: str,
    ) -> None:
        self._back_off(schedule)
        schedule.problem = problem
        if not schedule.logged:
            schedule.logged = True
            _log.warning(
                "a run can't be read yet; it is asked for again, and nothing else waits for it",
                workspace=self._client.workspace,
                run=run_id,
                cause=cause,
            )

    @staticmethod
    def _back_off(schedule: _Schedule) -> None:
        wait = min(
            FIRST_BACKOFF_SECONDS * 2.0 ** min(schedule.failures, MOST_DOUBLINGS), MOST_BACKOFF_SECONDS
        )
        schedule.due = asyncio.get_running_loop().time() + wait
        schedule.failures += 1

    # --- committing what was read

    def _hand_over(self, run_id: int, answer: Run | None) -> None:
        self._answers[run_id] = answer
        self._answered.set()

    async def _commit_answers(self) -> None:
        while True:
            await self._answered.wait()
            await asyncio.sleep(TOGETHER_SECONDS)
            self._answered.clear()
            answers, self._answers = self._answers, {}
            try:
                await self._recorder.record(Observation(answers=answers))
            except StateError as error:
                _log.error(
                    "runs that were read can't be counted yet; they are read again",
                    workspace=self._client.workspace,
                    runs=len(answers),
                    cause=str(error),
                )
            for run_id in answers:
                self._schedules[run_id].reading = False
            self._look.set()
