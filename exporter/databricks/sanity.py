"""Times that can't be are not times: they are taken out of a run before anything is counted. Pure.

A time in microseconds, or a duration of a thousand years, would stay in a gauge or in a sum for ever.
"""

from collections.abc import Iterable

from exporter.databricks.models import HistoryItem, Run, Task

_DAY_MS = 24 * 3600 * 1000
# 2015-01-01. Databricks had no jobs before.
EARLIEST_MS = 1_420_070_400_000
LATEST_AHEAD_MS = 31 * _DAY_MS
LONGEST_MS = 3653 * _DAY_MS

_TIMES = ("start_time", "end_time")
_PHASES = ("setup_duration", "execution_duration", "cleanup_duration")


def without_impossible_times(run: Run, latest_ms: float) -> list[str]:
    """Set to None each time and duration of a run that can't be, and return the names of these fields.

    A time can't be before 2015 or more than a month after `latest_ms`; a duration can't be below 0 or longer
    than ten years. 0 is "not set", as everywhere. Names of fields of tasks and of the repair history begin
    with `tasks.` and `repair_history.`; each name comes once. Few runs have such fields: a good one costs
    some comparisons.
    """
    last_ms = latest_ms + LATEST_AHEAD_MS
    left_out: dict[str, None] = {}
    if not (_are_good([run], last_ms) and _lasts(run.run_duration) and _lasts(run.queue_duration)):
        _clear_times(run, "", last_ms, left_out)
        _clear_durations(run, "", (*_PHASES, "run_duration", "queue_duration"), left_out)
    if run.tasks and not _are_good(run.tasks, last_ms):
        for task in run.tasks:
            _clear_times(task, "tasks.", last_ms, left_out)
            _clear_durations(task, "tasks.", _PHASES, left_out)
    for item in run.repair_history or ():
        _clear_times(item, "repair_history.", last_ms, left_out)
    return list(left_out)


def _are_good(items: Iterable[Run | Task], last_ms: float) -> bool:
    """Whether all times and phases are possible. Written out: it runs for each task of each listed run."""
    earliest, longest = EARLIEST_MS, LONGEST_MS
    for item in items:
        if (
            earliest <= (item.start_time or earliest) <= last_ms
            and earliest <= (item.end_time or earliest) <= last_ms
            and 0 <= (item.setup_duration or 0) <= longest
            and 0 <= (item.execution_duration or 0) <= longest
            and 0 <= (item.cleanup_duration or 0) <= longest
        ):
            continue
        return False
    return True


def _lasts(duration: float | None) -> bool:
    return 0 <= (duration or 0) <= LONGEST_MS


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
