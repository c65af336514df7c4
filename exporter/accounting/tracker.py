"""Which runs are new, active, settled or reopened: observe(what was read) -> changes. Pure.

What must stay true: a finished run is counted once, whatever lists it is seen in, however often and in
whatever order; a run is settled only from an answer that says it has finished; nothing here changes until
`apply`, which the caller runs after the changes are committed.
"""

import math
from array import array
from bisect import bisect_left
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from exporter.accounting import durations, idle, outcomes
from exporter.accounting.budget import Room, SeriesCount, executed, more_series, whole_job
from exporter.accounting.labels import NO_TARGET, OTHER, is_one_off, job_label
from exporter.accounting.records import (
    ActiveGauges,
    ActiveRun,
    Changes,
    Gone,
    Job,
    LabelSet,
    LastRun,
    LastSuccess,
    Progress,
    Settled,
)
from exporter.accounting.totals import COUNTERS, EXEMPLAR_LENGTH, HISTOGRAMS, SEEDED, PhaseHistograms, Totals
from exporter.families import (
    REPAIRS,
    RESULTS,
    RUN_ATTEMPTS,
    RUN_CLEANUP,
    RUN_DURATION,
    RUN_EXECUTION,
    RUN_QUEUE,
    RUN_SETUP,
    RUNS,
    TASK_CLEANUP,
    TASK_EXECUTION,
    TASK_RETRIES,
    TASK_RUNS,
    TASK_SETUP,
)
from exporter.workspace.models import Run, Task

# So many ids of limited jobs are remembered, to be told apart; more are counted under OTHER all the same.
LIMITED_REMEMBERED = 100_000
_SKIPPED = RESULTS.index("SKIPPED")

_RUN_DURATION = HISTOGRAMS[RUN_DURATION.name]
_RUN_QUEUE = HISTOGRAMS[RUN_QUEUE.name]
_RUN_PHASES = PhaseHistograms.of(*(HISTOGRAMS[each.name] for each in (RUN_SETUP, RUN_EXECUTION, RUN_CLEANUP)))
_RUN_ATTEMPTS = HISTOGRAMS[RUN_ATTEMPTS.name]
_TASK_PHASES = PhaseHistograms.of(
    *(HISTOGRAMS[each.name] for each in (TASK_SETUP, TASK_EXECUTION, TASK_CLEANUP))
)
_RUN_EXEMPLARS = _RUN_DURATION.exemplars or 0
_TASK_EXEMPLARS = HISTOGRAMS[TASK_EXECUTION.name].exemplars or 0
_NO_TOTALS = Totals()
_RUNS = COUNTERS[RUNS.name]
_REPAIRS = COUNTERS[REPAIRS.name]
_TASK_RUNS = COUNTERS[TASK_RUNS.name]
_TASK_RETRIES = COUNTERS[TASK_RETRIES.name]


class Observation(NamedTuple):
    """What was read of a workspace.

    `finished`: runs that an answer says have ended, with all their tasks, and with their repair history
    where `Tracker.needs_details` asked for it. `active`: runs that an answer says have not.
    `replaced`: the ids that were active when the reading began and are accounted for by it; those that are
    not in `active` are active no more. `gone`: those of them that do not exist any more.
    """

    finished: Collection[Run] = ()
    active: Collection[Run] = ()
    replaced: Collection[int] = ()
    gone: Collection[int] = ()


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
        totals: Mapping[LabelSet, Totals] | None = None,
        last_ms: Mapping[LabelSet, int] | None = None,
        collect_tasks: bool = True,
        idle_ms: int = 0,
    ) -> None:
        """`last_ms`: when each label set last had a run. `idle_ms`: how long it stays without, 0 for ever."""
        self.progress = progress
        self.active: dict[int, ActiveRun] = dict(active or {})
        self.jobs: dict[str, Job] = dict(jobs or {})
        self.totals: dict[LabelSet, Totals] = dict(totals or {})
        self.last_ms: dict[LabelSet, int] = dict(last_ms or {})
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
        draft = _Draft(self, known, progress, now_ms, room)
        for run in _latest(observation.finished):
            draft.finish(run)
        for run in observation.active:
            draft.activate(run)
        return draft.changes(observation)

    def rename(self, names: Mapping[int, str]) -> Changes:
        """What a new list of job names changes."""
        self.names = names
        draft = _Draft(self, {}, None, 0, math.inf)
        for label, job in self.jobs.items():
            name = None if is_one_off(label) else names.get(int(label))
            if name is not None and (name != job.name or not job.named_by_list):
                draft.jobs[label] = Job(job.target, name, True, job.last_run, job.last_success)
        return draft.changes(Observation())

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
        self._drop(changes.gone)
        self._note_limited(changes)
        self._series.apply(changes)
        if changes.progress is not None:
            self.progress = changes.progress

    def _drop(self, gone: Gone) -> None:
        for label_set in gone.label_sets:
            del self.totals[label_set], self.last_ms[label_set]
        for label in gone.jobs:
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


