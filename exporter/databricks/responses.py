"""From (status, headers, body) to a decoded page or a typed error that says who must act.

Pure: no socket. The errors are in `errors.py`. One bad run costs that run, never its page.
"""

import json
import re
from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from hashlib import blake2b
from typing import Annotated, Any, NamedTuple

import msgspec

from exporter.databricks.errors import AccessRefused, NotUnderstood, RunGone, TryAgain, UnknownPath
from exporter.databricks.models import Id, Run, mended, word

# A longer wait than this is a mistake of the server's clock or of a proxy.
MAX_RETRY_AFTER_SECONDS = 3600.0
# Also what gateways invent (520 to 530, 598, ...); asking again helps against all but these two.
RETRIED_STATUSES = frozenset({408, 425, 429, *range(500, 600)} - {501, 505})
REDIRECTS = frozenset({301, 302, 303, 307, 308})

_MISSING_OBJECT = re.compile(r"(?:does not|doesn't) exist", re.IGNORECASE)
_UNKNOWN_PATH = re.compile(r"bad target|endpoint_not_found|no api found", re.IGNORECASE)


class DecodeError(NamedTuple):
    """A run that was not understood: `key` tells it from others over repeated answers."""

    key: str
    reason: str


class RunPage(NamedTuple):
    """One page of `runs/list`; `next_page_token` is None on the last page."""

    runs: list[Run]
    decode_errors: list[DecodeError]
    next_page_token: str | None


class JobPage(NamedTuple):
    """One page of `jobs/list`: names by job id."""

    names: dict[int, str]
    next_page_token: str | None


class Token(NamedTuple):
    """An OAuth access token and its life in seconds."""

    access_token: str
    expires_in: float


def server_time(headers: Mapping[str, str]) -> float | None:
    """The `Date` header in seconds since the epoch, None where it is missing or no date."""
    return _http_date(headers.get("Date", ""))


