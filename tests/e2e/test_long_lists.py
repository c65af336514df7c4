"""Lists of thousands of runs, and slow ones: a poll is never given up because of its size."""

from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import assert_all_is_well, recent_run, start
from tests.e2e.process import RUNS, Launcher, total


async def test_a_run_without_a_start_hides_no_run_behind_it(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Where the last run of a page has no start time, the runs on later pages are counted by the same poll."""
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
