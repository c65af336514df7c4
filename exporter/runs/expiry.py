"""Which series keys and jobs have had no run for so long that they are dropped. Pure.

What must stay true: what has an active or a pending run is never dropped, nor what the same commit changes.
Nothing is counted again afterwards, because the ids of settled runs outlive what is dropped here.
"""

from collections.abc import Collection, Iterable, Mapping

from exporter.runs.changes import Expired
from exporter.runs.records import ActiveRun, Job
from exporter.runs.series_keys import SeriesKey


def expired(
    before_ms: int,
    last_ms: Mapping[SeriesKey, int],
    jobs: Mapping[str, Job],
    changed: tuple[Collection[SeriesKey], Collection[str]],
    kept: Iterable[tuple[ActiveRun, SeriesKey]],
) -> Expired:
    """What had its last run before an instant.

    `last_ms`: when each series key last had one. `changed`: the series keys and jobs that have just had one.
    `kept`: the active runs, each with the series key it is to be counted under.
    """
    changed_series_keys, changed_jobs = changed
    active_jobs: set[str] = set()
    active_series_keys: set[SeriesKey] = set()
    for run, series_key in kept:
        active_jobs.add(run.job)
        active_series_keys.add(series_key)
    idle = {
        series_key
        for series_key, ms in last_ms.items()
        if ms < before_ms and series_key not in changed_series_keys and series_key not in active_series_keys
    }
    alive = active_jobs.union(changed_jobs, (label for label, _ in changed_series_keys))
    alive.update(series_key[0] for series_key in last_ms if series_key not in idle)
    had = {label for label, _ in idle}
    return Expired(
        series_keys=frozenset(idle),
        jobs=frozenset(
            label
            for label, job in jobs.items()
            if label not in alive and (label in had or _ended_before(job, before_ms))
        ),
    )


def _ended_before(job: Job, before_ms: int) -> bool:
    """Whether a job that has never counted a run has none that is recent: only memory-only jobs are such."""
    return job.last_run is None or job.last_run.end_ms < before_ms
