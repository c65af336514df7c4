"""The limits of a client, on real sockets. They are small here, so that reaching them takes no time."""

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
    LocalServer,
    closing,
    local_server,
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
    """A client keeps no place with the beginning of a request, wherever it stops."""
    async with local_server(BRISK) as server:
        with await server.connect(sent) as waiting:
            answer = await rest(waiting)
        assert answer.count(b"HTTP/1.1") == sent.count(HEALTHY[:20])
        assert await server.status() == 200


async def test_a_head_that_drips_does_not_buy_time() -> None:
    """The deadline is that of the whole head: one byte now and then does not move it."""
    async with local_server(BRISK) as server:
        with await server.connect(b"GET /metrics HTTP/1.1\r\n") as dripping:
            loop = asyncio.get_running_loop()

            async def drip() -> None:
                while True:
                    await loop.sock_sendall(dripping, b"X-Drip: 1\r\n")
                    await asyncio.sleep(0.05)

            with pytest.raises(ConnectionError):
                await asyncio.wait_for(drip(), 30)


async def test_a_connection_is_kept_between_scrapes_longer_than_a_head_may_take() -> None:
    """A scraper finds its connection open at the next scrape; without another scrape it is closed."""
    limits = BRISK._replace(head_seconds=0.1, idle_seconds=3.5)
    async with local_server(limits) as server:
        with await server.connect(GET) as scraper:
            loop = asyncio.get_running_loop()
            assert b" 200 OK" in await some(scraper)
            await asyncio.sleep(2.2)  # the listener checks every second
            await loop.sock_sendall(scraper, GET)
            assert b"HTTP/1.1 200 OK" in await rest(scraper)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    """Its connection is closed, and what it did not read is dropped."""
    async with local_server(BRISK._replace(answer_seconds=60)) as server:
        with_a_large_body(server.exposition, 20)
        before = open_files()
        with await server.connect(GET, buffer=SMALL) as reader:
            start = await some(reader)
            await until(lambda: open_files() == before + 1)
            answer = start + await rest(reader)
        assert answer.startswith(b"HTTP/1.1 200")
        assert len(answer) < 20_000_000
        assert await server.status() == 200


async def test_a_body_that_was_not_taken_is_free_at_once() -> None:
    """A closed connection leaves nothing for the garbage collector: a flood would fill the memory first."""
    async with local_server() as server:
        with_a_large_body(server.exposition, 20)
        gc.collect()
        gc.disable()
        try:
            readers = [await server.connect(GET * 3, buffer=SMALL) for _ in range(10)]
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
    async with local_server(BRISK._replace(unread_seconds=60)) as server:
        with_a_large_body(server.exposition, 20)
        with await server.connect(GET, buffer=1 << 16) as reader:
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
    async with local_server() as server:
        with_a_large_body(server.exposition, 5)
        with await server.connect(GET.replace(b"Host", b"Connection: close\r\nHost"), buffer=SMALL) as reader:
            head = await some(reader)
            await asyncio.sleep(1.5)
            answer = head + await rest(reader)
    length = int(answer.partition(b"Content-Length: ")[2].partition(b"\r\n")[0])
    assert len(answer.partition(b"\r\n\r\n")[2]) == length > 5_000_000


async def test_half_open_connections_in_any_number_shut_no_client_out() -> None:
    """A client that sends a request is served while fifty times the allowed connections send none."""
    async with local_server(NARROW) as server:
        before = open_files()
        waiting = [await server.connect(b"GET /met") for _ in range(500)]
        with closing(waiting):
            assert open_files() <= before + 500 + NARROW.connections
            for _ in range(5):
                assert await server.status() == 200
                assert await server.status(GET.replace(b"Host", b"Connection: close\r\nHost")) == 200


async def test_a_new_client_replaces_one_of_the_address_that_has_most() -> None:
    """An idle scraper keeps its connection while another address opens more than the limit."""
    async with local_server(NARROW) as server:
        scraper = await server.connect(GET, source="127.0.0.2")
        with scraper:
            await some(scraper)
            with closing([await server.connect(b"GET /met") for _ in range(50)]):
                await asyncio.get_running_loop().sock_sendall(scraper, GET)
                assert b"HTTP/1.1 200" in await some(scraper)


async def test_clients_that_do_not_read_are_replaced_when_all_places_are_taken() -> None:
    """A new client takes the place of one that reads nothing, long before the deadline of an answer."""
    async with local_server(NARROW._replace(unread_seconds_when_full=0.2)) as server:
        with_a_large_body(server.exposition, 20)
        readers = [await server.connect(GET, buffer=SMALL) for _ in range(NARROW.connections)]
        with closing(readers):
            for reader in readers:
                await some(reader)

            async with asyncio.timeout(20):
                while await server.status() != 200:  # noqa: ASYNC110  # until one of them has been cut
                    await asyncio.sleep(0.05)


