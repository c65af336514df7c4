"""Lists of thousands of runs, and slow ones: a poll is never given up because of its size."""

import pytest

from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import assert_all_is_well, counted, long_runs, recent_run, start
from tests.e2e.process import RUNS, Launcher, total
from tests.faults import Fault, SimulatorServer


async def test_a_run_without_a_start_hides_no_run_behind_it(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Where the last run of a page has no start time, the runs on later pages are counted with it."""
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    await exporter.polls()
    job = workspace.add_job("busy")
    begin = workspace.clock()
    runs = [workspace.finished_run(job, start=begin - 100 + number, duration=1) for number in range(60)]
    # One run that ended before comes first.
    workspace.override(runs[-24].run_id, lambda run: run.update(start_time=None))
    await exporter.until(lambda seen: total(seen, RUNS, job_id=str(job)), "some runs are counted")
    samples = await exporter.polls(2)
    assert_all_is_well(samples)
    assert total(samples, RUNS, job_id=str(job)) == 60


@pytest.mark.timeout(240)
@pytest.mark.parametrize("over_seconds", [600, 0])
async def test_thousands_of_active_runs_are_read_by_one_poll(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, over_seconds: int
) -> None:
    """However long the list is and however slow its pages are, the poll gets through to its end."""
    number_of_runs = 12_000 if over_seconds else 7_000
    job = workspace.add_job("queued")
    recent_run(workspace)
    exporter = await start(launch, server)
    begin = workspace.clock() - 2 * 3600
    for number in range(number_of_runs):
        workspace.active_run(job, start=begin + over_seconds * number / number_of_runs, state="QUEUED")
    server.faults.add(Fault(delay=0.15, endpoint="runs/list"))
    samples = await exporter.until(
        lambda seen: total(seen, "databricks_job_active_runs") == number_of_runs, "all are seen", 180
    )
    assert_all_is_well(samples)
    samples = await exporter.polls(1, seconds=120)
    assert_all_is_well(samples)
    assert total(samples, "databricks_job_active_runs") == number_of_runs


@pytest.mark.timeout(240)
async def test_a_run_of_a_thousand_attempts_with_slow_pages_holds_up_no_poll(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """While its pages are read, polls go on and another vanished run is counted; then it is counted too."""
    other, *_ = long_runs(workspace, 1)
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=2s")
    server.faults.add(Fault(delay=2, endpoint="runs/get"))
    large = workspace.finished_run(workspace.add_job("large"), tasks=1000, duration=300)
    await exporter.polls(2)
    workspace.finish(other)
    samples = await exporter.until(lambda seen: counted(seen, other) == 1, "the other one is counted")
    assert counted(samples, large) == 0
    samples = await exporter.until(lambda seen: counted(seen, large) == 1, "the large one is counted", 60)
    assert_all_is_well(samples)
    assert total(samples, "databricks_task_runs_total", job_id=str(large.job_id)) == 1000
