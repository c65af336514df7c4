"""Commit, then publish: keeps memory, state store and exposition of one workspace in step.

What must stay true: memory changes, and a scrape sees it, only after the commit succeeded; one commit at a
time, in one task of its own, which ends what it began also when those who asked for it are gone.
"""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, NamedTuple

import structlog

from exporter.databricks.clock import Instant
from exporter.exposition.exposition import Exposition
from exporter.own_metrics import WorkspaceMetrics
from exporter.polling.series_budget import SeriesBudget
from exporter.runs.change_builder import observe
from exporter.runs.changes import Changes, Expired, Observation, merged
from exporter.runs.records import ActiveGauges, Progress
from exporter.runs.series_keys import SeriesKey
from exporter.runs.tracker import Tracker
from exporter.state.store import StateStore

# From how far the workspace has been read to how far it is read now.
Advance = Callable[[Progress | None], Progress | None]
# Of runs that are lost at once, so many are named.
NAMED_RUNS = 10

_log = structlog.stdlib.get_logger(__name__)


class _Entry(NamedTuple):
    """What waits to be committed; `done` ends with the commit that it goes into."""

    observation: Observation
    advance: Advance | None
    done: asyncio.Future[None]


class _Unpublished(NamedTuple):
    """What has changed since scrapes were last shown anything."""

    series_keys: frozenset[SeriesKey] = frozenset()
    jobs: frozenset[str] = frozenset()
    expired: Expired = Expired()

    def and_changes(self, changes: Changes) -> "_Unpublished":
        """This and what further changes changed."""
        new = changes.expired
        return _Unpublished(
            (self.series_keys | changes.totals.keys()) - new.series_keys,
            (self.jobs | changes.jobs.keys()) - new.jobs,
            Expired(
                (self.expired.series_keys | new.series_keys) - changes.totals.keys(),
                (self.expired.jobs | new.jobs) - changes.jobs.keys(),
            ),
        )


