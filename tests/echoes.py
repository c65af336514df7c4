"""Answers that repeat a secret in every place that an answer has, and whether a text shows a part of one."""

import base64
import html
import json
import re
from collections.abc import Iterator
from functools import cache
from urllib.parse import quote, unquote

from exporter.logs.redaction import PART
from tests.rawserver import http_answer

FAR = 70_000  # more than a line of a header may have


def answers(secret: str) -> Iterator[bytes]:
    """Every place, whole and cut; `secret` is what a header or a form has sent."""
    yield from _in_headers(secret)
    yield from _in_bodies(secret)
    yield from _in_chunks(secret)
    # Wherever a text is cut, one of these has part of the secret at the end.
    for length in range(150, 206, 5):
        padding = "a" * (length % 7) + " b" * (length // 2)
        yield http_answer(_error(f"{padding} {secret}"), status="500 Oops")
        yield http_answer(f"{padding} {secret}".encode(), status="403 Forbidden")
    for length in range(PART, len(secret), max(len(secret) // 12, 1)):
        yield http_answer(_error(secret[:length]), status="500 Oops")
        yield http_answer(_error(secret[-length:]), status="400 Bad Request")


def _in_headers(secret: str) -> Iterator[bytes]:
    for status in ("400", "401", "403", "404", "407", "429", "500", "503", "999"):
        yield http_answer(b"", status=f"{status} {secret}")
        yield http_answer(b"", status=f"{status} {'b ' * 95}{secret}")
    yield http_answer(b"", status=f"200 {secret}{'a' * FAR}")
    yield http_answer(b"", status=f"200 {'a' * FAR}{secret}")
    yield f"{secret} HTTP/1.1\r\n\r\n".encode()
    yield f"HTTP/1.1 {secret}\r\n\r\n".encode()
    for before in (0, 40, 70, 90):
        yield http_answer(b"", "X-Echo: " + "a" * before + secret + "a" * FAR)
        yield http_answer(b"", "X-" + "a" * before + secret + "a" * FAR + ": x")
    yield http_answer(b"", *[f"X-{number}: {secret}" for number in range(300)])
    for name in ("X Echo", "X-Echo\x00", secret, f"{secret} {secret}"):
        yield http_answer(b"", f"{name}: {secret}\x00")
    for name in ("Content-Encoding", "Content-Type", "Retry-After", "Date", "Set-Cookie", "Content-Length"):
        yield http_answer(b"{", f"{name}: {secret}", status="500 Oops")
    yield http_answer(b"", f"Transfer-Encoding: {secret}")
    for status in ("301", "302", "303", "307", "308"):
        for location in (
            secret,
            f"https://elsewhere.test/{secret}",
            f"https://elsewhere.test/{'b/' * 85}{secret}",
            f"https://{secret}@elsewhere.test/",
            f"https://elsewhere.test/?token={quote(secret)}#{secret}",
            f"/login.html?error=private-link-validation-error&{secret}",
        ):
            yield http_answer(b"", f"Location: {location}", status=f"{status} {secret}")


def _error(text: str) -> bytes:
    return json.dumps({"error_code": "INTERNAL_ERROR", "message": text}).encode()


def _in_bodies(secret: str) -> Iterator[bytes]:
    written = [
        secret,
        secret.upper(),
        secret.lower(),
        quote(secret, safe=""),
        quote(quote(secret, safe=""), safe=""),
        html.escape(secret),
        "".join(f"&#{ord(c)};" for c in secret),
        base64.b64encode(secret.encode()).decode(),
        base64.b64encode(f"user:{secret}".encode()).decode(),
        "\r\n ".join(re.findall(".{1,20}", secret)),
        repr(secret.encode()),
    ]
    for text in written:
        for body in _around(text):
            yield http_answer(body)
            yield http_answer(body, status="500 Oops")
    for body in (*_around(secret), _error(secret).replace(b"/", b"\\/")):
        for status in ("400 Bad Request", "401 Unauthorized", "403 Forbidden", "404 Not Found"):
            yield http_answer(body, status=status)


def _around(text: str) -> Iterator[bytes]:
    yield text.encode()
    yield f"<html><title>{text}</title><body>{text}</body></html>".encode()
    yield _error(text)
    yield json.dumps({"error_code": text, "message": text}).encode()
    yield json.dumps({"error": text, "error_description": text}).encode()
    yield json.dumps({"detail": text}).encode()
    yield json.dumps([text]).encode()
    yield json.dumps({"runs": text, "jobs": text, "access_token": [text], "expires_in": text}).encode()
    yield json.dumps({"runs": [text, {"run_id": text, "job_id": 1}, {"run_id": 1, "job_id": text}]}).encode()


def _in_chunks(secret: str) -> Iterator[bytes]:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    echo = secret.encode()
    yield head + echo + b"\r\n"
    yield head + b"5;" + echo + b"\x00\r\n"
    yield head + b"5;" + echo * 1000 + b"\r\nhello\r\n"
    yield head + b"5\r\nhello" + echo + b"\r\n"
    yield head + b"0\r\nX-Trailer: " + echo * 2000 + b"\r\n\r\n"
    yield head + b"ff\r\n" + echo


def shown_parts(text: str, *secrets: str) -> set[str]:
    """The parts of secrets that can be read in a text, also behind escapes and line breaks."""
    plain = text.lower()
    readings = {
        plain,
        unquote(plain),
        html.unescape(plain),
        plain.replace("\\", ""),
        re.sub(r"\s+", "", plain),
    }
    together = "\0".join(readings)
    return {part for secret in secrets for part in _parts(secret) if part in together}


@cache
def _parts(secret: str) -> frozenset[str]:
    return frozenset(secret[at : at + PART].lower() for at in range(len(secret) - PART + 1))
