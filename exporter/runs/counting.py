"""What one finished run, one finished task attempt, adds to the totals. Pure.

Source of each meaning: the table in `families.py` and the README's "How it counts".
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable
from itertools import groupby
from operator import attrgetter

from exporter.databricks.models import HistoryItem, Run, Task
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
from exporter.runs import durations, outcomes
from exporter.runs.records import LastRun
from exporter.runs.series_keys import NO_TARGET, target_of
from exporter.runs.totals import COUNTERS, EXEMPLAR_LENGTH, HISTOGRAMS, SEEDED, PhaseHistograms, Totals

_SKIPPED = RESULTS.index("SKIPPED")
_SUCCESSES = frozenset(RESULTS.index(result) for result in outcomes.SUCCESSES)

_RUN_DURATION = HISTOGRAMS[RUN_DURATION.name]
_RUN_QUEUE = HISTOGRAMS[RUN_QUEUE.name]
_RUN_PHASES = PhaseHistograms.of(*(HISTOGRAMS[each.name] for each in (RUN_SETUP, RUN_EXECUTION, RUN_CLEANUP)))
_RUN_ATTEMPTS = HISTOGRAMS[RUN_ATTEMPTS.name]
_TASK_PHASES = PhaseHistograms.of(
    *(HISTOGRAMS[each.name] for each in (TASK_SETUP, TASK_EXECUTION, TASK_CLEANUP))
)
_RUN_EXEMPLARS = _RUN_DURATION.exemplars or 0
_TASK_EXEMPLARS = HISTOGRAMS[TASK_EXECUTION.name].exemplars or 0
_RUNS = COUNTERS[RUNS.name]
_REPAIRS = COUNTERS[REPAIRS.name]
_TASK_RUNS = COUNTERS[TASK_RUNS.name]
_TASK_RETRIES = COUNTERS[TASK_RETRIES.name]


def executed(run: Run, slot: int) -> LastRun | None:
    """What a finished run with this result measured, None where it did nothing at all."""
    duration_ms = durations.run_duration_ms(run)
    if slot == _SKIPPED or not (duration_ms > 0 or durations.phases(run) is not None):
        return None
    return LastRun(
        end_ms=durations.ended_ms(run),
        run_id=run.run_id,
        target=target_of(run),
        start_ms=int(max(run.start_time or 0, 0)),
        duration_ms=duration_ms or None,
        queue_ms=durations.queue_duration_ms(run),
        phases=durations.job_phases(run),
        attempts=durations.attempts(run),
        success=slot in _SUCCESSES,
    )


def count_run(totals: Totals, run: Run, slot: int, ran: LastRun | None) -> None:
    """Add a finished run with this result, without its tasks."""
    totals.row[SEEDED] = 1
    totals.count(_RUNS, slot)
    totals.count_termination(*outcomes.termination(run))
    if ran is None:
        return
    if ran.duration_ms is not None:
        bucket = totals.observe(_RUN_DURATION, ran.duration_ms)
        at = _RUN_EXEMPLARS + EXEMPLAR_LENGTH * bucket
        totals.exemplify(at, ran.end_ms, ran.run_id, ran.duration_ms)
    totals.observe(_RUN_QUEUE, ran.queue_ms)
    totals.observe(_RUN_ATTEMPTS, ran.attempts)
    if ran.phases is not None:
        totals.observe_phases(_RUN_PHASES, ran.phases)


def count_repair(totals: Totals, repair: HistoryItem) -> None:
    """Add a finished repair of a run that was counted before."""
    totals.count(_REPAIRS, outcomes.result_slot(repair))


def count_tasks(totals_of: Callable[[str], Totals], tasks: Iterable[Task]) -> None:
    """Add finished task attempts, each to the totals of its own target."""
    for target, together in groupby(tasks, attrgetter("effective_performance_target")):
        _count_together(totals_of(target or NO_TARGET), together)


def _count_together(totals: Totals, tasks: Iterable[Task]) -> None:
    # Most of the time of a first poll goes by here: what is called once a task is written out. Counts are
    # floats, sums whole numbers for as long as can be: the interpreter is slow where it has to mix them.
    bounds, setup_at, setup_sum, execution_at, execution_sum, cleanup_at, cleanup_sum = _TASK_PHASES
    row, exemplars = totals.row, totals.exemplars
    setup_ms: float = 0
    execution_ms: float = 0
    cleanup_ms: float = 0
    for task in tasks:
        slot = outcomes.result_slot(task)
        row[_TASK_RUNS.first + slot] += 1.0
        if task.attempt_number:
            row[_TASK_RETRIES.first] += 1.0
        setup = task.setup_duration or 0
        execution = task.execution_duration or 0
        cleanup = task.cleanup_duration or 0
        if slot == _SKIPPED or not (setup > 0 or execution > 0 or cleanup > 0):
            continue
        if setup < 0 or execution < 0 or cleanup < 0:
            setup, execution, cleanup = max(setup, 0), max(execution, 0), max(cleanup, 0)
        row[setup_at + bisect_left(bounds, setup)] += 1.0
        bucket = bisect_left(bounds, execution)
        row[execution_at + bucket] += 1.0
        row[cleanup_at + bisect_left(bounds, cleanup)] += 1.0
        setup_ms += setup
        execution_ms += execution
        cleanup_ms += cleanup
        at = _TASK_EXEMPLARS + EXEMPLAR_LENGTH * bucket
        if task.run_id is not None and (task.end_time or 0) >= exemplars[at]:
            totals.exemplify(at, int(task.end_time or 0), task.run_id, execution)
    row[setup_sum] += setup_ms
    row[execution_sum] += execution_ms
    row[cleanup_sum] += cleanup_ms
