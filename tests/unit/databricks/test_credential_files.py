"""Credentials in files: taken up when they change or are refused, and kept while they can't be read."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.config import Invocation, parse
from exporter.databricks.errors import AccessRefused
from exporter.simulator.credentials import Credentials
from exporter.simulator.server import SimulatorServer
from tests.unit.databricks import Connection, connected

OLD, NEW = "dapi-old-5ecret", "dapi-new-5ecret"


@asynccontextmanager
async def signed_in(folder: Path, **words: str) -> AsyncIterator[tuple[SimulatorServer, Connection]]:
    """A client whose credentials stand in files of these names: token, client_id, client_secret."""
    environ = {}
    for name, word in words.items():
        (folder / name).write_text(f"{word}\n")
        environ[f"DATABRICKS_{name.upper()}_FILE"] = str(folder / name)
    credentials = Credentials(tokens=(OLD,), clients={"robot": OLD})
    async with SimulatorServer(credentials=credentials) as server:
        invocation = parse([], {"DATABRICKS_HOST": server.url, **environ})
        assert isinstance(invocation, Invocation)
        [access] = invocation.workspaces
        async with connected(server.url, access.login, source=access.source) as connection:
            yield server, connection


def answers(server: SimulatorServer) -> list[tuple[str | None, int | None]]:
    """The last word of each Authorization header of the API, and the status it met."""
    return [
        ((request.authorization or "").rpartition(" ")[2], request.status)
        for request in server.requests.of("runs/list")
    ]


def put(path: Path, text: str) -> None:
    """Another file in its place, as Kubernetes and careful people do."""
    other = path.with_suffix(".new")
    other.write_text(text)
    other.replace(path)


async def test_a_token_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    """The next request after the change has the new token: none is refused; the log is to know it."""
    async with signed_in(tmp_path, token=OLD) as (server, connection):
        await connection.run_ids()
        server.credentials.tokens.add(NEW)
        put(tmp_path / "token", f"{NEW}\n")
        await connection.run_ids()
        assert answers(server) == [(OLD, 200), (NEW, 200)]
        assert connection.secrets == [NEW]


async def test_a_refused_token_is_read_again_whatever_the_files_times_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A change that neither time nor size shows is found when the old token is refused."""
    monkeypatch.setattr("exporter.config.files.SecretFile.stamp", lambda _: (0, 0, 0, 0))
    async with signed_in(tmp_path, token=OLD) as (server, connection):
        await connection.run_ids()
        server.credentials.tokens = {NEW}
        (tmp_path / "token").write_text(f"{NEW}\n")
        await connection.run_ids()
        assert answers(server) == [(OLD, 200), (OLD, 403), (NEW, 200)]


async def test_a_refused_token_that_is_still_in_the_file_is_the_operators(tmp_path: Path) -> None:
    """Read again, found the same: one request and no more."""
    async with signed_in(tmp_path, token=OLD) as (server, connection):
        server.credentials.tokens.clear()
        with pytest.raises(AccessRefused, match="Invalid access token"):
            await connection.run_ids()
        assert answers(server) == [(OLD, 403)]


@pytest.mark.parametrize("damage", ["gone", "empty", "two words", "large"])
async def test_the_last_good_token_stays_while_the_file_is_no_good(tmp_path: Path, damage: str) -> None:
    """One log line names the file, requests go on, and a good file is taken up again."""
    file = tmp_path / "token"
    async with signed_in(tmp_path, token=OLD) as (server, connection):
        await connection.run_ids()
        with capture_logs() as logs:
            if damage == "gone":
                file.unlink()
            else:
                put(file, {"empty": "\n", "two words": f"{NEW} {NEW}", "large": NEW * 10_000}[damage])
            await connection.run_ids()
            await connection.run_ids()
            server.credentials.tokens = {NEW}
            with pytest.raises(AccessRefused, match="its file can't be used") as raised:
                await connection.run_ids()
            assert str(file) in str(raised.value)
        assert [line["log_level"] for line in logs] == ["error"]
        assert str(file) in logs[0]["cause"]
        assert NEW not in logs[0]["cause"]
        put(file, NEW)
        await connection.run_ids()
        assert answers(server) == [(OLD, 200)] * 3 + [(OLD, 403), (NEW, 200)]
        server.credentials.tokens.clear()
        with pytest.raises(AccessRefused, match="Invalid access token"):
            await connection.run_ids()


async def test_a_rotated_client_secret_buys_the_next_token(tmp_path: Path) -> None:
    """The OAuth secret changes: the next token comes for the new one, and both are to be kept from logs."""
    async with signed_in(tmp_path, client_id="robot", client_secret=OLD) as (server, connection):
        await connection.run_ids()
        server.credentials.clients["robot"] = NEW
        put(tmp_path / "client_secret", NEW)
        await connection.run_ids()
        assert [request.status for request in server.requests.of("token")] == [200, 200]
        assert {NEW, "simulated-oauth-1", "simulated-oauth-2"} <= set(connection.secrets)


async def test_a_login_that_changes_in_two_steps_is_found_whole(tmp_path: Path) -> None:
    """Client id first, its secret a moment later: refused in between, and taken up by the next request."""
    async with signed_in(tmp_path, client_id="robot", client_secret=OLD) as (server, connection):
        await connection.run_ids()
        server.credentials.clients = {"android": NEW}
        put(tmp_path / "client_id", "android")
        with pytest.raises(AccessRefused, match="DATABRICKS_CLIENT_SECRET"):
            await connection.run_ids()
        put(tmp_path / "client_secret", NEW)
        await connection.run_ids()
        assert answers(server)[-1] == ("simulated-oauth-2", 200)


async def test_the_secret_is_known_to_the_log_after_any_number_of_tokens(tmp_path: Path) -> None:
    """The log keeps the last secrets: the one that tokens are bought with is added again with each token."""
    async with signed_in(tmp_path, client_id="robot", client_secret=OLD) as (server, connection):
        for _ in range(3):
            await connection.run_ids()
            server.credentials.revoke_issued()
        last = len(connection.secrets) - 1 - connection.secrets[::-1].index(OLD)
        assert connection.secrets[last:].count("simulated-oauth-3") == 1
        assert "simulated-oauth-2" not in connection.secrets[last:]


async def test_a_mounted_secret_is_followed_through_its_links(tmp_path: Path) -> None:
    """Kubernetes changes a mounted secret by pointing a link to another folder."""
    for folder, word in (("first", OLD), ("second", NEW)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "token").write_text(word)
    data = tmp_path / "..data"
    data.symlink_to("first")
    (tmp_path / "token").symlink_to("..data/token")
    environ = {"DATABRICKS_TOKEN_FILE": str(tmp_path / "token")}
    async with SimulatorServer(credentials=Credentials(tokens=(OLD, NEW))) as server:
        invocation = parse([], {"DATABRICKS_HOST": server.url, **environ})
        assert isinstance(invocation, Invocation)
        [access] = invocation.workspaces
        async with connected(server.url, access.login, source=access.source) as connection:
            await connection.run_ids()
            (tmp_path / "..new").symlink_to("second")
            os.replace(tmp_path / "..new", data)  # noqa: PTH105  of a link itself
            await connection.run_ids()
        assert answers(server) == [(OLD, 200), (NEW, 200)]
