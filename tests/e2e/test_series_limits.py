"""The series budget and idle jobs, with the real process; the clocks are moved, not waited for."""

import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.e2e.process import BRISK, RUNS, Launcher, Samples, access, total

LIMITED = "databricks_exporter_limited_jobs"
SERIES = "databricks_exporter_series"
INFO = "databricks_job_info"
LIMITS = ("--limits.series=1000", "--limits.idle=2h")
JOBS = 12
HOUR = 3600.0


# Imported by the exporter's process before anything else: its own clock moves with the workspace's.
MOVED = """
import os, time
from pathlib import Path

file, usual = Path(os.environ["CLOCK_AHEAD"]), time.time
time.time = lambda: usual() + float(file.read_text())
"""


class Clock:
    """The time for the workspace and the exporter, and as much later as a test says."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "ahead"
        (folder / "sitecustomize.py").write_text(MOVED)
        self.env = {"PYTHONPATH": str(folder), "CLOCK_AHEAD": str(self._file)}
        self.move(0.0)

    def move(self, ahead: float) -> None:
        self.ahead = ahead
        moved = self._file.with_suffix(".new")
        moved.write_text(str(ahead))
        moved.replace(self._file)

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def clock(tmp_path: Path) -> Clock:
    return Clock(tmp_path)


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[SimulatorServer]:
    async with SimulatorServer(Workspace(clock)) as running:
        yield running


def by_job(samples: Samples, name: str) -> Counter[str]:
    """The values of a family by job, zeros left out."""
    counts: Counter[str] = Counter()
    for (sample, labels), value in samples.items():
        if sample == name and value:
            counts[dict(labels)["job_id"]] += int(value)
    return counts


async def test_jobs_beyond_the_budget_are_counted_together_also_after_a_restart(
    server: SimulatorServer, launch: Launcher
) -> None:
    """One warning and a gauge say so, and only jobs with series of their own have a name."""
    workspace = server.workspace
    jobs = [workspace.add_job(f"job {i}") for i in range(JOBS)]
    for job in jobs:
        workspace.finished_run(job, start=workspace.clock() - 600)
    exporter = await launch.start(server, *LIMITS)
    await exporter.until_ready()
    samples = await exporter.polls()
    counts = by_job(samples, RUNS)
    own = counts.keys() - {"OTHER"}
    assert counts.total() == JOBS
    assert 3 <= len(own) < JOBS
    assert total(samples, SERIES) <= 1000
    assert total(samples, LIMITED) == JOBS - len(own)
    assert by_job(samples, INFO).keys() == own
    assert exporter.log.count("series budget is used up") == 1
    assert await exporter.terminate() == 0

    again = await launch.start(server, *LIMITS)
    for job in jobs:
        workspace.finished_run(job, start=workspace.clock() - 60, duration=30)
    await again.until(lambda seen: total(seen, RUNS) == 2 * JOBS, "everything ran once more")
    samples = await again.polls()
    assert by_job(samples, RUNS) == dict.fromkeys(own, 2) | {"OTHER": 2 * (JOBS - len(own))}
    assert total(samples, LIMITED) == JOBS - len(own)


async def test_idle_jobs_make_room_and_are_never_counted_again(
    server: SimulatorServer, launch: Launcher, clock: Clock
) -> None:
    """A job that goes on keeps its series; one that was limited has its own then, from 0 when seen active."""
    workspace = server.workspace
    jobs = [workspace.add_job(f"job {i}") for i in range(JOBS)]
    for job in jobs:
        workspace.finished_run(job, start=clock() - 600)
    exporter = await launch.spawn(*LIMITS, *BRISK, env=access(server) | clock.env).listening()
    await exporter.until_ready()
    own = by_job(await exporter.polls(), RUNS).keys() - {"OTHER"}
    kept = next(iter(own))
    limited = next(str(job) for job in jobs if str(job) not in own)
    long = workspace.active_run(int(kept))
    await exporter.polls()

    clock.move(3 * HOUR)
    samples = await exporter.until(lambda seen: by_job(seen, RUNS).keys() == {kept}, "idle jobs are gone")
    assert by_job(samples, RUNS) == {kept: 1}
    await exporter.until(lambda seen: not total(seen, LIMITED), "nothing is limited")
    workspace.finish(long)
    back = workspace.active_run(int(limited))
    samples = await exporter.until(
        lambda seen: total(seen, "databricks_job_active_runs", job_id=limited), "back"
    )
    zeros = [value for (name, labels), value in samples.items()
             if name == RUNS and ("job_id", limited) in labels]  # fmt: skip
    assert zeros == [0, 0, 0, 0]
    workspace.finish(back, "RUN_EXECUTION_ERROR")
    await exporter.until(lambda seen: by_job(seen, RUNS) == {kept: 2, limited: 1}, "both are counted")
    exporter.kill()

    restarted = await launch.spawn(*LIMITS, *BRISK, env=access(server) | clock.env).listening()
    await restarted.until_ready()
    assert by_job(await restarted.polls(), RUNS) == {kept: 2, limited: 1}