class _Draft:
    """The changes of one observation while they are being worked out; the tracker is only read."""

    def __init__(
        self,
        tracker: Tracker,
        known: Mapping[int, Settled],
        progress: Progress | None,
        now_ms: int,
        room: float,
    ) -> None:
        self._tracker = tracker
        self._now_ms = now_ms
        self._room = Room(room, tracker.whole_job, has_other=OTHER in tracker.jobs)
        self._limited: set[str] = set()
        self._known = known
        self._progress = progress
        self._bounds = progress or tracker.progress
        self.settled: dict[int, Settled] = {}
        self.totals: dict[LabelSet, Totals] = {}
        self.jobs: dict[str, Job] = {}
        self.active: dict[int, ActiveRun] = {}
        self._news: set[int] = set()
        self._newly_settled = 0
        self._runs_counted = 0

    def changes(self, observation: Observation) -> Changes:
        """The draft as a value."""
        was_active = self._tracker.active
        ended = self._news.intersection(was_active)
        ended.update(run_id for run_id in observation.replaced if run_id not in self.active)
        ended.intersection_update(was_active)
        for run_id in ended - self._news:
            self._touch(was_active[run_id])
        jobs = {label: job for label, job in self.jobs.items() if self._tracker.jobs.get(label) != job}
        gone = self._gone(ended)
        return Changes(
            settled=self.settled,
            totals=self.totals,
            jobs=jobs,
            active={i: run for i, run in self.active.items() if was_active.get(i) != run},
            no_longer_active=frozenset(ended),
            progress=self._progress,
            newly_settled=self._newly_settled,
            runs_counted=self._runs_counted,
            runs_lost=len(set(observation.gone).intersection(was_active)),
            now_ms=self._now_ms,
            gone=gone,
            limited=frozenset(self._limited),
            series=more_series((self._tracker.totals, self.totals), (self._tracker.jobs, jobs), gone),
            executed=frozenset(executed(self.totals.items())),
        )

    def finish(self, run: Run) -> None:
        """Settle a finished run, unless it has been settled with this end before."""
        record = self.settled.get(run.run_id) or self._known.get(run.run_id)
        if record is None:
            self._settle(run)
        elif durations.ended_ms(run) > record.end_ms:
            self._settle_repair(run, record)

    def activate(self, run: Run) -> None:
        """Note an active run, unless this observation has settled it: then the finished answer wins."""
        if run.run_id in self._news:
            return
        label, target = self._label(run), run.effective_performance_target or None
        state = outcomes.active_state(run)
        self.active[run.run_id] = ActiveRun(
            job=label,
            target=target,
            state=state,
            start_ms=int(max(run.start_time or 0, 0)),
            queue_reason=outcomes.queue_reason(run) if state == "QUEUED" else None,
        )
        job = self._job(label, run)
        if job.target is not None:
            self._seed(label, job.target)
        if target is not None:
            self._seed(label, target)
        elif job.target is None:
            self._seed(label, NO_TARGET)
        if target not in {None, job.target}:
            self.jobs[label] = Job(target, job.name, job.named_by_list, job.last_run, job.last_success)

    def _settle(self, run: Run) -> None:
        end_ms = durations.ended_ms(run)
        counted = True
        if self._bounds is not None and run.run_id not in self._tracker.active:
            if end_ms < self._bounds.remembered_from_ms:
                return
            counted = end_ms >= self._bounds.counted_from_ms
        self._news.add(run.run_id)
        label, slot = self._label(run), outcomes.result_slot(run)
        executed = _executed(run, slot)
        finished = [task for task in run.tasks or () if outcomes.is_finished(task)]
        if counted:
            self._count_run(label, run, slot, executed=executed)
            self._count_tasks(label, finished)
            self._runs_counted += 1
        job = self._job(label, run)
        if executed:
            self._note_last_run(label, job, run, slot)
        self.settled[run.run_id] = Settled(end_ms, _task_run_ids(finished))
        self._newly_settled += 1

    def _settle_repair(self, run: Run, record: Settled) -> None:
        self._news.add(run.run_id)
        label, slot, end_ms = self._label(run), outcomes.result_slot(run), durations.ended_ms(run)
        if _executed(run, slot):
            self._note_last_run(label, self._job(label, run), run, slot)
        for item in run.repair_history or ():
            item_end_ms = int(item.end_time or 0)
            if item.type == "REPAIR" and item_end_ms > record.end_ms and outcomes.is_finished(item):
                self._of(label, _target(run)).count(_REPAIRS, outcomes.result_slot(item))
                end_ms = max(end_ms, item_end_ms)
        accounted = set(record.task_run_ids)
        new = [
            task
            for task in run.tasks or ()
            if task.run_id is not None and task.run_id not in accounted and outcomes.is_finished(task)
        ]
        self._count_tasks(label, new)
        self.settled[run.run_id] = Settled(end_ms, record.task_run_ids + _task_run_ids(new))

    def _count_run(self, label: str, run: Run, slot: int, *, executed: bool) -> None:
        totals = self._of(label, _target(run))
        totals.row[SEEDED] = 1
        totals.count(_RUNS, slot)
        totals.count_termination(*outcomes.termination(run))
        if not executed:
            return
        if duration_ms := durations.run_duration_ms(run):
            bucket = totals.observe(_RUN_DURATION, duration_ms)
            at = _RUN_EXEMPLARS + EXEMPLAR_LENGTH * bucket
            totals.exemplify(at, durations.ended_ms(run), run.run_id, duration_ms)
        totals.observe(_RUN_QUEUE, durations.queue_duration_ms(run))
        totals.observe(_RUN_ATTEMPTS, durations.attempts(run))
        if phases := durations.job_phases(run):
            totals.observe_phases(_RUN_PHASES, phases)

    def _count_tasks(self, label: str, tasks: Iterable[Task]) -> None:
        if not self._tracker.collect_tasks:
            return
        # Most of the time of a first poll goes by here: what is called once a task is written out.
        bounds, setup_at, setup_sum, execution_at, execution_sum, cleanup_at, cleanup_sum = _TASK_PHASES
        totals, counted_for = _NO_TOTALS, None
        for task in tasks:
            if totals is _NO_TOTALS or task.effective_performance_target != counted_for:
                counted_for = task.effective_performance_target
                totals = self._of(label, _target(task))
                row, exemplars = totals.row, totals.exemplars
            slot = outcomes.result_slot(task)
            row[_TASK_RUNS.first + slot] += 1
            if task.attempt_number:
                row[_TASK_RETRIES.first] += 1
            setup = task.setup_duration or 0
            execution = task.execution_duration or 0
            cleanup = task.cleanup_duration or 0
            if slot == _SKIPPED or not (setup > 0 or execution > 0 or cleanup > 0):
                continue
            if setup < 0 or execution < 0 or cleanup < 0:
                setup, execution, cleanup = max(setup, 0), max(execution, 0), max(cleanup, 0)
            row[setup_at + bisect_left(bounds, setup)] += 1
            bucket = bisect_left(bounds, execution)
            row[execution_at + bucket] += 1
            row[cleanup_at + bisect_left(bounds, cleanup)] += 1
            row[setup_sum] += setup
            row[execution_sum] += execution
            row[cleanup_sum] += cleanup
            at = _TASK_EXEMPLARS + EXEMPLAR_LENGTH * bucket
            if task.run_id is not None and (task.end_time or 0) >= exemplars[at]:
                totals.exemplify(at, int(task.end_time or 0), task.run_id, execution)

    def _note_last_run(self, label: str, job: Job, run: Run, slot: int) -> None:
        """A run that executed is the job's last one if none ended later."""
        end_ms = durations.ended_ms(run)
        last, last_success = job.last_run, job.last_success
        target, success = _target(run), RESULTS[slot] in outcomes.SUCCESSES
        if last is None or (end_ms, run.run_id) > (last.end_ms, last.run_id):
            last = LastRun(
                end_ms=end_ms,
                run_id=run.run_id,
                target=target,
                start_ms=int(max(run.start_time or 0, 0)),
                duration_ms=durations.run_duration_ms(run) or None,
                queue_ms=durations.queue_duration_ms(run),
                phases=durations.job_phases(run),
                attempts=durations.attempts(run),
                success=success,
            )
        if success and (
            last_success is None or (end_ms, run.run_id) > (last_success.end_ms, last_success.run_id)
        ):
            last_success = LastSuccess(end_ms, run.run_id, target)
        if last is not job.last_run or last_success is not job.last_success:
            self.jobs[label] = Job(last.target, job.name, job.named_by_list, last, last_success)

    def _label(self, run: Run) -> str:
        """The label that a run is counted under: its job's own, or OTHER where there is no room for it."""
        label = job_label(run)
        if is_one_off(label) or label in self.jobs or label in self._tracker.jobs:
            return label
        if not self._room.take():
            self._limited.add(label)
            label = OTHER
        self._job(label, run)
        return label

    def _job(self, label: str, run: Run) -> Job:
        """The job of a run, made known with the best name there is."""
        job = self.jobs.get(label) or self._tracker.jobs.get(label)
        if job is None:
            if is_one_off(label):
                job = Job()
            else:
                listed = self._tracker.names.get(run.job_id)
                job = Job(name=listed or run.run_name or None, named_by_list=listed is not None)
            self.jobs[label] = job
        return job

    def _of(self, label: str, target: str) -> Totals:
        """The totals of a label set, as a copy that may be changed."""
        key = (label, target)
        totals = self.totals.get(key)
        if totals is None:
            before = self._tracker.totals.get(key)
            totals = self.totals[key] = before.copy() if before else Totals()
        return totals

    def _touch(self, run: ActiveRun) -> None:
        """A run that is active no more, without an end, was a sign of life all the same."""
        label_set = self._label_set(run)
        if label_set in self._tracker.totals:
            self._of(*label_set)

    def _label_set(self, run: ActiveRun) -> LabelSet:
        """Where an active run has its series: under its job's last target while it has none of its own."""
        job = self.jobs.get(run.job) or self._tracker.jobs.get(run.job)
        return run.job, run.target or (job and job.target) or NO_TARGET

    def _gone(self, ended: Collection[int]) -> Gone:
        """What is idle, once a whole poll has been read: before that, its last run may not have been."""
        tracker, before, now = self._tracker, self._tracker.progress, self._progress
        if not tracker.idle_ms or before is None or now is None or now.slices:
            return Gone()
        if now.last_good_poll_ms <= before.last_good_poll_ms:
            return Gone()
        active = tracker.active | self.active
        return idle.gone(
            now.last_good_poll_ms - tracker.idle_ms,
            tracker.last_ms,
            tracker.jobs,
            (self.totals, self.jobs),
            ((run, self._label_set(run)) for run_id, run in active.items() if run_id not in ended),
        )

    def _seed(self, label: str, target: str) -> None:
        before = self.totals.get((label, target)) or self._tracker.totals.get((label, target))
        if before is None or not before.row[SEEDED]:
            self._of(label, target).row[SEEDED] = 1


def _latest(runs: Iterable[Run]) -> Iterable[Run]:
    """Each run once: of two answers the one that ended later, so that their order changes nothing."""
    latest: dict[int, Run] = {}
    for run in runs:
        other = latest.get(run.run_id)
        if other is None or durations.ended_ms(run) > durations.ended_ms(other):
            latest[run.run_id] = run
    return latest.values()


def _target(item: Run | Task) -> str:
    return item.effective_performance_target or NO_TARGET


def _executed(run: Run, slot: int) -> bool:
    return slot != _SKIPPED and (durations.run_duration_ms(run) > 0 or durations.phases(run) is not None)


def _task_run_ids(tasks: Iterable[Task]) -> "array[int]":
    return array("q", [task.run_id for task in tasks if task.run_id is not None])
