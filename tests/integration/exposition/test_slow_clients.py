"""Clients that are slow, stop reading or go away harm nobody: not the others, not the memory, not the log."""

import asyncio
import gzip

import pytest

from exporter.config import Settings
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Format
from exporter.own_metrics import OwnMetrics
from exporter.runs.records import Job
from exporter.server.pages import WebServer
from tests.integration.exposition.test_readers import with_aiohttp
from tests.unit.exposition import LABEL_SETS, large, plain


def changed(number: int) -> dict[str, tuple[Job, None]]:
    return {str(label): (Job(name=f"change {number}"), None) for label in range(LABEL_SETS)}


@pytest.mark.parametrize("coding", ["gzip", "identity"])
async def test_a_slow_client_gets_the_snapshot_it_began_with(coding: str) -> None:
    """Fifty updates go on while a client reads bit by bit: it gets one whole body, from before them."""
    exposition = large()
    before = plain(exposition, Format.TEXT)
    settings = Settings.model_validate({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, None, exposition, OwnMetrics(), []).listening() as address:
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
    settings = Settings.model_validate({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, None, exposition, OwnMetrics(), []).listening() as address:
        host, port = address.rsplit(":", 1)
        clients = [await asyncio.open_connection(host, int(port), limit=4096) for _ in range(3)]
        for reader, writer in clients:
            writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
    for _, writer in clients:
        writer.transport.abort()
    assert [record for record in caplog.records if record.levelname in {"WARNING", "ERROR"}] == []
