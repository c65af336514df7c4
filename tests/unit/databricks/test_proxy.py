"""The way out through a real CONNECT proxy, an https workspace behind it."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from pydantic import SecretStr

from exporter.config import ClientCredentials, Proxy
from exporter.config.proxies import proxy_for
from exporter.databricks.errors import AccessRefused, TryAgain
from exporter.simulator.credentials import DEFAULT_TOKEN, Credentials
from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.certificates import make_ca, make_leaf, server_context
from tests.proxy import ConnectProxy, proxying
from tests.unit.databricks import NOW, connected

# Not a loopback address, and known to the proxy alone.
HOST = "workspace.invalid"
CA = make_ca("the company's CA")
LEAF = make_leaf(CA, host=HOST)


def through(proxy: ConnectProxy, user: str = "") -> Proxy:
    """What the settings make of HTTPS_PROXY."""
    found = proxy_for(HOST, 443, {"HTTPS_PROXY": proxy.url.replace("://", f"://{user}")})
    assert found is not None
    return found


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[SimulatorServer]:
    """A workspace behind TLS with one finished run."""
    workspace = Workspace(clock=lambda: NOW)
    workspace.finished_run(workspace.add_job("nightly"), start=NOW - 100, duration=10.0)
    credentials = Credentials(clients={"robot": "s3cret"})
    async with SimulatorServer(
        workspace, credentials=credentials, tls=server_context(LEAF, tmp_path)
    ) as running:
        yield running


@pytest.fixture
def ca_file(tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    path.write_bytes(CA.certificate_pem)
    return path


@asynccontextmanager
async def refused_by(status: str, ca_file: Path, kind: type[Exception], match: str) -> AsyncIterator[None]:
    async with (
        proxying("127.0.0.1:1", refusal=status) as proxy,
        connected(f"https://{HOST}", ca_file=ca_file, proxy=through(proxy, "me:s3cret@")) as connection,
    ):
        with pytest.raises(kind, match=match) as raised:
            await connection.run_ids(seconds=0.01)
        assert "s3cret" not in repr(raised.value)
        yield


async def test_the_workspace_is_read_through_the_proxy(server: SimulatorServer, ca_file: Path) -> None:
    """Every request goes through the tunnel; the proxy sees host and port and no credential of ours."""
    async with (
        proxying(server.url) as proxy,
        connected(f"https://{HOST}", ca_file=ca_file, proxy=through(proxy)) as connection,
    ):
        assert len(await connection.run_ids()) == 1
    assert proxy.targets == [f"{HOST}:443"]
    assert "authorization" not in proxy.heads[0].lower()
    [request] = server.requests
    assert request.authorization == f"Bearer {DEFAULT_TOKEN}"


async def test_the_token_endpoint_is_behind_the_proxy_too(server: SimulatorServer, ca_file: Path) -> None:
    """The OAuth secret is sent through the tunnel and nowhere else."""
    login = ClientCredentials("robot", SecretStr("s3cret"))
    async with (
        proxying(server.url) as proxy,
        connected(f"https://{HOST}", login, ca_file=ca_file, proxy=through(proxy)) as connection,
    ):
        assert len(await connection.run_ids()) == 1
    assert set(proxy.targets) == {f"{HOST}:443"}
    assert not any("authorization" in head.lower() for head in proxy.heads)
    assert [request.endpoint for request in server.requests] == ["token", "runs/list"]


async def test_the_proxys_credentials_are_for_the_proxy_alone(server: SimulatorServer, ca_file: Path) -> None:
    """User and password go with the CONNECT, percent-decoded, and never to the workspace."""
    async with (
        proxying(server.url, authorization="Basic bWU6YUBi") as proxy,
        connected(f"https://{HOST}", ca_file=ca_file, proxy=through(proxy, "me:a%40b@")) as connection,
    ):
        assert len(await connection.run_ids()) == 1
        assert len(await connection.run_ids()) == 1
    assert [request.authorization for request in server.requests] == [f"Bearer {DEFAULT_TOKEN}"] * 2


async def test_a_proxy_may_itself_speak_tls(server: SimulatorServer, ca_file: Path, tmp_path: Path) -> None:
    """TLS to the proxy, by the same CAs, and TLS to the workspace inside it."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    async with (
        proxying(server.url, tls=server_context(make_leaf(CA), folder)) as proxy,
        connected(f"https://{HOST}", ca_file=ca_file, proxy=through(proxy)) as connection,
    ):
        assert proxy.url.startswith("https://")
        assert len(await connection.run_ids()) == 1
    assert proxy.targets == [f"{HOST}:443"]


