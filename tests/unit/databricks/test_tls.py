"""Certificates are verified, always; one that can't be trusted is the operator's, and the remedy is named."""

import datetime as dt
import re
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from structlog.testing import capture_logs

from exporter.databricks.errors import AccessRefused, TryAgain
from exporter.databricks.transport import open_session, transport_error
from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.certificates import Identity, make_ca, make_leaf, make_self_signed, server_context
from tests.unit.databricks import NOW, connected

CA = make_ca("the company's CA")
LEAF = make_leaf(CA)
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
        (make_leaf(make_ca("unknown")), CA, "neither it nor a CA that signed it is in api.ca-file"),
        (make_ca("self-signed"), CA, "neither it nor a CA that signed it is in api.ca-file"),
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


ISSUING = make_ca("the issuing CA", issuer=CA)
SELF_SIGNED = make_self_signed()


@pytest.mark.parametrize(
    ("identity", "trusted"),
    [
        (make_leaf(ISSUING), ISSUING),
        (LEAF, LEAF),
        (SELF_SIGNED, SELF_SIGNED),
    ],
    ids=["the issuing CA alone", "the server's own certificate", "a self-signed one"],
)
async def test_a_ca_file_may_hold_what_stands_below_the_root(
    identity: Identity, trusted: Identity, tmp_path: Path
) -> None:
    """Each certificate of the file is trusted, also without its issuer, on every version of Python."""
    async with (
        secured(identity, tmp_path) as server,
        connected(server.url, ca_file=ca_file(tmp_path, trusted)) as connection,
    ):
        assert len(await connection.run_ids()) == 1


@pytest.mark.parametrize("other", [make_leaf(CA), make_leaf(ISSUING), make_self_signed()])
async def test_the_servers_own_certificate_vouches_for_no_other(other: Identity, tmp_path: Path) -> None:
    """A file with a server's certificate trusts that one, and neither what its CA signed nor another."""
    async with (
        secured(other, tmp_path) as server,
        connected(server.url, ca_file=ca_file(tmp_path, LEAF)) as connection,
    ):
        with pytest.raises(AccessRefused, match="not trusted"):
            await connection.run_ids()
        assert len(server.requests) == 0


async def test_the_servers_own_certificate_must_be_for_its_name(tmp_path: Path) -> None:
    """Trusted as it is, it is still for one host only, and not after its end."""
    for identity in (make_leaf(CA, host="other.example.com"), make_leaf(CA, ends=-DAY)):
        async with (
            secured(identity, tmp_path) as server,
            connected(server.url, ca_file=ca_file(tmp_path, identity)) as connection,
        ):
            with pytest.raises(AccessRefused, match="not trusted"):
                await connection.run_ids()


async def test_a_certificate_that_the_file_does_not_trust_names_the_file(tmp_path: Path) -> None:
    """The advice is not to set what is set."""
    trusted = ca_file(tmp_path, CA)
    async with secured(make_leaf(make_ca("unknown")), tmp_path) as server:
        session = open_session(server.url, ca_file=trusted, timeout_seconds=5, concurrency=1)
        async with session:
            with pytest.raises(aiohttp.ClientConnectorCertificateError) as raised:
                await session.get("/")
    error = transport_error(raised.value, None, trusted)
    assert isinstance(error, AccessRefused)
    assert f"neither it nor a CA that signed it is in api.ca-file: {trusted}" in str(error)


@pytest.mark.parametrize(
    ("file", "folder", "says"),
    [
        ("missing.pem", "missing", "SSL_CERT_FILE names .*missing.pem, which does not exist"),
        ("missing.pem", "full", "SSL_CERT_FILE names .*missing.pem, which does not exist"),
        ("empty.pem", "missing", "SSL_CERT_FILE names .*empty.pem, which has no readable certificate"),
        ("", "missing", "there are no CA certificates in .*missing; install the system's"),
        ("", "empty", "there are no CA certificates in .*empty; install the system's"),
    ],
)
async def test_a_machine_without_ca_certificates_says_so(
    file: str, folder: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a line of the log at the start, and in the error: no company CA is at fault."""
    (tmp_path / "empty.pem").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "full").mkdir()
    make_ca("another").write(tmp_path / "full", "0a775a30.0")
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path / folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / file)) if file else no_default_file(monkeypatch)
    async with secured(make_leaf(CA), tmp_path) as server:
        with capture_logs() as logs:
            async with connected(server.url) as connection:
                with pytest.raises(AccessRefused, match=f"is not trusted: .*; {says}"):
                    await connection.run_ids()
    assert [line["log_level"] for line in logs] == ["warning"]
    assert re.search(says, logs[0]["cause"])


def no_default_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine whose bundle of certificates was never installed."""
    monkeypatch.delenv("SSL_CERT_FILE", raising=False)
    real = ssl.SSLContext.set_default_verify_paths

    def without_file(context: ssl.SSLContext) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("SSL_CERT_FILE", "/nowhere/at/all.pem")
            real(context)

    monkeypatch.setattr("ssl.SSLContext.set_default_verify_paths", without_file)


async def test_a_server_without_tls_is_named(tmp_path: Path) -> None:
    """Where no TLS is spoken the error says where, and holds no address of an object."""
    async with (
        SimulatorServer() as server,
        connected(server.url.replace("http:", "https:"), ca_file=ca_file(tmp_path, CA)) as connection,
    ):
        with pytest.raises(TryAgain, match=r"can't connect to 127\.0\.0\.1") as raised:
            await connection.run_ids(seconds=0.01)
        assert "object at" not in str(raised.value)
