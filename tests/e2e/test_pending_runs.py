"""One run's fault is that run's alone: real process, real HTTP, the settings that it is shipped with."""

import asyncio
import random

import pytest

from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import (
    LONG_SECONDS,
    PENDING,
    assert_all_is_well,
    break_run,
    counted,
    finish,
    good_polls,
    long_runs,
    recent_run,
    start,
)
from tests.e2e.process import RUNS, Exporter, Launcher, Samples, access, total, wait_for
from tests.faults import FAULTS, Fault, SimulatorServer, error, fault_of

CANNOT_BE_READ = "a run can't be read yet"
JOBS = 20
INTERVAL_SECONDS = 3
# Good answers for a client that knows HTTP: only a list suffers from them.
HARMLESS = {
    "wrong content type",
    "page out of order",
    "page twice",
    "date a year ahead",
    "date a year back",
    "slow",
}


def lines_about(exporter: Exporter, run: Run) -> list[str]:
    return [
        line
        for line in exporter.log.splitlines()
        if CANNOT_BE_READ in line and f"run={run.run_id} " in line + " "
    ]


async def all_counted(exporter: Exporter, runs: list[Run], seconds: float) -> Samples:
    """The first scrape in which each of these runs, of a job of its own, is counted."""
    return await exporter.until(
        lambda seen: all(counted(seen, run) for run in runs), "every run is counted", seconds
    )


async def counted_within_two_intervals(
    exporter: Exporter, runs: list[Run], before: Samples, seconds: float
) -> None:
    """Wait until each of these runs is counted, at the latest by the second poll that begins after now."""

    def is_counted(seen: Samples) -> bool:
        return all(counted(seen, run) == counted(before, run) + 1 for run in runs)

    seen = await exporter.until(is_counted, "the good runs are counted", seconds)
    assert_all_is_well(seen)
    # The one under way, and two more.
    assert good_polls(seen) <= good_polls(before) + 3


