"""What a restart must and must not change."""

import time

from exporter.simulator.server import SimulatorServer
from tests.e2e import recount
from tests.e2e.process import RUNS, Launcher, total

ACTIVE = "databricks_job_active_runs"
LOST = "databricks_exporter_runs_lost_total"
PENDING = "databricks_exporter_pending_runs"
LAST_ID = "databricks_job_last_run_id"


async def test_a_run_that_outlives_the_exporter_is_counted_once(
    server: SimulatorServer, launch: Launcher
) -> None:
    """A run that lasts across a restart, and one that ended meanwhile, are counted once; totals continue."""
    workspace = server.workspace
    job = workspace.add_job("nightly")
    workspace.finished_run(job, duration=100)
    long, ended = (workspace.active_run(job, start=time.time() - 3000) for _ in range(2))
    first = await launch.start(server)
    await first.until_ready()
    assert await first.terminate() == 0
    workspace.finish(ended, "RUN_EXECUTION_ERROR")
    second = await launch.start(server)
    restored = await second.metrics()
    assert total(restored, RUNS, result="SUCCESS") == 1
    await second.until(lambda seen: total(seen, RUNS, result="FAILED") == 1, "the ended one is counted")
    workspace.finish(long)
    await second.until(lambda seen: total(seen, RUNS, result="SUCCESS") == 2, "the long one is counted")
    samples = await second.polls()
    assert recount.counted_runs(samples) == recount.runs(workspace.truth())
    assert recount.counted_ms(samples) == recount.durations_ms(workspace.truth())
    assert total(samples, LOST) == 0


async def test_a_run_that_is_deleted_while_the_exporter_is_down_waits_before_it_is_lost(
    server: SimulatorServer, launch: Launcher
) -> None:
    """One answer that it does not exist may be wrong: it leaves the active gauges, and is pending."""
    workspace = server.workspace
    run = workspace.active_run(workspace.add_job("nightly"))
    first = await launch.start(server)
    assert total(await first.until_ready(), ACTIVE) == 1
    first.kill()
    workspace.delete(run.run_id)
    second = await launch.start(server)
    await second.until_ready()
    samples = await second.polls()
    assert (total(samples, LOST), total(samples, ACTIVE), total(samples, RUNS)) == (0, 0, 0)
    assert total(samples, PENDING, reason="vanished") == 1


async def test_without_lookback_only_what_ends_from_now_on_counts(
    server: SimulatorServer, launch: Launcher
) -> None:
    """With a lookback of 0s runs that ended before the first poll are not counted, those after are."""
    workspace = server.workspace
    job = workspace.add_job("nightly")
    workspace.finished_run(job, start=time.time() - 200, duration=100)
    live = workspace.active_run(job, start=time.time() - 100)
    exporter = await launch.start(server, "--poll.lookback=0s")
    await exporter.until_ready()
    assert total(await exporter.polls(), RUNS) == 0
    workspace.finish(live, "RUN_EXECUTION_ERROR")
    await exporter.until(lambda seen: total(seen, RUNS), "the live one is counted")
    samples = await exporter.polls()
    assert total(samples, RUNS) == total(samples, RUNS, result="FAILED") == 1


async def test_a_restart_without_a_state_file_counts_nothing_twice(
    server: SimulatorServer, launch: Launcher
) -> None:
    """In memory only, what ended before the start fills the last-run gauges and no counter."""
    workspace = server.workspace
    job = workspace.add_job("nightly")
    live = workspace.active_run(job, start=time.time() - 100)
    first = await launch.start(server, "--state.path=")
    await first.until_ready()
    workspace.finish(live, at=time.time() - 3)
    samples = await first.until(lambda seen: total(seen, RUNS), "counted by the first process")
    assert total(samples, RUNS) == 1
    assert await first.terminate() == 0
    second = await launch.start(server, "--state.path=")
    await second.until_ready()
    samples = await second.polls()
    assert total(samples, RUNS) == 0
    assert total(samples, LAST_ID, job_id=str(job)) == live.run_id
    assert total(samples, "databricks_job_last_run_success") == 1
    assert not launch.state.exists()
