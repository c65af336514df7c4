"""The API's words and what they mean."""

import msgspec
import pytest

from exporter.databricks.models import Run
from exporter.runs import outcomes
from exporter.runs.outcomes import RESULTS
from tests.unit.runs.runs import active, run


def result(item: Run) -> str:
    """The result of a finished run."""
    return RESULTS[outcomes.result_slot(item)]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("SUCCESS", "SUCCESS"),
        ("SUCCESS_WITH_FAILURES", "SUCCESS_WITH_FAILURES"),
        ("USER_CANCELED", "CANCELED"),
        ("CANCELED", "CANCELED"),
        ("UPSTREAM_CANCELED", "CANCELED"),
        ("SKIPPED", "SKIPPED"),
        ("DISABLED", "SKIPPED"),
        ("EXCLUDED", "SKIPPED"),
        ("UPSTREAM_FAILED", "SKIPPED"),
        ("MAX_CONCURRENT_RUNS_EXCEEDED", "SKIPPED"),
        ("MAXIMUM_CONCURRENT_RUNS_REACHED", "SKIPPED"),
        ("MAX_JOB_QUEUE_SIZE_EXCEEDED", "SKIPPED"),
        ("RUN_EXECUTION_ERROR", "FAILED"),
        ("INTERNAL_ERROR", "FAILED"),
        ("A_WORD_OF_TOMORROW", "FAILED"),
    ],
)
def test_termination_code_decides(code: str, expected: str) -> None:
    """Every code has one result; an unknown code is a failure."""
    assert result(run(code=code)) == expected


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        ({"life_cycle_state": "TERMINATED", "result_state": "SUCCESS"}, "SUCCESS"),
        ({"life_cycle_state": "TERMINATED", "result_state": "FAILED"}, "FAILED"),
        ({"life_cycle_state": "SKIPPED"}, "SKIPPED"),
        ({"life_cycle_state": "SKIPPED", "result_state": "FAILED"}, "SKIPPED"),
        ({"life_cycle_state": "INTERNAL_ERROR"}, "FAILED"),
        ({"life_cycle_state": "INTERNAL_ERROR", "result_state": "FAILED"}, "FAILED"),
        ({"life_cycle_state": "TERMINATED"}, "UNKNOWN"),
        ({}, "UNKNOWN"),
    ],
)
def test_old_state_speaks_where_status_is_silent(state: dict[str, str], expected: str) -> None:
    """Payloads without `status` are read by the deprecated `state`."""
    assert result(run(code=None, state=state)) == expected


def test_only_the_old_state_has_a_timeout() -> None:
    """The termination code of a timeout is CANCELED."""
    assert result(run(code="CANCELED", state={"result_state": "TIMEDOUT"})) == "TIMEDOUT"


@pytest.mark.parametrize("details", ["a text", 5, [], None, {"code": 7}, {"code": ""}])
def test_strange_termination_details_are_no_details(details: object) -> None:
    """What is no object with a word in it says nothing."""
    item = run(code=None, status={"state": "TERMINATED", "termination_details": details})
    assert result(item) == "UNKNOWN"
    assert outcomes.termination(item) == ("UNKNOWN", "UNKNOWN")


@pytest.mark.parametrize("state", ["QUEUED", "PENDING", "BLOCKED", "RUNNING", "WAITING", "TERMINATING"])
def test_known_active_state_is_not_finished(state: str) -> None:
    """An active state holds whatever `end_time` says."""
    assert not outcomes.is_finished(active(state=state, end_time=5))
    assert outcomes.active_state(active(state=state)) == state


@pytest.mark.parametrize("end_time", [0, None, 1_100_000])
def test_terminated_is_finished(end_time: int | None) -> None:
    """TERMINATED is the only terminal state of `status`."""
    assert outcomes.is_finished(run(end_time=end_time))


@pytest.mark.parametrize(("end_time", "finished"), [(0, False), (None, False), (7, True)])
def test_unknown_state_is_finished_once_it_has_an_end(end_time: int | None, *, finished: bool) -> None:
    """A state of tomorrow, or none at all, is judged by the end of the run."""
    assert outcomes.is_finished(active(state="HIBERNATING", end_time=end_time)) is finished
    assert outcomes.is_finished(msgspec.structs.replace(active(end_time=end_time), status=None)) is finished


def test_old_waiting_for_retry_is_waiting() -> None:
    """Two words for one state are one state."""
    item = msgspec.convert(
        {"run_id": 1, "job_id": 1, "state": {"life_cycle_state": "WAITING_FOR_RETRY"}, "end_time": 0}, Run
    )
    assert outcomes.active_state(item) == "WAITING"
    assert not outcomes.is_finished(item)
