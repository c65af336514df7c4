"""What can happen to a run from outside while a test watches: start, end, repair."""

from collections.abc import Callable

from exporter.simulator.endings import ending_of_unstarted, is_stop, is_success
from exporter.simulator.runs import Attempt, Repair, Run

_WITHOUT_RESOURCES = ("QUEUED", "BLOCKED")


def whole_seconds(duration_ms: int) -> int:
    return duration_ms // 1000 * 1000


def move(run: Run, state: str, at_ms: int) -> None:
    """Hold the active run in another state: leaving the queue starts its tasks, RUNNING ends their setup."""
    before, run.held_state = run.held_state, state
    if before == "QUEUED" and state != "QUEUED":
        run.queue_ms = at_ms - run.start_ms
    if state in _WITHOUT_RESOURCES:
        return
    for attempt in run.attempts:
        if attempt.start_ms is None:
            attempt.start_ms = at_ms
        elif before == "PENDING" and state == "RUNNING" and attempt.end_ms is None:
            attempt.setup_ms = whole_seconds(at_ms - attempt.start_ms)


def close(run: Run, code: str, at_ms: int) -> None:
    """End the open period, original or repair, and with the same code every attempt still in work."""
    run.held_state = None
    for attempt in run.attempts:
        if attempt.start_ms is None or attempt.start_ms > at_ms:
            _leave_unstarted(attempt, code, in_repair=bool(run.repairs))
        elif attempt.end_ms is None or attempt.end_ms > at_ms:
            _cut(attempt, code, at_ms - attempt.start_ms)
    if run.repairs:
        run.repairs[-1].end_ms, run.repairs[-1].code = at_ms, code
    else:
        run.end_ms, run.code = at_ms, code


def _leave_unstarted(attempt: Attempt, code: str, *, in_repair: bool) -> None:
    if in_repair and attempt.start_ms is None:
        return  # it was left out of the original period, which has its word already
    attempt.start_ms, attempt.code = None, ending_of_unstarted(code)


def _cut(attempt: Attempt, code: str, lived_ms: int) -> None:
    whole = whole_seconds(lived_ms)
    attempt.code = code
    attempt.slack_ms = lived_ms - whole
    if whole >= attempt.setup_ms:
        attempt.execution_ms = whole - attempt.setup_ms
        attempt.cleanup_ms = 0
    else:
        # What is cancelled before its cluster is ready reports all of its time as cleanup.
        stopped = is_stop(code)
        attempt.setup_ms = 0 if stopped else whole
        attempt.execution_ms = 0
        attempt.cleanup_ms = whole if stopped else 0


def reopen(run: Run, at_ms: int, new_id: Callable[[], int], target: str | None = None) -> Repair:
    """Begin a repair: the tasks that did not succeed, or all where all did, get one more attempt each."""
    latest: dict[str, Attempt] = {}
    for attempt in run.attempts:
        if attempt.task_key not in latest or latest[attempt.task_key].attempt_number < attempt.attempt_number:
            latest[attempt.task_key] = attempt
    failed = [attempt for attempt in latest.values() if not is_success(attempt.code)]
    again = [
        Attempt(
            task_key=attempt.task_key,
            run_id=new_id(),
            start_ms=at_ms,
            attempt_number=attempt.attempt_number + 1,
            execution_ms=None,
            target=target or attempt.target,
        )
        for attempt in failed or latest.values()
    ]
    run.attempts.extend(again)
    repair = Repair(
        id=new_id(), start_ms=at_ms, target=target, task_run_ids=[attempt.run_id for attempt in again]
    )
    run.repairs.append(repair)
    return repair
