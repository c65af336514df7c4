"""TLS, client certificates and basic auth, asked for by the programs that operators use."""

import asyncio
import subprocess
from pathlib import Path

import bcrypt
import pytest

from exporter.simulator.server import SimulatorServer
from tests.certificates import Identity, make_ca, make_leaf
from tests.e2e.process import Exporter, Launcher, wait_for
from tests.e2e.prometheus import prometheus, scrape_of
from tests.programs import program

PASSWORD = "correct horse"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


def users(password: str = PASSWORD) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    return f"basic_auth_users:\n  prometheus: {hashed}\n"


class Locked:
    """The files of a locked exporter and its clients."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.web_config = folder / "web.yml"
        self.ca = make_ca()
        self.ca_file = self.publish(self.ca, "ca")
        self.serve(make_leaf(self.ca))

    def publish(self, ca: Identity, name: str) -> Path:
        path = self.folder / f"{name}.pem"
        path.write_bytes(ca.certificate_pem)
        return path

    def serve(self, leaf: Identity) -> None:
        leaf.write(self.folder, "server")

    async def start(self, launch: Launcher, server: SimulatorServer, content: str) -> Exporter:
        self.web_config.write_text(content)
        return await launch.start(server, f"--web.config.file={self.web_config}")


@pytest.fixture
def locked(tmp_path: Path) -> Locked:
    return Locked(tmp_path)


async def curl(exporter: Exporter, path: str, *arguments: str) -> int:
    """The HTTP status that curl gets over TLS; 0 where there is no connection."""
    url = exporter.url.replace("http://", "https://") + path
    command = [program("curl"), "-s", "--max-time", "30", "-o", "/dev/null", "-w", "%{http_code}"]
    done = await asyncio.to_thread(
        subprocess.run, [*command, *arguments, url], capture_output=True, text=True, check=False
    )
    assert (done.returncode == 0) == (done.stdout != "000"), done.stderr
    return int(done.stdout)


async def test_prometheus_scrapes_over_tls_with_a_password_and_a_client_certificate(
    server: SimulatorServer, launch: Launcher, locked: Locked, tmp_path: Path
) -> None:
    """A real Prometheus gets in with all three; one with a wrong password sees its target down."""
    locked.publish(make := make_ca("clients"), "clients")
    make_leaf(make).write(tmp_path, "client")
    mutual = "  client_ca_file: clients.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
    exporter = await locked.start(launch, server, TLS + mutual + users())
    scrape = {
        **scrape_of(exporter.url),
        "scheme": "https",
        "tls_config": {
            "ca_file": str(locked.ca_file),
            "cert_file": str(tmp_path / "client.pem"),
            "key_file": str(tmp_path / "client.key"),
        },
        "basic_auth": {"username": "prometheus", "password": PASSWORD},
    }
    async with prometheus(tmp_path, {"scrape_configs": [scrape]}) as asked:

        async def up() -> list[float]:
            answer = await asked.instant("up")
            return [value for _, values in answer for _, value in values]

        async def is_up() -> bool:
            return await up() == [1]

        async def has_metrics() -> bool:
            return bool(await asked.instant("databricks_up"))

        await wait_for(is_up, "Prometheus gets in")
        await wait_for(has_metrics, "Prometheus has the metrics")
        # Under the eyes of Prometheus: another password, in force at its next scrape.
        locked.web_config.write_text(TLS + mutual + users("another"))

        async def is_down() -> bool:
            return await up() == [0]

        await wait_for(is_down, "Prometheus is shut out")
        locked.web_config.write_text(TLS + mutual + users())
        await wait_for(is_up, "Prometheus gets in again")


async def test_a_wrong_password_leaves_the_health_pages_open_and_all_else_shut(
    server: SimulatorServer, launch: Launcher, locked: Locked
) -> None:
    exporter = await locked.start(launch, server, TLS + users())
    trust = ("--cacert", str(locked.ca_file))
    assert await curl(exporter, "/metrics", *trust, "-u", f"prometheus:{PASSWORD}") == 200
    for login in ((), ("-u", "prometheus:wrong"), ("-u", f"nobody:{PASSWORD}")):
        assert await curl(exporter, "/metrics", *trust, *login) == 401
        assert await curl(exporter, "/", *trust, *login) == 401
        assert await curl(exporter, "/-/healthy", *trust, *login) == 200
    assert await curl(exporter, "/-/healthy") == 0, "curl trusts the CA only when it is told to"
    assert "wrong" not in exporter.log


# What each client_auth_type lets in: nobody's certificate, one of the CA, one of another CA.
KINDS = {
    "NoClientCert": (200, 200, 200),
    "VerifyClientCertIfGiven": (200, 200, 0),
    "RequireAndVerifyClientCert": (0, 200, 0),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_curl_gets_in_as_the_client_auth_type_says(
    server: SimulatorServer, launch: Launcher, locked: Locked, tmp_path: Path, kind: str
) -> None:
    """Without a certificate, with one of the configured CA, and with a stranger's."""
    clients = make_ca("clients")
    locked.publish(clients, "clients")
    ca = "" if kind == "NoClientCert" else "  client_ca_file: clients.pem\n"
    exporter = await locked.start(launch, server, f"{TLS}{ca}  client_auth_type: {kind}\n")
    trust = ("--cacert", str(locked.ca_file))
    make_leaf(clients).write(tmp_path, "known")
    make_leaf(make_ca("strangers")).write(tmp_path, "stranger")

    def shown(name: str) -> tuple[str, ...]:
        return ("--cert", str(tmp_path / f"{name}.pem"), "--key", str(tmp_path / f"{name}.key"))

    got = [
        await curl(exporter, "/metrics", *trust),
        await curl(exporter, "/metrics", *trust, *shown("known")),
        await curl(exporter, "/metrics", *trust, *shown("stranger")),
    ]
    assert tuple(got) == KINDS[kind]