async def test_where_there_is_no_room_the_answer_is_503_at_once() -> None:
    """All places taken by answers under way: the new client gets 503, and no answer is cut off."""
    async with local_server(NARROW) as server:
        with_a_large_body(server.exposition, 20)
        readers = [await server.connect(GET, buffer=SMALL) for _ in range(NARROW.connections)]
        with closing(readers):
            for reader in readers:
                await some(reader)
            answer = await server.ask(b"")
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nConnection: close\r\n" in answer
            assert b"\r\nRetry-After: 1\r\n" in answer
        async with asyncio.timeout(20):
            while await server.status() != 200:  # noqa: ASYNC110  # until the places are given back
                await asyncio.sleep(0.05)


GOOD_BEGINNING = b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
LIMIT = Limits().request_bytes


def with_a_head_of(size: int) -> bytes:
    """A good request whose head has this size, most of it in one header."""
    return GOOD_BEGINNING + b"Cookie: " + b"a" * (size - len(GOOD_BEGINNING) - 12) + b"\r\n\r\n"


@pytest.mark.parametrize(
    "request_",
    [
        GOOD_BEGINNING + b"Authorization: Bearer " + b"a" * 6000 + b"\r\n\r\n",
        GOOD_BEGINNING + b"Cookie: " + b"a" * 6000 + b"\r\n\r\n",
        GOOD_BEGINNING + b"X-Forwarded-For: 10.0.0.1\r\n" * 70 + b"\r\n",
        GOOD_BEGINNING + b"".join(b"X-%d: 1\r\n" % number for number in range(3000)) + b"\r\n",
        GOOD_BEGINNING.replace(b"healthy", b"healthy?" + b"a" * 30_000) + b"\r\n",
        with_a_head_of(LIMIT),
    ],
    ids=["Authorization", "Cookie", "70 lines", "3000 lines", "long target", "32 kB"],
)
async def test_a_request_with_a_head_of_up_to_32_kb_is_served(request_: bytes) -> None:
    """A login proxy may add a large cookie, and a chain of proxies many lines."""
    assert len(request_) <= LIMIT
    async with local_server() as server:
        assert await server.status(request_) == 200


@pytest.mark.parametrize(
    "request_",
    [
        with_a_head_of(LIMIT + 1),
        with_a_head_of(200_000),
        GOOD_BEGINNING + b"X-Many: 1\r\n" * 5000 + b"\r\n",
        GOOD_BEGINNING.replace(b"healthy", b"healthy?" + b"a" * 40_000) + b"\r\n",
        GOOD_BEGINNING + b"Cookie: " + b"a" * 40_000,
    ],
    ids=["a byte more", "200 kB", "many lines", "long target", "not complete"],
)
async def test_a_larger_head_gets_an_answer_and_a_log_line_with_the_reason(request_: bytes) -> None:
    """The client reads 431 and what to look for; the log names its address."""
    with capture_logs() as logged:
        async with local_server() as server:
            answer = await server.ask(request_)
            assert await server.status() == 200
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 431 ")
    assert b"larger than 32 kB" in body
    assert [(line["cause"], line["client"]) for line in logged] == [
        ("the request is larger than 32 kB", "127.0.0.1")
    ]


