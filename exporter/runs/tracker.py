"""Which runs are new, active, settled or reopened: observe(what was read) -> changes. Pure.

What must stay true: a finished run is counted once, whatever lists it is seen in, however often and in
whatever order; a run is settled only from an answer that says it has finished; nothing here changes until
`apply`, which the caller runs after the changes are committed.
"""

import math
from collections.abc import Iterable, Mapping, Sequence

from exporter.databricks.models import Run
from exporter.runs import durations
from exporter.runs.change_builder import ChangeBuilder, Observation
from exporter.runs.records import (
    ActiveGauges,
    ActiveRun,
    Changes,
    Expired,
    Job,
    Progress,
    SeriesKey,
    Settled,
)
from exporter.runs.series_count import SeriesCount, whole_job
from exporter.runs.series_keys import is_one_off
from exporter.runs.totals import Totals

# So many ids of limited jobs are remembered, to be told apart; more are counted under OTHER all the same.
LIMITED_REMEMBERED = 100_000


def merged(observations: Sequence[Observation]) -> Observation:
    """Several observations as one."""
    if len(observations) == 1:
        return observations[0]
    return Observation(
        finished=[run for each in observations for run in each.finished],
        active=[run for each in observations for run in each.active],
        replaced={run_id for each in observations for run_id in each.replaced},
        gone={run_id for each in observations for run_id in each.gone},
    )


class Tracker:
    """The memory of one workspace: totals, jobs, active runs and how far it has been read."""

    def __init__(  # noqa: PLR0913  it is all that is remembered, each part by its name
        self,
        *,
        progress: Progress | None = None,
        active: Mapping[int, ActiveRun] | None = None,
        jobs: Mapping[str, Job] | None = None,
        totals: Mapping[SeriesKey, Totals] | None = None,
        last_ms: Mapping[SeriesKey, int] | None = None,
        collect_tasks: bool = True,
        idle_ms: int = 0,
    ) -> None:
        """`last_ms`: when each series key last had a run. `idle_ms`: how long it stays without one."""
        self.progress = progress
        self.active: dict[int, ActiveRun] = dict(active or {})
        self.jobs: dict[str, Job] = dict(jobs or {})
        self.totals: dict[SeriesKey, Totals] = dict(totals or {})
        self.last_ms: dict[SeriesKey, int] = dict(last_ms or {})
        # The jobs that are counted under OTHER, and when that was last so.
        self.limited: dict[str, int] = {}
        self.names: Mapping[int, str] = {}
        self.collect_tasks = collect_tasks
        self.idle_ms = idle_ms
        self.whole_job = whole_job(collect_tasks=collect_tasks)
        self._series = SeriesCount()

    def needs_details(self, run: Run, known: Mapping[int, Settled]) -> bool:
        """Whether a finished item of a list must be fetched by `runs/get` before it can be observed."""
        record = known.get(run.run_id)
        if record is not None:
            return durations.ended_ms(run) > record.end_ms
        return bool(run.has_more) and self.matters(run)

    def matters(self, run: Run) -> bool:
        """Whether a finished run that was never settled matters at all."""
        if self.progress is None or run.run_id in self.active:
            return True
        return durations.ended_ms(run) >= self.progress.remembered_from_ms

    def observe(
        self,
        observation: Observation,
        known: Mapping[int, Settled],
        progress: Progress | None = None,
        *,
        now_ms: int = 0,
        room: float = math.inf,
    ) -> Changes:
        """What an observation changes, given what is settled already of the runs in it.

        `room`: how many series more there may be; new jobs that it is too small for count under OTHER.
        """
        builder = ChangeBuilder(self, known, progress, now_ms, room)
        for run in _latest(observation.finished):
            builder.finish(run)
        for run in observation.active:
            builder.activate(run)
        return builder.changes(observation)

    def rename(self, names: Mapping[int, str]) -> Changes:
        """What a new list of job names changes."""
        self.names = names
        builder = ChangeBuilder(self, {}, None, 0, math.inf)
        for label, job in self.jobs.items():
            name = None if is_one_off(label) else names.get(int(label))
            if name is not None and (name != job.name or not job.named_by_list):
                builder.jobs[label] = Job(job.target, name, True, job.last_run, job.last_success)
        return builder.changes(Observation())

    def charge(self) -> int:
        """How many series this workspace takes up of the budget. Slow the first time."""
        return self._series.charge(self.totals, self.jobs, self.active_gauges(), self.whole_job)

    def active_gauges(self) -> dict[str, ActiveGauges]:
        """The active runs of every job that has any, by its label."""
        gauges: dict[str, ActiveGauges] = {}
        for run in self.active.values():
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
        self.last_ms.update(dict.fromkeys(changes.totals, changes.now_ms))
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


def _latest(runs: Iterable[Run]) -> Iterable[Run]:
    """Each run once: of two answers the one that ended later, so that their order changes nothing."""
    latest: dict[int, Run] = {}
    for run in runs:
        other = latest.get(run.run_id)
        if other is None or durations.ended_ms(run) > durations.ended_ms(other):
            latest[run.run_id] = run
    return latest.values()
