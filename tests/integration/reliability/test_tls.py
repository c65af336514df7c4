"""TLS that fails under way: another certificate, an expired one, none at all; and a host without address."""

import datetime as dt
import ssl
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.simulator.server import SimulatorServer
from tests.certificates import Identity, make_ca, make_leaf
from tests.e2e import recount
from tests.e2e.conftest import launch
from tests.e2e.process import BRISK, POLLS, Exporter, Launcher, access, total

__all__ = ["launch"]


class Stage:
    """A workspace behind TLS, and an exporter that trusts its CA."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ca = make_ca()
        self.tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.server = SimulatorServer(tls=self.tls)
        self.show(make_leaf(self.ca))
        self.job = self.server.workspace.add_job("nightly")

    def show(self, identity: Identity) -> None:
        """Serve this certificate to every connection from now on."""
        self.tls.load_cert_chain(*identity.write(self.folder, "server"))

    async def begin(self, launch: Launcher) -> Exporter:
        trusted = {"SSL_CERT_FILE": str(self.ca.write(self.folder, "ca")[0])}
        exporter = await launch.spawn(*BRISK, env=access(self.server) | trusted).listening()
        await exporter.until_ready()
        return exporter

    async def reconnect(self) -> None:
        """Cut every connection, so that the next request makes a new one."""
        await self.server.stop()
        await self.server.start()


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    async with stage.server:
        yield stage


@pytest.mark.parametrize(
    ("fault", "told"), [("expired", "certificate has expired"), ("foreign", "certificate verify failed")]
)
async def test_a_bad_certificate_costs_no_run_and_is_told(
    stage: Stage, launch: Launcher, fault: str, told: str
) -> None:
    """Nothing is read behind it; once the certificate is good again all that finished is counted."""
    exporter = await stage.begin(launch)
    stage.show(
        make_leaf(stage.ca, ends=-dt.timedelta(hours=1))
        if fault == "expired"
        else make_leaf(make_ca("another"))
    )
    await stage.reconnect()
    stage.server.requests.clear()
    stage.server.workspace.finished_run(stage.job)
    errors = total(await exporter.metrics(), POLLS, result="error")
    await exporter.until(lambda seen: total(seen, POLLS, result="error") > errors + 1, "failed polls")
    assert len(stage.server.requests) == 0
    assert "is not trusted" in exporter.log
    assert told in exporter.log
    stage.show(make_leaf(stage.ca))
    truth = recount.runs(stage.server.workspace.truth())
    samples = await exporter.until(lambda seen: recount.counted_runs(seen) == truth, "all counted")
    assert total(samples, "databricks_exporter_runs_lost_total") == 0


async def test_a_server_that_speaks_no_tls_costs_no_run_and_is_told(stage: Stage, launch: Launcher) -> None:
    """Plain HTTP on the port of HTTPS is an error of the connection; the token is not sent over it."""
    exporter = await stage.begin(launch)
    tls, stage.server._tls = stage.server._tls, None
    await stage.reconnect()
    stage.server.requests.clear()
    stage.server.workspace.finished_run(stage.job)
    await exporter.until(lambda seen: total(seen, POLLS, result="error") >= 1, "a failed poll")
    assert "can't connect to" in exporter.log
    assert not any(request.authorization for request in stage.server.requests)
    stage.server._tls = tls
    await stage.reconnect()
    truth = recount.runs(stage.server.workspace.truth())
    await exporter.until(lambda seen: recount.counted_runs(seen) == truth, "all counted")


async def test_a_host_without_an_address_is_told(launch: Launcher) -> None:
    """The exporter lives, says that the name can't be looked up, and is not ready."""
    env = {"DATABRICKS_HOST": "https://nowhere.invalid", "DATABRICKS_TOKEN": "dapi-made-up"}
    exporter = await launch.spawn(*BRISK, env=env).listening()
    samples = await exporter.until(lambda seen: total(seen, POLLS, result="error") >= 2, "failed polls")
    assert total(samples, "databricks_up") == 0
    assert total(samples, "databricks_exporter_api_requests_total", code="error") > 0
    assert "can't connect to nowhere.invalid:443" in exporter.log
    assert "check the network, DNS and DATABRICKS_HOST" in exporter.log
    # Once a minute, however often it fails.
    assert exporter.log.count("poll failed") == 1
