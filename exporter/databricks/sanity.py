"""Times that can't be are not times: they are taken out of a run before anything is counted. Pure.

A time in microseconds, or a duration of a thousand years, would stay in a gauge or in a sum for ever.
"""

from exporter.databricks.models import HistoryItem, Run, Task

_DAY_MS = 24 * 3600 * 1000
# 2015-01-01. Databricks had no jobs before.
EARLIEST_MS = 1_420_070_400_000
LATEST_AHEAD_MS = 366 * _DAY_MS
LONGEST_MS = 3653 * _DAY_MS

_TIMES = ("start_time", "end_time")
_PHASES = ("setup_duration", "execution_duration", "cleanup_duration")


def without_impossible_times(run: Run, latest_ms: float) -> list[str]:
    """Set to None each time and duration of a run that can't be, and return the names of these fields.

    A time can't be before 2015 or more than a year after `latest_ms`; a duration can't be below 0 or longer
    than ten years. 0 is "not set", as everywhere. Names of fields of tasks and of the repair history begin
    with `tasks.` and `repair_history.`; each name comes once. Few runs have such fields: a good one costs
    some comparisons.
    """
    last_ms = latest_ms + LATEST_AHEAD_MS
    left_out: dict[str, None] = {}
    if not _has_good_times(run, last_ms):
        _clear_times(run, "", last_ms, left_out)
    if not (_has_good_phases(run) and _lasts(run.run_duration) and _lasts(run.queue_duration)):
        _clear_durations(run, "", (*_PHASES, "run_duration", "queue_duration"), left_out)
    for task in run.tasks or ():
        if not (_has_good_times(task, last_ms) and _has_good_phases(task)):
            _clear_times(task, "tasks.", last_ms, left_out)
            _clear_durations(task, "tasks.", _PHASES, left_out)
    for item in run.repair_history or ():
        if not _has_good_times(item, last_ms):
            _clear_times(item, "repair_history.", last_ms, left_out)
    return list(left_out)


def _has_good_times(item: Run | Task | HistoryItem, last_ms: float) -> bool:
    start, end = item.start_time, item.end_time
    return (not start or EARLIEST_MS <= start <= last_ms) and (not end or EARLIEST_MS <= end <= last_ms)


def _has_good_phases(item: Run | Task) -> bool:
    setup, execution, cleanup = item.setup_duration, item.execution_duration, item.cleanup_duration
    return (
        (not setup or 0 <= setup <= LONGEST_MS)
        and (not execution or 0 <= execution <= LONGEST_MS)
        and (not cleanup or 0 <= cleanup <= LONGEST_MS)
    )


def _lasts(duration: float | None) -> bool:
    return not duration or 0 <= duration <= LONGEST_MS


def _clear_times(
    item: Run | Task | HistoryItem, prefix: str, last_ms: float, left_out: dict[str, None]
) -> None:
    for name in _TIMES:
        time = getattr(item, name)
        if time and not EARLIEST_MS <= time <= last_ms:
            setattr(item, name, None)
            left_out[prefix + name] = None


def _clear_durations(
    item: Run | Task, prefix: str, names: tuple[str, ...], left_out: dict[str, None]
) -> None:
    for name in names:
        if not _lasts(getattr(item, name)):
            setattr(item, name, None)
            left_out[prefix + name] = None
