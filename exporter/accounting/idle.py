"""Which label sets and jobs have had no run for so long that they are dropped. Pure.

What must stay true: what has an active run is never dropped, nor what the same commit changes. Nothing is
counted again afterwards, because the ids of settled runs outlive what is dropped here.
"""

from collections.abc import Collection, Iterable, Mapping

from exporter.accounting.records import ActiveRun, Gone, Job, LabelSet


def gone(
    before_ms: int,
    last_ms: Mapping[LabelSet, int],
    jobs: Mapping[str, Job],
    changed: tuple[Collection[LabelSet], Collection[str]],
    kept: Iterable[tuple[ActiveRun, LabelSet]],
) -> Gone:
    """What had its last run before an instant.

    `last_ms`: when each label set last had one. `changed`: the label sets and jobs that have just had one.
    `kept`: the active runs, each with the label set it is to be counted under.
    """
    changed_label_sets, changed_jobs = changed
    active_jobs: set[str] = set()
    active_label_sets: set[LabelSet] = set()
    for run, label_set in kept:
        active_jobs.add(run.job)
        active_label_sets.add(label_set)
    idle = {
        label_set
        for label_set, ms in last_ms.items()
        if ms < before_ms and label_set not in changed_label_sets and label_set not in active_label_sets
    }
    alive = active_jobs.union(changed_jobs, (label for label, _ in changed_label_sets))
    alive.update(label_set[0] for label_set in last_ms if label_set not in idle)
    had = {label for label, _ in idle}
    return Gone(
        label_sets=frozenset(idle),
        jobs=frozenset(
            label
            for label, job in jobs.items()
            if label not in alive and (label in had or _ended_before(job, before_ms))
        ),
    )


def _ended_before(job: Job, before_ms: int) -> bool:
    """Whether a job that has never counted a run has none that is recent: memory only knows such jobs."""
    return job.last_run is None or job.last_run.end_ms < before_ms
