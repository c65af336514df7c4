"""A workspace that knows Jobs API 2.1 only: read whole with that, said once, and never a mixture."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from structlog.testing import capture_logs

from exporter.databricks.client import RUNS_PER_PAGE
from exporter.databricks.errors import NotUnderstood, UnknownPath
from exporter.simulator.workspace import Workspace
from tests.faults import Answer, Fault, SimulatorServer, error, fault_of
from tests.unit.databricks import NOW, Connection, connected, within

BAD_TARGET = error(404, "ENDPOINT_NOT_FOUND", "Bad Target: /api/2.2/jobs/runs/list")


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    """A workspace with more than a page of runs."""
    workspace = Workspace(clock=lambda: NOW)
    job = workspace.add_job("nightly")
    for number in range(RUNS_PER_PAGE + 3):
        workspace.finished_run(job, start=NOW - 1000 - number, duration=10.0)
    async with SimulatorServer(workspace) as running:
        yield running


@pytest.fixture
async def connection(server: SimulatorServer) -> AsyncIterator[Connection]:
    async with connected(server.url) as connection:
        yield connection


def versions(server: SimulatorServer) -> list[str]:
    """The versions asked for, one after the other."""
    return [request.path.split("/")[2] for request in server.requests if request.status == 200]


async def test_an_old_workspace_is_read_with_the_old_version(
    server: SimulatorServer, connection: Connection
) -> None:
    """After one Bad Target everything goes to 2.1, and one log line says so."""
    server.workspace.api_versions = {"2.1"}
    with capture_logs() as logs:
        run_ids = await connection.run_ids()
        assert len(run_ids) == RUNS_PER_PAGE + 3
        assert (await connection.run(run_ids[0])).run_id == run_ids[0]
        assert len(await connection.client.list_job_names(within(20))) == 1
    assert set(versions(server)) == {"2.1"}
    assert len([request for request in server.requests if request.status == 404]) == 1
    assert [line["log_level"] for line in logs] == ["warning"]
    assert "doesn't know Jobs API 2.2" in logs[0]["event"]
    assert connection.retries == 0


async def test_requests_at_once_find_out_together(server: SimulatorServer, connection: Connection) -> None:
    """However many are under way when 2.2 turns out unknown, all are answered and the log says it once."""
    server.workspace.api_versions = {"2.1"}
    with capture_logs() as logs:
        listings = await asyncio.gather(*(connection.run_ids() for _ in range(8)))
    assert {len(runs) for runs in listings} == {RUNS_PER_PAGE + 3}
    assert set(versions(server)) == {"2.1"}
    assert len(logs) == 1


async def test_the_next_process_tries_the_new_version_again(server: SimulatorServer) -> None:
    """A workspace that was upgraded meanwhile is read with 2.2."""
    server.workspace.api_versions = {"2.1"}
    async with connected(server.url) as connection:
        await connection.run_ids()
    server.workspace.api_versions = {"2.1", "2.2"}
    async with connected(server.url) as connection:
        await connection.run_ids()
    assert versions(server) == ["2.1", "2.1", "2.2", "2.2"]


async def test_what_was_read_with_the_new_version_is_not_mixed_with_the_old(
    server: SimulatorServer, connection: Connection
) -> None:
    """Once 2.2 has answered, a Bad Target is an error, also on the second page of a listing."""
    server.faults.add(Fault(BAD_TARGET, when=lambda query: "page_token" in query, times=1))
    with pytest.raises(UnknownPath, match="Bad Target"):
        await connection.run_ids()
    assert len(await connection.run_ids()) == RUNS_PER_PAGE + 3
    assert set(versions(server)) == {"2.2"}


async def test_an_answer_of_the_new_version_that_comes_too_late_is_not_used(
    server: SimulatorServer, connection: Connection
) -> None:
    """Servers that disagree: while one answer of 2.2 is on its way, another says Bad Target. 2.1 it is."""
    held = server.faults.add(fault_of("hang", endpoint="runs/list", times=1))
    server.faults.add(Fault(BAD_TARGET, endpoint="jobs/list", times=1))
    late = asyncio.create_task(connection.run_ids())
    while not server.requests.of("runs/list"):  # noqa: ASYNC110  what is awaited happens on a server
        await asyncio.sleep(0.01)
    await connection.client.list_job_names(within(20))
    server.faults.remove(held)
    assert len(await late) == RUNS_PER_PAGE + 3
    paths = [request.path for request in server.requests.of("runs/list")]
    assert [path.split("/")[2] for path in paths] == ["2.2", "2.1", "2.1"]


async def test_a_workspace_that_knows_neither_is_an_error_and_asked_afresh(
    server: SimulatorServer, connection: Connection
) -> None:
    """Both unknown: the error asks for the host; when it is back, 2.2 is the first to be asked."""
    server.workspace.api_versions = set()
    with pytest.raises(UnknownPath, match=r"is DATABRICKS_HOST a workspace with Jobs API 2\.2 or 2\.1"):
        await connection.run_ids()
    failed = await asyncio.gather(*(connection.run_ids() for _ in range(5)), return_exceptions=True)
    assert {type(fault) for fault in failed} == {UnknownPath}
    server.workspace.api_versions = {"2.1", "2.2"}
    assert len(await connection.run_ids()) == RUNS_PER_PAGE + 3
    assert set(versions(server)) == {"2.2"}


async def test_a_list_of_the_old_version_that_cannot_be_followed_is_an_error(
    server: SimulatorServer, connection: Connection
) -> None:
    """`has_more` without a page token would lose runs: by offsets they shift while they are read."""
    server.workspace.api_versions = {"2.1"}
    await connection.run_ids()
    server.faults.add(Fault(Answer(200, b'{"runs":[{"run_id":1,"job_id":2}],"has_more":true}')))
    with pytest.raises(NotUnderstood, match="gives no page token, so something would be missed"):
        await connection.run_ids()


async def test_a_missing_run_of_the_old_version_is_no_unknown_version(
    server: SimulatorServer, connection: Connection
) -> None:
    """A run that does not exist says nothing of the version."""
    with pytest.raises(Exception, match="does not exist"):
        await connection.run(5)
    assert [request.path for request in server.requests] == ["/api/2.2/jobs/runs/get"]
