"""A wait that the server asks for holds for the endpoint that asked, and for no other."""

from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import assert_all_is_well, break_run, counted, finish, long_runs, recent_run, start
from tests.e2e.process import Launcher
from tests.faults import Fault, SimulatorServer, error, throttled


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


async def test_one_run_that_asks_for_an_hour_holds_up_no_other(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """A 503 about one run, with Retry-After, is that run's alone: another vanished run is counted."""
    broken, good = long_runs(workspace, 2)
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    fault = error(503, "TEMPORARILY_UNAVAILABLE", "Try later.", retry_after="3600")
    break_run(server, broken, Fault(fault))
    finish(workspace, broken)
    await exporter.until(lambda _: server.requests.of("runs/get"), "the broken run was asked for")
    finish(workspace, good)
    assert_all_is_well(await exporter.until(lambda seen: counted(seen, good), "the good run is counted"))
