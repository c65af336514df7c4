"""A wait that the server asks for holds for the endpoint that asked, and for no other."""

from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import assert_all_is_well, counted, finish, long_runs, recent_run, start
from tests.e2e.process import Launcher
from tests.faults import Fault, SimulatorServer, throttled


async def test_throttled_job_names_hold_up_no_poll(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """With jobs/list throttled for 90 s at a time polls and pending runs go on, and the wait is kept."""
    (long,) = long_runs(workspace, 1)
    server.faults.add(Fault(throttled(90), endpoint="jobs/list"))
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    await exporter.polls(5)
    finish(workspace, long)
    await exporter.until(lambda seen: counted(seen, long), "a pending run is counted")
    samples = await exporter.polls(15)
    assert_all_is_well(samples)
    assert len(server.requests.of("jobs/list")) == 1


async def test_throttled_pending_runs_hold_up_no_poll(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """With runs/get throttled for 90 s polls go on."""
    (long,) = long_runs(workspace, 1)
    server.faults.add(Fault(throttled(90), endpoint="runs/get"))
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    finish(workspace, long)
    samples = await exporter.polls(15)
    assert_all_is_well(samples)
    assert len(server.requests.of("runs/get")) == 1
