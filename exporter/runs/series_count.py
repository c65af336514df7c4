"""How many series there are, how many a job may come to make, and whether there is room for another. Pure.

What must stay true: the counts are those of the rendering, series by series; a test compares the two.
"""

from collections.abc import Iterable, Mapping

from exporter.families import JOB_FAMILIES, LAST_RUN_FAMILIES, Family
from exporter.runs.changes import Changes, Expired
from exporter.runs.layout import Layout
from exporter.runs.outcomes import RESULTS, SEEDED_RESULTS
from exporter.runs.records import ActiveGauges, Job
from exporter.runs.series_keys import SeriesKey, is_job_id
from exporter.runs.totals import Totals

_SLOT_BYTES = 8
_SEEDED_SLOTS = tuple(RESULTS.index(result) for result in SEEDED_RESULTS)


class SeriesRules:
    """How many series the totals of a layout make."""

    def __init__(self, layout: Layout) -> None:
        # Where the counts of each histogram stand in the bytes of a row, what they are while there are none,
        # and how many series they make: a bucket each, +Inf, the count and the sum.
        self._histograms = tuple(
            (slots.first * _SLOT_BYTES, bytes((slots.sum - slots.first) * _SLOT_BYTES), len(slots.bounds) + 3)
            for slots in layout.histograms.values()
        )
        self._counters = tuple((slots.first, slots.length) for slots in layout.counters.values())
        self._seeded = tuple(
            slots.first + slot
            for slots in layout.counters.values()
            if slots.family.seeded
            for slot in _SEEDED_SLOTS
        )
        self._families = layout.families
        # Every run that executed is observed in the first histogram of runs.
        self._executed = next(slots for slots in layout.histograms.values() if slots.family.subject == "run")

    def whole_job(self, *, collect_tasks: bool) -> int:
        """The series of a job that has all of them under one target.

        Sets that are open (termination codes) or seldom full (states) are taken to be as many as the results,
        or one.
        """
        of_runs = sum(
            _whole(family) for family in self._families if collect_tasks or family.subject != "task"
        )
        return of_runs + len(JOB_FAMILIES)

    def totals_series(self, totals: Totals) -> int:
        """The series of one series key, counted when they are first asked for: then they change no more."""
        if totals.series is None:
            totals.series = self._count(totals)
        return totals.series

    def executed(self, totals: Iterable[tuple[SeriesKey, Totals]]) -> set[str]:
        """The labels with a run that executed: such a job shows most of its series."""
        first, end = self._executed.first, self._executed.sum
        return {label for (label, _), each in totals if any(each.row[first:end])}

    def more_series(
        self,
        totals: tuple[Mapping[SeriesKey, Totals], Mapping[SeriesKey, Totals]],
        jobs: tuple[Mapping[str, Job], Mapping[str, Job]],
        expired: Expired,
    ) -> int:
        """How many series more (or less) a change makes; of totals and jobs: all before, and what changes."""
        (totals_before, new_totals), (jobs_before, new_jobs) = totals, jobs
        more = sum(map(self.totals_series, new_totals.values()))
        more += sum(job_series(label, job) for label, job in new_jobs.items())
        for series_key in expired.series_keys.union(new_totals):
            if series_key in totals_before:
                more -= self.totals_series(totals_before[series_key])
        for label in expired.jobs.union(new_jobs):
            if label in jobs_before:
                more -= job_series(label, jobs_before[label])
        return more

    def _count(self, totals: Totals) -> int:
        # Called for each series key that a commit changes: it loops over no slots.
        row = totals.row
        data = row.tobytes()
        count = sum(map(len, totals.words.values()))
        for at, nothing, series in self._histograms:
            if not data.startswith(nothing, at):
                count += series
        for first, length in self._counters:
            count += length - row[first : first + length].count(0.0)
        if totals.seeded:
            count += sum(1 for slot in self._seeded if not row[slot])
        return count


def _whole(family: Family) -> int:
    if family.kind == "histogram":
        return len(family.buckets) + 3
    return len(RESULTS) if family.words else len(family.results) or 1


# How many series a last run makes, by what is known of it: thousands of jobs have the same few shapes.
_LAST_RUN_SERIES: dict[tuple[bool, bool, bool, bool], int] = {}


def job_series(label: str, job: Job) -> int:
    """The series of a job besides those of its series keys and of its active runs."""
    count = 1 if is_job_id(label) else 0
    last = job.last_run
    if last is not None:
        shape = (last.end_ms > 0, last.start_ms > 0, last.duration_ms is None, last.phases is None)
        if (series := _LAST_RUN_SERIES.get(shape)) is None:
            values = (family.value(last) for family in LAST_RUN_FAMILIES if family.value is not None)
            series = _LAST_RUN_SERIES[shape] = sum(value is not None for value in values)
        count += series
    return count + (job.last_success is not None)


def active_series(gauges: ActiveGauges) -> int:
    """The series of a job's active runs."""
    with_start = sum(1 for _, start_ms in gauges.states.values() if start_ms)
    return len(gauges.states) + with_start + len(gauges.queue_reasons)


class SeriesCount:
    """The series of one workspace, kept up with its changes."""

    def __init__(self, rules: SeriesRules) -> None:
        self._rules = rules
        # Without the series of active runs; None until they were counted.
        self._series: int | None = None
        self._executed: set[str] = set()

    def charge(
        self,
        totals: Mapping[SeriesKey, Totals],
        jobs: Mapping[str, Job],
        active: Mapping[str, ActiveGauges],
        whole: int,
    ) -> int:
        """The series there are, jobs that have yet to show most of theirs counted as whole.

        Without that, many jobs would be let in while each still has few. Slow the first time.
        """
        if self._series is None:
            nothing: Mapping[SeriesKey, Totals] = {}
            self._executed = self._rules.executed(totals.items())
            self._series = self._rules.more_series((nothing, totals), ({}, jobs), Expired())
        growing = len(jobs.keys() - self._executed)
        return self._series + sum(map(active_series, active.values())) + growing * whole

    def apply(self, changes: Changes) -> None:
        """Follow changes that were made."""
        if self._series is not None:
            self._series += changes.series
            self._executed |= changes.executed
            self._executed -= changes.expired.jobs


class Room:
    """How many jobs more may have series of their own."""

    def __init__(self, series: float, whole: int, *, has_other: bool) -> None:
        """`series`: how many more there may be. `whole`: those of a job. `has_other`: OTHER has its own."""
        self._left = series if has_other else series - whole
        self._whole = whole

    def take(self) -> bool:
        """Whether there was room for a new job; then it is taken."""
        if self._left < self._whole:
            return False
        self._left -= self._whole
        return True
