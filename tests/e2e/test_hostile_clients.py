"""A real exporter among hundreds of hostile or broken clients."""

import asyncio
import base64
import os
import resource
import signal
import socket
import ssl
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path

import bcrypt
import pytest

from exporter.simulator.server import SimulatorServer
from tests.certificates import make_ca, make_leaf
from tests.e2e.process import RUNS, Exporter, Launcher, parse, total, wait_for
from tests.programs import program

GET = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"
PASSWORD = "correct horse"
JOBS = 100
# Between two connections of one client: this process serves the simulated workspace too.
PAUSE_SECONDS = 1.0
# Hundreds of clients, on a machine that may be busy with other work.
pytestmark = pytest.mark.timeout(400)

# The limit of open connections, and some more for the connections of the exporter to the workspace.
MOST_OPEN = 400 + 50
# Python's own pool starts its threads one by one, whenever work meets no idle one. Two more check passwords.
POOL_THREADS, CHECK_THREADS = min(32, (os.cpu_count() or 1) + 4), 2


def basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def users(*names: str, cost: int) -> str:
    lines = [
        f"  {name}: {bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(cost)).decode()}\n" for name in names
    ]
    return "basic_auth_users:\n" + "".join(lines)


async def busy(server: SimulatorServer, launch: Launcher, *arguments: str) -> Exporter:
    """An exporter whose body has some megabytes."""
    for number in range(JOBS):
        job = server.workspace.add_job(f"job {number}")
        server.workspace.finished_run(job, duration=100, tasks=2)
    # Few polls: this is about the pages.
    exporter = await launch.start(server, "--poll.interval=5s", *arguments)

    async def ready() -> bool:
        return (await get(exporter, "/-/ready")).startswith(b"HTTP/1.1 200")

    await wait_for(ready, "the exporter is ready")
    return exporter


def address(exporter: Exporter) -> tuple[str, int]:
    host, _, port = exporter.url.removeprefix("http://").rpartition(":")
    return host, int(port)


async def get(
    exporter: Exporter, path: str, context: ssl.SSLContext | None = None, login: str = "", source: str = ""
) -> bytes:
    """A whole answer over a connection of its own; nothing where it was reset."""
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close"]
    lines += [f"Authorization: {login}"] if login else []
    async with asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(
            *address(exporter),
            ssl=context,
            server_hostname="localhost" if context else None,
            local_addr=(source, 0) if source else None,
        )
        try:
            writer.write("\r\n".join([*lines, "", ""]).encode())
            return await reader.read()
        except ConnectionError:
            return b""
        finally:
            writer.transport.abort()


def open_files(exporter: Exporter) -> int:
    return len(list(Path(f"/proc/{exporter._process.pid}/fd").iterdir()))


def threads(exporter: Exporter) -> int:
    return len(list(Path(f"/proc/{exporter._process.pid}/task").iterdir()))


