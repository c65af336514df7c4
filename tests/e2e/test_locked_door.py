"""TLS, client certificates and basic auth, seen by the programs that operators use."""

import asyncio
import random
import ssl
import subprocess
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import aiohttp
import bcrypt
import pytest

from exporter.simulator.server import SimulatorServer
from tests.certificates import Identity, make_ca, make_leaf
from tests.e2e.process import Exporter, Launcher, wait_for
from tests.e2e.prometheus import prometheus, scrape_of
from tests.programs import program

PASSWORD = "correct horse"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


def users(password: str = PASSWORD, *names: str) -> str:
    hashed = bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
    return "basic_auth_users:\n" + "".join(f"  {name}: {hashed}\n" for name in names or ("prometheus",))


def basic(password: str) -> str:
    return aiohttp.encode_basic_auth("prometheus", password)


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
        # Another password, in force at the next scrape.
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
    assert await curl(exporter, "/-/healthy") == 0, "curl does not know the CA"
    assert "wrong" not in exporter.log


# The status for each client_auth_type: without a certificate, with one of the CA, with one of another CA.
KINDS = {
    "NoClientCert": (200, 200, 200),
    "VerifyClientCertIfGiven": (200, 200, 0),
    "RequireAndVerifyClientCert": (0, 200, 0),
}


@pytest.mark.parametrize("kind", KINDS)
async def test_curl_gets_in_as_the_client_auth_type_says(
    server: SimulatorServer, launch: Launcher, locked: Locked, tmp_path: Path, kind: str
) -> None:
    """Without a certificate, with one of the configured CA, and with one of another CA."""
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
async def test_a_client_auth_type_that_python_does_not_support_is_refused_at_the_start(
    server: SimulatorServer, launch: Launcher, locked: Locked, kind: str
) -> None:
    """The types that accept a certificate without verifying it: exit code 2, and the log names the others."""
    locked.web_config.write_text(f"{TLS}  client_auth_type: {kind}\n")
    exporter = launch.spawn(
        f"--web.config.file={locked.web_config}",
        env={
            "DATABRICKS_HOST": server.url,
            "DATABRICKS_TOKEN": "never-used",
        },
    )
    assert await exporter.exit_code() == 2
    assert f"{kind} accepts certificates without verifying them" in exporter.log
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
    """Also one of another CA. A broken one is refused and logged."""
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
    assert "web config file refused" in exporter.log
    assert "holds no PEM certificate" in exporter.log


@pytest.mark.parametrize("content", ["", "# nothing\n", TLS, "basic_auth_users:\n"])
async def test_a_file_without_users_where_there_were_users_opens_nothing(
    server: SimulatorServer, launch: Launcher, locked: Locked, content: str
) -> None:
    """The last good file stays in force, and the log says once why and what to do. A restart opens."""
    exporter = await locked.start(launch, server, users())
    locked.web_config.write_text(content)
    for _ in range(5):
        assert (await exporter.get("/metrics"))[0] == 401
        assert (await exporter.get("/", Authorization=basic(PASSWORD)))[0] == 200
    (line,) = [line for line in exporter.log.splitlines() if "web config file refused" in line]
    assert "basic_auth_users names no user any more" in line
    assert "restart the exporter" in line
    locked.web_config.write_text("")
    assert await exporter.terminate() == 0
    opened = await launch.start(server, f"--web.config.file={locked.web_config}")
    assert (await opened.get("/metrics"))[0] == 200
    assert "the pages are open" in opened.log


class Rewriter:
    """Rewrites a file in place, as `cp` and careless programs do: truncated, then written in pieces."""

    def __init__(self, path: Path, contents: Sequence[str]) -> None:
        self.count = 0
        self._path = path
        self._contents = contents
        self._random = random.Random(1)

    def rewrite(self, times: int, held: int) -> None:
        """Stop `held` times at the end of a line, for longer than the exporter waits for the rest."""
        pauses = set(self._random.sample(range(times), held))
        for number in range(times):
            content = self._contents[number % len(self._contents)].encode()
            cut = self._random.randrange(len(content))
            if number in pauses:
                cut = content.rfind(b"\n", 0, cut) + 1
            with self._path.open("wb", buffering=0) as file:
                file.write(content[:cut])
                if number in pauses:
                    time.sleep(1.2)
                file.write(content[cut:])
            self.count += 1
            time.sleep(0.0002)


@pytest.mark.timeout(300)
@pytest.mark.parametrize("with_tls", [False, True], ids=["plain", "TLS"])
async def test_a_file_rewritten_in_place_thousands_of_times_lets_no_stranger_in(
    server: SimulatorServer, launch: Launcher, locked: Locked, *, with_tls: bool
) -> None:
    """No client without a password gets in, every client with one does, and the last content counts."""
    lock = TLS if with_tls else ""
    names = ("prometheus", "alice", "bob")
    contents = [lock + users(PASSWORD, *names), users(PASSWORD, *names) + "# another comment\n" + lock]
    exporter = await locked.start(launch, server, contents[0])
    url = exporter.url.replace("http://", "https://" if with_tls else "http://") + "/metrics"
    trust = ssl.create_default_context(cafile=str(locked.ca_file))
    anonymous: Counter[int] = Counter()
    known: Counter[int] = Counter()

    async def ask(session: aiohttp.ClientSession, password: str = "") -> int:
        headers = {"Authorization": basic(password)} if password else {}
        async with session.get(url, ssl=trust, headers=headers) as response:
            await response.read()
            return response.status

    async def keep_asking(password: str, got: Counter[int]) -> None:
        connector = aiohttp.TCPConnector(force_close=True)
        async with aiohttp.ClientSession(connector=connector) as session:
            while not writing.done():
                got[await ask(session, password)] += 1

    rewriter = Rewriter(locked.web_config, contents)
    writing = asyncio.create_task(asyncio.to_thread(rewriter.rewrite, 5000, held=12), name="rewriter")
    await asyncio.gather(
        *(keep_asking("", anonymous) for _ in range(40)), *(keep_asking(PASSWORD, known) for _ in range(5))
    )
    await writing
    assert rewriter.count == 5000
    assert anonymous.keys() == {401}
    assert known.keys() == {200}
    assert anonymous.total() > 300
    assert "web config file refused" in exporter.log
    locked.web_config.write_text(lock + users("new", "prometheus"))
    async with aiohttp.ClientSession() as session:
        assert [await ask(session, password) for password in ("", PASSWORD, "new")] == [401, 401, 200]
