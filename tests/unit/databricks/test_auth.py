"""Where the Authorization header comes from: one token for all who wait, renewed in time and when refused."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from pydantic import SecretStr

from exporter.config import ClientCredentials, PersonalToken, WorkspaceAccess
from exporter.databricks.auth import (
    TOKEN_ENDPOINT,
    ClientCredentialsLogin,
    Login,
    PersonalTokenLogin,
    login_for,
)
from exporter.databricks.errors import AccessRefused, TryAgain, WorkspaceError
from exporter.databricks.responses import Token
from exporter.simulator.credentials import Credentials
from exporter.simulator.workspace import Workspace
from tests.faults import Answer, Fault, SimulatorServer, error, html, plain, throttled
from tests.unit.databricks import NOW, Connection, connected

LOGIN = ClientCredentials("robot", SecretStr("s3cret"))


@asynccontextmanager
async def signed_in(
    login: ClientCredentials = LOGIN, expires_in: float = 3600
) -> AsyncIterator[tuple[SimulatorServer, Connection]]:
    """A client of a workspace with one finished run, that logs in with OAuth."""
    workspace = Workspace(clock=lambda: NOW)
    workspace.finished_run(workspace.add_job("nightly"), start=NOW - 100, duration=10.0)
    credentials = Credentials(tokens=(), clients={"robot": "s3cret"}, expires_in=expires_in)
    async with (
        SimulatorServer(workspace, credentials=credentials) as server,
        connected(server.url, login) as connection,
    ):
        yield server, connection


def statuses(server: SimulatorServer) -> list[int]:
    return [request.status for request in server.requests.of("runs/list")]


@pytest.mark.parametrize("life", [3600.0, 100.0, 10.0])
async def test_a_token_is_refreshed_before_it_ends(life: float) -> None:
    """A new token is fetched 60 s before the old one ends, or at half its life where that is sooner."""
    now = 1000.0
    fetched: list[str] = []

    async def fetch(authorization: str) -> Token:
        fetched.append(authorization)
        return Token(f"token-{len(fetched)}", life)

    login = ClientCredentialsLogin(LOGIN, fetch, lambda: now)
    refresh_after = life - min(60.0, life / 2)
    assert await login.authorization() == "Bearer token-1"
    now = 1000.0 + refresh_after - 0.001
    assert await login.authorization() == "Bearer token-1"
    now = 1000.0 + refresh_after
    assert await login.authorization() == "Bearer token-2"
    assert fetched == ["Basic cm9ib3Q6czNjcmV0"] * 2


async def test_a_refused_token_is_renewed_once_for_all_it_was_refused_to() -> None:
    """The first to be refused fetches; the others, refused with the same token, take what it fetched."""
    fetched = 0

    async def fetch(_: str) -> Token:
        nonlocal fetched
        fetched += 1
        await asyncio.sleep(0)
        return Token(f"token-{fetched}", 3600)

    login = ClientCredentialsLogin(LOGIN, fetch)
    refused = await login.authorization()
    assert all(await asyncio.gather(*(login.renew(refused) for _ in range(10))))
    assert (fetched, await login.authorization()) == (2, "Bearer token-2")


async def test_a_failed_fetch_is_no_token() -> None:
    """An error of the token endpoint reaches who asked, and the next one asks again."""
    answers: list[Token | WorkspaceError] = [TryAgain("away"), Token("good", 3600)]

    async def fetch(_: str) -> Token:
        answer = answers.pop(0)
        if isinstance(answer, WorkspaceError):
            raise answer
        return answer

    login = ClientCredentialsLogin(LOGIN, fetch)
    with pytest.raises(TryAgain):
        await login.authorization()
    assert await login.authorization() == "Bearer good"


async def test_a_failed_fetch_fails_for_all_who_waited_for_it() -> None:
    """Ten requests wait for a token endpoint that hangs and fails: it is asked once, and none waits again."""
    fetched = 0
    hung = asyncio.Event()

    async def fetch(_: str) -> Token:
        nonlocal fetched
        fetched += 1
        await hung.wait()
        raise TryAgain("oidc/v1/token: no answer within 30 s", 7.0)

    login = ClientCredentialsLogin(LOGIN, fetch)
    waiting = [asyncio.create_task(login.authorization()) for _ in range(10)]
    await asyncio.sleep(0)
    hung.set()
    failures = await asyncio.gather(*waiting, return_exceptions=True)
    assert fetched == 1
    for failure in failures:
        assert isinstance(failure, TryAgain)
        assert (str(failure), failure.retry_after) == ("oidc/v1/token: no answer within 30 s", 7.0)
        failure.args = ("runs/list: what the client adds",)
    with pytest.raises(TryAgain, match="oidc/v1/token: no answer"):
        await login.authorization()
    assert fetched == 2


@pytest.mark.parametrize("renewed", [False, True])
async def test_a_token_endpoint_that_hangs_is_named_before_the_deadline(*, renewed: bool) -> None:
    """The error comes before the deadline and says what the request waited for; the next one asks anew."""
    hangs = False

    async def fetch(_: str) -> Token:
        if hangs:
            await asyncio.Event().wait()
        return Token("good", 3600)

    login = ClientCredentialsLogin(LOGIN, fetch)
    header = await login.authorization() if renewed else ""
    hangs = True
    deadline = asyncio.get_running_loop().time() + 0.3
    with pytest.raises(TryAgain, match="oidc/v1/token: no token came in time"):
        await (login.renew(header, deadline) if renewed else login.authorization(deadline))
    hangs = False
    assert await login.authorization() == "Bearer good"


async def test_there_is_no_other_than_the_personal_token() -> None:
    """A refused personal access token cannot be renewed."""

    async def fetch(_: str) -> Token:
        raise AssertionError

    def of(login: PersonalToken | ClientCredentials) -> Login:
        return login_for(WorkspaceAccess("https://x", "x", login), fetch, lambda _: None)

    login = of(PersonalToken(SecretStr("dapi1")))
    assert isinstance(login, PersonalTokenLogin)
    assert await login.authorization() == "Bearer dapi1"
    assert not await login.renew("Bearer dapi1")
    assert isinstance(of(LOGIN), ClientCredentialsLogin)


async def test_many_requests_at_once_fetch_one_token() -> None:
    """Twenty concurrent requests cost one token request, and the token is kept from every log."""
    async with signed_in() as (server, connection):
        listings = await asyncio.gather(*(connection.run_ids() for _ in range(20)))
        assert all(len(runs) == 1 for runs in listings)
        assert server.credentials.issued == 1
        assert connection.secrets == ["simulated-oauth-1"]
        assert (
            connection.counted("databricks_exporter_api_requests_total", endpoint=TOKEN_ENDPOINT, code="200")
            == 1
        )


async def test_a_short_lived_token_is_replaced_without_a_refusal() -> None:
    """While tokens live for 2 s, requests go on over their end and none is refused."""
    async with signed_in(expires_in=2) as (server, connection):
        async with asyncio.timeout(20):
            while server.credentials.issued < 2:
                assert await connection.run_ids()
                await asyncio.sleep(0.01)
        assert set(statuses(server)) == {200}


async def test_an_expired_token_is_renewed_and_the_request_repeated() -> None:
    """After a 401 a new token is fetched once and the request goes again, without counting as a retry."""
    async with signed_in() as (server, connection):
        await connection.run_ids()
        server.credentials.revoke_issued()
        assert len(await connection.run_ids()) == 1
        assert statuses(server) == [200, 401, 200]
        assert (server.credentials.issued, connection.retries) == (2, 0)


async def test_one_new_token_serves_all_that_were_refused() -> None:
    """When a token ends under many requests at once, one new one is fetched for all of them."""
    async with signed_in() as (server, connection):
        await connection.run_ids()
        server.credentials.revoke_issued()
        listings = await asyncio.gather(*(connection.run_ids() for _ in range(10)))
        assert all(len(runs) == 1 for runs in listings)
        assert server.credentials.issued == 2


async def test_a_passing_403_is_answered_with_a_new_token() -> None:
    """A 403 that goes away with the next token fails nothing."""
    async with signed_in() as (server, connection):
        server.faults.add(
            Fault(error(403, "PERMISSION_DENIED", "maintenance"), endpoint="runs/list", times=1)
        )
        assert len(await connection.run_ids()) == 1
        assert statuses(server) == [403, 200]
        assert server.credentials.issued == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_a_lasting_refusal_is_the_operators(status: int) -> None:
    """A request refused again with a new token fails after two requests and two tokens, and no retry."""
    async with signed_in() as (server, connection):
        server.faults.add(Fault(error(status, "PERMISSION_DENIED", "no view"), endpoint="runs/list"))
        with pytest.raises(AccessRefused, match="no view"):
            await connection.run_ids()
        assert statuses(server) == [status, status]
        assert (server.credentials.issued, connection.retries) == (2, 0)


@pytest.mark.parametrize(
    "login",
    [
        ClientCredentials("robot", SecretStr("wr0ng")),
        ClientCredentials("nobody", SecretStr("s3cret")),
    ],
)
async def test_wrong_credentials_are_the_operators(login: ClientCredentials) -> None:
    """A refused client secret names the variables to set, never a value, and costs one request."""
    async with signed_in(login) as (server, connection):
        with pytest.raises(AccessRefused, match="DATABRICKS_CLIENT_SECRET") as raised:
            await connection.run_ids()
        assert "Client authentication failed" in str(raised.value)
        assert login.client_secret.get_secret_value() not in repr(raised.value)
        assert len(server.requests) == 1


@pytest.mark.parametrize(
    "answer",
    [
        throttled(None),
        Answer(
            400,
            b'{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}',
        ),
        html(502, "Bad gateway"),
        plain(503, "later"),
        Answer(200, b'{"access_token":""}'),
        Answer(200, b"<html>"),
    ],
)
async def test_a_token_endpoint_that_is_away_is_asked_again(
    answer: Answer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A passing fault of the token endpoint costs a retry of the request that needed the token."""
    monkeypatch.setattr("exporter.databricks.client.MOST_BACKOFF_SECONDS", 0.0)
    async with signed_in() as (server, connection):
        server.faults.add(Fault(answer, endpoint="token", times=2))
        assert len(await connection.run_ids()) == 1
        assert (server.credentials.issued, connection.retries) == (1, 2)
        assert statuses(server) == [200]
