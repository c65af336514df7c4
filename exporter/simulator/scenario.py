"""The demo's workspace: a day of history, and a future that happens by itself as the clock moves.

Runs are drawn job by job from seeded generators and merged by start, lazily: at any time exactly one run
per job has been drawn that nobody can see yet. The same seed and the same first instant give the same runs.
"""

import heapq
import random
import time
from collections.abc import Callable, Iterator

from exporter.simulator.changes import close, reopen
from exporter.simulator.demo_jobs import DEMO_JOBS, FAST, DemoJob
from exporter.simulator.makers import Work, fill
from exporter.simulator.runs import Attempt, Run
from exporter.simulator.workspace import Workspace

HISTORY_SECONDS = 86400.0
# Long enough for every window that an exporter reads, short enough for a demo that runs for weeks.
DEMO_RETENTION_SECONDS = 26 * 3600.0
# A quiet day fills the history with some thousands of runs. Whoever watches should see more than one run
# a minute end, so from shortly before the start everything happens this many times as often.
RUSH = 6
RUSH_LEAD_SECONDS = 900.0
# What is left of the wait for compute when a job that runs at both targets is PERFORMANCE_OPTIMIZED.
_FAST_SETUP = 0.15
_KEPT_ENCODED = 2000
_LIMIT_REACHED = "ACTIVE_RUNS_LIMIT_REACHED"


def demo_workspace(clock: Callable[[], float] = time.time, *, seed: int = 1) -> Workspace:
    """A workspace of about thirty jobs that lives on as `clock` (epoch seconds) moves."""
    now = clock()
    # The run ids of two demos must differ, or an exporter that remembers the first ignores the second.
    workspace = Workspace(
        clock,
        retention_seconds=DEMO_RETENTION_SECONDS,
        encoded_runs=_KEPT_ENCODED,
        first_run_id=int(now) * 100_000,
    )
    scenario = _Scenario(workspace, now, seed)
    workspace.feed = scenario.extend
    workspace.active_run(
        workspace.add_job("stuck-in-queue"), start=now - 3 * 3600, state="QUEUED", queue_reason=_LIMIT_REACHED
    )
    return workspace


class _Scenario:
    """Moves drawn runs into the workspace once they have started."""

    def __init__(self, workspace: Workspace, now: float, seed: int) -> None:
        self._workspace = workspace
        streams = [_Stream(job, workspace, now, seed).runs() for job in DEMO_JOBS]
        self._upcoming = heapq.merge(*streams, key=lambda run: run.start_ms)
        self._next = next(self._upcoming)

    def extend(self, now_ms: int) -> None:
        while self._next.start_ms <= now_ms:
            self._workspace.add_run(self._next)
            self._next = next(self._upcoming)