class Recorder:
    """Records what was read of one workspace."""

    def __init__(
        self,
        tracker: Tracker,
        store: StateStore,
        exposition: Exposition,
        own_metrics: WorkspaceMetrics,
        budget: SeriesBudget,
        clock: Callable[[], Instant],
    ) -> None:
        """`clock`: the time now."""
        self.tracker = tracker
        # When something was last committed, by the loop's clock.
        self.last_commit: float | None = None
        # Set whenever runs may have become pending.
        self.pending_changed = asyncio.Event()
        # The runs that were settled since the poll that is being read began.
        self._settled_meanwhile: set[int] = set()
        self._workspace = own_metrics.workspace
        self._store = store
        self._exposition = exposition
        self._own_metrics = own_metrics
        self._budget = budget
        self._clock = clock
        self._waiting: asyncio.Queue[_Entry] = asyncio.Queue()
        self._limited_words: frozenset[str] = frozenset()
        self._unpublished = _Unpublished(frozenset(tracker.totals), frozenset(tracker.jobs))
        # What is active is known once this process has polled.
        self._has_polled = False
        self._gauges: dict[str, ActiveGauges] = {}

    async def record(self, observation: Observation, advance: Advance | None = None) -> None:
        """Work out what an observation changes, commit it, make it part of memory and publish it.

        What waits at the same time goes into the same commit. Raises StateError when the commit failed: then
        nothing has changed.
        """
        entry = _Entry(observation, advance, asyncio.get_running_loop().create_future())
        self._waiting.put_nowait(entry)
        await entry.done

    def begin_poll(self) -> frozenset[int]:
        """The runs that are active now, when a poll begins to read."""
        self._settled_meanwhile.clear()
        return frozenset(self.tracker.active)

    async def record_poll(self, observation: Observation, advance: Advance) -> None:
        """Record what a whole poll has read."""
        self._has_polled = True
        await self.record(observation._replace(settled_meanwhile=self._settled_meanwhile), advance)

    async def publish_restored(self) -> None:
        """Show scrapes what the state store had, without active runs: no poll has seen those yet."""
        self._budget.note(self._workspace, await asyncio.to_thread(self.tracker.charge, self._clock()))
        await self._publish()

    async def run(self) -> None:
        """Commit what waits, until cancelled; a commit that has begun is carried to its end even then."""
        while True:
            together = [await self._waiting.get()]
            together += [self._waiting.get_nowait() for _ in range(self._waiting.qsize())]
            await _to_its_end(self._commit(together))

    async def _commit(self, together: list[_Entry]) -> None:
        try:
            now = self._clock()
            async with self._budget.turn(self._workspace) as series:
                self._take_over(*await asyncio.to_thread(self._settle, together, now, series))
                self._budget.note(self._workspace, await asyncio.to_thread(self.tracker.charge, now))
            await self._publish()
        except Exception as error:  # those who wait for it must know
            for entry in together:
                if not entry.done.done():
                    entry.done.set_exception(error)
        else:
            for entry in together:
                if not entry.done.done():
                    entry.done.set_result(None)

    def _settle(self, together: list[_Entry], now: Instant, series: float) -> tuple[Changes, int]:
        """Work out and commit what entries change; and how many settled runs were too old to keep."""
        observation = merged([entry.observation for entry in together])
        before = progress = self.tracker.progress
        for entry in together:
            progress = entry.advance(progress) if entry.advance else progress
        run_ids = observation.run_ids() | self.tracker.overdue(now)
        changes = observe(
            self.tracker,
            observation,
            self._store.settled(self._workspace, run_ids) if run_ids else {},
            None if progress is before else progress,
            now,
            series - self.tracker.charge(now),
        )
        return changes, 0 if changes.is_empty() else self._store.commit(self._workspace, changes, now)

    def _take_over(self, changes: Changes, forgotten: int) -> None:
        self.tracker.apply(changes)
        self.tracker.settled_runs -= forgotten
        self.last_commit = asyncio.get_running_loop().time()
        self._settled_meanwhile.update(changes.settled)
        if changes.pending or changes.no_longer_pending:
            self.pending_changed.set()
        self._own_metrics.runs_settled.inc(changes.runs_counted)
        self._own_metrics.runs_lost.inc(len(changes.lost))
        self._own_metrics.limited_jobs.set(len(self.tracker.limited))
        self._budget.note_limited(self._workspace, len(self.tracker.limited))
        self._unpublished = self._unpublished.and_changes(changes)
        self._log(changes)

    def _log(self, changes: Changes) -> None:
        if changes.lost:
            _log.warning(
                "runs do not exist any more and were never seen to finish, so they are not counted; "
                "they were deleted",
                workspace=self._workspace,
                runs=sorted(changes.lost)[:NAMED_RUNS],
                lost=len(changes.lost),
            )
        for label in changes.limited_words - self._limited_words:
            _log.warning(
                "the workspace uses more words than a label may have; further ones are counted as OTHER",
                workspace=self._workspace,
                cause=f"label {label}",
            )
        self._limited_words |= changes.limited_words

    async def _publish(self) -> None:
        """Show scrapes whole commits; a first poll only as a whole, so that no increase() sees it grow."""
        tracker = self.tracker
        self._own_metrics.note_memory(tracker.settled_runs, len(tracker.active))
        if tracker.progress is None or not tracker.progress.first_poll_done:
            return
        gauges = tracker.active_gauges(self._clock()) if self._has_polled else {}
        unpublished = self._unpublished
        labels = gauges.keys() | self._gauges.keys()
        moved = {label for label in labels if gauges.get(label) != self._gauges.get(label)}
        jobs = (unpublished.jobs | moved) & tracker.jobs.keys()
        await asyncio.to_thread(
            self._exposition.update,
            self._workspace,
            {series_key: tracker.totals[series_key] for series_key in unpublished.series_keys},
            {label: (tracker.jobs[label], gauges.get(label)) for label in jobs},
            unpublished.expired,
        )
        self._unpublished, self._gauges = _Unpublished(), gauges


async def _to_its_end(commit: Coroutine[Any, Any, None]) -> None:
    """Commit, to the end also when the caller is cancelled: memory must not fall behind the state store."""
    task = asyncio.create_task(commit, name="commit")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        raise