@pytest.mark.timeout(400)
async def test_every_kind_of_fault_of_one_run_is_that_runs_alone(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Of each kind a run that answers so for ever: polls, sweeps, readiness and other runs go on as ever."""
    jobs = [workspace.add_job(f"good {number}") for number in range(JOBS)]
    broken = long_runs(workspace, len(FAULTS))
    recent_run(workspace)
    exporter = await start(
        launch,
        server,
        f"--poll.interval={INTERVAL_SECONDS}s",
        f"--poll.sweep-interval={2 * INTERVAL_SECONDS}s",
    )
    for run, make in zip(broken, FAULTS.values(), strict=True):
        break_run(server, run, make())
    finish(workspace, *broken)
    late = recent_run(workspace, workspace.add_job("listed late"))
    workspace.hide(late.run_id)
    for number in range(8):
        before = await exporter.metrics()
        runs = [recent_run(workspace, job) for job in jobs]
        await counted_within_two_intervals(exporter, runs, before, seconds=45)
        assert (await exporter.get("/-/ready"))[0] == 200
        assert (await exporter.get("/-/healthy"))[0] == 200
        if number == 4:
            workspace.show(late.run_id)
    assert_all_is_well(await all_counted(exporter, [late], seconds=60))

    async def each_was_asked_for() -> bool:
        asked = {request.query.get("run_id") for request in server.requests.of("runs/get")}
        return all(str(run.run_id) in asked for run in broken)

    await wait_for(each_was_asked_for, "every broken run was asked for", 120, pause=0.5)
    await asyncio.sleep(8)  # the last of them time out
    samples = await exporter.metrics()
    waiting = [run for run in broken if not counted(samples, run)]
    assert {len(lines_about(exporter, run)) for run in waiting} == {1}
    kinds = dict(zip((run.run_id for run in broken), FAULTS, strict=True))
    passed = {kinds[run.run_id] for run in broken if counted(samples, run)}
    assert passed >= HARMLESS
    assert total(samples, PENDING) == len(waiting)
    assert total(samples, "databricks_exporter_runs_lost_total") == 0
    print(f"{len(waiting)} kinds kept their run waiting; not: {sorted(passed)}")  # noqa: T201
    # The back-off is minutes long by now; a restart asks for all of them at once.
    assert await exporter.terminate() == 0
    server.faults.clear()
    exporter = await start(launch, server, f"--poll.interval={INTERVAL_SECONDS}s")
    samples = await all_counted(exporter, broken, seconds=90)
    assert all(counted(samples, run) == 1 for run in broken)
    await exporter.until(lambda seen: total(seen, PENDING) == 0, "nothing is pending")


async def test_a_run_is_counted_without_a_restart_once_its_fault_ends(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Runs of several kinds of fault are counted after the first back-off of half a minute."""
    kinds = ("status 403", "internal error", "hang", "truncated", "permission denied", "bad page token")
    broken = long_runs(workspace, len(kinds))
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    faults = [break_run(server, run, fault_of(kind)) for run, kind in zip(broken, kinds, strict=True)]
    finish(workspace, *broken)

    async def all_logged() -> bool:
        return all(lines_about(exporter, run) for run in broken)

    await wait_for(all_logged, "every broken run is in the log")
    assert all(fault.hits == 1 for fault in faults)
    server.faults.clear()
    assert_all_is_well(await all_counted(exporter, broken, seconds=60))
    await exporter.until(lambda seen: total(seen, PENDING) == 0, "nothing is pending")


@pytest.mark.timeout(400)
async def test_sixty_runs_that_hang_hold_up_no_later_one(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Runs that vanish from the lists beside sixty that never answer are counted within two intervals."""
    hanging = long_runs(workspace, 60)
    later = long_runs(workspace, 40)
    recent_run(workspace)
    exporter = await start(launch, server)
    for run in hanging:
        break_run(server, run, fault_of("hang"))
    finish(workspace, *hanging)
    await exporter.until(lambda seen: total(seen, PENDING) >= 60, "they are pending")
    for _ in range(4):
        before = await exporter.metrics()
        vanishing, later = later[:10], later[10:]
        finish(workspace, *vanishing)
        await counted_within_two_intervals(exporter, vanishing, before, seconds=75)
    samples = await exporter.metrics()
    assert total(samples, PENDING) == 60
    assert {len(lines_about(exporter, run)) for run in hanging} == {1}


@pytest.mark.parametrize("answer", [500, 403])
async def test_a_pending_run_survives_a_kill(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, answer: int
) -> None:
    """A run that could not be read when the process was killed is counted once by the next process."""
    (run,) = long_runs(workspace, 1)
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    break_run(server, run, Fault(error(answer, "SOME_ERROR", "for this run")))
    finish(workspace, run)
    await exporter.until(lambda seen: total(seen, PENDING) == 1, "it is pending")
    exporter.kill()
    # Nothing but the state knows of it: the list of the next process begins later.
    server.faults.clear()
    exporter = await start(launch, server, "--poll.interval=1s")
    assert_all_is_well(await all_counted(exporter, [run], seconds=45))
    samples = await exporter.polls()
    assert counted(samples, run) == 1
    assert total(samples, PENDING) == 0


@pytest.mark.timeout(400)
async def test_kills_while_hundreds_are_pending_leave_exact_totals(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Killed again and again while hundreds of runs wait for their answers, it counts each of them once."""
    seed = random.randrange(10**9)
    print(f"seed {seed}")  # noqa: T201  to repeat a failure
    chance = random.Random(seed)
    runs = long_runs(workspace, 400, tasks=2)
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    finish(workspace, *runs)
    await exporter.until(lambda seen: total(seen, PENDING) > 0, "some are pending")
    for _ in range(8):
        await asyncio.sleep(chance.uniform(0, 2))
        exporter.kill()
        exporter = await launch.spawn("--poll.interval=1s", env=access(server)).listening()
    samples = await all_counted(exporter, runs, seconds=120)
    await exporter.until(lambda seen: total(seen, PENDING) == 0, "nothing is pending")
    samples = await exporter.polls()
    assert {counted(samples, run) for run in runs} == {1}
    assert {total(samples, "databricks_task_runs_total", job_id=str(run.job_id)) for run in runs} == {2}
    assert total(samples, RUNS) == len(runs) + 1


async def test_many_pending_runs_are_settled_as_fast_as_the_rate_allows(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Hundreds of runs that ended while it was away are read at four fifths of api.rate or more."""
    job = workspace.add_job("long")
    begin = workspace.clock() - LONG_SECONDS
    runs = [workspace.active_run(job, start=begin + number) for number in range(400)]
    recent_run(workspace)
    exporter = await start(launch, server)
    assert await exporter.terminate() == 0
    finish(workspace, *runs)
    recent_run(workspace)
    server.requests.clear()
    exporter = await start(launch, server)

    async def all_asked_for() -> bool:
        return len(server.requests.of("runs/get")) == len(runs)

    # Without scrapes: to parse them holds up the simulator, which is in this process.
    await wait_for(all_asked_for, "every run was asked for", 90, pause=0.5)
    arrivals = [request.arrival for request in server.requests.of("runs/get")]
    samples = await exporter.until(lambda seen: counted(seen, runs[0]) == len(runs), "all are counted")
    assert_all_is_well(samples)
    assert len(runs) / (arrivals[-1] - arrivals[0]) >= 0.8 * 20


async def test_an_answer_about_another_run_counts_nothing_twice(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """A cache that answers with a run that was counted long ago does not have it counted again."""
    (first, second) = long_runs(workspace, 2)
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    finish(workspace, first)
    await exporter.until(lambda seen: counted(seen, first) == 1, "the first one is counted")
    workspace.override(second.run_id, lambda run: run.update(run_id=first.run_id, job_id=first.job_id))
    finish(workspace, second)
    await exporter.until(lambda seen: total(seen, PENDING) == 1, "the second one is pending")

    async def asked_for() -> bool:
        return str(second.run_id) in {each.query.get("run_id") for each in server.requests.of("runs/get")}

    await wait_for(asked_for, "it was asked for")
    samples = await exporter.polls(2)
    assert counted(samples, first) == 1
    workspace.override(second.run_id, None)
    samples = await exporter.until(lambda seen: counted(seen, second) == 1, "the second one, later", 60)
    assert counted(samples, first) == 1


@pytest.mark.timeout(400)
@pytest.mark.parametrize("trouble", ["later pages hang", "every page is slow"])
async def test_many_large_runs_hold_up_no_other(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, trouble: str
) -> None:
    """Runs of many pages, broken or just slow, leave places for runs that can be read at once."""
    large = long_runs(workspace, 60, tasks=350)
    later = long_runs(workspace, 10)
    recent_run(workspace)
    exporter = await start(launch, server)
    ids = {str(run.run_id) for run in large}
    fault = fault_of("hang") if trouble == "later pages hang" else Fault(delay=6)
    fault.endpoint = "runs/get"
    fault.when = lambda query: query["run_id"] in ids and (fault.delay > 0 or "page_token" in query)
    server.faults.add(fault)
    finish(workspace, *large)
    await exporter.until(lambda seen: total(seen, PENDING) >= 60, "they are pending")
    before = await exporter.metrics()
    finish(workspace, *later)
    await counted_within_two_intervals(exporter, later, before, seconds=200)