@pytest.mark.parametrize(
    "request_",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(50),
        b"\x00\xff" * 500 + b"\r\n\r\n",
        b"GET /metrics HTTP/9.9\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
        b"GET /metrics HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"GET /SECRET HTTP/1.1\r\nAuthoriz\x00ation: SECRET\r\n\r\n",
    ],
    ids=["TLS", "bytes", "version", "length", "lengths", "header"],
)
async def test_a_bad_request_is_refused_with_a_reason_that_quotes_nothing(
    request_: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """400, the usual headers and a closed connection; no traceback, no word of the request in the log."""
    with capture_logs() as logged, caplog.at_level(logging.INFO):
        async with local_server() as server:
            answer = await server.ask(request_)
            assert await server.status() == 200
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith((b"HTTP/1.1 400 ", b"HTTP/1.0 400 "))
    assert b"\r\nX-Content-Type-Options: nosniff" in head
    assert b"aiohttp" not in head
    assert body == b"Bad Request: this is not valid HTTP/1.1\n"
    assert [line["event"] for line in logged] == ["request refused: it is not valid HTTP/1.1"]
    assert "SECRET" not in str(logged)
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == []


async def endlessly(sender: socket.socket, filler: bytes) -> None:
    while True:
        await asyncio.get_running_loop().sock_sendall(sender, filler)


async def test_a_client_that_sends_without_end_is_cut_off() -> None:
    """A body without end, or requests without waiting for answers: the connection is closed."""
    endless = b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    async with local_server() as server:
        for sent, filler in ((endless, bytes(4096)), (b"", GET * 40)):
            with await server.connect(sent) as sender, pytest.raises(ConnectionError):
                await asyncio.wait_for(endlessly(sender, filler), 30)
            assert await server.status() == 200


async def test_a_body_is_not_waited_for() -> None:
    """A GET that announces a body gets its answer, and then the end of the connection."""
    async with local_server() as server:
        answer = await server.ask(b"GET /-/healthy HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_requests_sent_at_once_are_all_answered_in_turn() -> None:
    """Pipelining is HTTP/1.1: twenty requests in one packet, twenty answers."""
    async with local_server() as server:
        answer = await server.ask(HEALTHY.replace(b"close", b"keep-alive") * 19 + HEALTHY)
    assert answer.count(b"HTTP/1.1 200 OK") == 20


async def test_a_client_that_goes_away_leaves_no_line_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    """A reset in the middle of a body is normal."""
    async with local_server() as server:
        with_a_large_body(server.exposition, 20)
        for _ in range(5):
            with await server.connect(GET, buffer=SMALL) as reader:
                await some(reader)
        assert await server.status() == 200
    assert [record.getMessage() for record in caplog.records] == []


async def test_every_connection_that_is_refused_or_ended_is_logged_with_its_cause() -> None:
    """In the same words, so that the log can leave out all but one a minute."""
    with capture_logs() as logged:
        async with local_server(NARROW) as server:
            with closing([await server.connect(b"GET /met") for _ in range(100)]):
                await until(lambda: len(logged) == 90)
    assert {(line["event"], line["cause"]) for line in logged} == {
        ("connection refused or ended", "all places are taken, and a new client needs one")
    }


def tls(folder: Path) -> tuple[WebConfigFile, ssl.SSLContext]:
    ca = make_ca()
    (folder / "ca.pem").write_bytes(ca.certificate_pem)
    make_leaf(ca).write(folder, "server")
    path = folder / "web.yml"
    path.write_text("tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n")
    return WebConfigFile(path), ssl.create_default_context(cafile=str(folder / "ca.pem"))


async def healthy_over_tls(server: LocalServer, client: ssl.SSLContext) -> bytes:
    async with asyncio.timeout(30):
        reader, writer = await asyncio.open_connection(
            server.host, server.port, ssl=client, server_hostname="localhost"
        )
        writer.write(HEALTHY)
        answer = await reader.read()
        writer.close()
        await writer.wait_closed()
        return answer


async def test_plain_http_where_tls_belongs_is_logged_with_its_cause(tmp_path: Path) -> None:
    config, _ = tls(tmp_path)
    with capture_logs() as logged:
        async with local_server(web_config=config) as server:
            await server.ask(GET)
    assert [line["cause"] for line in logged] == ["the TLS handshake failed (HTTP_REQUEST)"]


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", os.urandom(5000), GET])
async def test_handshakes_that_never_end_are_counted_and_ended(tmp_path: Path, sent: bytes) -> None:
    """With TLS the same limits hold before the handshake is done, and other clients are served."""
    config, client = tls(tmp_path)
    async with local_server(NARROW._replace(head_seconds=0.5), config) as server:
        before = open_files()
        waiting = [await server.connect(sent) for _ in range(100)]
        with closing(waiting):
            assert (await healthy_over_tls(server, client)).startswith(b"HTTP/1.1 200")
            assert open_files() <= before + 100 + NARROW.connections
            for each in waiting:
                await rest(each)
        assert (await healthy_over_tls(server, client)).startswith(b"HTTP/1.1 200")
        await until(lambda: open_files() == before)


async def test_closing_the_server_waits_for_no_client() -> None:
    """Half-open requests and answers that are not read end with the server, and leave nothing open."""
    before = open_files()
    async with local_server() as server:
        with_a_large_body(server.exposition, 20)
        readers = [await server.connect(GET, buffer=SMALL) for _ in range(10)]
        halves = [await server.connect(b"GET /met") for _ in range(10)]
        for reader in readers:
            await some(reader)
        assert open_files() > before + 20
    assert open_files() == before + 20
    with closing([*readers, *halves]):
        for each in (*readers, *halves):
            await rest(each)
