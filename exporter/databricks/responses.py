"""From (status, headers, body) to a decoded page or a typed error that says who must act.

Pure: no socket. The errors are in `errors.py`. One bad run costs that run, never its page.
"""

from collections.abc import Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Annotated, Any, NamedTuple

import msgspec

from exporter.databricks.bodies import json_object, unpacked
from exporter.databricks.errors import NotUnderstood, TryAgain
from exporter.databricks.failures import error_in_page, failure, token_refused
from exporter.databricks.lenient import NOT_STRICT, RUN, DecodeError, PageBody, convert_run, decode_page
from exporter.databricks.models import Id, Run, word

__all__ = [
    "DecodeError",
    "JobPage",
    "RunPage",
    "Token",
    "check",
    "decode_job_page",
    "decode_run",
    "decode_run_page",
    "decode_token",
    "retry_after",
    "server_time",
]

# A longer wait than this is a mistake of the server's clock or of a proxy.
MAX_RETRY_AFTER_SECONDS = 3600.0
# 203: a proxy has changed something about the answer, for example how it is packed.
_GOOD_STATUSES = frozenset({200, 203})


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


class _RunPageBody(PageBody):
    runs: list[Run] | None = None
    next_page_token: str | None = None


class _TokenBody(msgspec.Struct):
    access_token: Annotated[str, msgspec.Meta(min_length=1)]
    expires_in: Annotated[float, msgspec.Meta(gt=0)] = 3600.0


_RUN_PAGE = msgspec.json.Decoder(_RunPageBody, strict=False)
_TOKEN = msgspec.json.Decoder(_TokenBody, strict=False)


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


def _http_date(value: str) -> float | None:
    try:
        date = parsedate_to_datetime(value)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
    return (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp()


def check(status: int, headers: Mapping[str, str], body: bytes, now: float) -> None:
    """Return for an answer that may be decoded, else raise the error that says who must act.

    RunGone: the API itself says that a run does not exist. AccessRefused: 401, 403 and redirects.
    """
    if status not in _GOOD_STATUSES:
        raise failure(status, headers.get("Location", ""), body, retry_after(headers, now))


def decode_run_page(body: bytes) -> RunPage:
    """The body of `runs/list`; `runs` may be absent."""
    try:
        page = _RUN_PAGE.decode(body)
    except NOT_STRICT:
        return _decode_leniently(unpacked(body))
    _check_page(page, page.runs, body)
    return RunPage(page.runs or [], [], page.next_page_token or None)


def _decode_leniently(body: bytes) -> RunPage:
    page, items = decode_page(body)
    _check_page(page, items, body)
    return RunPage(
        [run for run in items or () if not isinstance(run, DecodeError)],
        [decode_error for decode_error in items or () if isinstance(decode_error, DecodeError)],
        word(page.next_page_token),
    )


def decode_run(body: bytes) -> Run | DecodeError:
    """The body of `runs/get`, one page of it: its `next_page_token` is a word where more follow."""
    try:
        return RUN.decode(body)
    except NOT_STRICT:
        value = json_object(body)
        if "run_id" not in value:
            _check_error(_page_body(value), None, body)
        return convert_run(value)


def decode_job_page(body: bytes) -> JobPage:
    """The body of `jobs/list`; jobs without an id or a name are left out."""
    page = json_object(body)
    jobs = page.get("jobs")
    _check_page(_page_body(page), jobs, body)
    named = map(_job_name, jobs if isinstance(jobs, list) else ())
    return JobPage(dict(pair for pair in named if pair is not None), word(page.get("next_page_token")))


def _job_name(item: object) -> tuple[int, str] | None:
    settings = item.get("settings") if isinstance(item, dict) else None
    name = word(settings.get("name")) if isinstance(settings, dict) else None
    if name is None or not isinstance(item, dict):
        return None
    try:
        return msgspec.convert(item.get("job_id"), Id, strict=False), name
    except msgspec.ValidationError:
        return None


def _page_body(value: dict[str, Any]) -> PageBody:
    return PageBody(*(value.get(name) for name in PageBody.__struct_fields__))


def _check_page(page: PageBody, items: object, body: bytes) -> None:
    """Return for a page that can be followed to its end."""
    _check_error(page, items, body)
    if page.has_more is True and word(page.next_page_token) is None:
        raise NotUnderstood(
            "the server says that there is more and gives no page token, so something would be missed; "
            "please report it, unless a proxy answers in the workspace's place"
        )


def _check_error(page: PageBody, items: object, body: bytes) -> None:
    """Raise the error that came in place of a page."""
    if error := page.error_code or (page.error if items is None else None):
        raise error_in_page(error, body)


def decode_token(status: int, headers: Mapping[str, str], body: bytes, now: float) -> Token:
    """The answer of the OAuth token endpoint."""
    if status in {400, 401, 403}:
        raise token_refused(status, body, retry_after(headers, now))
    check(status, headers, body, now)
    try:
        token = _TOKEN.decode(unpacked(body))
    except NOT_STRICT:
        # The body may hold a token: its text goes nowhere.
        raise TryAgain("an answer that is not a token") from None
    if not token.access_token.isascii() or not token.access_token.isprintable():
        raise TryAgain("a token with characters that no header may have")
    return Token(token.access_token, token.expires_in)
