"""The proof that the simulator speaks the API: Databricks' own client reads it and sees what was meant.

The client is synchronous: it works in a thread while the simulator serves from the test's event loop.
"""

import asyncio
from collections.abc import Iterable

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import (
    InvalidParameterValue,
    PermissionDenied,
    ResourceDoesNotExist,
)
from databricks.sdk.service.jobs import BaseRun, Run, RunTask

from exporter.simulator import runs as meant
from exporter.simulator.credentials import DEFAULT_TOKEN, Credentials
from exporter.simulator.endings import ending
from exporter.simulator.scenario import demo_workspace
from exporter.simulator.workspace import Workspace
from tests.faults import Fault, SimulatorServer, throttled
from tests.unit.simulator.conftest import Clock


def connect(url: str, token: str | None = DEFAULT_TOKEN, client_secret: str | None = None) -> WorkspaceClient:
    return WorkspaceClient(
        config=Config(
            host=url,
            token=token,
            client_id=None if client_secret is None else "principal",
            client_secret=client_secret,
            # Without it the client asks a metadata document for where to log in.
            discovery_url=f"{url}/oidc/.well-known/oauth-authorization-server",
            retry_timeout_seconds=2,
            http_timeout_seconds=5,
        )
    )


@pytest.fixture
async def sdk(server: SimulatorServer) -> WorkspaceClient:
    return await asyncio.to_thread(connect, server.url)


def check_run(decoded: BaseRun | Run, run: meant.Run, now_ms: int) -> None:
    """Every field that tells what happened, as the official client decoded it."""
    period = run.periods(now_ms)[-1]
    assert decoded.run_id == run.run_id
    assert decoded.job_id == run.job_id
    assert decoded.run_name == run.run_name
    assert decoded.run_type is not None
    assert decoded.run_type.value == run.run_type
    assert (decoded.trigger.value if decoded.trigger else None) == run.trigger
    assert decoded.start_time == run.start_ms
    assert decoded.status is not None
    assert decoded.status.state is not None
    assert decoded.status.state.value == run.state_at(now_ms)
    assert decoded.state is not None
    assert decoded.state.life_cycle_state is not None
    target = decoded.effective_performance_target
    if run.state_at(now_ms) == "QUEUED":
        assert decoded.queue_duration is None
        assert target is None
    else:
        assert decoded.queue_duration == run.queue_ms
        assert (target.value if target else None) == period.target
    if run.state_at(now_ms) == "TERMINATED":
        check_end(decoded, period, run.run_duration_ms(now_ms))
    else:
        assert decoded.end_time == decoded.execution_duration == 0


def check_end(decoded: BaseRun | Run, period: meant.Period, run_duration_ms: int) -> None:
    how = ending(period.code)
    assert decoded.end_time == period.end_ms
    assert decoded.run_duration == run_duration_ms
    assert decoded.status is not None
    assert decoded.status.termination_details is not None
    assert decoded.status.termination_details.type is not None
    assert decoded.status.termination_details.type.value == how.type
    assert decoded.status.termination_details.code is not None
    assert decoded.status.termination_details.code.value == how.code
    assert decoded.state is not None
    result = decoded.state.result_state
    assert (result.value if result else None) == how.result_state


def check_tasks(decoded: Iterable[RunTask], run: meant.Run, now_ms: int) -> None:
    """Every attempt once, in full when it is over."""
    attempts = {attempt.run_id: attempt for attempt in run.attempts_at(now_ms)}
    tasks = list(decoded)
    assert len(tasks) == len(attempts)
    for task in tasks:
        assert task.run_id is not None
        attempt = attempts.pop(task.run_id)
        assert (task.task_key, task.attempt_number) == (attempt.task_key, attempt.attempt_number)
        if attempt.start_ms is not None and attempt.state_at(now_ms) == "TERMINATED":
            assert (task.start_time, task.end_time) == (attempt.start_ms, attempt.end_ms)
            parts = (task.setup_duration, task.execution_duration, task.cleanup_duration)
            assert parts == (attempt.setup_ms, attempt.execution_ms, attempt.cleanup_ms)


async def test_the_official_client_lists_every_run_as_it_was_meant(clock: Clock) -> None:
    """Hundreds of runs of the demo, page after page, with their tasks."""
    workspace = demo_workspace(clock)
    now_ms = workspace.read()
    start_from = now_ms - 4 * 3600 * 1000
    expected = {run.run_id: run for run in workspace.runs if run.start_ms >= start_from}
    async with SimulatorServer(workspace) as server:
        sdk = await asyncio.to_thread(connect, server.url)
        found = await asyncio.to_thread(
            lambda: list(sdk.jobs.list_runs(expand_tasks=True, limit=25, start_time_from=start_from))
        )
    assert len(found) == len(expected) > 300
    assert [run.start_time for run in found] == sorted((r.start_ms for r in expected.values()), reverse=True)
    for decoded in found:
        assert decoded.run_id is not None
        check_run(decoded, expected[decoded.run_id], now_ms)