async def test_a_certificate_is_verified_behind_a_proxy_too(server: SimulatorServer, tmp_path: Path) -> None:
    """A proxy that opens TLS is refused unless its CA is trusted, and sees no request."""
    other = tmp_path / "other.pem"
    other.write_bytes(make_ca("another").certificate_pem)
    async with (
        proxying(server.url) as proxy,
        connected(f"https://{HOST}", ca_file=other, proxy=through(proxy)) as connection,
    ):
        with pytest.raises(AccessRefused, match=r"api\.ca-file"):
            await connection.run_ids()
    assert len(server.requests) == 0


async def test_a_netrc_file_is_not_read(
    server: SimulatorServer, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it has for proxy and workspace is sent to neither."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login a password b\nmachine {HOST} login c password d\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with (
        proxying(server.url) as proxy,
        connected(f"https://{HOST}", ca_file=ca_file, proxy=through(proxy)) as connection,
    ):
        assert len(await connection.run_ids()) == 1
    assert "authorization" not in proxy.heads[0].lower()
    assert server.requests.of("runs/list")[0].authorization == f"Bearer {DEFAULT_TOKEN}"


async def test_the_environment_is_read_by_the_settings_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """The library below does not take a proxy from the environment that the settings did not choose."""
    async with SimulatorServer() as server, proxying(server.url) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "all_proxy"):
            monkeypatch.setenv(name, proxy.url)
        async with connected(server.url) as connection:
            assert await connection.run_ids() == []
    assert proxy.heads == []


async def test_a_proxy_that_wants_a_password_is_the_operators(ca_file: Path) -> None:
    """407 says where to set it, and shows none."""
    async with refused_by("407 Who are you?", ca_file, AccessRefused, "HTTPS_PROXY wants other credentials"):
        pass


async def test_a_proxy_that_forbids_the_way_is_the_operators(ca_file: Path) -> None:
    """403 says what the proxy must allow, or how to go without it."""
    async with refused_by(
        "403 Forbidden", ca_file, AccessRefused, "CONNECT to the workspace, or see NO_PROXY"
    ):
        pass


async def test_a_proxy_that_finds_no_way_is_asked_again(ca_file: Path) -> None:
    """502 may pass."""
    async with refused_by("502 Bad Gateway", ca_file, TryAgain, "can't reach the workspace: HTTP 502"):
        pass


async def test_a_proxy_that_is_away_is_named(ca_file: Path) -> None:
    """The error names the proxy and its variable."""
    async with proxying("127.0.0.1:1") as proxy:
        way = through(proxy)
    async with connected(f"https://{HOST}", ca_file=ca_file, proxy=way) as connection:
        with pytest.raises(TryAgain, match=f"can't reach the proxy {proxy.url} of HTTPS_PROXY"):
            await connection.run_ids(seconds=0.01)


async def test_a_proxy_that_no_name_server_knows_is_named(ca_file: Path) -> None:
    """A mistake in HTTPS_PROXY does not look like one in DATABRICKS_HOST."""
    way = proxy_for(HOST, 443, {"HTTPS_PROXY": "http://proxy.invalid:3128"})
    async with connected(f"https://{HOST}", ca_file=ca_file, proxy=way) as connection:
        with pytest.raises(
            TryAgain, match=r"can't reach the proxy http://proxy\.invalid:3128 of HTTPS_PROXY"
        ):
            await connection.run_ids(seconds=0.01)


