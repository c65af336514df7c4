"""What really finished, told without the API's words in between, so that a test can recount it."""

from dataclasses import dataclass

from exporter.simulator.endings import ending
from exporter.simulator.runs import Attempt, Run


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """One task attempt of a finished run; `phases_ms` is setup, execution, cleanup."""

    run_id: int
    task_key: str
    attempt_number: int
    code: str
    target: str | None
    phases_ms: tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """One run that is finished now. `repairs` holds the end and the code of every finished repair."""

    run_id: int
    job_id: int
    run_type: str
    target: str | None
    code: str
    result_state: str | None
    end_ms: int
    run_duration_ms: int
    queue_ms: int | None
    attempts: tuple[FinishedAttempt, ...]
    repairs: tuple[tuple[int, str], ...]

    @property
    def highest_attempt(self) -> int:
        """Counted from 1, as a human does; 1 also for a run without tasks."""
        return 1 + max((attempt.attempt_number for attempt in self.attempts), default=0)


def finished(run: Run, now_ms: int) -> FinishedRun | None:
    """The account of the run, or None while it is active: also while a repair is at work."""
    original, *repairs = run.periods(now_ms)
    last = repairs[-1] if repairs else original
    if run.active_at(now_ms) or last.end_ms is None:
        return None
    return FinishedRun(
        run_id=run.run_id,
        job_id=run.job_id,
        run_type=run.run_type,
        target=last.target,
        code=ending(last.code).code,
        result_state=ending(last.code).result_state,
        end_ms=last.end_ms,
        run_duration_ms=run.run_duration_ms(now_ms),
        queue_ms=run.queue_ms,
        attempts=tuple(_finished_attempt(attempt) for attempt in run.attempts_at(now_ms)),
        repairs=tuple((repair.end_ms or 0, ending(repair.code).code) for repair in repairs),
    )


def _finished_attempt(attempt: Attempt) -> FinishedAttempt:
    started = attempt.start_ms is not None
    phases = (attempt.setup_ms, attempt.execution_ms or 0, attempt.cleanup_ms)
    return FinishedAttempt(
        run_id=attempt.run_id,
        task_key=attempt.task_key,
        attempt_number=attempt.attempt_number,
        code=ending(attempt.code).code,
        target=attempt.target,
        phases_ms=phases if started else (0, 0, 0),
    )
