"""Idle series keys and jobs are dropped, and never counted again."""

from typing import Any

import pytest

from exporter.databricks.clock import Instant
from exporter.families import REPAIRS, RUNS
from exporter.runs.changes import Observation
from exporter.runs.records import Progress
from exporter.runs.tracker import PENDING_KEPT_MS
from tests.unit.runs.runs import Books, active, run
from tests.unit.runs.test_tracker import repaired

IDLE = 1000


def books(**kinds: Any) -> Books:
    return Books(idle_ms=IDLE, **kinds)


def test_job_without_a_run_is_dropped_after_the_time_and_not_before() -> None:
    """Its series keys and what was known of it, to the millisecond."""
    made = books()
    made.observe(run(1), now_ms=1)
    made.observe(now_ms=IDLE + 1)
    assert made.results(RUNS) == {"SUCCESS": 1}
    made.observe(now_ms=IDLE + 2)
    assert (made.tracker.totals, made.tracker.jobs, made.tracker.last_ms) == ({}, {}, {})


def test_run_of_a_dropped_job_that_is_listed_again_counts_nothing() -> None:
    """It is settled; neither totals nor job come back."""
    made = books()
    made.observe(run(1), now_ms=1)
    made.observe(run(1), now_ms=2 * IDLE)
    made.observe(run(1), now_ms=2 * IDLE + 1)
    assert (made.tracker.totals, made.tracker.jobs) == ({}, {})


def test_dropped_job_starts_afresh() -> None:
    """At 0 once it is seen active, and its next run is the first."""
    made = books()
    made.observe(run(1), now_ms=1)
    made.observe(now_ms=2 * IDLE)
    made.observe(active=[active(2)], now_ms=2 * IDLE + 1)
    assert made.results(RUNS) == {}
    made.observe(run(2), followed={2}, now_ms=2 * IDLE + 2)
    assert made.results(RUNS) == {"SUCCESS": 1}


def test_repair_of_a_dropped_job_is_counted_as_such() -> None:
    """The run itself is not counted again."""
    made = books()
    made.observe(run(code="RUN_EXECUTION_ERROR"), now_ms=1)
    made.observe(now_ms=2 * IDLE)
    made.answer(repaired((1_500_000, "SUCCESS")), at_ms=2 * IDLE + 1)
    assert made.results(REPAIRS) == {"SUCCESS": 1}
    assert made.results(RUNS) == {}
    assert set(made.tracker.jobs) == {"10"}


def test_active_run_keeps_its_job() -> None:
    """However long it takes, with or without a target of its own."""
    made = books()
    made.observe(run(1, 7, effective_performance_target="STANDARD"), now_ms=1)
    waiting = [active(2), active(3, 7)]
    made.observe(active=waiting, now_ms=2)
    made.observe(active=waiting, followed={2, 3}, now_ms=5 * IDLE)
    assert set(made.tracker.totals) == {("10", "NONE"), ("7", "STANDARD")}
    assert set(made.tracker.jobs) == {"10", "7"}


def test_pending_run_keeps_its_job_and_is_a_sign_of_life() -> None:
    """While nothing says how it ended, and for the idle time after it was given up."""
    made = books()
    made.observe(active=[active()], now_ms=1)
    made.observe(followed={1}, now_ms=5 * IDLE)
    made.observe(now_ms=10 * IDLE)
    assert set(made.tracker.totals) == {("10", "NONE")}
    made.observe(now_ms=PENDING_KEPT_MS + 5 * IDLE + 1)
    assert made.lost == {1}
    assert set(made.tracker.totals) == {("10", "NONE")}
    made.observe(now_ms=PENDING_KEPT_MS + 6 * IDLE + 2)
    assert not made.tracker.totals


def test_pending_run_that_seems_not_to_exist_keeps_its_job() -> None:
    """One passing answer that says so must not drop totals: the run is counted on them later."""
    made = books()
    made.observe(run(1), now_ms=1)
    made.observe(active=[active(2)], now_ms=2)
    made.observe(active=[active(2)], followed={2}, now_ms=5 * IDLE)
    made.observe(followed={2}, now_ms=5 * IDLE + 1)
    made.answer(missing={2}, at_ms=5 * IDLE + 2)
    made.observe(now_ms=5 * IDLE + 3)
    made.answer(run(2), at_ms=5 * IDLE + 4)
    assert made.results(RUNS) == {"SUCCESS": 2}


def test_target_that_a_job_has_left_is_dropped() -> None:
    """The job lives on under the other; its last success stays known."""
    made = books()
    made.observe(run(1, effective_performance_target="STANDARD"), now_ms=1)
    for i in range(2, 5):
        later = run(i, end_time=1_100_000 + i, code="INTERNAL_ERROR")
        made.observe(later, now_ms=(i - 1) * IDLE)
    assert set(made.tracker.totals) == {("10", "NONE")}
    assert made.tracker.jobs["10"].last_success is not None


@pytest.mark.parametrize("label", ["SUBMIT_RUN", "WORKFLOW_RUN"])
def test_one_off_labels_are_dropped_too(label: str) -> None:
    """And come back with the next such run."""
    made = books()
    made.observe(run(1, run_type=label), now_ms=1)
    made.observe(now_ms=2 * IDLE)
    assert not made.tracker.totals
    assert not made.tracker.jobs
    made.observe(run(2, 11, run_type=label), now_ms=2 * IDLE + 1)
    assert made.results(RUNS, label) == {"SUCCESS": 1}


def test_run_that_is_settled_in_time_keeps_what_it_belongs_to() -> None:
    """Also when the poll that reads it is the one that would have dropped it."""
    made = books()
    made.observe(run(1), now_ms=1)
    made.observe(run(2), now_ms=5 * IDLE)
    assert made.results(RUNS) == {"SUCCESS": 2}


def test_only_a_whole_poll_drops() -> None:
    """After an absence the slices come first: until they are read, what is idle is not known."""
    made = books()
    made.observe(run(1), now_ms=1)
    progress = Progress(0, 0, 0, last_good_poll_ms=5 * IDLE, slices=((1, 2),))
    made.now = Instant(5 * IDLE, 5 * IDLE)
    catching_up = made.changes(Observation(), progress)
    sweep = made.changes(Observation())
    assert not catching_up.expired.series_keys
    assert not sweep.expired.series_keys


def test_zero_keeps_for_ever() -> None:
    """An idle time of 0 is none."""
    made = Books(idle_ms=0)
    made.observe(run(1), now_ms=1)
    made.observe(now_ms=10**15)
    assert made.results(RUNS) == {"SUCCESS": 1}


def test_job_that_only_has_gauges_goes_by_the_end_of_its_last_run() -> None:
    """With memory only there are jobs that have counted nothing."""
    progress = Progress(counted_from_ms=9_000_000, remembered_from_ms=0, first_poll_ms=0, last_good_poll_ms=0)
    made = books(progress=progress)
    made.observe(run(1), now_ms=1)
    made.observe(now_ms=1_100_000 + IDLE)
    assert set(made.tracker.jobs) == {"10"}
    made.observe(now_ms=1_100_001 + IDLE)
    assert not made.tracker.jobs