class _Stream:
    """The endless runs of one job, in the order of their start."""

    def __init__(self, job: DemoJob, workspace: Workspace, now: float, seed: int) -> None:
        self._job = job
        self._new_id = workspace.new_id
        self._random = random.Random(f"{seed}/{job.name}")
        self._start = now - HISTORY_SECONDS
        self._rush_from = now - RUSH_LEAD_SECONDS
        self._busy_until_ms = 0
        self._job_id = None
        if job.run_type == "JOB_RUN":
            concurrency = 1000 if job.overlap == "allow" else 1
            self._job_id = workspace.add_job(job.name, tags=job.tags, max_concurrent_runs=concurrency)

    def runs(self) -> Iterator[Run]:
        while True:
            for target in self._job.targets:
                pace = RUSH if self._start >= self._rush_from else 1
                self._start += self._job.every / pace * self._random.uniform(0.5, 1.5)
                run = self._run(round(self._start * 1000), target)
                self._busy_until_ms = max(self._busy_until_ms, run.end_ms or 0)
                yield run

    def _run(self, start_ms: int, target: str | None) -> Run:
        job = self._job
        run_id = self._new_id()
        run = Run(
            run_id=run_id,
            job_id=self._new_id() if self._job_id is None else self._job_id,
            start_ms=start_ms,
            run_name=job.name,
            run_type=job.run_type,
            trigger=job.trigger,
            target=target,
        )
        if job.overlap == "skip" and start_ms < self._busy_until_ms:
            run.end_ms, run.code = start_ms, "MAX_CONCURRENT_RUNS_EXCEEDED"
            run.attempts = [Attempt("main", self._new_id(), None, code=run.code, target=target)]
            return run
        self._queue(run)
        self._work(run)
        self._end(run)
        return run

    def _queue(self, run: Run) -> None:
        if self._job.overlap == "queue" and run.start_ms < self._busy_until_ms:
            run.queue_ms = self._busy_until_ms - run.start_ms
        elif self._random.random() < 0.1:
            run.queue_ms, run.queue_reason = self._random.randrange(500, 20_000), _LIMIT_REACHED

    def _work(self, run: Run) -> None:
        """Tasks in up to three waves, one after the other; only the first has to wait for its compute."""
        at_ms = run.start_ms + (run.queue_ms or 0) + 30
        setup = self._job.setup * self._random.uniform(0.6, 1.4)
        if len(self._job.targets) > 1 and run.target == FAST:
            setup *= _FAST_SETUP
        for number, wave in enumerate(_waves(self._job.tasks)):
            length_ms = self._length_ms(len(_waves(self._job.tasks)))
            work: Work = {"setup": setup if number == 0 else 0, "cleanup": self._random.choice((0, 0, 1))}
            length_ms += round(setup * 1000) if number == 0 else 0
            for key in wave:
                self._attempts(run, key, at_ms, length_ms, work)
            at_ms += length_ms + 200
        if self._job.classic_last_task:
            run.attempts[-1].target = None
        run.end_ms = at_ms + 150

    def _length_ms(self, waves: int) -> int:
        return round(self._job.seconds / waves * self._random.lognormvariate(0, 0.35) * 1000)

    def _attempts(self, run: Run, key: str, at_ms: int, length_ms: int, work: Work) -> None:
        failures = self._random.choice((1, 1, 2)) if self._random.random() < self._job.retry else 0
        part_ms = length_ms // (failures + 1)
        for number in range(failures + 1):
            attempt = Attempt(key, self._new_id(), at_ms + part_ms * number, number, target=run.target)
            fill(attempt, part_ms, work if number == 0 else {})
            attempt.code = "SUCCESS" if number == failures else "RUN_EXECUTION_ERROR"
            run.attempts.append(attempt)

    def _end(self, run: Run) -> None:
        """Let chance cut the run short, and perhaps somebody repair it some minutes later."""
        planned_end_ms = run.end_ms or run.start_ms
        dice = self._random.random()
        for code, chance in self._job.endings.items():
            dice -= chance
            if dice < 0:
                self._cut(run, code, planned_end_ms)
                return

    def _cut(self, run: Run, code: str, planned_end_ms: int) -> None:
        if code == "SUCCESS_WITH_FAILURES":
            run.code, run.attempts[-1].code = code, "RUN_EXECUTION_ERROR"
            return
        begun_ms = run.start_ms + (run.queue_ms or 0)
        life_ms = planned_end_ms - begun_ms
        close(run, code, begun_ms + round(life_ms * self._random.uniform(0.3, 0.98)))
        if run.end_ms is not None and self._random.random() < self._job.repair:
            self._repair(run, run.end_ms + self._random.randrange(60_000, 600_000), life_ms)

    def _repair(self, run: Run, at_ms: int, life_ms: int) -> None:
        repair = reopen(run, at_ms, self._new_id)
        length_ms = max(life_ms // 2, 2000)
        for attempt in run.attempts:
            if attempt.run_id in repair.task_run_ids:
                fill(attempt, length_ms, {})
        repair.end_ms = at_ms + length_ms + 250


def _waves(tasks: int) -> list[list[str]]:
    """The task keys of one run: the first alone, all in the middle together, the last alone."""
    if tasks == 1:
        return [["main"]]
    middle = [f"transform_{number:03d}" for number in range(tasks - 2)]
    return [["extract"], *([middle] if middle else []), ["publish"]]
