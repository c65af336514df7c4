"""A first poll of a slow workspace shows how far it is."""

import re

import pytest

from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import PENDING, assert_all_is_well, break_run
from tests.e2e.process import RUNS, Launcher, access, total, wait_for
from tests.faults import Fault, SimulatorServer, fault_of

PROGRESS = "databricks_exporter_first_poll_progress_ratio"
RUNS_OF_A_DAY = 3000


@pytest.mark.timeout(240)
async def test_a_slow_first_poll_shows_its_progress(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """The metric rises from 0 to 1 with steps between, and the log says how far, how many and how long."""
    job = workspace.add_job("job")
    begin = workspace.clock() - 23 * 3600
    for number in range(RUNS_OF_A_DAY):
        workspace.finished_run(job, start=begin + number * 27, duration=5)
    server.faults.add(Fault(delay=3, endpoint="runs/list"))
    exporter = await launch.spawn(env=access(server)).listening()
    seen = [total(await exporter.metrics(), PROGRESS)]

    async def ready() -> bool:
        seen.append(total(await exporter.metrics(), PROGRESS))
        return (await exporter.get("/-/ready"))[0] == 200

    await wait_for(ready, "it is ready", 120, pause=0.5)
    samples = await exporter.metrics()
    assert_all_is_well(samples)
    assert total(samples, RUNS) == RUNS_OF_A_DAY
    assert seen[0] == 0
    assert total(samples, PROGRESS) == 1
    assert seen == sorted(seen)
    lines = [line for line in exporter.log.splitlines() if "the past is being read" in line]
    assert lines
    # A bar that stands at 0 until all is done says nothing.
    assert len(set(seen)) > 3, seen
    assert all(re.search(r"percent=[1-9].* runs=[1-9].* seconds_left=[1-9]", line) for line in lines[1:]), (
        lines
    )


async def test_ready_does_not_wait_for_pending_runs(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Runs of more than a hundred tasks that never answer in a lookback keep it from nothing."""
    job = workspace.add_job("job")
    large = [workspace.finished_run(job, tasks=150, duration=60) for _ in range(30)]
    workspace.finished_run(job, duration=5)
    for run in large:
        break_run(server, run, fault_of("hang"))
    exporter = await launch.spawn("--poll.interval=1s", env=access(server)).listening()
    samples = await exporter.until_ready()
    assert total(samples, RUNS, job_id=str(job)) == 1
    assert_all_is_well(samples)
    samples = await exporter.until(lambda seen: total(seen, PENDING) == 30, "they are pending")
    assert total(samples, PROGRESS) == 1
