"""When a pending run is asked for again."""

import asyncio

import pytest

from exporter.polling.pending import MOST_BACKOFF_SECONDS, PendingReader, _Schedule


async def waits(failures: int) -> float:
    """How long a run waits that has failed so often before."""
    schedule = _Schedule(since_ms=0, failures=failures)
    PendingReader._back_off(schedule)
    return schedule.due - asyncio.get_running_loop().time()


@pytest.mark.parametrize(("failures", "seconds"), [(0, 30), (1, 60), (2, 120), (5, 960), (6, 1800)])
async def test_the_wait_doubles_from_30_seconds_to_half_an_hour(failures: int, seconds: float) -> None:
    """Each failure doubles it, up to a limit."""
    assert await waits(failures) == pytest.approx(seconds, abs=1)


async def test_a_run_that_fails_for_60_days_still_waits_half_an_hour() -> None:
    """Thousands of failures make no number too large."""
    assert await waits(10_000) == pytest.approx(MOST_BACKOFF_SECONDS, abs=1)