async def test_a_proxy_with_a_certificate_for_another_host_is_named(
    server: SimulatorServer, ca_file: Path, tmp_path: Path
) -> None:
    """The remedy names the variable of the proxy."""
    folder = tmp_path / "proxy"
    folder.mkdir()
    async with (
        proxying(server.url, tls=server_context(LEAF, folder)) as proxy,
        connected(f"https://{HOST}", ca_file=ca_file, proxy=through(proxy)) as connection,
    ):
        with pytest.raises(AccessRefused, match="set HTTPS_PROXY to the proxy's own name"):
            await connection.run_ids()
    assert proxy.heads == []


async def test_a_workspace_that_no_name_server_knows_is_named() -> None:
    """Without a proxy the name is asked here; the error says which and why."""
    async with connected(f"https://{HOST}") as connection:
        with pytest.raises(TryAgain, match=f"can't connect to {HOST}:443: \\w+"):
            await connection.run_ids(seconds=0.01)


# --- which proxy

P = "http://proxy.example.com:3128"


@pytest.mark.parametrize(
    ("host", "environ", "expected"),
    [
        ("x.example.com", {}, None),
        ("x.example.com", {"HTTPS_PROXY": P}, P),
        ("x.example.com", {"https_proxy": P}, P),
        ("x.example.com", {"HTTPS_PROXY": "http://other:1", "https_proxy": P}, P),
        ("x.example.com", {"HTTPS_PROXY": P, "https_proxy": ""}, P),
        ("x.example.com", {"HTTP_PROXY": P, "ALL_PROXY": P}, None),
        ("x.example.com", {"HTTPS_PROXY": "proxy.example.com:3128"}, P),
        ("x.example.com", {"HTTPS_PROXY": "http://proxy.example.com:3128/"}, P),
        ("x.example.com", {"HTTPS_PROXY": "https://proxy.example.com"}, "https://proxy.example.com:443"),
        ("x.example.com", {"HTTPS_PROXY": "http://[fd00::1]:8080"}, "http://[fd00::1]:8080"),
        ("localhost", {"HTTPS_PROXY": P}, None),
        ("127.8.9.1", {"HTTPS_PROXY": P}, None),
        ("::1", {"HTTPS_PROXY": P}, None),
        ("x.example.com", {"HTTPS_PROXY": P, "NO_PROXY": "*"}, None),
        ("x.example.com", {"HTTPS_PROXY": P, "NO_PROXY": "a, x.example.com"}, None),
        ("x.example.com", {"HTTPS_PROXY": P, "no_proxy": "EXAMPLE.com"}, None),
        ("x.example.com", {"HTTPS_PROXY": P, "no_proxy": ".example.com"}, None),
        ("x.example.com", {"HTTPS_PROXY": P, "no_proxy": "*.example.com"}, None),
        ("x.example.com", {"HTTPS_PROXY": P, "no_proxy": "ample.com"}, P),
        ("x.example.com", {"HTTPS_PROXY": P, "no_proxy": "y.x.example.com, ,."}, P),
        ("x.example.com", {"HTTPS_PROXY": P, "no_proxy": "example.com:443"}, None),
        ("x.example.com", {"HTTPS_PROXY": P, "no_proxy": "example.com:8443"}, P),
        ("10.1.2.3", {"HTTPS_PROXY": P, "no_proxy": "10.0.0.0/8"}, None),
        ("10.1.2.3", {"HTTPS_PROXY": P, "no_proxy": "10.1.2.3"}, None),
        ("10.1.2.3", {"HTTPS_PROXY": P, "no_proxy": "192.168.0.0/16,3"}, P),
        ("fd00::5", {"HTTPS_PROXY": P, "no_proxy": "[fd00::5]:443"}, None),
        ("fd00::5", {"HTTPS_PROXY": P, "no_proxy": "fd00::/8"}, None),
    ],
)
def test_the_environment_says_which_proxy(
    host: str, environ: Mapping[str, str], expected: str | None
) -> None:
    """Small letters first; exceptions are hosts, domains, addresses and networks, perhaps with a port."""
    found = proxy_for(host, 443, environ)
    assert (None if found is None else found.url) == expected
