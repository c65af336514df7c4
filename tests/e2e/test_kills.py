"""Exactly once, whenever the process dies."""

import asyncio
import contextlib
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from exporter.simulator.runs import Run
from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.e2e import recount
from tests.e2e.process import BRISK, RUNS, Exporter, Launcher, Samples, access, total

KILLS = int(os.environ.get("RELIABILITY_KILLS", "10"))
# Far more than a life takes, on a busy machine too.
SECONDS_PER_KILL = 10
# Every other one is killed at some time after being told to start, the others after they listen.
UNBORN, UNBORN_SECONDS, LIFE_SECONDS = 2, 1.5, 0.9
ENDINGS = (
    "SUCCESS",
    "SUCCESS",
    "RUN_EXECUTION_ERROR",
    "USER_CANCELED",
    "TIMEDOUT",
    "MAX_CONCURRENT_RUNS_EXCEEDED",
)
REPAIRS = "databricks_job_run_repairs_total"


@dataclass
class Traffic:
    """Runs that start, finish and are repaired all the time.

    A run is repaired only once the exporter has counted it: which repairs count is then known.
    """

    workspace: Workspace
    random: random.Random
    active: list[Run] = field(default_factory=list)
    repaired: list[Run] = field(default_factory=list)
    finished_repairs: int = 0

    def __post_init__(self) -> None:
        self.jobs = [self.workspace.add_job(f"job {number}") for number in range(4)]
        self.repair_job = self.workspace.add_job("repaired")
        for _ in range(3):
            run = self.workspace.finished_run(
                self.repair_job, duration=30, tasks=2, code="RUN_EXECUTION_ERROR"
            )
            self.repaired.append(run)

    @contextlib.asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        task = asyncio.create_task(self._flow(), name="traffic")
        try:
            yield
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            self._finish_all()

    async def _flow(self) -> None:
        while True:
            self._start_or_finish()
            if self.random.random() < 0.2:
                self._repair()
            await asyncio.sleep(self.random.uniform(0.01, 0.06))

    def _start_or_finish(self) -> None:
        if len(self.active) < 20 or self.random.random() < 0.5:
            target = self.random.choice(["STANDARD", "PERFORMANCE_OPTIMIZED", None])
            job = self.random.choice(self.jobs)
            # Within the overlap of polls: what began before and ended in a gap is left to the sweep.
            start = self.workspace.clock() - self.random.uniform(1, 400)
            self.active.append(
                self.workspace.active_run(job, start=start, target=target, tasks=self.random.choice([1, 3]))
            )
        else:
            run = self.active.pop(self.random.randrange(len(self.active)))
            self.workspace.finish(run, self.random.choice(ENDINGS[:-1]))
        if self.random.random() < 0.1:
            self.workspace.finished_run(self.random.choice(self.jobs), code=ENDINGS[-1])

    def _repair(self) -> None:
        run = self.random.choice(self.repaired)
        if run.active_at(self.workspace.read()):
            self._finish_repair(run)
        else:
            self.workspace.repair(run)

    def _finish_all(self) -> None:
        for run in self.active:
            self.workspace.finish(run)
        for run in self.repaired:
            if run.active_at(self.workspace.read()):
                self._finish_repair(run)

    def _finish_repair(self, run: Run) -> None:
        self.workspace.finish_repair(run, "RUN_EXECUTION_ERROR")
        self.finished_repairs += 1


class Watch:
    """Every counter that any scrape has seen, and what it was."""

    def __init__(self) -> None:
        self.seen: Samples = {}
        self.scrapes = 0

    def scraped(self, samples: Samples) -> None:
        counters = {
            key: value
            for key, value in samples.items()
            if key[0].startswith(("databricks_job_run", "databricks_task_run"))
            and key[0].endswith(("_total", "_count", "_sum", "_bucket"))
        }
        # Before its first poll a process that died young has nothing to restore.
        fallen = {key for key, value in self.seen.items() if counters.get(key, 0) < value}
        assert not fallen, f"went down: {sorted((name, sorted(labels)) for name, labels in fallen)[:5]}"
        self.seen = counters
        self.scrapes += 1


async def live(exporter: Exporter, watch: Watch, seconds: float) -> None:
    """Scrape without a pause for so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            while True:
                watch.scraped(await exporter.metrics())


@pytest.mark.timeout(120 + KILLS * SECONDS_PER_KILL)
async def test_nothing_is_lost_or_counted_twice_over_kills(server: SimulatorServer, launch: Launcher) -> None:
    """After kills at random instants the totals are the truth, and no counter ever went down."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  to repeat a failure
    chance = random.Random(seed)
    workspace, watch = server.workspace, Watch()
    traffic = Traffic(workspace, chance)
    first = await launch.start(server)
    await first.until(lambda seen: total(seen, RUNS, job_id=str(traffic.repair_job)) == 3, "all counted")
    first.kill()
    async with traffic.flowing():
        for number in range(KILLS):
            exporter = launch.spawn(*BRISK, env=access(server))
            if number % UNBORN == 0:
                await asyncio.sleep(chance.uniform(0, UNBORN_SECONDS))
            else:
                await live(await exporter.listening(), watch, chance.uniform(0, LIFE_SECONDS))
            exporter.kill()
    last = await launch.start(server)
    watch.scraped(await last.metrics())
    await last.until_ready()
    samples = await last.polls()
    watch.scraped(samples)
    truth = workspace.truth()
    assert recount.counted_runs(samples) == recount.runs(truth)
    assert recount.counted_attempts(samples) == recount.attempts(truth)
    assert total(samples, REPAIRS) == traffic.finished_repairs
    simple = [run for run in truth if run.job_id != traffic.repair_job]
    measured = recount.counted_ms(samples)
    assert {key: measured[key] for key in recount.durations_ms(simple)} == recount.durations_ms(simple)
    assert watch.scrapes > KILLS / 2
    print(f"{KILLS} kills survived, {watch.scrapes} scrapes, {len(truth)} runs, each counted once")  # noqa: T201
    assert await last.terminate() == 0
