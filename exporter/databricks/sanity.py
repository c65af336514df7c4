"""Times that can't be: in microseconds, before Databricks had jobs, years ahead. Pure."""

from exporter.databricks.models import Run

EARLIEST_MS = 1_420_070_400_000
YEAR_MS = 366 * 24 * 3600 * 1000
LONGEST_MS = 10 * YEAR_MS


def without_impossible_times(run: Run, latest_ms: int) -> list[str]:
    """Take out, in place, times and durations that can't be; the names of those fields."""
    out = []
    for name in ("start_time", "end_time"):
        value = getattr(run, name)
        if value and not EARLIEST_MS <= value <= latest_ms + YEAR_MS:
            setattr(run, name, None)
            out.append(name)
    return out
