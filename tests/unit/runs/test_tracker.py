"""What a tracker makes of what it is shown, one rule at a time."""

from typing import Any

import pytest

from exporter.databricks.models import Details
from exporter.families import (
    REPAIRS,
    RUN_ATTEMPTS,
    RUN_CLEANUP,
    RUN_DURATION,
    RUN_EXECUTION,
    RUN_QUEUE,
    RUN_SETUP,
    RUNS,
    TASK_EXECUTION,
    TASK_RETRIES,
    TASK_RUNS,
)
from exporter.runs.changes import Observation
from exporter.runs.records import Job, Progress
from tests.unit.runs.runs import LAYOUT, Books, active, run, task


def repaired(*repairs: tuple[int, str], **fields: Any) -> Any:
    """A run whose repairs ended then and so, after an original end at 1,100,000."""
    items = [{"type": "ORIGINAL", "start_time": 1_000_000, "end_time": 1_100_000}] + [
        {
            "type": "REPAIR",
            "start_time": end - 10,
            "end_time": end,
            "status": {"state": "TERMINATED", "termination_details": {"code": code}},
        }
        for end, code in repairs
    ]
    body: dict[str, Any] = {"end_time": repairs[-1][0], "repair_history": items} | fields
    return run(**body)


def test_run_is_counted_once_however_often_it_is_seen() -> None:
    """Duplicates over polls change nothing."""
    books = Books()
    for _ in range(3):
        books.observe(run(), run())
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert books.observed(RUN_DURATION) == (1, 100.0)


def test_phases_of_a_multi_task_run_are_not_zeros() -> None:
    """Its root phases are 0 in the API: not observed, its attempts are."""
    books = Books()
    tasks = [task(1, "a"), task(2, "b")]
    books.observe(run(tasks=tasks, setup_duration=0, execution_duration=0, cleanup_duration=0))
    assert books.observed(RUN_DURATION) == (1, 100.0)
    assert [books.observed(family)[0] for family in (RUN_SETUP, RUN_EXECUTION, RUN_CLEANUP)] == [0, 0, 0]
    assert books.observed(TASK_EXECUTION) == (2, 120.0)


def test_phases_of_a_multi_task_run_are_not_taken_from_its_root() -> None:
    """Even where the API fills the root of a run with two tasks."""
    books = Books()
    books.observe(run(tasks=[task(1, "a"), task(2, "b")]))
    assert books.observed(RUN_SETUP)[0] == 0


def test_retried_single_task_keeps_its_job_level_phases() -> None:
    """It stands twice in `tasks`, under one key."""
    books = Books()
    books.observe(run(tasks=[task(1, attempt=0, code="RUN_EXECUTION_ERROR"), task(2, attempt=1)]))
    assert books.observed(RUN_SETUP) == (1, 20.0)
    assert books.observed(RUN_ATTEMPTS) == (1, 2.0)
    assert books.results(TASK_RUNS) == {"SUCCESS": 1, "FAILED": 1}
    assert books.totals().row[LAYOUT.counters[TASK_RETRIES.name].first] == 1


def test_absent_queue_duration_is_an_observation_of_zero() -> None:
    """A run that never queued waited for nothing."""
    books = Books()
    books.observe(run(), run(2, queue_duration=14_111))
    assert books.observed(RUN_QUEUE) == (2, 14.111)


@pytest.mark.parametrize(
    ("fields", "seconds"),
    [
        ({"run_duration": 40_469}, 40.469),
        ({"run_duration": 0}, 100.0),
        ({"run_duration": None}, 100.0),
    ],
)
def test_run_duration_falls_back_to_the_wall_clock(fields: dict[str, Any], seconds: float) -> None:
    """`run_duration` where it is above 0, else end minus start."""
    books = Books()
    books.observe(run(**fields))
    assert books.observed(RUN_DURATION) == (1, seconds)


@pytest.mark.parametrize("fields", [{"start_time": 0}, {"end_time": 0}, {"end_time": 900_000}])
def test_run_without_a_duration_is_counted_and_observed_nowhere(fields: dict[str, Any]) -> None:
    """Not even its queue time, attempts and phases; and it is no last run."""
    books = Books()
    books.observe(run(run_duration=None, **fields))
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert [
        name
        for name, slots in LAYOUT.histograms.items()
        if any(books.totals().row[slots.first : slots.sum + 1])
    ] == []
    assert books.tracker.jobs["10"].last_run is None


