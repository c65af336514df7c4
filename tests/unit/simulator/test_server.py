"""Who is let in, how often, and what the server remembers of it."""

import base64
from collections import Counter
from typing import Any

import aiohttp

from exporter.simulator.credentials import Credentials
from exporter.simulator.server import SimulatorServer
from exporter.simulator.traffic import DOCUMENTED_LIMITS
from exporter.simulator.workspace import Workspace
from tests.unit.simulator.conftest import Api, Clock

LIST = "/api/2.2/jobs/runs/list"
GRANT = {"grant_type": "client_credentials", "scope": "all-apis"}


async def ask(server: SimulatorServer, authorization: str | None, path: str = LIST) -> tuple[int, Any]:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with (
        aiohttp.ClientSession(server.url, headers=headers) as session,
        session.get(path) as response,
    ):
        return response.status, await response.json()


async def grant(server: SimulatorServer, client: str, secret: str, **form: str) -> tuple[int, Any]:
    basic = "Basic " + base64.b64encode(f"{client}:{secret}".encode()).decode()
    async with (
        aiohttp.ClientSession(server.url, headers={"Authorization": basic}) as session,
        session.post("/oidc/v1/token", data={**GRANT, **form}) as response,
    ):
        return response.status, await response.json()


async def test_a_wrong_token_is_403_and_a_missing_one_401(server: SimulatorServer) -> None:
    """As the API words it."""
    assert await ask(server, "Bearer nonsense") == (
        403,
        {"error_code": "PERMISSION_DENIED", "message": "Invalid access token."},
    )
    assert (await ask(server, None))[0] == 401


async def test_an_oauth_token_opens_the_api_until_it_is_revoked() -> None:
    """Client id and secret buy a token; a revoked one is 401, and a new one works."""
    credentials = Credentials(clients={"principal": "secret"}, expires_in=1800)
    async with SimulatorServer(credentials=credentials) as server:
        status, granted = await grant(server, "principal", "secret")
        assert (status, granted["expires_in"], granted["token_type"]) == (200, 1800, "Bearer")
        bearer = f"Bearer {granted['access_token']}"
        assert (await ask(server, bearer))[0] == 200
        credentials.revoke_issued()
        assert (await ask(server, bearer))[0] == 401
        _, again = await grant(server, "principal", "secret")
        assert (await ask(server, f"Bearer {again['access_token']}"))[0] == 200
        assert credentials.issued == 2


async def test_an_oauth_token_expires() -> None:
    """After expires_in seconds it is 401."""
    async with SimulatorServer(credentials=Credentials(clients={"id": "secret"}, expires_in=0)) as server:
        _, granted = await grant(server, "id", "secret")
        status, body = await ask(server, f"Bearer {granted['access_token']}")
        assert (status, body["error_code"]) == (401, "UNAUTHENTICATED")


async def test_the_token_endpoint_refuses_in_oauth_words() -> None:
    """A wrong secret is invalid_client, another grant is unsupported."""
    async with SimulatorServer(credentials=Credentials(clients={"id": "secret"})) as server:
        status, body = await grant(server, "id", "wrong")
        assert (status, body["error"]) == (401, "invalid_client")
        status, body = await grant(server, "id", "secret", grant_type="password")
        assert (status, body["error"]) == (400, "unsupported_grant_type")


async def test_an_unknown_version_is_a_bad_target(server: SimulatorServer) -> None:
    """404, before anybody asks who is there."""
    status, body = await ask(server, None, "/api/2.3/jobs/runs/list")
    assert (status, body["message"]) == (404, "Bad Target: /api/2.3/jobs/runs/list")


async def test_the_date_is_the_workspace_clocks_floored(
    api: Api, server: SimulatorServer, clock: Clock
) -> None:
    """The header knows no fraction of a second."""
    clock.now = 1_780_000_000.999
    async with api.session.get(LIST) as response:
        assert response.headers["Date"] == "Thu, 28 May 2026 20:26:40 GMT"
    assert len(server.requests) == 1


async def test_answers_are_compressed_only_when_asked_for(api: Api, workspace: Workspace) -> None:
    """By Accept-Encoding."""
    workspace.finished_run(workspace.add_job("load"), tasks=10)
    for accepted, encoding in (("gzip", "gzip"), ("identity", None)):
        async with api.session.get(
            LIST, params={"expand_tasks": "true"}, headers={"Accept-Encoding": accepted}
        ) as response:
            assert response.headers.get("Content-Encoding") == encoding
            assert len((await response.json())["runs"][0]["tasks"]) == 10


async def test_the_rate_limit_is_off_by_default_and_the_documented_one_on_demand(api: Api) -> None:
    """Thirty lists a second pass, the others are told to wait a second."""
    assert {(await api.ask("runs/list"))[0] for _ in range(40)} == {200}
    async with SimulatorServer(limits=DOCUMENTED_LIMITS) as server:
        headers = {"Authorization": "Bearer dapi-simulated"}
        async with aiohttp.ClientSession(server.url, headers=headers) as session:
            limited = Api(session)
            statuses = Counter([(await limited.ask("runs/list"))[0] for _ in range(40)])
            assert statuses == {200: 30, 429: 10}
            async with session.get(LIST) as response:
                assert response.headers["Retry-After"] == "1"
        assert [request.status for request in server.requests].count(429) == 11


async def test_requests_are_remembered_in_the_order_of_their_arrival(
    api: Api, server: SimulatorServer
) -> None:
    """With endpoint, query and status, for tests of rates and parameters."""
    await api.ask("runs/list", limit=5)
    await api.ask("runs/get", run_id=1)
    listed, got = server.requests
    assert (listed.endpoint, listed.query, listed.status) == ("runs/list", {"limit": "5"}, 200)
    assert (got.endpoint, got.status) == ("runs/get", 400)
    assert listed.arrival <= got.arrival
    assert server.requests.of("runs/get") == [got]
