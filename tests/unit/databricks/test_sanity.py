"""Times and durations that can't be are left out of a run, and everything else stays."""

import copy

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.databricks.models import Run
from exporter.databricks.sanity import EARLIEST_MS, LATEST_AHEAD_MS, LONGEST_MS, without_impossible_times

NOW_MS = 1_780_000_000_000
DAY_MS = 24 * 3600 * 1000
DURATIONS = (
    "setup_duration",
    "execution_duration",
    "cleanup_duration",
    "run_duration",
    "queue_duration",
)


def run(**fields: object) -> Run:
    return msgspec.convert({"run_id": 1, "job_id": 2} | fields, Run)


def good(**fields: object) -> dict[str, object]:
    return {"start_time": NOW_MS - 9000, "end_time": NOW_MS, "setup_duration": 1000} | fields


def test_a_good_run_stays_as_it_is() -> None:
    """Nothing is left out, nothing is changed."""
    read = run(
        **good(run_duration=9000, queue_duration=0),
        tasks=[good(execution_duration=8000)] * 100,
        repair_history=[{"type": "REPAIR", "start_time": NOW_MS, "end_time": 0}],
    )
    before = copy.deepcopy(read)
    assert without_impossible_times(read, NOW_MS) == []
    assert read == before


@pytest.mark.parametrize("name", ["start_time", "end_time"])
@pytest.mark.parametrize(
    ("time", "stays"),
    [
        (None, True),
        (0, True),
        (EARLIEST_MS, True),
        (EARLIEST_MS - 1, False),
        (NOW_MS / 1000, False),
        (NOW_MS * 1000, False),
        (-1, False),
        (NOW_MS + 30 * DAY_MS, True),
        (NOW_MS + LATEST_AHEAD_MS, True),
        (NOW_MS + LATEST_AHEAD_MS + 1, False),
    ],
)
def test_a_time_is_in_the_years_of_databricks_or_no_time(
    name: str, time: float | None, *, stays: bool
) -> None:
    """In seconds, in microseconds, before 2015, years ahead: left out. 0 and null say "not set" and stay."""
    read = run(**{name: time})
    assert without_impossible_times(read, NOW_MS) == ([] if stays else [name])
    assert getattr(read, name) == (time if stays else None)


@pytest.mark.parametrize("name", DURATIONS)
@pytest.mark.parametrize(
    ("duration", "stays"),
    [(None, True), (0, True), (1, True), (LONGEST_MS, True), (LONGEST_MS + 1, False), (-1, False)],
)
def test_a_duration_is_positive_and_at_most_ten_years(
    name: str, duration: int | None, *, stays: bool
) -> None:
    """What is longer or below 0 is left out."""
    read = run(**{name: duration})
    assert without_impossible_times(read, NOW_MS) == ([] if stays else [name])
    assert getattr(read, name) == (duration if stays else None)


def test_tasks_and_repairs_are_looked_at_one_by_one() -> None:
    """Each bad field is left out where it is; its name comes once, however many tasks have it."""
    bad = NOW_MS * 1000
    read = run(
        **good(),
        tasks=[good(), good(end_time=bad), good(end_time=bad, cleanup_duration=-5)],
        repair_history=[{"start_time": bad, "end_time": NOW_MS}],
    )
    names = ["tasks.end_time", "tasks.cleanup_duration", "repair_history.start_time"]
    assert without_impossible_times(read, NOW_MS) == names
    assert read.tasks is not None
    assert [task.end_time for task in read.tasks] == [NOW_MS, None, None]
    assert [task.setup_duration for task in read.tasks] == [1000] * 3
    assert read.repair_history is not None
    assert (read.repair_history[0].start_time, read.repair_history[0].end_time) == (None, NOW_MS)


numbers = st.none() | st.integers(-(10**17), 10**17) | st.floats(-1e17, 1e17)


@given(st.dictionaries(st.sampled_from(["start_time", "end_time", *DURATIONS]), numbers))
def test_what_is_left_is_possible(fields: dict[str, float | None]) -> None:
    """A second look finds nothing, and every field that was not named is untouched."""
    read = run(**fields)
    names = without_impossible_times(read, NOW_MS)
    assert without_impossible_times(read, NOW_MS) == []
    assert {name: getattr(read, name) for name in fields if name not in names} == {
        name: value for name, value in fields.items() if name not in names
    }
    assert all(getattr(read, name) is None for name in names)