def test_skipped_run_is_counted_and_not_observed() -> None:
    """It has a result, but it has not executed; the last-run gauges stay."""
    books = Books()
    books.observe(run(1))
    books.observe(run(2, code="SKIPPED", end_time=1_200_000))
    assert books.results(RUNS) == {"SUCCESS": 1, "SKIPPED": 1}
    assert books.observed(RUN_QUEUE)[0] == 1
    last = books.tracker.jobs["10"].last_run
    assert last is not None
    assert last.run_id == 1


def test_one_off_run_is_counted_under_its_type() -> None:
    """Every submit has a job id of its own, which is no label."""
    books = Books()
    books.observe(run(1, 555, run_type="SUBMIT_RUN"), run(2, 556, run_type="SUBMIT_RUN"))
    assert books.results(RUNS, "SUBMIT_RUN") == {"SUCCESS": 2}
    assert books.tracker.jobs["SUBMIT_RUN"].name is None


def test_tasks_carry_their_own_target() -> None:
    """A mixed run has attempts under two targets."""
    books = Books()
    serverless = task(2, "b", effective_performance_target="STANDARD")
    books.observe(run(tasks=[task(1, "a"), serverless], effective_performance_target="STANDARD"))
    assert books.results(TASK_RUNS, target="NONE") == {"SUCCESS": 1}
    assert books.results(TASK_RUNS, target="STANDARD") == {"SUCCESS": 1}
    assert books.results(RUNS, target="STANDARD") == {"SUCCESS": 1}
    assert books.results(RUNS, target="NONE") == {}


def test_active_job_shows_its_results_at_zero() -> None:
    """Under NONE while nothing is known of its target."""
    books = Books()
    books.observe(active=[active()])
    assert books.totals().seeded
    assert books.results(RUNS) == {}


def test_active_job_is_seeded_under_its_last_known_target_and_its_own() -> None:
    """At once under the one, as soon as the API gives it under the other."""
    books = Books(jobs={"10": Job(target="STANDARD")})
    books.observe(active=[active()])
    assert set(books.tracker.totals) == {("10", "STANDARD")}
    books.observe(active=[active(effective_performance_target="PERFORMANCE_OPTIMIZED")])
    assert set(books.tracker.totals) == {("10", "STANDARD"), ("10", "PERFORMANCE_OPTIMIZED")}
    assert books.tracker.jobs["10"].target == "PERFORMANCE_OPTIMIZED"


def test_repair_is_counted_apart_and_the_run_not_again() -> None:
    """Its new attempts are accounted, its run only once, the last-run gauges follow it."""
    books = Books()
    failed = task(1, code="RUN_EXECUTION_ERROR")
    books.observe(run(code="RUN_EXECUTION_ERROR", tasks=[failed]))
    books.answer(repaired((1_500_000, "SUCCESS"), tasks=[failed, task(2, attempt=1)]))
    assert books.results(RUNS) == {"FAILED": 1}
    assert books.results(REPAIRS) == {"SUCCESS": 1}
    assert books.results(TASK_RUNS) == {"FAILED": 1, "SUCCESS": 1}
    job = books.tracker.jobs["10"]
    assert job.last_run is not None
    assert job.last_success is not None
    assert (job.last_run.success, job.last_run.end_ms, job.last_success.end_ms) == (
        True,
        1_500_000,
        1_500_000,
    )


def test_two_repairs_while_away_are_both_counted() -> None:
    """Each with its own result."""
    books = Books()
    books.observe(run(code="RUN_EXECUTION_ERROR"))
    books.answer(repaired((1_500_000, "RUN_EXECUTION_ERROR"), (1_700_000, "SUCCESS")))
    assert books.results(REPAIRS) == {"FAILED": 1, "SUCCESS": 1}
    books.answer(repaired((1_500_000, "RUN_EXECUTION_ERROR"), (1_700_000, "SUCCESS")))
    assert books.results(REPAIRS) == {"FAILED": 1, "SUCCESS": 1}


