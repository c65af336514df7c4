"""Reads pages and runs that are not as documented. Pure; slow, and needed for few answers.

What must stay true: something strange costs at most the run that it is in; no small body keeps the process
busy for minutes.
"""

from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec

from exporter.databricks.bodies import json_object, json_value
from exporter.databricks.errors import TryAgain
from exporter.databricks.models import Run, mended

# What msgspec raises for a body that is not, strictly, what it reads: wrong types and broken JSON, bytes that
# are not UTF-8, values nested too deep.
NOT_STRICT = (msgspec.MsgspecError, UnicodeError, RecursionError)
# A page has at most 26 runs of 100 tasks. To go through millions of strange items one by one takes minutes,
# and to hold them takes gigabytes: a body with more commas or items is not a page.
_MOST_COMMAS = 2_000_000
_MOST_RUNS = 1000


class DecodeError(NamedTuple):
    """A run that was not understood: `key` tells it from others over repeated answers."""

    key: str
    reason: str


class PageBody(msgspec.Struct):
    """What any page may have besides its items; the last three are never on a good last page."""

    next_page_token: Any = None
    has_more: Any = None
    error_code: Any = None
    error: Any = None


class _RawRunPageBody(PageBody):
    runs: list[msgspec.Raw] | None = None


class _LooseRunPageBody(PageBody):
    runs: list[Any] | None = None


# Lax: an id or a time given as a string is the number it says.
RUN = msgspec.json.Decoder(Run, strict=False)
_RAW_RUN_PAGE = msgspec.json.Decoder(_RawRunPageBody)


class LenientPage(NamedTuple):
    """A page of `runs/list`, item by item; None where it has no list of runs."""

    body: PageBody
    items: list[Run | DecodeError] | None


def decode_page(body: bytes) -> LenientPage:
    """The body of `runs/list`. Raises TryAgain where it is no page."""
    if body.count(b",") > _MOST_COMMAS:
        raise TryAgain("a page of more values than any page has")
    page: _RawRunPageBody | _LooseRunPageBody
    try:
        page = _RAW_RUN_PAGE.decode(body)
    except NOT_STRICT:
        page = _loose_page(body)
    if page.runs is None:
        return LenientPage(page, None)
    if len(page.runs) > _MOST_RUNS:
        raise TryAgain(f"a page of {len(page.runs)} runs")
    return LenientPage(page, [_decode_item(item) for item in page.runs])


def _loose_page(body: bytes) -> _LooseRunPageBody:
    try:
        return msgspec.convert(json_object(body), _LooseRunPageBody)
    except msgspec.ValidationError as error:
        raise TryAgain(f"the body is not a page of runs: {error}") from None


def _decode_item(item: object) -> Run | DecodeError:
    if not isinstance(item, msgspec.Raw):
        return convert_run(item)
    try:
        return RUN.decode(item)
    except NOT_STRICT:
        return _loose_item(bytes(item))


def _loose_item(item: bytes) -> Run | DecodeError:
    try:
        return convert_run(json_value(item))
    except TryAgain as fault:
        return DecodeError(blake2b(item, digest_size=8).hexdigest(), str(fault))


def convert_run(value: object) -> Run | DecodeError:
    """A run from what the standard library's JSON made of it."""
    try:
        return msgspec.convert(mended(value) if isinstance(value, dict) else value, Run, strict=False)
    except msgspec.ValidationError as error:
        run_id = value.get("run_id") if isinstance(value, dict) else None
        if isinstance(run_id, int | str):
            return DecodeError(str(run_id)[:40], str(error))
        return DecodeError(
            blake2b(repr(value).encode(errors="replace"), digest_size=8).hexdigest(), str(error)
        )
