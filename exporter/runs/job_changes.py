"""The jobs and totals that one observation changes: under which label, target and name. Pure."""

from collections.abc import Mapping

from exporter.databricks.models import Run
from exporter.runs import counting, durations, outcomes
from exporter.runs.open_sets import RUN_TYPES, TARGETS, NewWords
from exporter.runs.records import ActiveRun, Job, LastSuccess
from exporter.runs.series_count import Room
from exporter.runs.series_keys import NO_TARGET, OTHER, SeriesKey, is_job_id, job_label
from exporter.runs.totals import Totals
from exporter.runs.tracker import Tracker


class JobChanges:
    """Copies of the jobs and totals that change; the tracker is only read."""

    def __init__(self, tracker: Tracker, room: float) -> None:
        """`room`: how many series more there may be."""
        self._tracker = tracker
        self.names = tracker.names
        self._room = Room(room, tracker.whole_job, has_other=OTHER in tracker.jobs)
        self.words = NewWords(tracker.open_sets)
        self.limited: set[str] = set()
        self.totals: dict[SeriesKey, Totals] = {}
        self.jobs: dict[str, Job] = {}

    def rename(self, names: Mapping[int, str]) -> None:
        """Take over a new list of job names."""
        self.names = names
        for label, job in self._tracker.jobs.items():
            name = names.get(int(label)) if is_job_id(label) else None
            if name is not None and (name != job.name or not job.named_by_list):
                self.jobs[label] = Job(job.target, name, True, job.last_run, job.last_success)

    def target(self, word: str | None) -> str:
        return self.words.bounded(TARGETS, word) if word else NO_TARGET

    def label(self, run: Run) -> str:
        """The label that a run is counted under: its job's own, or OTHER where there is no room for it."""
        label = job_label(run)
        if not is_job_id(label):
            return self.words.bounded(RUN_TYPES, label)
        if label in self.jobs or label in self._tracker.jobs:
            return label
        if not self._room.take():
            self.limited.add(label)
            label = OTHER
        self.job(label, run)
        return label

    def job(self, label: str, run: Run) -> Job:
        """The job of a run, made known with the best name there is."""
        job = self.jobs.get(label) or self._tracker.jobs.get(label)
        if job is None:
            if is_job_id(label):
                listed = self.names.get(run.job_id)
                job = Job(name=listed or run.run_name or None, named_by_list=listed is not None)
            else:
                job = Job()
            self.jobs[label] = job
        return job

    def of(self, label: str, target: str) -> Totals:
        """The totals of a series key, as a copy that may be changed."""
        key = (label, target)
        totals = self.totals.get(key)
        if totals is None:
            before = self._tracker.totals.get(key)
            totals = self.totals[key] = before.copy() if before else Totals.empty(self._tracker.layout)
        return totals

    def seed(self, label: str, target: str) -> None:
        before = self.totals.get((label, target)) or self._tracker.totals.get((label, target))
        if before is None or not before.seeded:
            self.of(label, target).seed()

    def series_key(self, run: ActiveRun) -> SeriesKey:
        """Where an active run has its series: under its job's last target while it has none of its own."""
        job = self.jobs.get(run.job) or self._tracker.jobs.get(run.job)
        return run.job, run.target or (job and job.target) or NO_TARGET

    def note_last_run(self, label: str, run: Run, slot: int, target: str) -> None:
        """A run that executed is the job's last one if none ended later."""
        job, this = self.job(label, run), (durations.ended_ms(run), run.run_id)
        last, last_success = job.last_run, job.last_success
        if last is None or this > (last.end_ms, last.run_id):
            last = counting.last_run(run, slot, target)
        if slot in outcomes.SUCCESS_SLOTS and (
            last_success is None or this > (last_success.end_ms, last_success.run_id)
        ):
            last_success = LastSuccess(*this, target)
        if last is not job.last_run or last_success is not job.last_success:
            self.jobs[label] = Job(last.target, job.name, job.named_by_list, last, last_success)
