"""Certificates are verified, always; one that can't be trusted is the operator's, and the remedy is named."""

import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from exporter.databricks.errors import AccessRefused, TryAgain
from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.certificates import Identity, make_ca, make_leaf, server_context
from tests.unit.databricks import NOW, connected

CA = make_ca("the company's CA")
DAY = dt.timedelta(days=1)


@asynccontextmanager
async def secured(identity: Identity, folder: Path) -> AsyncIterator[SimulatorServer]:
    """A workspace behind TLS with one finished run."""
    workspace = Workspace(clock=lambda: NOW)
    workspace.finished_run(workspace.add_job("nightly"), start=NOW - 100, duration=10.0)
    async with SimulatorServer(workspace, tls=server_context(identity, folder)) as server:
        yield server


def ca_file(folder: Path, *authorities: Identity) -> Path:
    path = folder / "ca.pem"
    path.write_bytes(b"# the company's\n".join(authority.certificate_pem for authority in authorities))
    return path


async def test_a_ca_file_is_trusted(tmp_path: Path) -> None:
    """A workspace whose certificate was signed by any CA of the file is read."""
    async with (
        secured(make_leaf(CA), tmp_path) as server,
        connected(server.url, ca_file=ca_file(tmp_path, make_ca("another"), CA)) as connection,
    ):
        assert len(await connection.run_ids()) == 1


async def test_a_ca_file_is_in_place_of_the_systems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the system trusts counts without a file, and no longer with one."""
    monkeypatch.setenv("SSL_CERT_FILE", str(ca_file(tmp_path, CA)))
    other = tmp_path / "other.pem"
    other.write_bytes(make_ca("another").certificate_pem)
    async with secured(make_leaf(CA), tmp_path) as server:
        async with connected(server.url) as connection:
            assert len(await connection.run_ids()) == 1
        async with connected(server.url, ca_file=other) as connection:
            with pytest.raises(AccessRefused, match="not trusted"):
                await connection.run_ids()


@pytest.mark.parametrize(
    ("identity", "authority", "remedy"),
    [
        (make_leaf(CA, ends=-DAY), CA, "expired.*has to be renewed there, or the clock"),
        (make_leaf(CA, host="other.example.com"), CA, "set DATABRICKS_HOST to the workspace's own name"),
        (make_leaf(make_ca("unknown")), CA, "set api.ca-file to the CA that signed it"),
        (make_ca("self-signed"), CA, "set api.ca-file to the CA that signed it"),
    ],
    ids=["expired", "wrong host", "unknown issuer", "self-signed"],
)
async def test_a_certificate_that_is_no_good_is_the_operators(
    identity: Identity, authority: Identity, remedy: str, tmp_path: Path
) -> None:
    """It fails at once, names the host and what to do, and no request is sent."""
    async with (
        secured(identity, tmp_path) as server,
        connected(server.url, ca_file=ca_file(tmp_path, authority)) as connection,
    ):
        with pytest.raises(AccessRefused, match=remedy) as raised:
            await connection.run_ids()
        assert server.url.removeprefix("https://") in str(raised.value)
        assert connection.retries == 0
        assert len(server.requests) == 0


async def test_a_server_without_tls_is_told_plainly(tmp_path: Path) -> None:
    """Where no TLS is spoken the error says where, and holds no address of an object."""
    async with (
        SimulatorServer() as server,
        connected(server.url.replace("http:", "https:"), ca_file=ca_file(tmp_path, CA)) as connection,
    ):
        with pytest.raises(TryAgain, match=r"can't connect to 127\.0\.0\.1") as raised:
            await connection.run_ids(seconds=0.01)
        assert "object at" not in str(raised.value)