@pytest.mark.parametrize("kind", ["RequestClientCert", "RequireAnyClientCert"])
async def test_a_client_auth_type_that_cannot_be_had_is_refused_at_the_start(
    server: SimulatorServer, launch: Launcher, locked: Locked, kind: str
) -> None:
    """Those that take a certificate without verifying it: exit code 2, and the log names what can be had."""
    locked.web_config.write_text(f"{TLS}  client_auth_type: {kind}\n")
    exporter = launch.spawn(
        f"--web.config.file={locked.web_config}",
        env={
            "DATABRICKS_HOST": server.url,
            "DATABRICKS_TOKEN": "never-used",
        },
    )
    assert await exporter.exit_code() == 2
    assert f"{kind} takes certificates that nobody verified" in exporter.log
    assert "RequireAndVerifyClientCert" in exporter.log


@pytest.mark.parametrize(("version", "status"), [("TLS12", 200), ("TLS13", 0)])
async def test_the_minimum_version_is_kept(
    server: SimulatorServer, launch: Launcher, locked: Locked, version: str, status: int
) -> None:
    exporter = await locked.start(launch, server, f"{TLS}  min_version: {version}\n")
    old = ("--cacert", str(locked.ca_file), "--tls-max", "1.2")
    assert await curl(exporter, "/metrics", *old) == status
    assert await curl(exporter, "/metrics", "--cacert", str(locked.ca_file)) == 200


async def test_a_renewed_certificate_is_served_without_a_restart(
    server: SimulatorServer, launch: Launcher, locked: Locked
) -> None:
    """Also under another CA; and a broken one is told and not served."""
    exporter = await locked.start(launch, server, TLS)
    trust_old = ("--cacert", str(locked.ca_file))
    assert await curl(exporter, "/metrics", *trust_old) == 200
    renewed = make_ca("renewed")
    trust_new = ("--cacert", str(locked.publish(renewed, "renewed")))
    locked.serve(make_leaf(renewed))
    assert await curl(exporter, "/metrics", *trust_old) == 0
    assert await curl(exporter, "/metrics", *trust_new) == 200
    (locked.folder / "server.pem").write_text("no certificate")
    assert await curl(exporter, "/metrics", *trust_new) == 200
