"""What the bytes of a body say: JSON where they are JSON, else the words that a person would read.

Pure. What must stay true: no bytes take more memory than a body may have, and no text that comes out of here
has more than one line.
"""

import json
import re
import zlib
from typing import Any

from exporter.databricks.errors import TryAgain

# Far above the largest page (25 runs of 100 tasks); a larger body is no answer of the Jobs API.
MAX_BODY_BYTES = 64 * 2**20

_GZIP = b"\x1f\x8b"
_GZIP_WBITS = 31
# The standard library reads no longer ones. Far beyond any float too, so such a number counts as infinite.
_MOST_DIGITS = 400
_READ_CHARACTERS = 4096
_SHOWN_CHARACTERS = 200


def unpacked(body: bytes) -> bytes:
    """A body as UTF-8 without a byte order mark; it may come in gzip, or in another form of Unicode.

    The library below unpacks what `Content-Encoding` names, but does not know `x-gzip`; and a proxy may pack
    a body without saying so.
    """
    if body.startswith(_GZIP):
        body = _gunzipped(body)
    encoding = json.detect_encoding(body)
    return body if encoding == "utf-8" else body.decode(encoding, "replace").encode("utf-8", "replace")


def _gunzipped(body: bytes) -> bytes:
    members: list[bytes] = []
    room = MAX_BODY_BYTES
    while body.startswith(_GZIP):
        member = zlib.decompressobj(_GZIP_WBITS)
        try:
            members.append(member.decompress(body, room + 1))
        except zlib.error:
            raise TryAgain("a body in gzip that is damaged") from None
        room -= len(members[-1])
        if room < 0:
            raise TryAgain(f"a body of more than {MAX_BODY_BYTES} bytes")
        if not member.eof:
            raise TryAgain("a body in gzip that is cut off")
        body = member.unused_data
    return b"".join(members)


def json_object(body: bytes) -> dict[str, Any]:
    """A body as a JSON object. Raises TryAgain where it is something else."""
    value = json_value(unpacked(body))
    if not isinstance(value, dict):
        raise TryAgain("the body is JSON, but not an object")
    return value


def json_value(body: bytes) -> Any:  # noqa: ANN401
    """What the standard library's wider JSON reads: lone surrogates, NaN, bytes that are not UTF-8.

    It is written and read once more, because msgspec converts no text with lone surrogates in it.
    """
    try:
        value = json.loads(body.decode("utf-8", "replace"), parse_int=_integer)
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        return json.loads(text)
    except (ValueError, RecursionError):
        raise TryAgain(f"the body is not JSON: {excerpt(body)}") from None


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


def reason(body: bytes) -> str:
    """What the server says went wrong, on one line; it comes as JSON of four kinds, HTML, text or nothing."""
    try:
        body = unpacked(body)
        value = json_object(body)
    except TryAgain:
        return excerpt(body)
    code = value.get("error_code")
    texts = (value.get(key) for key in ("message", "error_description", "error", "detail"))
    text = next((text for text in texts if isinstance(text, str) and text), "")
    return one_line(f"{code}: {text}" if code and text else str(code or text)) or "no reason given"


def excerpt(body: bytes) -> str:
    """The beginning of a body that is not JSON, or the title of a page."""
    text = body[:_READ_CHARACTERS].decode("utf-8", "replace")
    if title := re.search(r"<title[^>]*>(.*?)</title>", text, re.IGNORECASE | re.DOTALL):
        return f"a page titled «{one_line(title[1])}»"
    return one_line(re.sub(r"<[^>]*>", " ", text)) or "an empty body"


def one_line(text: str) -> str:
    """The beginning of a text, without control characters."""
    words = "".join(c if c.isprintable() else " " for c in text[:_READ_CHARACTERS]).split()
    return " ".join(words)[:_SHOWN_CHARACTERS]
