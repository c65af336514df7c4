"""One answer is no clock: whatever one `Date` says, totals stay and runs go on being counted."""

import pytest

from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import assert_all_is_well, counted, finish, long_runs, recent_run, start
from tests.e2e.process import Launcher, total
from tests.faults import Fault, SimulatorServer

DAYS = (20, 400, -400)
DAY = 86400.0
LOST = "databricks_exporter_runs_lost_total"


@pytest.mark.parametrize("days", DAYS)
async def test_one_wrong_date_at_the_first_poll_changes_nothing(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, days: float
) -> None:
    """Whichever of the first answers is wrong, what ended in the lookback and what ends later is counted."""
    for skip in (0, 1, 2, 3):
        launch.state = launch.folder / f"{skip}.db"
        job = workspace.add_job("job")
        recent = recent_run(workspace, job)
        hours_ago = workspace.finished_run(job, start=workspace.clock() - 20 * 3600, duration=60)
        (long,) = long_runs(workspace, 1)
        server.faults.add(Fault(clock_error=days * DAY, skip=skip, times=1))
        exporter = await start(launch, server, "--poll.interval=1s")
        assert counted(await exporter.metrics(), hours_ago) == 2
        await exporter.polls(3)
        recent_run(workspace, job)
        finish(workspace, long)
        await exporter.until(lambda seen, run=recent: counted(seen, run) == 3, "a later run is counted")  # type: ignore[misc]
        await exporter.until(lambda seen, run=long: counted(seen, run) == 1, "a pending one too")  # type: ignore[misc]
        exporter.kill()
        recent_run(workspace, job)
        exporter = await start(launch, server, "--poll.interval=1s")
        samples = await exporter.until(lambda seen, run=recent: counted(seen, run) == 4, "after a restart")  # type: ignore[misc]
        assert_all_is_well(samples)
        assert await exporter.terminate() == 0


@pytest.mark.parametrize("days", DAYS)
@pytest.mark.parametrize("endpoint", ["runs/list", "runs/get"])
async def test_one_wrong_date_later_drops_no_total(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, days: float, endpoint: str
) -> None:
    """A wrong `Date` drops nothing, in a running process and in the first answer to the next one."""
    job = workspace.add_job("job")
    run = recent_run(workspace, job)
    (long,) = long_runs(workspace, 1)
    exporter = await start(launch, server, "--poll.interval=1s")
    await exporter.polls(3)
    fault = server.faults.add(Fault(clock_error=days * DAY, endpoint=endpoint, times=1))
    finish(workspace, long)
    await exporter.until(lambda seen: counted(seen, long), "a pending run is counted")
    await exporter.polls(3)
    assert fault.hits == (0 if endpoint == "jobs/list" else 1)
    exporter.kill()
    server.faults.clear()
    fault = server.faults.add(Fault(clock_error=days * DAY, endpoint=endpoint, times=1))
    recent_run(workspace, job)
    exporter = await start(launch, server, "--poll.interval=1s")
    await exporter.until(lambda seen: counted(seen, run) == 2, "a later run is counted")
    samples = await exporter.polls(3)
    assert_all_is_well(samples)
    assert counted(samples, run) == 2
    assert counted(samples, long) == 1
    assert total(samples, LOST) == 0
