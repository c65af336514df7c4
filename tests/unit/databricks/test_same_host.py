"""Whatever a server says, nothing is asked of another host, and no credential goes there."""

from collections.abc import AsyncIterator

import msgspec
import pytest
from pydantic import SecretStr

from exporter.config import ClientCredentials, PersonalToken
from exporter.databricks.client import RUNS_PER_PAGE
from exporter.databricks.errors import AccessRefused, WorkspaceError
from exporter.simulator.credentials import DEFAULT_TOKEN, Credentials
from tests.faults import Answer, Fault, SimulatorServer, redirect
from tests.unit.databricks import connected, within

ROBOT = ClientCredentials("robot", SecretStr("s3cret"))
PERSON = PersonalToken(SecretStr(DEFAULT_TOKEN))


@pytest.fixture
async def elsewhere() -> AsyncIterator[SimulatorServer]:
    """Another host that would take the same credentials."""
    async with SimulatorServer(credentials=Credentials(clients={"robot": "s3cret"})) as running:
        yield running


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    async with SimulatorServer(credentials=Credentials(clients={"robot": "s3cret"})) as running:
        yield running


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(("login", "endpoint"), [(PERSON, "runs/list"), (ROBOT, "token")])
async def test_a_redirect_elsewhere_is_not_followed(
    server: SimulatorServer,
    elsewhere: SimulatorServer,
    login: PersonalToken | ClientCredentials,
    endpoint: str,
    status: int,
) -> None:
    """Neither of the API nor of the token endpoint, where the body of a 307 would have the secret."""
    server.faults.add(Fault(redirect(elsewhere.url + "/oidc/v1/token", status), endpoint=endpoint))
    async with connected(server.url, login) as connection:
        with pytest.raises(AccessRefused, match=r"redirects to .*; set DATABRICKS_HOST"):
            await connection.run_ids()
    assert [request.endpoint for request in server.requests] == [endpoint]
    assert len(elsewhere.requests) == 0


@pytest.mark.parametrize(
    "form", ["{url}/api/2.2/jobs/runs/list", "//{host}/", "@{host}/", "x&host={host}", "\r\nHost: {host}"]
)
async def test_a_page_token_is_a_parameter_whatever_it_looks_like(
    server: SimulatorServer, elsewhere: SimulatorServer, form: str
) -> None:
    """It is sent back to where it came from, as it came."""
    word = form.format(url=elsewhere.url, host=elsewhere.url.removeprefix("http://"))
    body = msgspec.json.encode({"runs": [], "jobs": [], "next_page_token": word})
    for endpoint in ("runs/list", "jobs/list"):
        server.faults.add(Fault(Answer(200, body), endpoint=endpoint, times=1))
    async with connected(server.url) as connection:
        with pytest.raises(WorkspaceError, match="page token"):
            await connection.run_ids()
        with pytest.raises(WorkspaceError, match="page token"):
            await connection.client.list_job_names(within(20))
    assert [request.query.get("page_token") for request in server.requests] == [None, word, None, word]
    assert [request.query.get("limit") for request in server.requests.of("runs/list")] == [
        str(RUNS_PER_PAGE)
    ] * 2
    assert len(elsewhere.requests) == 0


async def test_headers_that_name_other_places_are_not_heard(
    server: SimulatorServer, elsewhere: SimulatorServer
) -> None:
    """Location, Link, Refresh, Alt-Svc and cookies of an answer change nothing of the next request."""
    headers = {
        "Location": elsewhere.url,
        "Link": f'<{elsewhere.url}>; rel="next"',
        "Refresh": f"0; url={elsewhere.url}",
        "Alt-Svc": f'h2="{elsewhere.url}"',
        "Set-Cookie": "a=b",
    }
    server.faults.add(Fault(Answer(200, b'{"runs":[]}', headers=headers), times=1))
    async with connected(server.url) as connection:
        assert await connection.run_ids() == await connection.run_ids() == []
    assert len(server.requests) == 2
    assert len(elsewhere.requests) == 0
