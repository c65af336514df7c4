"""No secret and no part of one gets through, also where the text was cut, folded or encoded."""

import base64
import html
import json
import string
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.logs.redaction import PART, REDACTED, ROTATING_KEPT, Redactor

TOKEN = "dapi0f3e2d1c4b5a69788796a5b4c3d2e1f0-2"
# With everything in it that URLs, JSON, HTML or `repr` escape.
AWKWARD = "dose+5ecret/&%0fThe=\"Client'\\x<end>~"
JWT = "eyJraWQiOiJ4-" + "QmFzZTY0_dXJsLXNhZmUtdG9rZW4".swapcase() * 20
SECRETS = (TOKEN, AWKWARD, JWT)
# Any character of these secrets that is not redacted is found by this.
REDACTOR = Redactor(SECRETS)


def everywhere(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


WRITTEN: dict[str, Callable[[str], str]] = {
    "as it is": str,
    "in capitals": str.upper,
    "in small letters": str.lower,
    "percent-encoded": lambda text: quote(text, safe=""),
    "percent-encoded but for slashes": quote,
    "percent-encoded in small letters": lambda text: quote(text, safe="").lower(),
    "percent-encoded twice": lambda text: quote(quote(text, safe=""), safe=""),
    "percent-encoded throughout": everywhere,
    "as a form": quote_plus,
    "in JSON": json.dumps,
    "in JSON with slashes escaped": lambda text: json.dumps(text).replace("/", "\\/"),
    "in JSON in JSON": lambda text: json.dumps(json.dumps(text)),
    "with JSON's numbers": lambda text: "".join(f"\\u{ord(c):04x}" for c in text),
    "in HTML": html.escape,
    "with HTML's numbers": lambda text: "".join(f"&#{ord(c)};" for c in text),
    "with HTML's hexadecimal numbers": lambda text: "".join(f"&#x{ord(c):X};" for c in text),
    "in HTML twice": lambda text: html.escape(html.escape(text)),
    "in repr": repr,
    "in repr of bytes": lambda text: repr(text.encode()),
    "folded": lambda text: "\r\n ".join(text[at : at + 5] for at in range(0, len(text), 5)),
    "folded in repr": lambda text: repr("\r\n\t".join(text[at : at + 5] for at in range(0, len(text), 5))),
    "spaced": " ".join,
}


def shows(text: str, secret: str) -> list[str]:
    """The parts of a secret that a text shows."""
    folded = text.lower()
    return [
        secret[at : at + PART]
        for at in range(len(secret) - PART + 1)
        if secret[at : at + PART].lower() in folded
    ]


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize("secret", SECRETS, ids=["token", "awkward", "jwt"])
def test_a_secret_is_redacted_however_it_is_written(secret: str, way: str) -> None:
    """Nothing of it is left, and what stands around it stays."""
    shown = REDACTOR.text(f"sent: <{WRITTEN[way](secret)}> by us")
    assert shown.startswith("sent: <")
    assert shown.endswith("> by us")
    assert REDACTED in shown
    assert sum(c.isalnum() for c in shown.replace(REDACTED, "")) < len("sentbyus") + PART


@pytest.mark.parametrize("secret", SECRETS, ids=["token", "awkward", "jwt"])
def test_every_part_of_eight_characters_is_redacted(secret: str) -> None:
    """Wherever a text was cut, at both ends, whole parts only: seven characters may stay."""
    for start in range(min(len(secret) - PART + 1, 60)):
        for length in (PART, PART + 1, 13, 32):
            part = secret[start : start + length]
            assert REDACTOR.text(f"({part})...") == f"({REDACTED})..."
            assert REDACTOR.text(part) == REDACTED
        assert REDACTOR.text(secret[start : start + PART - 1]) == secret[start : start + PART - 1]


@pytest.mark.parametrize("way", WRITTEN)
@pytest.mark.parametrize("secret", SECRETS[:2], ids=["token", "awkward"])
def test_no_cut_of_a_text_shows_a_part(secret: str, way: str) -> None:
    """Cut at every length, from the front and from the back."""
    written = WRITTEN[way](secret)
    for at in range(len(written)):
        assert shows(REDACTOR.text(written[:at]), secret) == []
        assert shows(REDACTOR.text(written[at:]), secret) == []


@pytest.mark.parametrize("before", ["", "a", "ab", "robot:", "user:", "Bearer "])
@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("secret", SECRETS[:2], ids=["token", "awkward"])
def test_base64_shows_no_part(secret: str, encode: Callable[[bytes], bytes], before: str) -> None:
    """An encoded secret, with any user before it, whole or cut, can't be decoded from what is left."""
    written = encode(f"{before}{secret}".encode()).decode()
    for cut in (written, written[:-9], written[9:]):
        shown = REDACTOR.text(f"Basic {cut} is refused").removeprefix("Basic ").removesuffix(" is refused")
        assert REDACTED in shown
        left = "".join(shown.split(REDACTED)[1:])
        assert len(left) < PART


@given(st.data())
def test_no_part_of_any_secret_gets_through_any_text(data: st.DataObject) -> None:
    """Random secrets, random cuts, among random text."""
    letters = string.ascii_letters + string.digits + "+/=-_.~%&\\\"'"
    secret = data.draw(st.text(letters, min_size=PART, max_size=40))
    start = data.draw(st.integers(0, len(secret) - PART))
    end = data.draw(st.integers(start + PART, len(secret)))
    around = data.draw(st.text("a1 %\\&;\n", max_size=12))
    shown = Redactor([secret]).text(f"{around}{secret[start:end]}{around}")
    assert shows(shown.replace(REDACTED, "\0"), secret) == []


@given(st.text())
def test_a_text_without_a_secret_stays_as_it_is(text: str) -> None:
    """Every character comes out as it went in."""
    assert Redactor(["\U0001f511-0nly-here"]).text(text) == text


def test_what_stands_between_two_secrets_stays() -> None:
    """One mark for each, and none for the words around."""
    assert REDACTOR.text(f"{TOKEN} and {TOKEN}") == f"{REDACTED} and {REDACTED}"


def test_a_secret_of_a_few_characters_is_redacted_whole() -> None:
    """It has no part that is long enough."""
    assert Redactor(["s3cr3t"]).text("s3cr3t S3CR3T s3cr3 %73") == "[redacted] [redacted] s3cr3 %73"


def test_tokens_that_come_later_are_redacted() -> None:
    """An access token is secret from the moment it is added."""
    redactor = Redactor(["first-secret"])
    redactor.add("second-secret")
    assert redactor.text("first-secret second-s third-se") == "[redacted] [redacted] third-se"


def test_a_rotating_token_does_not_grow_memory() -> None:
    """Of many tokens the last ones are known, and the first secrets always."""
    redactor = Redactor(["first-secret"])
    for number in range(ROTATING_KEPT + 10):
        redactor.add(f"{number:03}-token")
    assert redactor.text("first-secret 073-token 010-token") == "[redacted] [redacted] [redacted]"
    assert "009" in redactor.text("009-token")


def test_each_of_many_workspaces_has_its_last_token_known() -> None:
    """More logins than the usual number of tokens: one rotation of each is remembered."""
    redactor = Redactor([f"login-{number:04}" for number in range(200)])
    for number in range(200):
        redactor.add(f"{number:04}-token")
    assert "0000" not in redactor.text("0000-token")


def test_a_token_that_is_added_again_stays_known() -> None:
    """What counts is when a token was last in use."""
    redactor = Redactor()
    for number in range(ROTATING_KEPT * 2):
        redactor.add("steady")
        redactor.add(f"token-{number}-")
    assert redactor.text("steady") == "[redacted]"


def test_a_longer_secret_leaves_no_end_behind() -> None:
    """Where one secret begins with another, the longer one goes as a whole."""
    assert Redactor(["abc", "abcdef"]).text("abcdef abc") == "[redacted] [redacted]"


def test_an_empty_secret_redacts_nothing() -> None:
    """An empty value is no secret, or every text would be full of them."""
    redactor = Redactor([""])
    redactor.add("")
    assert redactor.text("text") == "text"