def retry_after(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by `Retry-After`, given as seconds or as a date; None where there is none."""
    value = headers.get("Retry-After", "").strip()
    if not value:
        return None
    try:
        seconds = float(value)
    except ValueError:
        date = _http_date(value)
        if date is None:
            return None
        seconds = date - (server_time(headers) or now)
    if seconds != seconds:  # noqa: PLR0124  NaN is a float too
        return None
    return min(max(seconds, 0.0), MAX_RETRY_AFTER_SECONDS)


def check(status: int, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Return for an answer that may be decoded, else raise the error that says who must act."""
    if status == 200:
        return
    if status in RETRIED_STATUSES:
        raise TryAgain(f"HTTP {status}: {_reason(body)}", retry_after(headers, now))
    if status in REDIRECTS:
        raise AccessRefused(
            f"HTTP {status}: the server redirects; set DATABRICKS_HOST to the workspace's own address"
        )
    if status in {401, 403}:
        raise AccessRefused(
            f"HTTP {status}: {_reason(body)}; check the credentials and that they may view the jobs",
            perhaps_of_this_run=status == 403 and _is_object(body),
        )
    reason = _reason(body)
    if status == 404 and (_UNKNOWN_PATH.search(reason) or not _is_object(body)):
        complaint = f"HTTP 404: {reason}; is DATABRICKS_HOST a workspace with Jobs API 2.2 or 2.1?"
        raise UnknownPath(complaint) if _UNKNOWN_PATH.search(reason) else NotUnderstood(complaint)
    if status == 404 or (status == 400 and _MISSING_OBJECT.search(reason)):
        raise RunGone(f"HTTP {status}: {reason}")
    raise NotUnderstood(
        f"HTTP {status}: {reason}; please report it, unless a proxy answers in the workspace's place"
    )


def decode_run_page(body: bytes) -> RunPage:
    """The body of `runs/list`; `runs` may be absent."""
    try:
        page = _RUN_PAGE.decode(body)
    except _NOT_STRICT:
        return _decode_one_by_one(body)
    return RunPage(page.runs or [], [], page.next_page_token or None)


def decode_run(body: bytes) -> Run | DecodeError:
    """The body of `runs/get`, one page of it: its `next_page_token` is a word where more follow."""
    try:
        return _RUN.decode(body)
    except _NOT_STRICT:
        return _convert_run(_object(body))


def decode_job_page(body: bytes) -> JobPage:
    """The body of `jobs/list`; jobs without an id or a name are left out."""
    page = _object(body)
    jobs = page.get("jobs")
    named = map(_job_name, jobs if isinstance(jobs, list) else ())
    return JobPage(dict(pair for pair in named if pair is not None), word(page.get("next_page_token")))


def check_older_page(body: bytes) -> None:
    """Return for a page of a list of Jobs API 2.1 that can be followed to its end by page tokens."""
    try:
        page = _object(body)
    except TryAgain:
        return  # the decoder tells better
    if page.get("has_more") is True and word(page.get("next_page_token")) is None:
        raise NotUnderstood(
            "Jobs API 2.1 says that there is more and gives no page token, so runs would be missed; "
            "ask Databricks for Jobs API 2.2 in this workspace"
        )


def decode_token(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Token:
    """The answer of the OAuth token endpoint."""
    if status in {400, 401, 403}:
        reason = _reason(body)
        if "throttled" in reason.lower():
            raise TryAgain(f"HTTP {status}: {reason}", retry_after(headers, now))
        raise AccessRefused(
            f"the token endpoint refuses: HTTP {status}: {reason}; "
            "check DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET"
        )
    check(status, headers, body, now)
    try:
        token = _TOKEN.decode(body)
    except _NOT_STRICT:
        # The body may hold a token: its text goes nowhere.
        raise TryAgain("an answer that is no token") from None
    if not token.access_token.isascii() or not token.access_token.isprintable():
        raise TryAgain("a token that is no header value")
    return Token(token.access_token, token.expires_in)


class _RunPageBody(msgspec.Struct):
    runs: list[Run] | None = None
    next_page_token: str | None = None


class _RawRunPageBody(msgspec.Struct):
    runs: list[msgspec.Raw] | None = None
    next_page_token: Any = None


class _LooseRunPageBody(msgspec.Struct):
    runs: list[Any] | None = None
    next_page_token: Any = None


class _TokenBody(msgspec.Struct):
    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_in: Annotated[float, msgspec.Meta(gt=0)] = 3600.0


# Lax: an id or a time given as a string is the number it says.
_RUN = msgspec.json.Decoder(Run, strict=False)
_RUN_PAGE = msgspec.json.Decoder(_RunPageBody, strict=False)
_RAW_RUN_PAGE = msgspec.json.Decoder(_RawRunPageBody)
_TOKEN = msgspec.json.Decoder(_TokenBody, strict=False)
# What these raise for a body that is not, strictly, what they read: wrong types and broken JSON, bytes that
# are no UTF-8, values nested too deep.
_NOT_STRICT = (msgspec.MsgspecError, UnicodeError, RecursionError)
# The standard library reads no longer ones. Far beyond any float too, so such a number counts as infinite.
_MOST_DIGITS = 400
# A page has at most 26 runs of 100 tasks. To go through millions of strange items one by one takes minutes,
# and to hold them takes gigabytes: what has so many commas or items is no page.
_MOST_COMMAS = 2_000_000
_MOST_RUNS = 1000


def _decode_one_by_one(body: bytes) -> RunPage:
    """A page with something in it that is not as documented: it costs at most the run that it is in."""
    if body.count(b",") > _MOST_COMMAS:
        raise TryAgain("a page of more values than any page has")
    page: _RawRunPageBody | _LooseRunPageBody
    try:
        page = _RAW_RUN_PAGE.decode(body)
    except _NOT_STRICT:
        page = _loose_page(body)
    if page.runs is not None and len(page.runs) > _MOST_RUNS:
        raise TryAgain(f"a page of {len(page.runs)} runs")
    decoded = [_decode_item(item) for item in page.runs or ()]
    return RunPage(
        [run for run in decoded if not isinstance(run, DecodeError)],
        [decode_error for decode_error in decoded if isinstance(decode_error, DecodeError)],
        word(page.next_page_token),
    )


def _decode_item(item: object) -> Run | DecodeError:
    if not isinstance(item, msgspec.Raw):
        return _convert_run(item)
    try:
        return _RUN.decode(item)
    except _NOT_STRICT:
        return _loose_item(bytes(item))


def _loose_item(item: bytes) -> Run | DecodeError:
    try:
        return _convert_run(_any(item))
    except TryAgain as fault:
        return DecodeError(blake2b(item, digest_size=8).hexdigest(), str(fault))


def _convert_run(value: object) -> Run | DecodeError:
    try:
        return msgspec.convert(mended(value) if isinstance(value, dict) else value, Run, strict=False)
    except msgspec.ValidationError as error:
        run_id = value.get("run_id") if isinstance(value, dict) else None
        if isinstance(run_id, int | str):
            return DecodeError(str(run_id)[:40], str(error))
        return DecodeError(
            blake2b(repr(value).encode(errors="replace"), digest_size=8).hexdigest(), str(error)
        )


def _job_name(item: object) -> tuple[int, str] | None:
    settings = item.get("settings") if isinstance(item, dict) else None
    name = word(settings.get("name")) if isinstance(settings, dict) else None
    if name is None or not isinstance(item, dict):
        return None
    try:
        return msgspec.convert(item.get("job_id"), Id, strict=False), name
    except msgspec.ValidationError:
        return None


def _loose_page(body: bytes) -> _LooseRunPageBody:
    try:
        return msgspec.convert(_object(body), _LooseRunPageBody)
    except msgspec.ValidationError as error:
        raise TryAgain(f"a page of runs that is none: {error}") from None


def _object(body: bytes) -> dict[str, Any]:
    value = _any(body)
    if not isinstance(value, dict):
        raise TryAgain("JSON, but no object")
    return value


def _any(body: bytes) -> Any:  # noqa: ANN401
    """What the standard library's wider JSON reads: lone surrogates, NaN, bytes that are no UTF-8.

    It is written and read once more, because msgspec converts no text with lone surrogates in it.
    """
    try:
        value = json.loads(body.decode("utf-8", "replace"), parse_int=_integer)
        text = json.dumps(value, ensure_ascii=False).encode("utf-8", "replace")
        return json.loads(text)
    except (ValueError, RecursionError):
        raise TryAgain(f"no JSON where JSON belongs: {_excerpt(body)}") from None


def _integer(text: str) -> int | float:
    return int(text) if len(text) <= _MOST_DIGITS else float(text)


def _is_object(body: bytes) -> bool:
    try:
        _object(body)
    except TryAgain:
        return False
    return True


def _reason(body: bytes) -> str:
    """What the server says went wrong, on one line; it comes as JSON of four kinds, HTML, text or nothing."""
    try:
        value = _object(body)
    except TryAgain:
        return _excerpt(body)
    code = value.get("error_code")
    texts = (value.get(key) for key in ("message", "error_description", "error", "detail"))
    text = next((text for text in texts if isinstance(text, str) and text), "")
    return _one_line(f"{code}: {text}" if code and text else str(code or text)) or "no reason given"


def _excerpt(body: bytes) -> str:
    text = body[:4096].decode("utf-8", "replace")
    if title := re.search(r"<title>(.*?)</title>", text, re.IGNORECASE | re.DOTALL):
        return f"a page titled «{_one_line(title[1])}»"
    return _one_line(re.sub(r"<[^>]*>", " ", text)) or "an empty body"


def _one_line(text: str) -> str:
    words = "".join(c if c.isprintable() else " " for c in text[:2000]).split()
    line = " ".join(words)
    # Cut between words: the log knows a secret by the whole of it.
    return line if len(line) <= 200 else line[:200].rpartition(" ")[0]


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()
