"""What a client may take, on real sockets; the limits are small so that reaching them takes no time."""

import asyncio
import gc
import logging
import os
import socket
import ssl
from collections.abc import Callable
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from exporter.server import Limits
from exporter.server.requests import RequestHandler
from exporter.server.web_config import WebConfigFile
from tests.certificates import make_ca, make_leaf
from tests.unit.server.clients import (
    GET,
    HEALTHY,
    Door,
    closing,
    door,
    open_files,
    rest,
    some,
    with_a_large_body,
)

# Each waits for a deadline of the listener to pass.
pytestmark = pytest.mark.slow

BRISK = Limits(head_seconds=0.3, idle_seconds=0.3, unread_seconds=0.3, answer_seconds=0.3)
# Nothing is reached but the number of connections.
NARROW = Limits(connections=10)
SMALL = 4096  # of a socket's buffer: the system makes more of it, but far less than a body


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"GET",
        b"GET /metrics HTTP/1.1\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Half: ",
        HEALTHY.replace(b"close", b"keep-alive") + b"GET /met",
    ],
)
async def test_a_request_that_is_not_finished_ends_its_connection(sent: bytes) -> None:
    """Whatever part of its head a client has sent, it does not hold its place."""
    async with door(BRISK) as there:
        with await there.connect(sent) as waiting:
            answer = await rest(waiting)
        assert answer.count(b"HTTP/1.1") == sent.count(HEALTHY[:20])
        assert await there.status() == 200


async def test_a_head_that_drips_does_not_buy_time() -> None:
    """The deadline is that of the whole head: a byte now and then moves nothing."""
    async with door(BRISK) as there:
        with await there.connect(b"GET /metrics HTTP/1.1\r\n") as dripping:
            loop = asyncio.get_running_loop()

            async def drip() -> None:
                while True:
                    await loop.sock_sendall(dripping, b"X-Drip: 1\r\n")
                    await asyncio.sleep(0.05)

            with pytest.raises(ConnectionError):
                await asyncio.wait_for(drip(), 30)


async def test_a_connection_is_kept_between_scrapes_longer_than_a_head_may_take() -> None:
    """A scraper that comes again finds its connection open; one that does not come loses it in the end."""
    limits = BRISK._replace(head_seconds=0.1, idle_seconds=3.5)
    async with door(limits) as there:
        with await there.connect(GET) as scraper:
            loop = asyncio.get_running_loop()
            assert b" 200 OK" in await some(scraper)
            await asyncio.sleep(2.2)  # two looks round
            await loop.sock_sendall(scraper, GET)
            assert b"HTTP/1.1 200 OK" in await rest(scraper)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """What it did not take is dropped, and its connection with it."""
    async with door(BRISK._replace(answer_seconds=60)) as there:
        with_a_large_body(there.exposition, 20)
        before = open_files()
        with await there.connect(GET, buffer=SMALL) as reader:
            start = await some(reader)
            await until(lambda: open_files() == before + 1)
            answer = start + await rest(reader)
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(answer) < 20_000_000
        assert await there.status() == 200


async def test_a_body_that_was_not_taken_is_free_at_once() -> None:
    """Nothing of a lost connection waits for the garbage collector, which a flood would not wait for."""
    async with door() as there:
        with_a_large_body(there.exposition, 20)
        gc.collect()
        gc.disable()
        try:
            readers = [await there.connect(GET * 3, buffer=SMALL) for _ in range(10)]
            with closing(readers):
                for reader in readers:
                    await some(reader)
                assert handlers() == 10
            await until(lambda: handlers() == 0)
        finally:
            gc.enable()


def handlers() -> int:
    return sum(isinstance(each, RequestHandler) for each in gc.get_objects())


async def test_an_answer_that_is_taken_too_slowly_is_cut_off() -> None:
    """A client that reads a little all the time has a deadline too."""
    async with door(BRISK._replace(unread_seconds=60)) as there:
        with_a_large_body(there.exposition, 20)
        with await there.connect(GET, buffer=1 << 16) as reader:
            size = 0
            async with asyncio.timeout(60):
                while data := await _little(reader):
                    size += len(data)
            assert 0 < size < 20_000_000


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110  # what the other side has done by now
            await asyncio.sleep(0.05)


