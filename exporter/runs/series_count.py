"""How many series there are, how many a job may come to make, and whether there is room for another. Pure.

What must stay true: the counts are those of the rendering, series by series; a test compares the two.
"""

from collections.abc import Iterable, Mapping

from exporter.families import (
    JOB_FAMILIES,
    RESULTS,
    RUN_FAMILIES,
    RUN_QUEUE,
    RUNS,
    TASK_CLEANUP,
    TASK_EXECUTION,
    TASK_RETRIES,
    TASK_RUNS,
    TASK_SETUP,
    Family,
)
from exporter.runs.records import ActiveGauges, Changes, Expired, Job, SeriesKey
from exporter.runs.series_keys import is_one_off
from exporter.runs.totals import COUNTERS, HISTOGRAMS, SEEDED, SEEDED_SLOTS, Totals

_OF_TASKS = frozenset({TASK_SETUP, TASK_EXECUTION, TASK_CLEANUP, TASK_RUNS, TASK_RETRIES})
_SLOT_SIZE = 8
# Where the counts of each histogram stand in the bytes of a row, what they are while there are none, and how
# many series they make: a bucket each, +Inf, the count and the sum.
_HISTOGRAMS = tuple(
    (place.first * _SLOT_SIZE, bytes((place.sum - place.first) * _SLOT_SIZE), len(place.bounds) + 3)
    for place in HISTOGRAMS.values()
)
_COUNTERS = tuple((place.first, len(place.results) or 1) for place in COUNTERS.values())
_SEEDED = tuple(COUNTERS[RUNS.name].first + slot for slot in SEEDED_SLOTS)
_QUEUE = HISTOGRAMS[RUN_QUEUE.name]


def whole_job(*, collect_tasks: bool) -> int:
    """The series of a job that has all of them under one target.

    Sets that are open (termination codes) or seldom full (states) are taken to be as many as the results,
    or one.
    """
    totals = sum(_whole(one) for one in RUN_FAMILIES if collect_tasks or one not in _OF_TASKS)
    return totals + len(JOB_FAMILIES)


def _whole(family: Family) -> int:
    if family.kind == "histogram":
        return len(family.buckets) + 3
    return 1 if family is TASK_RETRIES else len(RESULTS)


def totals_series(totals: Totals) -> int:
    """The series of one series key, counted when they are first asked for: then it changes no more."""
    if totals.series is None:
        totals.series = _count_series(totals)
    return totals.series


def _count_series(totals: Totals) -> int:
    # Called for each series key that a commit changes: it loops over no slots.
    row = totals.row
    data = row.tobytes()
    count = len(totals.terminations)
    for at, nothing, series in _HISTOGRAMS:
        if not data.startswith(nothing, at):
            count += series
    for first, length in _COUNTERS:
        count += length - row[first : first + length].count(0.0)
    if row[SEEDED]:
        for slot in _SEEDED:
            if not row[slot]:
                count += 1
    return count


def job_series(label: str, job: Job) -> int:
    """The series of a job besides those of its series keys and of its active runs."""
    count = 0 if is_one_off(label) else 1
    last = job.last_run
    if last is not None:
        # End, queue time, attempts, success and id are always there.
        count += 5 + bool(last.start_ms) + (last.duration_ms is not None)
        count += sum(phase is not None for phase in last.phases or ())
    return count + (job.last_success is not None)


def active_series(gauges: ActiveGauges) -> int:
    """The series of a job's active runs."""
    with_start = sum(1 for _, start_ms in gauges.states.values() if start_ms)
    return len(gauges.states) + with_start + len(gauges.queue_reasons)


def more_series(
    totals: tuple[Mapping[SeriesKey, Totals], Mapping[SeriesKey, Totals]],
    jobs: tuple[Mapping[str, Job], Mapping[str, Job]],
    expired: Expired,
) -> int:
    """How many series more (or less) a change makes; `totals` and `jobs`: all of before, and what changes."""
    (totals_before, new_totals), (jobs_before, new_jobs) = totals, jobs
    more = sum(map(totals_series, new_totals.values()))
    more += sum(job_series(label, job) for label, job in new_jobs.items())
    for series_key in expired.series_keys.union(new_totals):
        if series_key in totals_before:
            more -= totals_series(totals_before[series_key])
    for label in expired.jobs.union(new_jobs):
        if label in jobs_before:
            more -= job_series(label, jobs_before[label])
    return more


def executed(totals: Iterable[tuple[SeriesKey, Totals]]) -> set[str]:
    """The labels with a run that executed: such a one shows most of its series."""
    return {label for (label, _), each in totals if any(each.row[_QUEUE.first : _QUEUE.sum])}


class SeriesCount:
    """The series of one workspace, kept up with its changes."""

    def __init__(self) -> None:
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
            self._executed = executed(totals.items())
            self._series = more_series((nothing, totals), ({}, jobs), Expired())
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