async def test_the_official_client_gets_every_run_as_it_was_meant(clock: Clock) -> None:
    """One of every job, and all that are active or repaired, with every task attempt and the history."""
    workspace = demo_workspace(clock)
    now_ms = workspace.read()
    chosen = {run.job_id: run for run in workspace.runs if run.run_type == "JOB_RUN"}.values()
    special = [run for run in workspace.runs if run.active_at(now_ms) or run.repairs]
    runs = [*chosen, *special]
    async with SimulatorServer(workspace) as server:
        sdk = await asyncio.to_thread(connect, server.url)
        found = await asyncio.to_thread(
            lambda: [sdk.jobs.get_run(run.run_id, include_history=True) for run in runs]
        )
    for decoded, run in zip(found, runs, strict=True):
        check_run(decoded, run, now_ms)
        check_tasks(decoded.tasks or [], run, now_ms)
        repairs = [item for item in decoded.repair_history or [] if item.id is not None]
        periods = run.periods(now_ms)[1:]
        assert [repair.id for repair in repairs] == [period.repair_id for period in periods]
        assert [repair.start_time for repair in repairs] == [period.start_ms for period in periods]


async def test_the_official_client_tells_active_from_completed(
    sdk: WorkspaceClient, workspace: Workspace
) -> None:
    """The two lists share no run and leave none out."""
    job = workspace.add_job("load")
    done = {workspace.finished_run(job).run_id for _ in range(30)}
    active = {workspace.active_run(job, state=state).run_id for state in ("QUEUED", "PENDING", "RUNNING")}
    completed = await asyncio.to_thread(lambda: list(sdk.jobs.list_runs(completed_only=True)))
    running = await asyncio.to_thread(lambda: list(sdk.jobs.list_runs(active_only=True)))
    assert {run.run_id for run in completed} == done
    assert {run.run_id for run in running} == active


async def test_the_official_client_pages_through_a_run_of_many_tasks(
    sdk: WorkspaceClient, workspace: Workspace
) -> None:
    """From get and from list, where it follows has_more of the item."""
    run = workspace.finished_run(workspace.add_job("load"), tasks=230)
    got = await asyncio.to_thread(sdk.jobs.get_run, run.run_id)
    check_tasks(got.tasks or [], run, workspace.read())
    (listed,) = await asyncio.to_thread(lambda: list(sdk.jobs.list_runs(expand_tasks=True)))
    check_tasks(listed.tasks or [], run, workspace.read())


async def test_the_official_client_lists_jobs(sdk: WorkspaceClient, workspace: Workspace) -> None:
    """All pages, with names and tags."""
    for number in range(130):
        workspace.add_job(f"job {number}", tags={"number": str(number)})
    jobs = await asyncio.to_thread(lambda: list(sdk.jobs.list(limit=100)))
    named = {(job.settings.name, (job.settings.tags or {})["number"]) for job in jobs if job.settings}
    assert named == {(f"job {number}", str(number)) for number in range(130)}


async def test_the_official_client_understands_the_refusals(
    sdk: WorkspaceClient, server: SimulatorServer
) -> None:
    """Each becomes the exception that the real API's answer becomes."""
    with pytest.raises(ResourceDoesNotExist, match=r"Run 7 does not exist\."):
        await asyncio.to_thread(sdk.jobs.get_run, 7)
    with pytest.raises(InvalidParameterValue, match="no more than 26"):
        await asyncio.to_thread(lambda: list(sdk.jobs.list_runs(limit=27)))
    stranger = await asyncio.to_thread(connect, server.url, "nonsense")
    with pytest.raises(PermissionDenied, match=r"Invalid access token\."):
        await asyncio.to_thread(lambda: list(stranger.jobs.list_runs()))


async def test_the_official_client_retries_when_it_is_throttled(
    sdk: WorkspaceClient, server: SimulatorServer
) -> None:
    """It waits as long as Retry-After says and asks again."""
    server.workspace.finished_run(server.workspace.add_job("load"))
    server.faults.add(Fault(throttled(1), times=1, endpoint="runs/list"))
    assert len(await asyncio.to_thread(lambda: list(sdk.jobs.list_runs()))) == 1
    first, second = server.requests.of("runs/list")
    assert (first.status, second.status) == (429, 200)
    assert second.arrival - first.arrival >= 1


async def test_the_official_client_logs_in_as_a_service_principal(clock: Clock) -> None:
    """OAuth machine to machine: one token request, then the API with it."""
    workspace = Workspace(clock)
    run = workspace.finished_run(workspace.add_job("load"))
    async with SimulatorServer(
        workspace, credentials=Credentials(tokens=(), clients={"principal": "secret"})
    ) as server:
        sdk = await asyncio.to_thread(connect, server.url, None, "secret")
        found = await asyncio.to_thread(lambda: list(sdk.jobs.list_runs()))
        assert [decoded.run_id for decoded in found] == [run.run_id]
        assert server.credentials.issued == 1
