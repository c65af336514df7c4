"""The demo's workspace."""

from collections import Counter
from itertools import pairwise

import aiohttp
import pytest

from exporter.simulator.credentials import DEFAULT_TOKEN
from exporter.simulator.scenario import demo_workspace
from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.unit.simulator.conftest import NOW, Api, Clock


def fingerprint(workspace: Workspace) -> list[tuple[int, str, int, int]]:
    return [
        (account.run_id, account.code, account.end_ms, len(account.attempts)) for account in workspace.truth()
    ]


def test_a_day_of_history_is_ready_at_once(clock: Clock) -> None:
    """Some thousands of runs have finished before the clock moves."""
    assert 2000 < len(demo_workspace(clock).truth()) < 6000


@pytest.mark.slow
def test_the_same_seed_gives_the_same_history(clock: Clock) -> None:
    """And another seed another one."""
    assert fingerprint(demo_workspace(clock, seed=3)) == fingerprint(demo_workspace(clock, seed=3))
    assert fingerprint(demo_workspace(clock, seed=3)) != fingerprint(demo_workspace(clock, seed=4))


@pytest.mark.slow
def test_two_demos_share_job_ids_but_no_run_ids(clock: Clock) -> None:
    """Whoever remembers the first demo recognises the jobs of the second and takes its runs for new."""
    first = demo_workspace(clock)
    first_runs = {account.run_id for account in first.truth()}
    clock.now += 60
    second = demo_workspace(clock)
    assert first_runs.isdisjoint(account.run_id for account in second.truth())
    assert first.jobs.keys() == second.jobs.keys()


@pytest.mark.slow
def test_several_runs_finish_in_every_minute(clock: Clock) -> None:
    """So that graphs move while somebody watches."""
    workspace = demo_workspace(clock)
    counts = []
    for _ in range(8):
        counts.append(len(workspace.truth()))
        clock.now += 60
    assert min(later - earlier for earlier, later in pairwise(counts)) >= 5


@pytest.mark.slow
def test_it_stays_within_bounds(clock: Clock) -> None:
    """As soon as what is forgotten makes up for what is new, the number of runs stands still."""
    workspace = demo_workspace(clock)
    sizes = []
    for _ in range(33):
        clock.now += 3600
        workspace.read()
        sizes.append(len(workspace.runs))
    settled = sizes[27:]
    assert max(settled) < 1.03 * min(settled) < 40_000


async def test_every_kind_of_run_is_there(clock: Clock) -> None:
    """Over an hour: all states that a watcher wants to see, all results, both targets and none."""
    workspace = demo_workspace(clock)
    states: Counter[str] = Counter()
    async with SimulatorServer(workspace) as server:
        headers = {"Authorization": f"Bearer {DEFAULT_TOKEN}"}
        async with aiohttp.ClientSession(server.url, headers=headers) as session:
            for _ in range(60):
                clock.now += 60
                active = await Api(session).listed(active_only=True)
                states.update(run["status"]["state"] for run in active)
    truth = workspace.truth()
    assert {"QUEUED", "PENDING", "RUNNING"} <= states.keys()
    assert {account.result_state for account in truth} >= {
        "SUCCESS",
        "FAILED",
        "TIMEDOUT",
        "CANCELED",
        "MAXIMUM_CONCURRENT_RUNS_REACHED",
        "SUCCESS_WITH_FAILURES",
    }
    assert {account.target for account in truth} == {None, "STANDARD", "PERFORMANCE_OPTIMIZED"}
    assert {account.run_type for account in truth} == {"JOB_RUN", "SUBMIT_RUN"}
    assert any(account.repairs for account in truth)
    assert any(account.queue_ms for account in truth)
    assert max(len(account.attempts) for account in truth) > 100
    assert max(account.highest_attempt for account in truth) > 2


@pytest.mark.slow
def test_what_is_listed_adds_up(clock: Clock) -> None:
    """No finished run has attempts that end after it, or phases that exceed it."""
    workspace = demo_workspace(clock)
    workspace.read()
    for run in workspace.runs:
        for attempt in run.attempts:
            if attempt.start_ms is not None and attempt.end_ms is not None and run.final_end_ms is not None:
                assert run.start_ms <= attempt.start_ms <= attempt.end_ms <= run.final_end_ms
    assert {account.end_ms <= NOW * 1000 for account in workspace.truth()} == {True}
