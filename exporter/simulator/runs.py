"""What a run is: its whole life as a timeline, from which any instant can be read.

All instants are epoch milliseconds, all durations milliseconds. Setup, execution and cleanup are whole
seconds, as in every answer of the real API; what flooring lost is `slack_ms`. A part that is None has no
end yet and lasts until someone says otherwise.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

ACTIVE_STATES = ("QUEUED", "PENDING", "BLOCKED", "RUNNING", "WAITING", "TERMINATING")


@dataclass(slots=True)
class Attempt:
    """One attempt of one task. `start_ms` None: it never started; `execution_ms` None: it does not end."""

    task_key: str
    run_id: int
    start_ms: int | None
    attempt_number: int = 0
    setup_ms: int = 0
    execution_ms: int | None = 0
    cleanup_ms: int = 0
    slack_ms: int = 0
    code: str = "SUCCESS"
    target: str | None = None

    @property
    def end_ms(self) -> int | None:
        if self.start_ms is None or self.execution_ms is None:
            return None
        return self.start_ms + self.setup_ms + self.execution_ms + self.cleanup_ms + self.slack_ms

    def state_at(self, now_ms: int) -> str:
        if self.start_ms is None or now_ms < self.start_ms:
            return "BLOCKED"
        if now_ms < self.start_ms + self.setup_ms:
            return "PENDING"
        if self.execution_ms is None or now_ms < self.start_ms + self.setup_ms + self.execution_ms:
            return "RUNNING"
        if now_ms < self.start_ms + self.setup_ms + self.execution_ms + self.cleanup_ms + self.slack_ms:
            return "TERMINATING"
        return "TERMINATED"


@dataclass(slots=True)
class Repair:
    """A later part of a finished run's life, in which some of its tasks run again."""

    id: int
    start_ms: int
    end_ms: int | None = None
    code: str = "SUCCESS"
    target: str | None = None
    task_run_ids: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Period:
    """A stretch in which the run was active: the original one (`repair_id` None), then one per repair."""

    start_ms: int
    end_ms: int | None
    code: str
    target: str | None
    repair_id: int | None = None

    def over_at(self, now_ms: int) -> bool:
        return self.end_ms is not None and self.end_ms <= now_ms


@dataclass(slots=True, eq=False)
class Run:
    """One run of a job.

    `end_ms` is the end of the original period (None: still running until told otherwise); repairs follow
    in `repairs`, their attempts in `attempts`. `queue_ms` None means it never queued, and the API then
    leaves the field out. `target` None is classic compute. `held_state` pins an active run to a state.
    `extra` fields are written into the JSON as they are.
    """

    run_id: int
    job_id: int
    start_ms: int
    end_ms: int | None = None
    run_name: str = "Untitled"
    code: str = "SUCCESS"
    termination_type: str | None = None
    run_type: str = "JOB_RUN"
    trigger: str | None = "PERIODIC"
    queue_ms: int | None = None
    queue_reason: str = "MAX_CONCURRENT_RUNS_REACHED"
    target: str | None = None
    attempts: list[Attempt] = field(default_factory=list)
    repairs: list[Repair] = field(default_factory=list)
    held_state: str | None = None
    extra: dict[str, object] = field(default_factory=dict)

    def periods(self, now_ms: int) -> list[Period]:
        """The periods that have begun by `now_ms`, oldest first; the original one is always there."""
        begun = [Period(self.start_ms, self.end_ms, self.code, self.target)]
        begun.extend(
            Period(repair.start_ms, repair.end_ms, repair.code, repair.target or self.target, repair.id)
            for repair in self.repairs
            if repair.start_ms <= now_ms
        )
        return begun

    @property
    def final_end_ms(self) -> int | None:
        """When nothing planned can change it any more; None while a part of it is open."""
        return self.repairs[-1].end_ms if self.repairs else self.end_ms

    def attempts_at(self, now_ms: int) -> Iterator[Attempt]:
        """The attempts that exist by `now_ms`: a retry or a repaired attempt is created when it starts."""
        for attempt in self.attempts:
            if attempt.attempt_number == 0 or attempt.start_ms is None or attempt.start_ms <= now_ms:
                yield attempt

    def active_at(self, now_ms: int) -> bool:
        return self.held_state is not None or not self.periods(now_ms)[-1].over_at(now_ms)

    def state_at(self, now_ms: int) -> str:
        """The word of `status.state`; TERMINATED is the only one that is not active."""
        if self.held_state is not None:
            return self.held_state
        period = self.periods(now_ms)[-1]
        if period.over_at(now_ms):
            return "TERMINATED"
        if period.repair_id is None and now_ms < self.start_ms + (self.queue_ms or 0):
            return "QUEUED"
        return self._working_state(period, now_ms)

    def _working_state(self, period: Period, now_ms: int) -> str:
        seen = {
            attempt.state_at(now_ms)
            for attempt in self.attempts
            if attempt.start_ms is not None and attempt.start_ms >= period.start_ms
        }
        if "RUNNING" in seen:
            return "RUNNING"
        begun = seen & {"TERMINATING", "TERMINATED"}
        if seen & {"PENDING", "BLOCKED"}:
            return "RUNNING" if begun else "PENDING"
        return "TERMINATING" if "TERMINATING" in begun else "RUNNING"

    def run_duration_ms(self, now_ms: int) -> int:
        """Active time so far of the original period and every repair; the idle gaps between do not count."""
        return sum(
            (now_ms if period.end_ms is None else min(period.end_ms, now_ms)) - period.start_ms
            for period in self.periods(now_ms)
        )
