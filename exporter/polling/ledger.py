"""Keeps memory, state file and exposition of one workspace in step.

What must stay true: memory changes, and a scrape sees it, only after the commit succeeded; a commit once
begun is carried through to memory even when whoever asked for it is cancelled; one change at a time.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping

from exporter.accounting.records import ActiveGauges, Changes, LabelSet, Progress, Settled
from exporter.accounting.tracker import Observation, Tracker
from exporter.exposition.exposition import Exposition
from exporter.instruments import WorkspaceInstruments
from exporter.state import Remembered, StateStore
from exporter.workspace.models import Run

# From how far the workspace has been read to how far it is read now; None says no change.
Advance = Callable[[Progress | None], Progress | None]


class Ledger:
    """The books of one workspace."""

    def __init__(
        self,
        remembered: Remembered,
        store: StateStore,
        exposition: Exposition,
        instruments: WorkspaceInstruments,
        *,
        collect_tasks: bool,
    ) -> None:
        self.tracker = Tracker(
            progress=remembered.progress,
            active=remembered.active,
            jobs=remembered.jobs,
            totals=remembered.totals,
            collect_tasks=collect_tasks,
        )
        # When something was last committed, by the loop's clock.
        self.last_commit: float | None = None
        self._workspace = instruments.workspace
        self._store = store
        self._exposition = exposition
        self._instruments = instruments
        self._settled_runs = remembered.settled_runs
        self._one_at_a_time = asyncio.Lock()
        self._changed_label_sets: set[LabelSet] = set(remembered.totals)
        self._changed_jobs: set[str] = set(remembered.jobs)
        self._gauges: dict[str, ActiveGauges] = {}
        # Commits are not shown while True: a scrape sees a whole poll or none of it.
        self._holding = True

    async def known(self, runs: Iterable[Run]) -> dict[int, Settled]:
        """What is settled already of these runs."""
        async with self._one_at_a_time:
            return await self._known(runs)

    async def record(
        self, observation: Observation, now_ms: int, advance: Advance = lambda _: None
    ) -> Changes:
        """Work out what an observation changes, commit it, make it part of memory and publish it.

        Raises StateError when the commit failed: then nothing has changed.
        """

        async def work() -> Changes:
            known = await self._known(observation.finished)
            return self.tracker.observe(observation, known, advance(self.tracker.progress))

        return await self._carried_through(work, now_ms)

    async def rename(self, names: Mapping[int, str], now_ms: int) -> None:
        """Take over a new list of job names."""

        async def work() -> Changes:
            return self.tracker.rename(names)

        await self._carried_through(work, now_ms)

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
        progress = self.tracker.progress
        # What a first poll was interrupted in is no whole poll either.
        if progress is not None and not progress.slices:
            async with self._one_at_a_time:
                await self._publish({})

    async def _known(self, runs: Iterable[Run]) -> dict[int, Settled]:
        run_ids = [run.run_id for run in runs]
        return await asyncio.to_thread(self._store.settled, self._workspace, run_ids) if run_ids else {}

    async def _carried_through(self, work: Callable[[], Awaitable[Changes]], now_ms: int) -> Changes:
        task = asyncio.create_task(self._commit(work, now_ms), name="commit")
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            await asyncio.wait([task])
            raise

    async def _commit(self, work: Callable[[], Awaitable[Changes]], now_ms: int) -> Changes:
        async with self._one_at_a_time:
            changes = await work()
            if changes.is_empty():
                return changes
            forgotten = await asyncio.to_thread(self._store.commit, self._workspace, changes, now_ms)
            self.tracker.apply(changes)
            self.last_commit = asyncio.get_running_loop().time()
            self._settled_runs += changes.newly_settled - forgotten
            self._instruments.runs_settled.inc(changes.runs_counted)
            self._instruments.runs_lost.inc(changes.runs_lost)
            self._changed_label_sets.update(changes.totals)
            self._changed_jobs.update(changes.jobs)
            if not self._holding:
                await self._publish(self.tracker.active_gauges())
            return changes

    async def _publish(self, gauges: dict[str, ActiveGauges]) -> None:
        tracker = self.tracker
        self._instruments.tracked_runs.set(self._settled_runs + len(tracker.active))
        self._instruments.active_runs = len(tracker.active)
        labels = gauges.keys() | self._gauges.keys()
        moved = {label for label in labels if gauges.get(label) != self._gauges.get(label)}
        await asyncio.to_thread(
            self._exposition.update,
            self._workspace,
            {label_set: tracker.totals[label_set] for label_set in self._changed_label_sets},
            {label: (tracker.jobs[label], gauges.get(label)) for label in self._changed_jobs | moved},
        )
        self._changed_label_sets.clear()
        self._changed_jobs.clear()
        self._gauges = gauges
