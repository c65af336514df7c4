"""Real clients read real answers to their end: packed and plain, in both formats, in many pieces."""

import asyncio
import gzip
import urllib.request
from collections.abc import Awaitable, Callable

import aiohttp
import httpx
import pytest
import requests

from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Format
from tests.programs import program
from tests.unit.exposition import plain

ACCEPT = {Format.TEXT: "text/plain", Format.OPENMETRICS: "application/openmetrics-text; version=1.0.0"}
Read = Callable[[str, dict[str, str], bool], Awaitable[bytes]]


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
    snapshot = exposition.ready(form) or exposition.prepare(form)
    assert sum(len(strip) for strip in exposition._series_keys._strips.values()) > 100
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
