"""The changes of one observation while they are being worked out. Pure.

What must stay true: the books are only read; a run is settled once, whatever comes twice.
"""

from array import array
from collections.abc import Collection, Iterable, Mapping
from typing import NamedTuple, Protocol

from exporter.databricks.models import Run, Task
from exporter.runs import counting, durations, expiry, outcomes
from exporter.runs.records import (
    ActiveRun,
    Changes,
    Expired,
    Job,
    LastRun,
    LastSuccess,
    Progress,
    SeriesKey,
    Settled,
)
from exporter.runs.series_count import Room, executed, more_series
from exporter.runs.series_keys import NO_TARGET, OTHER, is_one_off, job_label, target_of
from exporter.runs.totals import SEEDED, Totals


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


class Books(Protocol):
    """What is remembered of a workspace, as the tracker holds it."""

    progress: Progress | None
    active: dict[int, ActiveRun]
    jobs: dict[str, Job]
    totals: dict[SeriesKey, Totals]
    last_ms: dict[SeriesKey, int]
    names: Mapping[int, str]
    collect_tasks: bool
    idle_ms: int
    whole_job: int


class ChangeBuilder:
    """The changes of one observation while they are being worked out; the books are only read."""

    def __init__(
        self,
        books: Books,
        known: Mapping[int, Settled],
        progress: Progress | None,
        now_ms: int,
        room: float,
    ) -> None:
        self._books = books
        self._now_ms = now_ms
        self._room = Room(room, books.whole_job, has_other=OTHER in books.jobs)
        self._limited: set[str] = set()
        self._known = known
        self._progress = progress
        self._bounds = progress or books.progress
        self.settled: dict[int, Settled] = {}
        self.totals: dict[SeriesKey, Totals] = {}
        self.jobs: dict[str, Job] = {}
        self.active: dict[int, ActiveRun] = {}
        self._news: set[int] = set()
        self._newly_settled = 0
        self._runs_counted = 0

    def changes(self, observation: Observation) -> Changes:
        """The builder as a value."""
        was_active = self._books.active
        ended = self._news.intersection(was_active)
        ended.update(run_id for run_id in observation.replaced if run_id not in self.active)
        ended.intersection_update(was_active)
        for run_id in ended - self._news:
            self._touch(was_active[run_id])
        jobs = {label: job for label, job in self.jobs.items() if self._books.jobs.get(label) != job}
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
            expired=gone,
            limited=frozenset(self._limited),
            series=more_series((self._books.totals, self.totals), (self._books.jobs, jobs), gone),
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
        if self._bounds is not None and run.run_id not in self._books.active:
            if end_ms < self._bounds.remembered_from_ms:
                return
            counted = end_ms >= self._bounds.counted_from_ms
        self._news.add(run.run_id)
        label, slot = self._label(run), outcomes.result_slot(run)
        ran = counting.executed(run, slot)
        finished = [task for task in run.tasks or () if outcomes.is_finished(task)]
        if counted:
            counting.count_run(self._of(label, target_of(run)), run, slot, ran)
            self._count_tasks(label, finished)
            self._runs_counted += 1
        job = self._job(label, run)
        if ran is not None:
            self._note_last_run(label, job, ran)
        self.settled[run.run_id] = Settled(end_ms, _task_run_ids(finished))
        self._newly_settled += 1

    def _settle_repair(self, run: Run, record: Settled) -> None:
        self._news.add(run.run_id)
        label, slot, end_ms = self._label(run), outcomes.result_slot(run), durations.ended_ms(run)
        if (ran := counting.executed(run, slot)) is not None:
            self._note_last_run(label, self._job(label, run), ran)
        for item in run.repair_history or ():
            item_end_ms = int(item.end_time or 0)
            if item.type == "REPAIR" and item_end_ms > record.end_ms and outcomes.is_finished(item):
                counting.count_repair(self._of(label, target_of(run)), item)
                end_ms = max(end_ms, item_end_ms)
        accounted = set(record.task_run_ids)
        new = [
            task
            for task in run.tasks or ()
            if task.run_id is not None and task.run_id not in accounted and outcomes.is_finished(task)
        ]
        self._count_tasks(label, new)
        self.settled[run.run_id] = Settled(end_ms, record.task_run_ids + _task_run_ids(new))

    def _count_tasks(self, label: str, tasks: Iterable[Task]) -> None:
        if self._books.collect_tasks:
            counting.count_tasks(lambda target: self._of(label, target), tasks)

    def _note_last_run(self, label: str, job: Job, run: LastRun) -> None:
        """A run that executed is the job's last one if none ended later."""
        last, last_success = job.last_run, job.last_success
        if last is None or (run.end_ms, run.run_id) > (last.end_ms, last.run_id):
            last = run
        if run.success and (
            last_success is None or (run.end_ms, run.run_id) > (last_success.end_ms, last_success.run_id)
        ):
            last_success = LastSuccess(run.end_ms, run.run_id, run.target)
        if last is not job.last_run or last_success is not job.last_success:
            self.jobs[label] = Job(last.target, job.name, job.named_by_list, last, last_success)

    def _label(self, run: Run) -> str:
        """The label that a run is counted under: its job's own, or OTHER where there is no room for it."""
        label = job_label(run)
        if is_one_off(label) or label in self.jobs or label in self._books.jobs:
            return label
        if not self._room.take():
            self._limited.add(label)
            label = OTHER
        self._job(label, run)
        return label

    def _job(self, label: str, run: Run) -> Job:
        """The job of a run, made known with the best name there is."""
        job = self.jobs.get(label) or self._books.jobs.get(label)
        if job is None:
            if is_one_off(label):
                job = Job()
            else:
                listed = self._books.names.get(run.job_id)
                job = Job(name=listed or run.run_name or None, named_by_list=listed is not None)
            self.jobs[label] = job
        return job

    def _of(self, label: str, target: str) -> Totals:
        """The totals of a series key, as a copy that may be changed."""
        key = (label, target)
        totals = self.totals.get(key)
        if totals is None:
            before = self._books.totals.get(key)
            totals = self.totals[key] = before.copy() if before else Totals()
        return totals

    def _touch(self, run: ActiveRun) -> None:
        """A run that is active no more, without an end, was a sign of life all the same."""
        series_key = self._series_key(run)
        if series_key in self._books.totals:
            self._of(*series_key)

    def _series_key(self, run: ActiveRun) -> SeriesKey:
        """Where an active run has its series: under its job's last target while it has none of its own."""
        job = self.jobs.get(run.job) or self._books.jobs.get(run.job)
        return run.job, run.target or (job and job.target) or NO_TARGET

    def _gone(self, ended: Collection[int]) -> Expired:
        """What is idle, once a whole poll has been read: before that, its last run may not have been."""
        books, before, now = self._books, self._books.progress, self._progress
        if not books.idle_ms or before is None or now is None or now.slices:
            return Expired()
        if now.last_good_poll_ms <= before.last_good_poll_ms:
            return Expired()
        active = books.active | self.active
        return expiry.expired(
            now.last_good_poll_ms - books.idle_ms,
            books.last_ms,
            books.jobs,
            (self.totals, self.jobs),
            ((run, self._series_key(run)) for run_id, run in active.items() if run_id not in ended),
        )

    def _seed(self, label: str, target: str) -> None:
        before = self.totals.get((label, target)) or self._books.totals.get((label, target))
        if before is None or not before.row[SEEDED]:
            self._of(label, target).row[SEEDED] = 1


def _task_run_ids(tasks: Iterable[Task]) -> "array[int]":
    return array("q", [task.run_id for task in tasks if task.run_id is not None])