def test_run_and_repair_that_ended_unseen_are_one_run() -> None:
    """With its final result, and no repair."""
    books = Books()
    books.observe(repaired((1_500_000, "SUCCESS")))
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert books.results(REPAIRS) == {}


def test_finished_answer_wins_over_an_active_one() -> None:
    """A run that ended between the two lists of a poll leaves no ghost."""
    books = Books()
    books.observe(active=[active(state="PENDING")])
    books.observe(run(1), run(2), active=[active(1), active(2)], followed={1})
    assert books.results(RUNS) == {"SUCCESS": 2}
    assert not books.tracker.active


def test_old_answer_does_not_end_a_repair_in_progress() -> None:
    """A finished answer that is no news leaves an active answer standing."""
    books = Books()
    books.observe(run())
    books.observe(run(), active=[active()])
    assert set(books.tracker.active) == {1}


def test_run_that_ended_before_the_lookback_is_never_counted() -> None:
    """Unless it was seen active."""
    progress = Progress(
        counted_from_ms=2_000_000, remembered_from_ms=2_000_000, first_poll_ms=0, last_good_poll_ms=0
    )
    books = Books(progress=progress)
    books.observe(run(1))
    assert not books.tracker.totals
    books.observe(active=[active(2)])
    books.observe(run(2), followed={2})
    assert books.results(RUNS) == {"SUCCESS": 1}


def test_memory_only_fills_the_gauges_from_before_its_start() -> None:
    """Such runs are remembered, so that a repair of one is seen, and not counted."""
    progress = Progress(counted_from_ms=1_200_000, remembered_from_ms=0, first_poll_ms=0, last_good_poll_ms=0)
    books = Books(progress=progress)
    books.observe(run(code="RUN_EXECUTION_ERROR"))
    assert not books.tracker.totals
    assert books.tracker.jobs["10"].last_run is not None
    books.answer(repaired((1_500_000, "SUCCESS")))
    assert books.results(REPAIRS) == {"SUCCESS": 1}
    assert books.results(RUNS) == {}


def test_last_run_is_the_one_that_ended_last() -> None:
    """Whatever the order in which runs are read; it carries its own target."""
    first = run(1, end_time=1_300_000, effective_performance_target="STANDARD")
    second = run(2, end_time=1_200_000)
    for order in ((first, second), (second, first)):
        books = Books()
        for item in order:
            books.observe(item)
        last = books.tracker.jobs["10"].last_run
        assert last is not None
        assert (last.run_id, last.target) == (1, "STANDARD")


def test_nothing_changes_before_changes_are_applied() -> None:
    """A commit that fails leaves memory as it was."""
    books = Books()
    books.observe(run(1), active=[active(5)])
    before = (dict(books.tracker.totals), dict(books.tracker.jobs), dict(books.tracker.active))
    rows = {key: totals.copy() for key, totals in books.tracker.totals.items()}
    everything = Observation(finished=[run(2)], active=[active(7)], followed={5}, answers={1: None})
    books.changes(everything)
    assert (books.tracker.totals, books.tracker.jobs, books.tracker.active) == before
    assert books.tracker.totals == rows


def test_tasks_can_be_left_out() -> None:
    """With collect.tasks off no task family counts, but a later repair still knows what it has seen."""
    books = Books(collect_tasks=False)
    books.observe(run(tasks=[task(1)]))
    assert books.results(TASK_RUNS) == {}
    assert list(books.settled[1].task_run_ids) == [1]


def test_active_gauges_vanish_with_their_runs() -> None:
    """They hold what is active now and nothing else."""
    books = Books()
    queued = active(2, state="QUEUED", start_time=500)
    queued.status.queue_details = Details("ACTIVE_RUNS_LIMIT_REACHED")  # type: ignore[union-attr]
    books.observe(active=[active(1), queued, active(3, state="QUEUED", start_time=900)])
    gauges = books.tracker.active_gauges(books.now)["10"]
    assert gauges.states == {"RUNNING": (1, 1_000_000), "QUEUED": (2, 500)}
    assert gauges.queue_reasons == {"ACTIVE_RUNS_LIMIT_REACHED": 1, "UNKNOWN": 1}
    books.observe(run(1), run(2), run(3), followed={1, 2, 3})
    assert books.tracker.active_gauges(books.now) == {}
