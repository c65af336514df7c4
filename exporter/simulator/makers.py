"""The work of a run from the few numbers that a test or a scenario cares about."""

from collections.abc import Callable
from dataclasses import replace
from typing import TypedDict

from exporter.simulator.changes import whole_seconds
from exporter.simulator.endings import is_skip
from exporter.simulator.runs import Attempt, Run


class Work(TypedDict, total=False):
    """How a run spends its time; durations in seconds.

    `tasks` is a number or the task keys; they run at the same time. The last of them fails `retries` times
    before its last attempt, which ends with the run's code. `setup` and `cleanup` are parts of every attempt.
    """

    tasks: int | list[str]
    retries: int
    setup: float
    cleanup: float


class Shape(Work, total=False):
    """What a run looks like: its work, and the fields of `Run` that are taken as they are."""

    run_name: str
    run_type: str
    trigger: str | None
    target: str | None
    termination_type: str | None
    queue_reason: str
    extra: dict[str, object]


def milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def task_keys(tasks: int | list[str]) -> list[str]:
    if not isinstance(tasks, int):
        return tasks
    return ["main"] if tasks == 1 else [f"task_{number:03d}" for number in range(tasks)]


def give_finished_work(run: Run, shape: Shape, new_id: Callable[[], int]) -> None:
    """Fill the run's life, from the end of its queue to its end, with the attempts that `shape` asks for."""
    _take_fields(run, shape)
    keys = task_keys(shape.get("tasks", 1))
    if is_skip(run.code):
        run.attempts = [Attempt(key, new_id(), None, code=run.code, target=run.target) for key in keys]
        return
    for key in keys:
        tries = 1 + (shape.get("retries", 0) if key == keys[-1] else 0)
        code = run.code if key == keys[-1] else "SUCCESS"
        run.attempts.extend(_tries(run, Attempt(key, 0, None, code=code, target=run.target), tries, shape))
    for attempt in run.attempts:
        attempt.run_id = new_id()


def _tries(run: Run, last: Attempt, tries: int, shape: Shape) -> list[Attempt]:
    """The attempts of one task in a row; all but the last fail."""
    begin_ms = run.start_ms + (run.queue_ms or 0)
    length_ms = max((run.end_ms or begin_ms) - begin_ms, 0)
    attempts = [
        replace(last, attempt_number=number, code="RUN_EXECUTION_ERROR" if number < tries - 1 else last.code)
        for number in range(tries)
    ]
    for number, attempt in enumerate(attempts):
        attempt.start_ms = begin_ms + length_ms * number // tries
        fill(attempt, length_ms // tries, shape)
    return attempts


def fill(attempt: Attempt, length_ms: int, work: Work) -> None:
    """Let the attempt last `length_ms`: setup and cleanup as asked for, execution for the rest."""
    whole = whole_seconds(length_ms)
    attempt.setup_ms = min(whole_seconds(milliseconds(work.get("setup", 0))), whole)
    attempt.cleanup_ms = min(whole_seconds(milliseconds(work.get("cleanup", 0))), whole - attempt.setup_ms)
    attempt.execution_ms = whole - attempt.setup_ms - attempt.cleanup_ms
    attempt.slack_ms = length_ms - whole


def give_active_work(run: Run, shape: Shape, new_id: Callable[[], int]) -> None:
    """Open-ended attempts, one per task and all at the same time; none has begun in a queue."""
    _take_fields(run, shape)
    run.attempts = [
        Attempt(
            task_key=key,
            run_id=new_id(),
            start_ms=None if run.held_state in {"QUEUED", "BLOCKED"} else run.start_ms,
            setup_ms=0 if run.held_state == "PENDING" else whole_seconds(milliseconds(shape.get("setup", 0))),
            execution_ms=None,
            target=run.target,
        )
        for key in task_keys(shape.get("tasks", 1))
    ]


def _take_fields(run: Run, shape: Shape) -> None:
    for name in Shape.__annotations__.keys() - Work.__annotations__.keys():
        if name in shape:
            setattr(run, name, shape[name])  # type: ignore[literal-required]
    if run.run_type == "SUBMIT_RUN":
        run.trigger = shape.get("trigger")  # nothing triggers a one-off run