async def _little(reader: socket.socket) -> bytes:
    await asyncio.sleep(0.01)
    try:
        return await asyncio.get_running_loop().sock_recv(reader, 1 << 15)
    except ConnectionError:
        return b""


async def test_a_client_that_takes_its_time_gets_the_whole_answer() -> None:
    """Slow is not hostile: within the deadlines every byte arrives."""
    async with door() as there:
        with_a_large_body(there.exposition, 5)
        with await there.connect(GET.replace(b"Host", b"Connection: close\r\nHost"), buffer=SMALL) as reader:
            head = await some(reader)
            await asyncio.sleep(1.5)
            answer = head + await rest(reader)
    length = int(answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert len(answer.partition(b"\r\n\r\n")[2]) == length > 5_000_000


async def test_half_open_connections_in_any_number_shut_nobody_out() -> None:
    """Who sends a request is served while fifty times the connections allowed send none."""
    async with door(NARROW) as there:
        before = open_files()
        waiting = [await there.connect(b"GET /met") for _ in range(500)]
        with closing(waiting):
            assert open_files() <= before + 500 + NARROW.connections
            for _ in range(5):
                assert await there.status() == 200
                assert await there.status(GET.replace(b"Host", b"Connection: close\r\nHost")) == 200


async def test_room_is_made_by_the_address_that_takes_most() -> None:
    """An idle scraper keeps its connection while another address opens more than there is room for."""
    async with door(NARROW) as there:
        scraper = await there.connect(GET, source="127.0.0.2")
        with scraper:
            await some(scraper)
            with closing([await there.connect(b"GET /met") for _ in range(50)]):
                await asyncio.get_running_loop().sock_sendall(scraper, GET)
                assert b"HTTP/1.1 200" in await some(scraper)


async def test_who_only_holds_answers_makes_room_when_there_is_none() -> None:
    """Readers who do not read lose their places to one who does, long before their own deadline."""
    async with door(NARROW._replace(unread_seconds_when_full=0.2)) as there:
        with_a_large_body(there.exposition, 20)
        readers = [await there.connect(GET, buffer=SMALL) for _ in range(NARROW.connections)]
        with closing(readers):
            for reader in readers:
                await some(reader)

            async with asyncio.timeout(20):
                while await there.status() != 200:  # noqa: ASYNC110  # until one of them has been cut
                    await asyncio.sleep(0.05)


async def test_where_there_is_no_room_the_answer_is_503_at_once() -> None:
    """All places taken by answers under way: the newcomer is told to come again, and nobody is cut off."""
    async with door(NARROW) as there:
        with_a_large_body(there.exposition, 20)
        readers = [await there.connect(GET, buffer=SMALL) for _ in range(NARROW.connections)]
        with closing(readers):
            for reader in readers:
                await some(reader)
            answer = await there.ask(b"")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nConnection: close\r\n" in answer
            assert b"\r\nRetry-After: 1\r\n" in answer
        async with asyncio.timeout(20):
            while await there.status() != 200:  # noqa: ASYNC110  # until the places are given back
                await asyncio.sleep(0.05)


async def refused_politely(there: Door, request: bytes) -> None:
    answer = await there.ask(request)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"\r\nX-Content-Type-Options: nosniff" in head
    assert b"aiohttp" not in head
    assert body == b"Bad Request\n"


@pytest.mark.parametrize(
    "request_",
    [
        b"GET /" + b"a" * 5000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 5000 + b"\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\n" + b"X-Many: 1\r\n" * 70 + b"\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
        b"\x00\xff" * 500 + b"\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
    ],
    ids=["long target", "long header", "many headers", "TLS", "bytes", "version", "length", "lengths"],
)
async def test_what_is_no_good_request_is_refused_without_a_line_in_the_log(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """400 and a closed connection; a flood of it cannot fill the log."""
    with caplog.at_level(logging.INFO):
        async with door() as there:
            await refused_politely(there, request_)
            assert await there.status() == 200
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def endlessly(sender: socket.socket, filler: bytes) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(sender, filler)


async def test_what_is_sent_without_end_is_cut_off() -> None:
    """A body, or requests without waiting for answers: more than 64 KiB of it is not taken in."""
    endless = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    async with door() as there:
        for sent, filler in ((endless, bytes(4096)), (b"", GET * 40)):
            with await there.connect(sent) as sender, pytest.raises(ConnectionError):
                await asyncio.wait_for(endlessly(sender, filler), 30)
            assert await there.status() == 200


async def test_a_body_is_not_waited_for() -> None:
    """A GET that announces a body gets its answer, and then the end of the connection."""
    async with door() as there:
        answer = await there.ask(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_requests_sent_at_once_are_all_answered_in_turn() -> None:
    """Pipelining is HTTP/1.1: twenty requests in one packet, twenty answers."""
    async with door() as there:
        answer = await there.ask(HEALTHY.replace(b"close", b"keep-alive") * 19 + HEALTHY)
    assert answer.count(b"HTTP/1.1 200 OK") == 20


async def test_a_client_that_goes_away_leaves_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A reset in the middle of a body is everyday life."""
    async with door() as there:
        with_a_large_body(there.exposition, 20)
        for _ in range(5):
            with await there.connect(GET, buffer=SMALL) as reader:
                await some(reader)
        assert await there.status() == 200
    assert [record.getMessage() for record in caplog.records] == []


async def test_what_was_cut_is_told_in_one_line() -> None:
    """How many, and why; not a line for each."""
    with capture_logs() as told:
        async with door(NARROW) as there:
            with closing([await there.connect(b"GET /met") for _ in range(100)]):
                await until(lambda: bool(told))
    assert [line["clients"] for line in told] == [{"made room for another": 90}]


def tls(folder: Path) -> tuple[WebConfigFile, ssl.SSLContext]:
    ca = make_ca()
    (folder / "ca.pem").write_bytes(ca.certificate_pem)
    make_leaf(ca).write(folder, "server")
    path = folder / "web.yml"
    path.write_text("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n")
    return WebConfigFile(path), ssl.create_default_context(cafile=str(folder / "ca.pem"))


async def healthy_over_tls(there: Door, client: ssl.SSLContext) -> bytes:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(
            there.host, there.port, ssl=client, server_hostname="localhost"
        )
        writer.write(HEALTHY)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", os.urandom(5000), GET])
async def test_handshakes_that_never_end_are_counted_and_ended(tmp_path: Path, sent: bytes) -> None:
    """With TLS a client is bound by the same limits before its handshake is done, and shuts nobody out."""
    config, client = tls(tmp_path)
    async with door(NARROW._replace(head_seconds=0.5), config) as there:
        before = open_files()
        waiting = [await there.connect(sent) for _ in range(100)]
        with closing(waiting):
            assert (await healthy_over_tls(there, client)).startswith(b"HTTP/1.1 200")
            assert open_files() <= before + 100 + NARROW.connections
            for each in waiting:
                await rest(each)
        assert (await healthy_over_tls(there, client)).startswith(b"HTTP/1.1 200")
        await until(lambda: open_files() == before)


async def test_closing_the_server_waits_for_nobody() -> None:
    """Half-open requests and readers who do not read are ended with the server, with all that they held."""
    before = open_files()
    async with door() as there:
        with_a_large_body(there.exposition, 20)
        readers = [await there.connect(GET, buffer=SMALL) for _ in range(10)]
        halves = [await there.connect(b"GET /met") for _ in range(10)]
        for reader in readers:
            await some(reader)
        assert open_files() > before + 20
    assert open_files() == before + 20
    with closing([*readers, *halves]):
        for each in (*readers, *halves):
            await rest(each)
