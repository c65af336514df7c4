"""What may come before and around a good body, and what an error says of an answer that can't be read."""

import gzip
import zlib

import pytest

from exporter.databricks.errors import TryAgain
from exporter.databricks.transport import MAX_HEADER_LINE_BYTES, MAX_HEADER_LINES
from tests.rawserver import http_answer, raw_server
from tests.unit.databricks import connected

PAGE = b'{"runs":[{"run_id":7,"job_id":1}]}'
OWN_LINES = 2  # of every answer here: Content-Length and Connection
ECHO = "Bearer-t0ken"


async def run_ids(answer: bytes, seconds: float = 20.0) -> list[int]:
    async with raw_server(lambda _: answer) as url, connected(url) as connection:
        return await connection.run_ids(seconds=seconds)


@pytest.mark.parametrize(
    "headers",
    [
        ["X-Trace: " + "a" * 9_000],
        ["X-Trace: " + "a" * 12_000, "Set-Cookie: " + "b" * 12_000],
        ["X-Trace: " + "a" * 64_000],
        [f"X-{number}: a" for number in range(140)],
        [f"X-{number}: a" for number in range(MAX_HEADER_LINES - OWN_LINES)],
    ],
    ids=["9 kB", "12 kB twice", "64 kB", "140 lines", "256 lines"],
)
async def test_a_good_answer_may_have_a_large_header(headers: list[str]) -> None:
    """Gateways add headers of their own: lines up to 64 kB and 256 of them are read."""
    assert await run_ids(http_answer(PAGE, *headers)) == [7]


@pytest.mark.parametrize("coding", ["gzip", "GZIP", "x-gzip", "X-GZip", "identity", "none"])
async def test_a_body_in_gzip_is_read_whatever_it_is_called(coding: str) -> None:
    """In capitals, by its old name, or by none that we know."""
    assert await run_ids(http_answer(gzip.compress(PAGE), f"Content-Encoding: {coding}")) == [7]


async def test_a_body_that_was_packed_twice_is_read() -> None:
    """By the workspace, and by a proxy that did not see it."""
    twice = gzip.compress(gzip.compress(PAGE))
    assert await run_ids(http_answer(twice, "Content-Encoding: gzip")) == [7]


async def test_status_203_and_a_byte_order_mark_are_read() -> None:
    """What a proxy that changes answers makes of a good one."""
    answer = http_answer(b"\xef\xbb\xbf" + PAGE, status="203 Non-Authoritative Information")
    assert await run_ids(answer) == [7]


def chunked(*chunks: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"".join(chunks)


HTTP = r"the answer can't be read as HTTP"
BODY = r"the body of the answer is cut off or damaged"


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (http_answer(PAGE, "X-Trace: " + ECHO + "a" * MAX_HEADER_LINE_BYTES), HTTP),
        (http_answer(PAGE, ECHO + "a" * MAX_HEADER_LINE_BYTES + ": x"), HTTP),
        (http_answer(PAGE, *[f"{ECHO}-{number}: a" for number in range(MAX_HEADER_LINES)]), HTTP),
        (http_answer(PAGE, f"X{ECHO}\x00: {ECHO}\x00"), HTTP),
        (http_answer(PAGE, status="200 " + ECHO + "a" * MAX_HEADER_LINE_BYTES), HTTP),
        (f"SSH-2.0-{ECHO}\r\n\r\n".encode(), HTTP),
        (f"{ECHO}\r\n\r\n".encode(), HTTP),
        (b"HTTP/1.1 " + ECHO.encode() + b" OK\r\n\r\n", HTTP),
        (chunked(ECHO.encode() + b"\r\n"), HTTP),
        (chunked(b"5;" + ECHO.encode() + b"\x00\r\nhello\r\n"), HTTP),
        (chunked(b"5\r\nhello" + ECHO.encode() + b"\r\n"), HTTP),
        (chunked(b"ff\r\n" + ECHO.encode()), BODY),
        (http_answer(zlib.compress(b"x") + ECHO.encode(), "Content-Encoding: gzip"), BODY),
        (http_answer(ECHO.encode()).replace(b"Content-Length: 1", b"Content-Length: 99"), BODY),
        (b"HTTP/1.1 200 OK\r\nX-Half: " + ECHO.encode(), "closed the connection"),
        (b"", "closed the connection"),
    ],
)  # fmt: skip
async def test_an_error_about_an_answer_repeats_nothing_of_it(answer: bytes, says: str) -> None:
    """The library quotes what it could not read, and cuts it: part of a secret could be left."""
    with pytest.raises(TryAgain, match=says) as raised:
        await run_ids(answer, seconds=0.01)
    assert "t0ken" not in repr(raised.value).lower()
