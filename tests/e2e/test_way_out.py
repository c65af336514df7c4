"""Connections of a real process: TLS with the company's CA, a proxy with a password, credentials in files."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.simulator.credentials import Credentials
from tests.certificates import make_ca, make_leaf, server_context
from tests.e2e import recount
from tests.e2e.process import BRISK, POLLS, Launcher, total
from tests.e2e.test_secrets import errors, everything_shown
from tests.faults import Fault, SimulatorServer, error
from tests.proxy import ConnectProxy, proxying

# No name server knows it: only the proxy can connect to it.
HOST = "workspace.invalid"
CA = make_ca("the company's CA")
OLD, NEW = "dapi5ecretBefore", "dapi5ecretAfter"
PASSWORD, BASIC = "proxy5ecret", "bWU6cHJveHk1ZWNyZXQ="  # of me:proxy5ecret


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SimulatorServer]:
    tls = server_context(make_leaf(CA, host=HOST), tmp_path)
    async with SimulatorServer(credentials=Credentials(tokens=(OLD,)), tls=tls) as running:
        running.workspace.finished_run(running.workspace.add_job("nightly"))
        yield running


@pytest.fixture
async def proxy(server: SimulatorServer) -> AsyncIterator[ConnectProxy]:
    async with proxying(server.url, authorization=f"Basic {BASIC}") as running:
        yield running


@pytest.fixture
def env(proxy: ConnectProxy, tmp_path: Path) -> dict[str, str]:
    """All of it in the environment, and a ~/.netrc that must not matter."""
    (tmp_path / "ca.pem").write_bytes(CA.certificate_pem)
    (tmp_path / "token").write_text(f"{OLD}\n")
    (tmp_path / ".netrc").write_text(
        f"machine {HOST} login a password b\nmachine 127.0.0.1 login a password b"
    )
    (tmp_path / ".netrc").chmod(0o600)
    return {
        "HOME": str(tmp_path),
        "DATABRICKS_HOST": HOST,
        "DATABRICKS_TOKEN_FILE": str(tmp_path / "token"),
        "DATABRICKS_EXPORTER_API_CA_FILE": str(tmp_path / "ca.pem"),
        "HTTPS_PROXY": proxy.url.replace("://", f"://me:{PASSWORD}@"),
    }


async def test_a_token_is_rotated_without_a_restart_and_no_secret_is_shown(
    server: SimulatorServer, proxy: ConnectProxy, env: dict[str, str], launch: Launcher, tmp_path: Path
) -> None:
    """No poll fails over the change, and then no server gets either token or the password into the open."""
    exporter = await launch.spawn("--log.level=debug", *BRISK, env=env).listening()
    await exporter.until_ready()
    server.credentials.tokens.add(NEW)
    (tmp_path / "token.new").write_text(NEW)
    (tmp_path / "token.new").replace(tmp_path / "token")
    await exporter.polls()
    server.credentials.tokens.discard(OLD)
    samples = await exporter.polls()
    assert total(samples, POLLS, result="error") == 0
    assert recount.counted_runs(samples) == recount.runs(server.workspace.truth())
    text = f"{OLD} or {NEW} of {PASSWORD} {BASIC}"
    server.faults.add(Fault(error(403, "PERMISSION_DENIED", text), endpoint="runs/list"))
    await errors(exporter, 2)
    shown = await everything_shown(exporter)
    await exporter.terminate()
    shown += exporter.log
    assert "[redacted]" in shown
    assert [word for word in (OLD, NEW, PASSWORD, BASIC) if word in shown] == []
    assert set(proxy.targets) == {f"{HOST}:443"}
    assert {request.authorization for request in server.requests} == {f"Bearer {OLD}", f"Bearer {NEW}"}


async def test_check_goes_the_same_way(
    server: SimulatorServer, env: dict[str, str], launch: Launcher, tmp_path: Path
) -> None:
    """It logs in through proxy and CA with the token of the file; without the CA it says what to set."""
    checking = launch.spawn("check", env=env)
    assert await checking.exit_code() == 0
    assert f"workspace {HOST}: logged in; 1 jobs" in checking.output
    checking = launch.spawn("check", env=env | {"DATABRICKS_EXPORTER_API_CA_FILE": ""})
    assert await checking.exit_code() == 1
    assert "set api.ca-file" in checking.output
    server.credentials.tokens.clear()
    (tmp_path / "token").write_text(NEW)
    checking = launch.spawn("check", env=env)
    assert await checking.exit_code() == 1
    assert "Invalid access token" in checking.output


async def test_files_that_are_not_there_stop_it_at_once(
    env: dict[str, str], launch: Launcher, tmp_path: Path
) -> None:
    """Both are reported, with exit code 2."""
    (tmp_path / "token").unlink()
    (tmp_path / "ca.pem").write_text("")
    exporter = launch.spawn(env=env)
    assert await exporter.exit_code() == 2
    assert f"DATABRICKS_TOKEN_FILE, {tmp_path / 'token'}: the file cannot be read" in exporter.log
    assert "DATABRICKS_EXPORTER_API_CA_FILE: is no file of CA certificates" in exporter.log
