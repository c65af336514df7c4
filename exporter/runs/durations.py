"""From a run's times to what is observed. Pure; milliseconds throughout.

A phase is never a made-up zero: the job-level phases of a multi-task run are 0 in the API and are not
reported here; its task attempts carry them. Source: Databricks, Jobs 2.2, field notes on `setup_duration`.
"""

from collections.abc import Callable
from typing import NamedTuple

from exporter.databricks.models import Run, Task


class Phases(NamedTuple):
    """The three parts of a run or a task attempt, in milliseconds."""

    setup_ms: float
    execution_ms: float
    cleanup_ms: float


def job_phases(run: Run) -> Phases | None:
    """The phases of a run where Databricks reports them: at most one distinct task, retried or not."""
    if not (run.setup_duration or run.execution_duration or run.cleanup_duration):
        return None
    setup, execution, cleanup = setup_ms(run), execution_ms(run), cleanup_ms(run)
    if not (setup or execution or cleanup):
        return None
    if run.tasks:
        first = run.tasks[0].task_key
        if not all(task.task_key == first for task in run.tasks):
            return None
    return Phases(setup, execution, cleanup)


def of_job(phase: Callable[[Run], float]) -> Callable[[Run], float | None]:
    """One phase of a run, None where Databricks does not report job-level phases."""

    def observed(run: Run) -> float | None:
        return None if job_phases(run) is None else phase(run)

    return observed


def setup_ms(item: Run | Task) -> float:
    """`setup_duration`; 0 where it is absent or below 0."""
    duration = item.setup_duration
    return duration if duration and duration > 0 else 0


def execution_ms(item: Run | Task) -> float:
    """`execution_duration`; 0 where it is absent or below 0."""
    duration = item.execution_duration
    return duration if duration and duration > 0 else 0


def cleanup_ms(item: Run | Task) -> float:
    """`cleanup_duration`; 0 where it is absent or below 0."""
    duration = item.cleanup_duration
    return duration if duration and duration > 0 else 0


def has_phases(task: Task) -> bool:
    """Whether a task attempt took any time at all."""
    return (
        (task.execution_duration or 0) > 0
        or (task.setup_duration or 0) > 0
        or (task.cleanup_duration or 0) > 0
    )


def run_duration_ms(run: Run) -> float:
    """`run_duration`, else the time from start to end; 0 where the API gives neither."""
    if (duration := run.run_duration or 0) > 0:
        return duration
    start, end = run.start_time or 0, run.end_time or 0
    return max(end - start, 0) if start > 0 and end > 0 else 0


def queue_duration_ms(run: Run) -> float:
    """`queue_duration`; a run that never queued has none: 0."""
    return max(run.queue_duration or 0, 0)


def ended_ms(run: Run) -> int:
    """When a finished run ended; without `end_time` its start and durations say it; 0 where nothing does."""
    if (end := run.end_time or 0) > 0:
        return int(end)
    if (start := run.start_time or 0) <= 0:
        return 0
    return int(start + max(run.run_duration or 0, setup_ms(run) + execution_ms(run) + cleanup_ms(run)))


def attempts(run: Run) -> int:
    """The highest attempt that the run or one of its tasks reached, counted from 1."""
    highest = run.attempt_number or 0
    for task in run.tasks or ():
        if (number := task.attempt_number) and number > highest:
            highest = number
    return highest + 1
