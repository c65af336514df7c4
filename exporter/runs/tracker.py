"""The memory of one workspace: totals, jobs, active and pending runs, and how far it has been read. Pure.

What must stay true: nothing here changes until `apply`, which the caller runs once the changes are committed.
"""

from collections.abc import Mapping
from typing import NamedTuple

from exporter.databricks.clock import Instant
from exporter.databricks.models import Run
from exporter.runs import durations
from exporter.runs.changes import Changes, Expired
from exporter.runs.counting import Counting
from exporter.runs.layout import Layout
from exporter.runs.open_sets import OpenSets
from exporter.runs.records import ActiveGauges, ActiveRun, Job, PendingRun, Progress
from exporter.runs.series_count import SeriesCount, SeriesRules
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals

# So many ids of limited jobs are remembered, to be told apart; more are counted under OTHER all the same.
LIMITED_REMEMBERED = 100_000
# How long a run that left the active list keeps its place in the active gauges while no answer says more.
PLACE_KEPT_MS = 10 * 60 * 1000
# The API forgets runs after 60 days: what has been pending for longer can't be read any more.
PENDING_KEPT_MS = 60 * 24 * 3600 * 1000


class Remembered(NamedTuple):
    """Everything of a workspace that is held in memory; settled runs stay in the state store.

    `last_ms`: when each series key last had a run.
    """

    progress: Progress | None = None
    active: Mapping[int, ActiveRun] = {}
    pending: Mapping[int, PendingRun] = {}
    jobs: Mapping[str, Job] = {}
    totals: Mapping[SeriesKey, Totals] = {}
    last_ms: Mapping[SeriesKey, int] = {}
    settled_runs: int = 0


class Tracker:
    """What is known of one workspace; only `apply` changes it."""

    def __init__(
        self, remembered: Remembered, layout: Layout, *, collect_tasks: bool = True, idle_ms: int = 0
    ) -> None:
        """`idle_ms`: how long a series key stays without a run; 0 is for ever."""
        self.progress = remembered.progress
        self.active: dict[int, ActiveRun] = dict(remembered.active)
        self.pending: dict[int, PendingRun] = dict(remembered.pending)
        self.jobs: dict[str, Job] = dict(remembered.jobs)
        self.totals: dict[SeriesKey, Totals] = dict(remembered.totals)
        self.last_ms: dict[SeriesKey, int] = dict(remembered.last_ms)
        self.settled_runs = remembered.settled_runs
        # The jobs that are counted under OTHER, and when that was last so.
        self.limited: dict[str, int] = {}
        # Job names by id, as `jobs/list` gave them last.
        self.names: Mapping[int, str] = {}
        places = (pending.active for pending in self.pending.values() if pending.active is not None)
        self.open_sets = OpenSets(self.totals, self.jobs, (*self.active.values(), *places))
        self.layout = layout
        self.counting = Counting(layout)
        self.rules = SeriesRules(layout)
        self.collect_tasks = collect_tasks
        self.idle_ms = idle_ms
        self.whole_job = self.rules.whole_job(collect_tasks=collect_tasks)
        self._series = SeriesCount(self.rules)

    def matters(self, run: Run, bounds: Progress | None) -> bool:
        """Whether a finished run that was never settled is to be remembered; without an end it is."""
        if bounds is None or run.run_id in self.active:
            return True
        end_ms = durations.ended_ms(run)
        return not end_ms or end_ms >= bounds.remembered_from_ms

    def overdue(self, now: Instant) -> set[int]:
        """The runs that have been pending for longer than the API keeps any run."""
        before_ms = now.earliest_ms - PENDING_KEPT_MS
        return {run_id for run_id, pending in self.pending.items() if pending.since_ms < before_ms}

    def charge(self, now: Instant) -> int:
        """How many series this workspace takes up of the budget. Slow the first time."""
        return self._series.charge(self.totals, self.jobs, self.active_gauges(now), self.whole_job)

    def active_gauges(self, now: Instant) -> dict[str, ActiveGauges]:
        """The active runs of every job that has any, by its label."""
        since_ms = now.latest_ms - PLACE_KEPT_MS
        places = [one.active for one in self.pending.values() if one.active and one.since_ms >= since_ms]
        gauges: dict[str, ActiveGauges] = {}
        for run in (*self.active.values(), *places):
            states, reasons = gauges.setdefault(run.job, ActiveGauges({}, {}))
            count, oldest_ms = states.get(run.state, (0, 0))
            starts = [start_ms for start_ms in (oldest_ms, run.start_ms) if start_ms]
            states[run.state] = (count + 1, min(starts, default=0))
            if run.queue_reason is not None:
                reasons[run.queue_reason] = reasons.get(run.queue_reason, 0) + 1
        return gauges

    def apply(self, changes: Changes) -> None:
        """Make committed changes part of the memory."""
        self.totals.update(changes.totals)
        self.jobs.update(changes.jobs)
        for run_id in changes.no_longer_active:
            self.active.pop(run_id, None)
        self.active.update(changes.active)
        for run_id in changes.no_longer_pending:
            self.pending.pop(run_id, None)
        self.pending.update(changes.pending)
        self.last_ms.update(dict.fromkeys(changes.totals, changes.now_ms))
        self.settled_runs += changes.newly_settled
        self.open_sets.apply(changes.words)
        self.names = changes.names
        self._drop(changes.expired)
        self._note_limited(changes)
        self._series.apply(changes)
        if changes.progress is not None:
            self.progress = changes.progress

    def _drop(self, expired: Expired) -> None:
        for series_key in expired.series_keys:
            del self.totals[series_key], self.last_ms[series_key]
        for label in expired.jobs:
            del self.jobs[label]

    def _note_limited(self, changes: Changes) -> None:
        if self.limited:
            for label in changes.jobs:
                self.limited.pop(label, None)
            if changes.progress is not None and self.idle_ms:
                before_ms = changes.now_ms - self.idle_ms
                self.limited = {label: ms for label, ms in self.limited.items() if ms >= before_ms}
        for label in changes.limited:
            if label in self.limited or len(self.limited) < LIMITED_REMEMBERED:
                self.limited[label] = changes.now_ms