def memory_mb(exporter: Exporter) -> float:
    pages = int(Path(f"/proc/{exporter._process.pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@contextmanager
def room_for_sockets() -> Iterator[None]:
    """This process may have as many open as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def opened(exporter: Exporter, first: bytes = b"", buffer: int = 0) -> socket.socket:
    made = socket.socket()
    if buffer:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    made.setblocking(False)
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(60):
            await loop.sock_connect(made, address(exporter))
            with suppress(ConnectionError):  # its place may have gone to another already
                await loop.sock_sendall(made, first)
    except BaseException:
        made.close()
        raise
    return made


async def drip(exporter: Exporter) -> None:
    """Send a header a second, without end."""
    with await opened(exporter, b"GET /metrics HTTP/1.1\r\n") as made:
        while True:
            await asyncio.sleep(1)
            await asyncio.get_running_loop().sock_sendall(made, b"X-Drip: 1\r\n")


async def send(exporter: Exporter, data: bytes) -> None:
    """Send, and read until the connection is closed."""
    with await opened(exporter, data) as made:
        while await asyncio.get_running_loop().sock_recv(made, 1 << 16):
            pass


async def read_nothing(exporter: Exporter) -> None:
    """Ask for the metrics three times, and read nothing."""
    with await opened(exporter, GET * 3, buffer=4096):
        await asyncio.sleep(3600)


async def half_open(exporter: Exporter) -> None:
    with await opened(exporter, b"GET /met"):
        await asyncio.sleep(3600)


async def over_and_over(attack: Callable[[], Awaitable[None]]) -> None:
    while True:
        with suppress(OSError, TimeoutError):
            await attack()
        await asyncio.sleep(PAUSE_SECONDS)


@asynccontextmanager
async def under_attack(*attacks: tuple[int, Callable[[], Awaitable[None]]]) -> AsyncIterator[None]:
    """This many clients of each kind at once. They connect again when they are cut off."""
    tasks = [
        asyncio.create_task(over_and_over(attack), name=f"client {number}")
        for count, attack in attacks
        for number in range(count)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


GARBAGE = [
    bytes(range(256)) * 8,
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(200),
    b"GET / HTTP/1.1\r\nX-Huge: " + b"a" * 100_000 + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 1\r\n" * 5000 + b"\r\n",
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n" + bytes(50_000),
    b"GET /metrics HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffff\r\n" + bytes(50_000),
    GET * 1000,
]


async def served(exporter: Exporter, **how: object) -> None:
    """A good client gets whole bodies, and its health page, twice in a row."""
    for _ in range(2):
        answer = await get(exporter, "/metrics", **how)  # type: ignore[arg-type]
        head, _, body = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        assert total(parse(body.decode()), RUNS, result="SUCCESS") == JOBS
        health: dict[str, object] = {key: word for key, word in how.items() if key != "login"}
        assert (await get(exporter, "/-/healthy", **health)).startswith(b"HTTP/1.1 200 ")  # type: ignore[arg-type]


async def recovered(exporter: Exporter, files: int) -> None:
    """File descriptors are what they were: a few may come and go with polls."""

    async def closed() -> bool:
        return open_files(exporter) <= files + 5

    await wait_for(closed, "all connections are closed", seconds=90)


async def test_a_good_client_is_served_among_hundreds_of_hostile_ones(
    server: SimulatorServer, launch: Launcher
) -> None:
    """Every scrape of a good client is whole, connections stay bounded, and afterwards all are closed."""
    exporter = await busy(server, launch)
    await served(exporter)
    files, before = open_files(exporter), memory_mb(exporter)
    attacks: list[tuple[int, Callable[[], Awaitable[None]]]] = [
        (250, lambda: half_open(exporter)),
        (100, lambda: drip(exporter)),
        (50, lambda: read_nothing(exporter)),
    ]
    attacks += [(3, lambda data=data: send(exporter, data)) for data in GARBAGE]  # type: ignore[misc]
    with room_for_sockets():
        async with under_attack(*attacks):

            async def full() -> bool:
                return open_files(exporter) > files + 300

            await wait_for(full, "many connections are open")
            most = memory_mb(exporter)
            for _ in range(2):
                await served(exporter)
                assert open_files(exporter) <= files + MOST_OPEN
                most = max(most, memory_mb(exporter))
    await recovered(exporter, files)
    assert most - before < 250, "of 400 connections, each with what it was sent and did not read"
    await served(exporter)
    assert "Traceback" not in exporter.log
    lines = [line for line in exporter.log.splitlines() if "exporter.poll" not in line]
    assert any("connection refused or ended" in line for line in lines)
    assert len(lines) < 30, "a flood does not fill the log"


async def test_memory_does_not_grow_from_one_attack_to_the_next(
    server: SimulatorServer, launch: Launcher
) -> None:
    """The memory of the first attack is used again by the next."""
    exporter = await busy(server, launch)
    files = open_files(exporter)
    peaks: list[float] = []
    with room_for_sockets():
        for _ in range(3):
            async with under_attack(
                (150, lambda: half_open(exporter)), (100, lambda: read_nothing(exporter))
            ):

                async def full() -> bool:
                    return open_files(exporter) > files + 200

                await wait_for(full, "many connections are open")
                await served(exporter)
            await recovered(exporter, files)
            peaks.append(memory_mb(exporter))
    assert peaks[-1] - peaks[0] < 60, peaks


@asynccontextmanager
async def flooded(exporter: Exporter, clients: int, sources: Sequence[str]) -> AsyncIterator[Counter[int]]:
    """This many clients guess passwords without a pause, from these addresses; counts their answers."""
    answers: Counter[int] = Counter()
    guesses = iter(range(10**9))

    async def guess(source: str) -> None:
        while True:
            with suppress(OSError, TimeoutError):
                login = basic("prometheus", f"guess {next(guesses)}")
                answers[status_of(await get(exporter, "/metrics", login=login, source=source))] += 1

    tasks = [
        asyncio.create_task(guess(sources[number % len(sources)]), name=f"guess {number}")
        for number in range(clients)
    ]

    async def all_have_failed() -> bool:
        return answers[401] > clients

    try:
        await wait_for(all_have_failed, "every guesser has failed", seconds=180)
        yield answers
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def status_of(answer: bytes) -> int:
    return int(answer[9:12] or 0)


async def gets_in(exporter: Exporter, login: str, source: str, seconds: float) -> None:
    """As a scraper does: it asks again after each failure."""

    async def allowed() -> bool:
        with suppress(OSError, TimeoutError):
            answer = status_of(await get(exporter, "/metrics", login=login, source=source))
            assert answer in {200, 503, 0}, "the right password is never wrong"
            return answer == 200
        return False

    await wait_for(allowed, f"{source} gets in", seconds)


async def test_a_flood_of_passwords_from_200_addresses_shuts_no_client_out(
    server: SimulatorServer, launch: Launcher, tmp_path: Path
) -> None:
    """A known one gets in, one from an address that rarely fails, and one from the address of a guesser."""
    web_config = tmp_path / "web.yml"
    # A cheap hash: on a busy machine the first failure of all guessers would take a minute otherwise.
    web_config.write_text(users("known", "rare", "shared", cost=8))
    exporter = await busy(server, launch, f"--web.config.file={web_config}")
    known = basic("known", PASSWORD)
    await served(exporter, login=known, source="127.0.0.1")
    before = threads(exporter)
    sources = [f"127.0.1.{number}" for number in range(1, 201)]
    with room_for_sockets():
        async with flooded(exporter, clients=240, sources=sources) as answers:
            await served(exporter, login=known, source="127.0.0.1")
            await gets_in(exporter, basic("rare", PASSWORD), "127.0.0.2", seconds=30)
            await gets_in(exporter, basic("shared", PASSWORD), sources[0], seconds=180)
            assert threads(exporter) <= before + 2
            assert answers.keys() <= {0, 401, 503}
    assert answers.total() > 500


async def test_behind_the_address_of_one_guesser_a_right_password_gets_in(
    server: SimulatorServer, launch: Launcher, tmp_path: Path
) -> None:
    """Bcrypt at its usual cost. A hundred clients share the address, as behind NAT or a proxy."""
    web_config = tmp_path / "web.yml"
    web_config.write_text(users("prometheus", cost=10))
    exporter = await busy(server, launch, f"--web.config.file={web_config}")
    async with flooded(exporter, clients=100, sources=["127.0.0.1"]) as answers:
        await gets_in(exporter, basic("prometheus", PASSWORD), "127.0.0.1", seconds=60)
    assert answers.keys() <= {0, 401, 503}


@pytest.mark.parametrize("size", [6_000, 30_000, 40_000, 120_000])
async def test_a_large_head_is_served_or_refused_with_a_reason(
    server: SimulatorServer, launch: Launcher, size: int
) -> None:
    """A cookie of curl: 200 up to 32 kB, and beyond that 431 with the reason, also in the log."""
    exporter = await launch.start(server)
    command = [program("curl"), "-s", "-w", "%{http_code}", "-H", f"Cookie: {'a' * size}"]
    url = f"{exporter.url}/-/healthy"
    done = await asyncio.to_thread(
        subprocess.run, [*command, url], capture_output=True, text=True, check=True
    )
    if size <= 32_000:
        assert done.stdout == "OK\n200"
    else:
        assert "larger than 32 kB" in done.stdout
        assert done.stdout.endswith("431")
        assert "the request is larger than 32 kB" in exporter.log
        assert "client=127.0.0.1" in exporter.log


async def test_a_good_client_is_served_over_tls_among_hostile_ones(
    server: SimulatorServer, launch: Launcher, tmp_path: Path
) -> None:
    """Handshakes that never end, garbage in place of one, and clients that read nothing."""
    ca = make_ca()
    (tmp_path / "ca.pem").write_bytes(ca.certificate_pem)
    make_leaf(ca).write(tmp_path, "server")
    web_config = tmp_path / "web.yml"
    web_config.write_text("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n")
    for number in range(JOBS):
        server.workspace.finished_run(server.workspace.add_job(f"job {number}"), duration=100)
    exporter = await launch.start(server, "--poll.interval=5s", f"--web.config.file={web_config}")
    client = ssl.create_default_context(cafile=str(tmp_path / "ca.pem"))

    async def ready() -> bool:
        return (await get(exporter, "/-/ready", client)).startswith(b"HTTP/1.1 200")

    await wait_for(ready, "the exporter is ready")
    files = open_files(exporter)

    async def hoard() -> None:
        _, writer = await asyncio.open_connection(
            *address(exporter), ssl=client, server_hostname="localhost", limit=1024
        )
        try:
            writer.write(GET * 3)
            await asyncio.sleep(3600)
        finally:
            writer.transport.abort()

    with room_for_sockets():
        async with under_attack(
            (200, lambda: half_open(exporter)),
            (200, lambda: send(exporter, b"\x16\x03\x01\x02\x00")),
            (20, lambda: send(exporter, os.urandom(3000))),
            (20, lambda: send(exporter, GET)),
            (30, hoard),
        ):

            async def full() -> bool:
                return open_files(exporter) > files + 200

            await wait_for(full, "many connections are open")
            await served(exporter, context=client)
            assert open_files(exporter) <= files + MOST_OPEN
    await recovered(exporter, files)
    assert "Traceback" not in exporter.log


async def test_it_stops_cleanly_in_the_middle_of_an_attack(server: SimulatorServer, launch: Launcher) -> None:
    """SIGTERM ends it with exit code 0, whatever connections are open."""
    exporter = await busy(server, launch)
    files = open_files(exporter)
    async with under_attack((100, lambda: half_open(exporter)), (50, lambda: read_nothing(exporter))):

        async def full() -> bool:
            return open_files(exporter) > files + 120

        await wait_for(full, "many connections are open")
        began = asyncio.get_running_loop().time()
        exporter.send(signal.SIGTERM)
        assert await exporter.exit_code() == 0
        assert asyncio.get_running_loop().time() - began < 5, "the promise"
    assert "Traceback" not in exporter.log


async def test_without_file_descriptors_it_waits_and_serves_again(
    server: SimulatorServer, launch: Launcher
) -> None:
    """Without file descriptors it goes on, and it serves as soon as there are some."""
    exporter = await busy(server, launch)
    few = open_files(exporter) + 20
    resource.prlimit(exporter._process.pid, resource.RLIMIT_NOFILE, (few, few))
    async with under_attack((60, lambda: half_open(exporter))):

        async def logged() -> bool:
            return "the system has no resources" in exporter.log

        await wait_for(logged, "the log says so")
    assert not exporter.has_ended()
    await served(exporter)


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/nothing"])
async def test_no_answer_names_a_version_of_a_library(
    server: SimulatorServer, launch: Launcher, path: str
) -> None:
    """No version of a library in any answer."""
    exporter = await launch.start(server)
    head = (await get(exporter, path)).partition(b"\r\n\r\n")[0]
    assert b"\r\nServer: databricks-jobs-exporter" in head
    assert b"aiohttp" not in head
