"""Real clients read real answers to their end: packed and plain, in both formats, in many pieces."""

import asyncio
import gzip
import random
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import httpx
import pytest
import requests

from exporter.accounting.records import ActiveGauges, Job, LastRun
from exporter.accounting.totals import HISTOGRAMS, Totals
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Format
from exporter.instruments import Instruments
from exporter.settings import Settings
from exporter.web import WebServer
from tests.e2e.conftest import program
from tests.exposition import Observed, exposed, plain

LABEL_SETS = 400
ACCEPT = {Format.TEXT: "text/plain", Format.OPENMETRICS: "application/openmetrics-text; version=1.0.0"}
Read = Callable[[str, dict[str, str], bool], Awaitable[bytes]]


def large() -> Exposition:
    """Some megabytes that do not pack too well, in a hundred groups, with exemplars."""
    chance = random.Random(7)
    totals: dict[tuple[str, str], Totals] = {}
    for number in range(LABEL_SETS):
        values = {name: [chance.randrange(10**8) for _ in range(3)] for name in HISTOGRAMS}
        what = Observed(values, {("databricks_job_runs_total", "FAILED"): 1}, seeded=True).totals()
        for slots in HISTOGRAMS.values():
            if slots.exemplars is not None:
                what.exemplify(slots.exemplars + 3 * 5, 1_780_000_000_000 + number, number + 1, 100_000)
        totals[str(number), "STANDARD"] = what
    jobs: dict[str, tuple[Job, ActiveGauges | None]] = {
        str(number): (Job(name=f"job {number} «é» \\ \"'", last_run=LastRun(
            chance.randrange(10**12), number + 1, "STANDARD", 1, 5, 0, None, 1, success=True)), None)
        for number in range(LABEL_SETS)
    }  # fmt: skip
    return exposed("adb-1.2.test", totals, jobs)


@pytest.fixture(scope="module")
def exposition() -> Exposition:
    return large()


