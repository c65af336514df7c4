"""A workspace: what a test or a scenario puts in, and what the server's endpoints read.

Runs are changed through the methods here only, which keep lists and encoded bytes true. A run that starts
in the future is unknown to every reader until its start.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Unpack

from exporter.simulator import changes, makers, truth
from exporter.simulator.endings import is_skip
from exporter.simulator.ids import Ids
from exporter.simulator.runs import ACTIVE_STATES, Repair, Run
from exporter.simulator.store import Mutation, RunStore

RETENTION_SECONDS = 60 * 86400.0  # a real workspace forgets its job runs after 60 days


@dataclass(frozen=True, slots=True)
class Job:
    job_id: int
    name: str
    created_ms: int
    settings: dict[str, object] = field(default_factory=dict)


class Workspace:
    """`clock` gives epoch seconds.

    `missing_status` is what runs/get answers for a run that is not there: 400 or, like newer servers, 404.
    `api_versions` are those it knows: without 2.2 it is one that has not been upgraded.
    `feed`, where set, is called with the instant (epoch milliseconds) before every read.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        *,
        retention_seconds: float = RETENTION_SECONDS,
        encoded_runs: int = 200_000,
        first_run_id: int = 1,
    ) -> None:
        self.clock = clock
        self.runs = RunStore(encoded_runs)
        self.jobs: dict[int, Job] = {}
        self.missing_status = 400
        self.api_versions = {"2.1", "2.2"}
        self.feed: Callable[[int], None] | None = None
        self.new_id = Ids(first_run_id)
        self._new_job_id = Ids(70_000)
        self._retention_ms = round(retention_seconds * 1000)

    def read(self) -> int:
        """Bring the workspace up to the clock's instant and return it, in epoch milliseconds."""
        now_ms = self._now_ms()
        if self.feed is not None:
            self.feed(now_ms)
        self.runs.forget(now_ms - self._retention_ms, now_ms)
        return now_ms

    def _now_ms(self, at: float | None = None) -> int:
        return makers.milliseconds(self.clock() if at is None else at)

    def add_job(self, name: str, *, job_id: int | None = None, **settings: object) -> int:
        """Create a job; `settings` become fields of its settings (tags, max_concurrent_runs, ...)."""
        job_id = self._new_job_id() if job_id is None else job_id
        self.jobs[job_id] = Job(job_id, name, self._now_ms(), settings)
        return job_id

    def add_run(self, run: Run) -> Run:
        self.runs.add(run)
        return run

    def finished_run(
        self,
        job_id: int,
        *,
        start: float | None = None,
        duration: float = 60.0,
        queue: float | None = None,
        code: str = "SUCCESS",
        **shape: Unpack[makers.Shape],
    ) -> Run:
        """Add a run whose whole life is known: `duration` seconds, the `queue` included (None: never queued).

        It begins at epoch second `start`, by default such that it ends now. With a skip code it has no
        duration. `shape` says what it is made of: tasks, retries, setup, cleanup, target, run_type, ...
        """
        start_ms = self._now_ms(self.clock() - duration if start is None else start)
        run = Run(
            run_id=self.new_id(),
            job_id=job_id,
            start_ms=start_ms,
            end_ms=start_ms + (0 if is_skip(code) else makers.milliseconds(duration)),
            code=code,
            queue_ms=None if queue is None else makers.milliseconds(queue),
        )
        makers.give_finished_work(run, self._named(job_id, shape), self.new_id)
        return self.add_run(run)

    def active_run(
        self,
        job_id: int,
        *,
        start: float | None = None,
        state: str = "RUNNING",
        **shape: Unpack[makers.Shape],
    ) -> Run:
        """Add a run that stays in `state` until it is moved or finished; `start` None: it starts now."""
        _check_active(state)
        run = Run(run_id=self.new_id(), job_id=job_id, start_ms=self._now_ms(start), held_state=state)
        makers.give_active_work(run, self._named(job_id, shape), self.new_id)
        return self.add_run(run)

    def _named(self, job_id: int, shape: makers.Shape) -> makers.Shape:
        """A run bears the name that its job has when it starts."""
        if job_id in self.jobs:
            shape.setdefault("run_name", self.jobs[job_id].name)
        return shape

    def move(self, run: Run, state: str, *, at: float | None = None) -> None:
        """Put an active run into another active state, now or at epoch second `at`."""
        _check_active(state)
        changes.move(run, state, self._now_ms(at))
        self.runs.changed(run.run_id)

    def finish(self, run: Run, code: str = "SUCCESS", *, at: float | None = None) -> None:
        """End an active run, or the repair that is at work on it, now or at epoch second `at`."""
        changes.close(run, code, self._now_ms(at))
        self.runs.changed(run.run_id)

    def repair(self, run: Run, *, at: float | None = None, target: str | None = None) -> Repair:
        """Reopen a finished run: its failed tasks, or all where none failed, work until `finish_repair`."""
        at_ms = self._now_ms(at)
        if run.active_at(at_ms):
            raise ValueError(f"run {run.run_id} is still active: only a finished run can be repaired")
        repair = changes.reopen(run, at_ms, self.new_id, target)
        self.runs.changed(run.run_id)
        return repair

    def finish_repair(self, run: Run, code: str = "SUCCESS", *, at: float | None = None) -> None:
        if not run.repairs or run.repairs[-1].end_ms is not None:
            raise ValueError(f"run {run.run_id} has no repair at work")
        self.finish(run, code, at=at)

    def delete(self, run_id: int) -> None:
        """From now on no list has it and get says that it does not exist."""
        self.runs.remove(run_id)

    def hide(self, run_id: int) -> None:
        """Leave it out of every list while get still knows it: a run that is listed late."""
        self.runs.hide(run_id)

    def show(self, run_id: int) -> None:
        self.runs.show(run_id)

    def override(self, run_id: int, mutate: Mutation | None) -> None:
        """Let `mutate` change the run's JSON in place, or return anything to stand in for it; None: as it is.

        A `msgspec.Raw` inside is written byte for byte, for what no encoder would write.
        """
        self.runs.override(run_id, mutate)

    def truth(self) -> list[truth.FinishedRun]:
        """Every run that is finished now, in the order of being added; deleted ones are gone."""
        now_ms = self.read()
        accounts = (truth.finished(run, now_ms) for run in self.runs if run.start_ms <= now_ms)
        return [account for account in accounts if account is not None]


def _check_active(state: str) -> None:
    if state not in ACTIVE_STATES:
        raise ValueError(f"{state} is none of {', '.join(ACTIVE_STATES)}")
