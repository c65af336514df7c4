"""From a run's times to what is observed. Pure; milliseconds throughout.

A phase is never a made-up zero: the job-level phases of a multi-task run are 0 in the API and are not
reported here; its task attempts carry them. Source: Databricks, Jobs 2.2, field notes on `setup_duration`.
"""

from typing import NamedTuple

from exporter.databricks.models import Run, Task


class Phases(NamedTuple):
    """The three parts of a run or a task attempt, in milliseconds."""

    setup_ms: float
    execution_ms: float
    cleanup_ms: float


def job_phases(run: Run) -> Phases | None:
    """The phases of a run where Databricks reports them: at most one distinct task, retried or not."""
    found = phases(run)
    if found is None or not run.tasks:
        return found
    first = run.tasks[0].task_key
    return found if all(task.task_key == first for task in run.tasks) else None


def phases(item: Run | Task) -> Phases | None:
    """The phases as they stand; None where all three are 0 or absent."""
    setup = item.setup_duration or 0
    execution = item.execution_duration or 0
    cleanup = item.cleanup_duration or 0
    if setup < 0 or execution < 0 or cleanup < 0:
        setup, execution, cleanup = max(setup, 0), max(execution, 0), max(cleanup, 0)
    return Phases(setup, execution, cleanup) if setup or execution or cleanup else None


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
    """When a finished run ended; for the shapes without `end_time`, start and durations say it."""
    if (end := run.end_time or 0) > 0:
        return int(end)
    parts = phases(run)
    return int(max(run.start_time or 0, 0) + max(run.run_duration or 0, sum(parts) if parts else 0))


def attempts(run: Run) -> int:
    """The highest attempt that the run or one of its tasks reached, counted from 1."""
    highest = run.attempt_number or 0
    for task in run.tasks or ():
        if (number := task.attempt_number) and number > highest:
            highest = number
    return highest + 1
