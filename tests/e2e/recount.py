"""What the totals must be, recounted from what really happened in the workspace."""

from collections import Counter
from collections.abc import Iterable

from exporter.simulator.truth import FinishedRun
from tests.e2e.process import RUNS, Samples

_RESULTS = {
    "SUCCESS": "SUCCESS",
    "RUN_EXECUTION_ERROR": "FAILED",
    "USER_CANCELED": "CANCELED",
    "MAX_CONCURRENT_RUNS_EXCEEDED": "SKIPPED",
}
TASK_RUNS = "databricks_task_runs_total"

Counts = Counter[tuple[str, str, str]]


def result(run: FinishedRun) -> str:
    return "TIMEDOUT" if run.result_state == "TIMEDOUT" else _RESULTS[run.code]


def runs(truth: Iterable[FinishedRun]) -> Counts:
    """Finished runs by job, target and result."""
    return Counter((str(run.job_id), run.target or "NONE", result(run)) for run in truth)


def attempts(truth: Iterable[FinishedRun]) -> Counter[tuple[str, str]]:
    """Finished task attempts by job and target."""
    return Counter((str(run.job_id), attempt.target or "NONE") for run in truth for attempt in run.attempts)


def durations_ms(truth: Iterable[FinishedRun]) -> Counter[tuple[str, str]]:
    """Milliseconds that runs which executed took, by job and target."""
    total: Counter[tuple[str, str]] = Counter()
    for run in truth:
        total[str(run.job_id), run.target or "NONE"] += run.run_duration_ms
    return total


def counted_runs(samples: Samples) -> Counts:
    """What the exporter counted, in the shape of `runs`."""
    return Counter(
        {
            (label["job_id"], label["effective_performance_target"], label["result"]): int(value)
            for label, value in _of(samples, RUNS)
            if value
        }
    )


def counted_attempts(samples: Samples) -> Counter[tuple[str, str]]:
    """What the exporter counted, in the shape of `attempts`."""
    return _by_target(samples, TASK_RUNS)


def counted_ms(samples: Samples) -> Counter[tuple[str, str]]:
    """What the exporter counted, in the shape of `durations_ms`."""
    name = "databricks_job_run_duration_seconds_sum"
    return Counter(
        {
            (label["job_id"], label["effective_performance_target"]): round(value * 1000)
            for label, value in _of(samples, name)
        }
    )


def _by_target(samples: Samples, name: str) -> Counter[tuple[str, str]]:
    total: Counter[tuple[str, str]] = Counter()
    for label, value in _of(samples, name):
        total[label["job_id"], label["effective_performance_target"]] += int(value)
    return total


def _of(samples: Samples, name: str) -> list[tuple[dict[str, str], float]]:
    return [(dict(labels), value) for (sample, labels), value in samples.items() if sample == name]
