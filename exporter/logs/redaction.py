"""Replaces known secrets, and every part of one with 8 characters or more, by `[redacted]`.

A server or a proxy may repeat what we sent, and each program on the way may cut, fold, escape or encode the
text. So a text is searched for parts, and it is read twice: as it is written, and without its escapes. Both
readings ignore the case of ASCII letters.

What must stay true: after `Redactor.text`, a cut can leave at most 7 characters of a secret.
"""

import html
import json
import re
import string
import threading
from base64 import b64encode
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple
from urllib.parse import quote, quote_plus

REDACTED = "[redacted]"
# The longest part of a secret that may be shown has one character less.
PART = 8
# Every part contains at least one whole seed: one begins at every fourth character.
_SEED, _STRIDE = 5, 4
# Access tokens live about an hour. Those of the last hours may still be in an exception; older ones are dead.
ROTATING_KEPT = 64
# A longer secret is an access token, which is not the password of HTTP Basic.
_LONGEST_IN_BASE64 = 256

_LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)
# base64 has two alphabets.
_ONE_ALPHABET = str.maketrans("-_", "+/")
_ESCAPE = re.compile(
    r"%(?:25)*(?P<percent>[0-9A-Fa-f]{2})"
    r"|&(?:amp;)*(?P<entity>#?\w+;)"
    r"|\\+(?:u(?P<unicode>[0-9A-Fa-f]{4})|x(?P<byte>[0-9A-Fa-f]{2})|[nrt])"
    r"|[\\\s\x00-\x1f\x7f]+"
)


class Redactor:
    """Replaces known secrets in any text. Safe to use from several threads.

    The secrets given at the start stay known. Of those added later (tokens that rotate) the last 64 do, or
    as many as were given at the start where those are more: each workspace has a token of its own.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._fixed = {secret: _forms(secret) for secret in secrets if secret}
        self._rotating: OrderedDict[str, _Forms] = OrderedDict()
        self._kept = max(ROTATING_KEPT, len(self._fixed))
        self._lock = threading.Lock()
        self._search = _Search(self._fixed.values())

    def add(self, secret: str) -> None:
        """Make one more secret known; an empty text is no secret."""
        if not secret or secret in self._fixed:
            return
        with self._lock:
            if secret in self._rotating:
                self._rotating.move_to_end(secret)
                return
            self._rotating[secret] = _forms(secret)
            if len(self._rotating) > self._kept:
                self._rotating.popitem(last=False)
            self._search = _Search([*self._fixed.values(), *self._rotating.values()])

    def text(self, text: str) -> str:
        """`text` without any known secret, and without any part of one."""
        shown: list[str] = []
        at = 0
        for start, end in sorted(self._search.spans(text)):
            if start > at or not shown:
                shown += (text[at:start], REDACTED)
            at = max(at, end)
        return "".join([*shown, text[at:]])


class _Forms(NamedTuple):
    """How one secret can be written."""

    as_written: frozenset[str]
    without_escapes: frozenset[str]


def _forms(secret: str) -> _Forms:
    """The secret, what URLs, JSON and `repr` make of it, and what base64 does."""
    written = {
        secret,
        quote(secret, safe=""),
        quote_plus(secret, safe="/"),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
    }
    encoded = _in_base64(secret) if len(secret) <= _LONGEST_IN_BASE64 else ()
    return _Forms(
        frozenset(form.translate(_LOWER) for form in written),
        frozenset(
            [
                *(_without_escapes(form).text for form in (secret, *encoded)),
                # Where every character was escaped, what looks like an escape in the secret is read as it is.
                _folded(secret.replace("\\", "")),
            ]
        ),
    )


def _in_base64(secret: str) -> Iterator[str]:
    """What base64 makes of a secret after any other text: the characters that depend on the secret alone."""
    for before, dependent in ((0, 0), (1, 2), (2, 3)):
        encoded = b64encode(bytes(before) + secret.encode(errors="replace")).decode()
        padding = encoded.count("=")
        yield encoded[dependent : len(encoded) - padding - (padding > 0)]


class _Search:
    """Finds known secrets and their parts."""

    def __init__(self, secrets: Iterable[_Forms]) -> None:
        forms = list(secrets)
        written = {form for each in forms for form in each.as_written}
        short = sorted((form for form in written if len(form) < PART), key=len, reverse=True)
        # Longest first: a secret that begins with another one must not leave its own end behind.
        self._short = re.compile("|".join(map(re.escape, short)), re.ASCII | re.IGNORECASE) if short else None
        self._as_written = _Parts(written)
        self._without_escapes = _Parts({form for each in forms for form in each.without_escapes})

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where secrets and parts begin and end, in no order; they may overlap."""
        if self._short:
            yield from (match.span() for match in self._short.finditer(text))
        if len(text) < PART:
            return
        yield from self._as_written.spans(text.translate(_LOWER))
        reading = _without_escapes(text)
        for start, end in self._without_escapes.spans(reading.text):
            yield reading.starts[start], reading.ends[end - 1]


class _Parts:
    """Finds parts of known texts."""

    def __init__(self, texts: Iterable[str]) -> None:
        long_enough = [text for text in texts if len(text) >= PART]
        self._texts = "\n".join(long_enough)
        self._seeds = frozenset(
            text[at : at + _SEED] for text in long_enough for at in range(0, len(text) - _SEED + 1, _STRIDE)
        )

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Every part of the shortest length."""
        seeds = self._seeds
        for at in [at for at in range(len(text) - _SEED + 1) if text[at : at + _SEED] in seeds]:
            for start in range(max(at - _STRIDE + 1, 0), min(at, len(text) - PART) + 1):
                if text[start : start + PART] in self._texts:
                    yield start, start + PART


class _Reading(NamedTuple):
    """A text without its escapes, and where each character begins and ends in the text as it is written."""

    text: str
    starts: Sequence[int]
    ends: Sequence[int]


def _without_escapes(text: str) -> _Reading:
    """Escapes read as the characters that they stand for; blanks, line breaks and backslashes left out."""
    if not _ESCAPE.search(text):
        return _Reading(_folded(text), range(len(text)), range(1, len(text) + 1))
    pieces: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    at = 0
    for match in _ESCAPE.finditer(text):
        start, end = match.span()
        character = _character(match)
        pieces += (text[at:start], character)
        starts += range(at, start)
        ends += range(at + 1, start + 1)
        starts += [start] * len(character)
        ends += [end] * len(character)
        at = end
    starts += range(at, len(text))
    ends += range(at + 1, len(text) + 1)
    return _Reading(_folded("".join([*pieces, text[at:]])), starts, ends)


def _folded(text: str) -> str:
    return text.translate(_LOWER).translate(_ONE_ALPHABET)


def _character(escape: re.Match[str]) -> str:
    """What an escape stands for; nothing for blanks, line breaks and backslashes."""
    code = escape["percent"] or escape["unicode"] or escape["byte"]
    if entity := escape["entity"]:
        character = html.unescape(f"&{entity}")
    else:
        character = chr(int(code, 16)) if code else ""
    return "" if character == "\\" or character.isspace() or not character.isprintable() else character
