"""Keeps memory, state file and exposition of one workspace in step.

What must stay true: memory changes, and a scrape sees it, only after the commit succeeded; a commit once
begun is carried through to memory even when whoever asked for it is cancelled; one change at a time.
"""

import asyncio
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, NamedTuple

from exporter.config import Settings
from exporter.databricks.models import Run
from exporter.exposition.exposition import Exposition
from exporter.own_metrics import WorkspaceMetrics
from exporter.polling.series_budget import SeriesBudget
from exporter.runs.change_builder import Observation
from exporter.runs.records import ActiveGauges, Changes, Expired, Progress, SeriesKey, Settled
from exporter.runs.tracker import Tracker, merged
from exporter.state.store import Remembered, StateStore

# From how far the workspace has been read to how far it is read now.
Advance = Callable[[Progress | None], Progress | None]


class Recorder:
    """The books of one workspace."""

    def __init__(
        self,
        remembered: Remembered,
        store: StateStore,
        exposition: Exposition,
        own_metrics: WorkspaceMetrics,
        budget: SeriesBudget,
        settings: Settings,
    ) -> None:
        self.tracker = Tracker(
            progress=remembered.progress,
            active=remembered.active,
            jobs=remembered.jobs,
            totals=remembered.totals,
            last_ms=remembered.last_ms,
            collect_tasks=settings.collect.tasks,
            idle_ms=int(settings.limits.idle * 1000),
        )
        # When something was last committed, by the loop's clock.
        self.last_commit: float | None = None
        self._workspace = own_metrics.workspace
        self._store = store
        self._exposition = exposition
        self._own_metrics = own_metrics
        self._budget = budget
        self._settled_runs = remembered.settled_runs
        self._one_at_a_time = asyncio.Lock()
        self._changed_series_keys: set[SeriesKey] = set(remembered.totals)
        self._changed_jobs: set[str] = set(remembered.jobs)
        self._expired_series_keys: set[SeriesKey] = set()
        self._expired_jobs: set[str] = set()
        self._gauges: dict[str, ActiveGauges] = {}
        # Commits are not shown while True: a scrape sees a whole poll or none of it.
        self._holding = True
        self._waiting: list[_Entry] = []

    async def known(self, runs: Iterable[Run]) -> dict[int, Settled]:
        """What is settled already of these runs."""
        run_ids = [run.run_id for run in runs]
        async with self._one_at_a_time:
            return await asyncio.to_thread(self._store.settled, self._workspace, run_ids) if run_ids else {}

    async def record(self, observation: Observation, now_ms: int, advance: Advance | None = None) -> None:
        """Work out what an observation changes, commit it, make it part of memory and publish it.

        What waits for the same commit goes into it too. Raises StateError when the commit failed: then
        nothing has changed.
        """
        entry = _Entry(observation, advance, asyncio.get_running_loop().create_future())
        self._waiting.append(entry)
        await _carried_through(self._commit(entry, now_ms))

    async def rename(self, names: Mapping[int, str], now_ms: int) -> None:
        """Take over a new list of job names."""
        await _carried_through(self._rename(names, now_ms))

    def hold(self) -> None:
        """Commit from now on without showing it to scrapes."""
        self._holding = True

    async def release(self) -> None:
        """Show scrapes what was held back."""
        async with self._one_at_a_time:
            if self._holding:
                self._holding = False
                await self._publish(self.tracker.active_gauges())

    async def publish_restored(self) -> None:
        """Show scrapes what the state file had, without active runs: no poll has seen those yet."""
        self._budget.note(self._workspace, await asyncio.to_thread(self.tracker.charge))
        progress = self.tracker.progress
        if progress is None or (progress.slices and progress.last_good_poll_ms == progress.first_poll_ms):
            return  # nothing, or a first poll that was interrupted: not a whole one
        async with self._one_at_a_time:
            await self._publish({})

    async def _commit(self, entry: "_Entry", now_ms: int) -> None:
        async with self._one_at_a_time:
            if not entry.done.done():
                together, self._waiting = self._waiting, []
                try:
                    async with self._budget.turn(self._workspace) as series:
                        self._take_over(*await asyncio.to_thread(self._settle, together, now_ms, series))
                        self._budget.note(self._workspace, await asyncio.to_thread(self.tracker.charge))
                    await self._show()
                except Exception as error:
                    for each in together:
                        each.done.set_exception(error)
                else:
                    for each in together:
                        each.done.set_result(None)
        await entry.done

    async def _rename(self, names: Mapping[int, str], now_ms: int) -> None:
        async with self._one_at_a_time:
            changes = self.tracker.rename(names)
            self._take_over(*await asyncio.to_thread(self._write, changes, now_ms))
            await self._show()

    def _settle(self, together: "list[_Entry]", now_ms: int, series: float) -> tuple[Changes, int]:
        observation = merged([entry.observation for entry in together])
        before = progress = self.tracker.progress
        for entry in together:
            progress = entry.advance(progress) if entry.advance else progress
        run_ids = [run.run_id for run in observation.finished]
        known = self._store.settled(self._workspace, run_ids) if run_ids else {}
        changes = self.tracker.observe(
            observation,
            known,
            None if progress is before else progress,
            now_ms=now_ms,
            room=series - self.tracker.charge(),
        )
        return self._write(changes, now_ms)

    def _write(self, changes: Changes, now_ms: int) -> tuple[Changes, int]:
        """Commit; the changes, and how many settled runs were too old to keep."""
        if changes.is_empty():
            return changes, 0
        # One wrong clock, ours or the one of an answer, must not make us forget what is settled: it would be
        # counted again.
        ours_ms = int(time.time() * 1000)
        clocks = max(now_ms, ours_ms), min(now_ms, ours_ms)
        return changes, self._store.commit(self._workspace, changes, *clocks)

    def _take_over(self, changes: Changes, forgotten: int) -> None:
        self.tracker.apply(changes)
        self.last_commit = asyncio.get_running_loop().time()
        self._settled_runs += changes.newly_settled - forgotten
        self._own_metrics.runs_settled.inc(changes.runs_counted)
        self._own_metrics.runs_lost.inc(changes.runs_lost)
        self._budget.note_limited(self._workspace, len(self.tracker.limited))
        self._own_metrics.limited_jobs.set(len(self.tracker.limited))
        self._changed_series_keys |= changes.totals.keys()
        self._changed_series_keys -= changes.expired.series_keys
        self._changed_jobs |= changes.jobs.keys()
        self._changed_jobs -= changes.expired.jobs
        self._expired_series_keys = (
            self._expired_series_keys | changes.expired.series_keys
        ) - changes.totals.keys()
        self._expired_jobs = (self._expired_jobs | changes.expired.jobs) - changes.jobs.keys()

    async def _show(self) -> None:
        if not self._holding:
            await self._publish(self.tracker.active_gauges())

    async def _publish(self, gauges: dict[str, ActiveGauges]) -> None:
        tracker = self.tracker
        self._own_metrics.tracked_runs.set(self._settled_runs + len(tracker.active))
        self._own_metrics.active_runs = len(tracker.active)
        labels = gauges.keys() | self._gauges.keys()
        moved = {
            label for label in labels if gauges.get(label) != self._gauges.get(label)
        } - self._expired_jobs
        await asyncio.to_thread(
            self._exposition.update,
            self._workspace,
            {series_key: tracker.totals[series_key] for series_key in self._changed_series_keys},
            {label: (tracker.jobs[label], gauges.get(label)) for label in self._changed_jobs | moved},
            Expired(frozenset(self._expired_series_keys), frozenset(self._expired_jobs)),
        )
        self._expired_series_keys.clear()
        self._expired_jobs.clear()
        self._changed_series_keys.clear()
        self._changed_jobs.clear()
        self._gauges = gauges


class _Entry(NamedTuple):
    """What waits to be committed; `done` ends with the commit it went into."""

    observation: Observation
    advance: Advance | None
    done: asyncio.Future[None]


async def _carried_through(commit: Coroutine[Any, Any, None]) -> None:
    """Commit, to the end also when the caller is cancelled: memory must not fall behind the file."""
    task = asyncio.create_task(commit, name="commit")
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait([task])
        task.exception()  # nobody is left to hear of it
        raise