@pytest.fixture
async def url(exposition: Exposition) -> AsyncIterator[str]:
    settings = Settings.from_layers({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, None, exposition, Instruments(), []).listening() as address:
        yield f"http://{address}/metrics"


async def output(*command: str) -> bytes:
    process = await asyncio.create_subprocess_exec(
        program(command[0]), *command[1:], stdout=asyncio.subprocess.PIPE
    )
    found, _ = await process.communicate()
    assert process.returncode == 0
    return found


async def with_curl(url: str, headers: dict[str, str], packed: bool) -> bytes:  # noqa: FBT001  as all of them
    named = [part for name, value in headers.items() for part in ("-H", f"{name}: {value}")]
    return await output("curl", "-sSf", *(["--compressed"] if packed else []), *named, url)


async def with_wget(url: str, headers: dict[str, str], packed: bool) -> bytes:  # noqa: FBT001
    named = [f"--header={name}: {value}" for name, value in headers.items()]
    coding = "auto" if packed else "none"
    return await output("wget", "-q", "--tries=1", f"--compression={coding}", *named, "-O", "-", url)


async def with_httpx(url: str, headers: dict[str, str], packed: bool) -> bytes:  # noqa: FBT001
    coding = {"Accept-Encoding": "gzip, deflate" if packed else "identity"}
    async with httpx.AsyncClient(headers=headers | coding) as client:
        answer = await client.get(url)
        assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
        return answer.raise_for_status().content


async def with_requests(url: str, headers: dict[str, str], packed: bool) -> bytes:  # noqa: FBT001
    coding = {"Accept-Encoding": "gzip, deflate" if packed else "identity"}
    answer = await asyncio.to_thread(requests.get, url, headers=headers | coding, timeout=60)
    answer.raise_for_status()
    assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
    return answer.content


async def with_aiohttp(url: str, headers: dict[str, str], packed: bool) -> bytes:  # noqa: FBT001
    coding = {"Accept-Encoding": "gzip, deflate" if packed else "identity"}
    async with aiohttp.ClientSession() as session, session.get(url, headers=headers | coding) as answer:
        assert answer.headers.get("Content-Encoding") == ("gzip" if packed else None)
        return await answer.read()


def _opened(url: str, headers: dict[str, str]) -> bytes:
    asked = urllib.request.Request(url, headers=headers)  # noqa: S310  of the test's own server
    with urllib.request.urlopen(asked, timeout=60) as answer:  # noqa: S310
        body: bytes = answer.read()
        assert int(answer.headers["Content-Length"]) == len(body)
        return gzip.decompress(body) if answer.headers.get("Content-Encoding") == "gzip" else body


async def with_urllib(url: str, headers: dict[str, str], packed: bool) -> bytes:  # noqa: FBT001
    coding = {"Accept-Encoding": "gzip"} if packed else {}
    return await asyncio.to_thread(_opened, url, headers | coding)


@pytest.mark.parametrize("packed", [False, True], ids=["plain", "gzip"])
@pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
@pytest.mark.parametrize("read", [with_curl, with_wget, with_httpx, with_requests, with_aiohttp, with_urllib])
async def test_a_client_reads_to_the_end(
    exposition: Exposition, url: str, read: Read, form: Format, *, packed: bool
) -> None:
    """Every client gets every line of the job families and then the exporter's own metrics, packed or not."""
    body = await read(url, {"Accept": ACCEPT[form]}, packed)
    jobs = plain(exposition, form)
    assert body.startswith(jobs)
    own = body.removeprefix(jobs).decode()
    assert "\ndatabricks_exporter_build_info{" in own
    assert own.endswith("# EOF\n" if form is Format.OPENMETRICS else "\n")
    assert (b" # {run_id=" in body) == (form is Format.OPENMETRICS)


@pytest.mark.parametrize("form", Format)
def test_what_they_read_is_of_many_pieces_and_parts(exposition: Exposition, form: Format) -> None:
    """The bodies that the clients read are sent in several parts, and hold many pieces."""
    _ = exposition.ready(form) or exposition.prepare(form)
    snapshot = exposition.snapshot
    assert len(snapshot.renderings[form].pieces) > 100
    assert len(snapshot.renderings[form].parts) >= 2
    assert len(list(snapshot.plain(form, b"").parts)) > 10


@pytest.mark.parametrize("coding", ["gzip", "identity"])
@pytest.mark.parametrize("form", Format, ids=lambda form: form.name)
async def test_head_says_how_long_the_body_is(url: str, form: Format, coding: str) -> None:
    """HEAD has the headers of GET, with its length, no body, and leaves the connection fit for a GET."""
    headers = {"Accept": ACCEPT[form], "Accept-Encoding": coding}
    async with aiohttp.ClientSession(
        auto_decompress=False, connector=aiohttp.TCPConnector(limit=1), headers=headers
    ) as session:
        async with session.head(url) as head:
            assert head.status == 200
            assert await head.read() == b""
        async with session.get(url) as got:
            body = await got.read()
    assert int(got.headers["Content-Length"]) == len(body)
    for name in ("Content-Type", "Content-Encoding", "Vary"):
        assert head.headers.get(name) == got.headers.get(name)
    # The exporter's own numbers move between the two by some digits.
    assert abs(int(head.headers["Content-Length"]) - len(body)) < 500
    assert len(body) > 200_000


def changed(number: int) -> dict[str, tuple[Job, None]]:
    return {str(label): (Job(name=f"change {number}"), None) for label in range(LABEL_SETS)}


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_a_slow_client_gets_the_snapshot_it_began_with(coding: str) -> None:
    """Fifty updates go on while a client reads bit by bit: it gets one whole body, from before them."""
    exposition = large()
    before = plain(exposition, Format.TEXT)
    settings = Settings.from_layers({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, None, exposition, Instruments(), []).listening() as address:
        host, port = address.rsplit(":", 1)
        # A small window, so that the server cannot get rid of it all at once.
        reader, writer = await asyncio.open_connection(host, int(port), limit=4096)
        lines = (
            "GET /metrics HTTP/1.1",
            "Host: x",
            f"Accept-Encoding: {coding}",
            "Connection: close",
            "",
            "",
        )
        writer.write("\r\n".join(lines).encode())
        head = await reader.readuntil(b"\r\n\r\n")
        got = bytearray()
        for number in range(50):
            got += await reader.read(4096)
            await asyncio.to_thread(exposition.update, "adb-1.2.test", {}, changed(number))
        assert b"change 49" in plain(exposition, Format.TEXT)
        got += await reader.read(-1)
        writer.close()
        await writer.wait_closed()
    body = gzip.decompress(got) if coding == "gzip" else bytes(got)
    assert f"Content-Length: {len(got)}\r\n".encode() in head
    assert body.startswith(before)
    assert b"change" not in body


async def test_a_client_that_goes_away_in_the_middle_harms_nobody(
    url: str, exposition: Exposition, caplog: pytest.LogCaptureFixture
) -> None:
    """Twenty clients break off after the first bytes: no error is logged, and the next one reads it all."""
    host, port = url.removeprefix("http://").removesuffix("/metrics").rsplit(":", 1)
    for _ in range(20):
        reader, writer = await asyncio.open_connection(host, int(port), limit=4096)
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.abort()
    body = await with_aiohttp(url, {"Accept": "text/plain"}, packed=True)
    assert body.startswith(plain(exposition, Format.TEXT))
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []


async def test_a_client_that_reads_no_more_holds_up_nobody_else(exposition: Exposition, url: str) -> None:
    """While several clients sit on half a body, commits and other clients' scrapes go on."""
    host, port = url.removeprefix("http://").removesuffix("/metrics").rsplit(":", 1)
    clients = [await asyncio.open_connection(host, int(port), limit=4096) for _ in range(8)]
    for reader, writer in clients:
        writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
    await asyncio.to_thread(exposition.update, "another.test", {}, {"1": (Job(name="later"), None)})
    for packed in (False, True):
        body = await with_aiohttp(url, {"Accept": "text/plain"}, packed)
        assert body.startswith(plain(exposition, Format.TEXT))
        assert b'job_name="later"' in body
    for _, writer in clients:
        writer.transport.abort()


async def test_a_client_that_reads_no_more_does_not_hold_up_the_end(
    exposition: Exposition, caplog: pytest.LogCaptureFixture
) -> None:
    """The server stops while clients sit on half a body; they are cut off, and no error is logged."""
    settings = Settings.from_layers({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, None, exposition, Instruments(), []).listening() as address:
        host, port = address.rsplit(":", 1)
        clients = [await asyncio.open_connection(host, int(port), limit=4096) for _ in range(3)]
        for reader, writer in clients:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
    for _, writer in clients:
        writer.transport.abort()
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []
