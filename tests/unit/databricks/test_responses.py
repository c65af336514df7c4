"""From (status, headers, body) to a page or an error: everything an answer can be."""

import codecs
import gzip
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.databricks.bodies import MAX_BODY_BYTES
from exporter.databricks.errors import (
    AccessRefused,
    NotUnderstood,
    RunGone,
    Throttled,
    TryAgain,
    UnknownPath,
    WorkspaceError,
)
from exporter.databricks.models import Run, mended, word
from exporter.databricks.responses import (
    DecodeError,
    RunPage,
    Token,
    check,
    decode_job_page,
    decode_run,
    decode_run_page,
    decode_token,
    retry_after,
    server_time,
)

NOW = 1_780_000_000.0
HTML = b"<html><head><title>Error 403 Invalid access token.</title></head><body><pre>x</pre></body></html>"
BAD_TARGET = b'{"error_code":"ENDPOINT_NOT_FOUND","message":"Bad Target: /api/2.2/jobs/runs/list"}'
THROTTLED_TOKEN = (
    b'{"error":"invalid_request","error_description":"Temporarily throttled, too many requests"}'
)
GOOD = {"run_id": 1, "job_id": 2}


def body(**fields: object) -> bytes:
    return json.dumps(fields).encode()


def page(*items: bytes) -> bytes:
    return b'{"runs":[%b],"next_page_token":"more"}' % b",".join(items)


def item(**fields: object) -> bytes:
    return body(**{**GOOD, **fields})


def only_decode_error(read: RunPage) -> DecodeError:
    assert (len(read.runs), len(read.decode_errors)) == (1, 1), "the other run of the page is used"
    assert read.next_page_token == "more"
    return read.decode_errors[0]


@pytest.mark.parametrize(
    ("status", "answer", "kind", "says"),
    [
        (301, b"", AccessRefused, "redirects; set DATABRICKS_HOST"),
        (302, HTML, AccessRefused, "redirects"),
        (308, b"", AccessRefused, "redirects"),
        (400, body(error_code="INVALID_PARAMETER_VALUE", message="Run 1 does not exist."), RunGone, "1"),
        (400, body(error_code="INVALID_PARAMETER_VALUE", message="Run: 1 doesn't exist"), RunGone, "1"),
        (400, body(error_code="BAD_REQUEST", message="Run: 1 in job: 2 doesn’t exist."), RunGone, "2"),
        (400, body(error_code="INVALID_PARAMETER_VALUE", message="The run 1 no longer exists"), RunGone, "1"),
        (400, body(error_code="INVALID_PARAMETER_VALUE", message="Run 1 not found"), RunGone, "1"),
        (400, body(error_code="RESOURCE_DOES_NOT_EXIST", message="no such thing"), RunGone, "thing"),
        (400, body(error_code="BAD_REQUEST", message="Version 2.9 does not exist"), NotUnderstood, "2.9"),
        (400, body(error_code="INVALID_PARAMETER_VALUE", message="Invalid limit 27"), NotUnderstood, "27"),
        (400, b"", NotUnderstood, "an empty body"),
        (401, body(error_code="UNAUTHENTICATED", message="expired"), AccessRefused, "UNAUTHENTICATED"),
        (401, b"", AccessRefused, "an empty body"),
        (403, body(error_code=403, message="Invalid access token."), AccessRefused, "403: Invalid"),
        (403, HTML, AccessRefused, "«Error 403 Invalid access token.»"),
        (403, body(detail="not allowed", status="403"), AccessRefused, "not allowed"),
        (403, b"PERMISSION_DENIED: no", AccessRefused, "PERMISSION_DENIED: no"),
        (404, body(error_code="RESOURCE_DOES_NOT_EXIST", message="Run 1 does not exist."), RunGone, "Run 1"),
        (404, body(error_code="NOT_FOUND"), RunGone, "NOT_FOUND"),
        (404, body(error_code=404, message="gone"), RunGone, "404: gone"),
        (404, BAD_TARGET, UnknownPath, "DATABRICKS_HOST"),
        (404, body(error="Bad Target: /api/2.2/jobs/runs/get"), UnknownPath, "Bad Target"),
        (404, b"No API found for 'GET /jobs/runs/list'", UnknownPath, "No API found"),
        (404, HTML, NotUnderstood, "DATABRICKS_HOST"),
        (404, b"", NotUnderstood, "DATABRICKS_HOST"),
        (404, b"[]", NotUnderstood, "DATABRICKS_HOST"),
        (404, body(message="no Route matched with those values"), NotUnderstood, "DATABRICKS_HOST"),
        (404, body(error="not found"), NotUnderstood, "DATABRICKS_HOST"),
        (408, b"", TryAgain, "408"),
        (425, b"", TryAgain, "425"),
        (429, body(error_code="REQUEST_LIMIT_EXCEEDED", message="throttling"), Throttled, "throttling"),
        (429, body(error_code="RESOURCE_EXHAUSTED", message="Too many"), Throttled, "RESOURCE_EXHAUSTED"),
        (500, body(error_code="INTERNAL_ERROR", message="temporarily unavailable"), TryAgain, "unavailable"),
        (500, body(error="oops"), TryAgain, "oops"),
        (500, b"\xff\xfe\x00", TryAgain, "500"),
        (502, HTML, TryAgain, "502"),
        (503, b"No webapps are available to handle your request.", TryAgain, "No webapps"),
        (503, body(error_code="TEMPORARILY_UNAVAILABLE", message="later", details=[{}]), TryAgain, "later"),
        (504, HTML, TryAgain, "504"),
        (499, b"", NotUnderstood, "499"),
        (501, b"", NotUnderstood, "501"),
        (505, b"", NotUnderstood, "505"),
        (520, HTML, TryAgain, "520"),
        (304, b"", NotUnderstood, "proxy"),
        (409, body(error="invalid_client", error_description="who?"), NotUnderstood, "who?"),
        (409, b"{}", NotUnderstood, "no reason given"),
        (409, body(error_code=None, message=5), NotUnderstood, "no reason given"),
        (201, b"{}", NotUnderstood, "201"),
        (204, b"", NotUnderstood, "204"),
    ],
)  # fmt: skip
def test_an_answer_that_is_no_page_says_who_must_act(
    status: int, answer: bytes, kind: type[WorkspaceError], says: str
) -> None:
    """Each status and body becomes the one error whose text names the reason, on one short line."""
    with pytest.raises(WorkspaceError) as raised:
        check(status, {}, answer, NOW)
    assert type(raised.value) is kind
    text = str(raised.value)
    assert says in text
    assert f"HTTP {status}" in text
    assert text.isprintable()
    assert len(text) < 400


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_workspace_with_a_private_link_says_so(status: int) -> None:
    """The address is right: the way to it is not, and what decides on the way is named."""
    headers = {"Location": "https://adb-1.2.test/login.html?error=private-link-validation-error:1"}
    with pytest.raises(AccessRefused, match="through its private link only") as raised:
        check(status, headers, b"", NOW)
    assert "resolves to the private endpoint's address" in str(raised.value)
    assert "set DATABRICKS_HOST" not in str(raised.value)


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/login.html?next=dapi5ecret", "to /login.html;"),
        ("https://sso.example.com/saml?token=dapi5ecret#dapi5ecret", "to sso.example.com/saml;"),
        ("https://user:dapi5ecret@sso.example.com/", "to sso.example.com/;"),
        ("http://[", "the server redirects;"),
        ("\x1b[2J/a\r\nb", "to [2J/ab;"),
    ],
)
def test_a_redirect_names_its_target_without_the_query(location: str, target: str) -> None:
    """Host and path help the operator; the rest may repeat what we sent."""
    with pytest.raises(AccessRefused) as raised:
        check(302, {"Location": location}, b"", NOW)
    assert target in str(raised.value)
    assert "5ecret" not in str(raised.value)
    assert str(raised.value).isprintable()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({"Retry-After": ""}, None),
        ({"Retry-After": "7"}, 7.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "0.5"}, 0.5),
        ({"Retry-After": "0"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "NaN"}, None),
        ({"Retry-After": "inf"}, 3600.0),
        ({"Retry-After": "99999999999"}, 3600.0),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": formatdate(NOW + 9, usegmt=True)}, 9.0),
        ({"Retry-After": formatdate(NOW - 9, usegmt=True)}, 0.0),
        ({"Retry-After": formatdate(NOW + 9e6, usegmt=True)}, 3600.0),
        ({"Retry-After": "Mon, 99 Foo 99999 99:99:99 GMT"}, None),
        # By the server's own clock, which is 100 s ahead of ours.
        (
            {
                "Retry-After": formatdate(NOW + 109, usegmt=True),
                "Date": formatdate(NOW + 100, usegmt=True),
            },
            9.0,
        ),
    ],
)
def test_retry_after_is_seconds_or_a_date_within_an_hour(
    headers: Mapping[str, str], seconds: float | None
) -> None:
    """A wait is read from seconds or a date by the server's clock; what is neither is no wait."""
    assert retry_after(headers, NOW) == seconds
    with pytest.raises(TryAgain) as raised:
        check(429, headers, b"", NOW)
    assert raised.value.retry_after == seconds


@pytest.mark.parametrize(
    ("header", "seconds"), [("", None), ("soon", None), ("Thu, 28 May 2026 20:26:40 GMT", NOW)]
)
def test_the_servers_clock_is_its_date_header(header: str, seconds: float | None) -> None:
    """`Date` gives seconds since the epoch, and nothing where it is no date."""
    assert server_time({"Date": header}) == seconds
    assert server_time({}) is None


@pytest.mark.parametrize(
    "text", [b"{}", b'{"has_more":false}', b'{"runs":null}', b'{"runs":[],"next_page_token":""}']
)
def test_a_page_may_have_no_runs(text: bytes) -> None:
    """An empty list has no `runs` at all, and the last page an empty token or none."""
    assert decode_run_page(text) == RunPage([], [], None)


@pytest.mark.parametrize(
    "text", [b"", b"null", b"5", b"[]", b'"x"', HTML, b'{"runs":', b'{"runs":{}}', b'{"runs":"x"}', b"\xff"]
)
def test_a_body_that_is_no_page_is_asked_for_again(text: bytes) -> None:
    """HTML, half a page, JSON of another kind and nothing at all are passing faults of a 200 answer."""
    with pytest.raises(TryAgain):
        decode_run_page(text)


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip that was not announced": gzip.compress,
    "gzip in two members": lambda text: gzip.compress(text[:9]) + gzip.compress(text[9:]),
    "a byte order mark": lambda text: codecs.BOM_UTF8 + text,
    "gzip of a byte order mark": lambda text: gzip.compress(codecs.BOM_UTF8 + text),
    "UTF-16": lambda text: text.decode().encode("utf-16"),
}


@pytest.mark.parametrize("way", PACKED)
def test_a_good_body_is_read_however_it_is_packed(way: str) -> None:
    """`x-gzip`, which the library does not know, and what Windows puts in front of a text."""
    pack = PACKED[way]
    assert [run.run_id for run in decode_run_page(pack(page(item(run_id=9)))).runs] == [9]
    assert decode_run_page(pack(page(b"5", item(run_id=9)))).runs[0].run_id == 9
    run = decode_run(pack(item(run_id=9)))
    assert isinstance(run, Run)
    assert run.run_id == 9
    assert decode_job_page(pack(body(jobs=[{"job_id": 1, "settings": {"name": "a"}}]))).names == {1: "a"}
    assert decode_token(200, {}, pack(body(access_token="abc")), NOW).access_token == "abc"
    with pytest.raises(RunGone, match="Run 1 does not exist"):
        check(404, {}, pack(body(error_code="NOT_FOUND", message="Run 1 does not exist")), NOW)


@pytest.mark.parametrize(
    "broken",
    [
        gzip.compress(page(item()))[:-9],
        b"\x1f\x8b" + page(item()),
        gzip.compress(bytes(MAX_BODY_BYTES + 1)),
        gzip.compress(bytes(MAX_BODY_BYTES)) + gzip.compress(b"1"),
    ],
    ids=["cut off", "damaged", "too large", "too large in two members"],
)
def test_a_packed_body_that_is_damaged_or_too_large_is_asked_for_again(broken: bytes) -> None:
    """No small body takes more memory than a body may have."""
    with pytest.raises(TryAgain, match=r"a body (in gzip|of more)"):
        decode_run_page(broken)
    with pytest.raises(TryAgain, match="HTTP 500"):
        check(500, {}, broken, NOW)


def test_status_203_is_a_good_answer() -> None:
    """A proxy that has changed how an answer is packed says so, and the answer is read."""
    check(203, {}, page(item()), NOW)


@pytest.mark.parametrize("more", [b"true,", b"true", b'true,"next_page_token":"",', b'true,"x":[5],'])
def test_a_list_that_cannot_be_followed_is_an_error(more: bytes) -> None:
    """`has_more` without a page token: what is missing is never passed over in silence."""
    text = b'{"runs":[],"has_more":' + more.rstrip(b",") + b"}"
    for read in (text, text.replace(b"[]", b"[5]", 1)):
        with pytest.raises(NotUnderstood, match="no page token"):
            decode_run_page(read)
    with pytest.raises(NotUnderstood, match="no page token"):
        decode_job_page(text.replace(b"runs", b"jobs"))
    assert decode_run_page(b'{"runs":[],"has_more":true,"next_page_token":"a"}').next_page_token == "a"
    run = decode_run(item(has_more=True))
    assert isinstance(run, Run)
    assert run.has_more


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"error_code": "INTERNAL_ERROR", "message": "oops"}, TryAgain),
        ({"error_code": "A_NEW_CODE", "message": "oops"}, TryAgain),
        ({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "oops"}, TryAgain),
        ({"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "oops"}, Throttled),
        ({"error_code": 429, "message": "oops"}, Throttled),
        ({"error_code": 403, "message": "oops"}, AccessRefused),
        ({"error_code": "PERMISSION_DENIED", "message": "oops"}, AccessRefused),
        ({"error_code": "UNAUTHENTICATED", "message": "oops"}, AccessRefused),
        ({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "oops"}, RunGone),
        ({"error_code": "INVALID_PARAMETER_VALUE", "message": "Run 1 does not exist, oops"}, RunGone),
        ({"error_code": "INVALID_PARAMETER_VALUE", "message": "oops"}, NotUnderstood),
        ({"error_code": "ENDPOINT_NOT_FOUND", "message": "oops"}, UnknownPath),
        ({"error": "server_error", "error_description": "oops"}, TryAgain),
        ({"error": {"code": 5, "message": "oops"}, "message": "oops"}, TryAgain),
    ],
)
def test_an_error_with_status_200_is_that_error(
    fields: dict[str, object], kind: type[WorkspaceError]
) -> None:
    """It is never an empty list, and means what it means with its own status."""
    for decode in (decode_run_page, decode_run, decode_job_page):
        for text in (body(**fields), gzip.compress(body(**fields)), b'{"x":NaN,' + body(**fields)[1:]):
            with pytest.raises(WorkspaceError, match=r"HTTP 200 with an error: .*oops") as raised:
                decode(text)
            assert type(raised.value) is kind


def test_a_new_field_named_error_stops_no_page() -> None:
    """A page that has its runs is a page."""
    assert len(decode_run_page(b'{"error":"x",' + page(item())[1:]).runs) == 1
    assert isinstance(decode_run(item(error="x", error_code="x")), Run)


def test_numbers_may_be_strings_and_anything_unset_null_or_absent() -> None:
    """Ids and times given as strings are the numbers they say, null is not set, new fields are skipped."""
    run = decode_run(
        body(
            run_id="12",
            job_id="34",
            start_time="1780000000000",
            run_duration=1.5,
            end_time=None,
            tasks=None,
            state=None,
            status=None,
            from_the_future={"deep": [1, {"x": None}]},
        )
    )
    assert isinstance(run, Run)
    assert (run.run_id, run.job_id, run.start_time, run.run_duration) == (12, 34, 1_780_000_000_000, 1.5)
    assert (run.end_time, run.tasks, run.state, run.status, run.queue_duration) == (None,) * 5


@pytest.mark.parametrize(
    "fields",
    [
        {"status": {"state": "A_NEW_WORD", "termination_details": {"code": "NEW", "type": "NEW"}}},
        {"status": {"state": 5, "termination_details": "x", "queue_details": []}},
        {"run_type": 7, "run_name": ["x"], "effective_performance_target": {}, "attempt_number": "x"},
        {"tasks": [{}], "has_more": "yes"},
        {"tasks": [], "repair_history": [{"type": 5}]},
        {"repair_history": {}},
    ],
)
def test_unknown_words_are_data(fields: dict[str, object]) -> None:
    """A new enum value or a field of a strange type that is only a word stops no run."""
    read = decode_run_page(page(item(**fields)))
    assert (len(read.runs), read.decode_errors) == (1, [])


@pytest.mark.parametrize(
    "bad",
    [
        item(run_id=None),
        item(run_id="x"),
        item(run_id=1.5),
        item(run_id=True),
        item(run_id=2**63),
        item(job_id=[]),
        b'{"job_id":1}',
        b'{"run_id":1}',
        item(start_time="yesterday"),
        item(end_time={}),
        item(run_duration=True),
        item(queue_duration=1e300),
        b'{"run_id":1,"job_id":2,"end_time":NaN}',
        b'{"run_id":1,"job_id":2,"end_time":-Infinity}',
        b'{"run_id":1,"job_id":2,"end_time":1e999}',
        item(end_time="NaN"),
        item(status="TERMINATED"),
        item(status=[]),
        item(state=5),
        item(tasks={}),
        item(tasks="none"),
        item(tasks=[5]),
        item(tasks=[{"status": "x"}]),
        item(tasks=[{"run_id": "x"}]),
        item(tasks=[{"setup_duration": "long"}]),
        b"5",
        b"null",
        b'"run"',
        b"[]",
        b'{"run_id":%b,"job_id":2}' % (b"9" * 5000),
        b'{"run_id":"\\ud800","job_id":2}',
        b'{"run_id":1,"job_id":2,"start_time":"\\udfff"}',
    ],
)
def test_a_run_that_is_not_understood_costs_that_run_only(bad: bytes) -> None:
    """Each is a decode_error with a stable key and a reason to log, and its page goes on."""
    read = decode_run_page(page(bad, item(run_id=9)))
    decode_error = only_decode_error(read)
    assert read.runs[0].run_id == 9
    assert decode_error.key
    assert decode_error.reason
    assert decode_run_page(page(item(run_id=9), bad)).decode_errors == [decode_error]


@pytest.mark.parametrize(
    ("odd", "name"),
    [
        (b'{"run_id":1,"job_id":2,"run_name":"\xff\xfe"}', "��"),
        (b'{"run_id":1,"job_id":2,"run_name":"a\\ud800b"}', "a?b"),
        (b'{"run_id":1,"job_id":2,"run_name":"x","\\ud800":1}', "x"),
        (b'{"run_id":1,"job_id":2,"run_name":"x","new":NaN}', "x"),
        (b'{"run_id":1,"job_id":2,"run_name":"x","attempt_number":%b}' % (b"9" * 5000), "x"),
        (b'{"run_id":1,"job_id":2,"run_name":"x","status":{"\\udc00":1}}', "x"),
    ],
)
def test_text_that_is_no_unicode_and_numbers_beyond_measure_stop_no_run(odd: bytes, name: str) -> None:
    """Invalid UTF-8, lone surrogates, NaN and endless digits where we need not understand stop no run."""
    for run in (decode_run(odd), *decode_run_page(page(odd)).runs):
        assert isinstance(run, Run)
        assert run.run_name == name
        assert (run.attempt_number or 0) in {0, 10**6}
    assert decode_run_page(page(odd, item(run_id=9))).decode_errors == []


def test_one_odd_run_takes_nothing_from_the_others() -> None:
    """A run name that is no UTF-8 leaves every other run of the page, and its token, as they are."""
    read = decode_run_page(page(item(run_id=3), b'{"run_id":1,"job_id":2,"run_name":"\xff"}', item(run_id=4)))
    assert [run.run_id for run in read.runs] == [3, 1, 4]
    assert (read.decode_errors, read.next_page_token) == ([], "more")


def test_decode_errors_without_an_id_differ_where_their_texts_do() -> None:
    """The key is the run id where there is one, else a digest: the same for the same text only."""
    read = decode_run_page(page(item(status="x"), b'{"a":1}', b'{"a":2}', b'{"a":1}'))
    keys = [decode_error.key for decode_error in read.decode_errors]
    assert keys[0] == "1"
    assert keys[1] == keys[3] != keys[2]


def test_a_body_nested_without_end_is_asked_for_again() -> None:
    """A hundred thousand brackets exhaust no stack."""
    deep = b'{"runs":' + b"[" * 100_000
    for decode in (decode_run_page, decode_run, decode_job_page):
        with pytest.raises(TryAgain):
            decode(deep)
    with pytest.raises(TryAgain):
        decode_token(200, {}, deep, NOW)


@pytest.mark.parametrize("strange", [b"{}", b"null", b"1"])
@pytest.mark.parametrize("many", [1001, 2_000_002])
def test_a_page_of_countless_strange_items_is_asked_for_again(strange: bytes, many: int) -> None:
    """No server can keep us busy for minutes with a small body; a page has 26 runs at most."""
    with pytest.raises(TryAgain, match="a page of"):
        decode_run_page(page(*[strange] * many))


def test_the_pages_of_a_run_are_followed_by_its_own_token() -> None:
    """`next_page_token` at the root of a run is a word where more of its arrays follow."""
    run = decode_run(item(next_page_token="more"))
    assert isinstance(run, Run)
    assert run.next_page_token == "more"


def test_jobs_without_an_id_or_a_name_are_left_out() -> None:
    """Names come by job id; a job that cannot be named costs nothing but its name."""
    jobs = [
        {"job_id": 1, "settings": {"name": "nightly"}},
        {"job_id": "2", "settings": {"name": "hourly"}},
        {"job_id": 3, "settings": {"name": ""}},
        {"job_id": 4, "settings": {}},
        {"job_id": 5, "settings": None},
        {"job_id": None, "settings": {"name": "x"}},
        {"job_id": 2**70, "settings": {"name": "x"}},
        {"settings": {"name": "x"}},
        "x",
        None,
    ]
    read = decode_job_page(body(jobs=jobs, next_page_token="more"))
    assert (read.names, read.next_page_token) == ({1: "nightly", 2: "hourly"}, "more")
    assert decode_job_page(b'{"jobs":5}').names == decode_job_page(b"{}").names == {}


@pytest.mark.parametrize(
    ("answer", "token"),
    [
        ({"access_token": "abc", "expires_in": 60, "token_type": "Bearer"}, Token("abc", 60.0)),
        ({"access_token": "abc", "expires_in": "60"}, Token("abc", 60.0)),
        ({"access_token": "abc"}, Token("abc", 3600.0)),
    ],
)
def test_a_token_has_a_life(answer: dict[str, object], token: Token) -> None:
    """The token and the seconds it lives, an hour where the server does not say."""
    assert decode_token(200, {}, body(**answer), NOW) == token


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (400, body(error="invalid_request", error_description="no"), AccessRefused),
        (400, THROTTLED_TOKEN, TryAgain),
        (401, body(error="invalid_client", error_description="Client authentication failed"), AccessRefused),
        (403, HTML, AccessRefused),
        (302, b"", AccessRefused),
        (404, HTML, NotUnderstood),
        (429, b"", Throttled),
        (500, HTML, TryAgain),
        (200, b"", TryAgain),
        (200, HTML, TryAgain),
        (200, b"{}", TryAgain),
        (200, body(access_token=""), TryAgain),
        (200, body(access_token=5), TryAgain),
        (200, body(access_token="a\nb"), TryAgain),
        (200, body(access_token="é"), TryAgain),
        (200, b'{"access_token":"\xff"}', TryAgain),
        (200, b'{"access_token":"\\ud800"}', TryAgain),
        (200, body(access_token="abc", expires_in=0), TryAgain),
        (200, body(access_token="abc", expires_in=-1), TryAgain),
        (200, body(access_token="abc", expires_in="nan"), TryAgain),
    ],
)
def test_the_token_endpoint_refuses_is_away_or_makes_no_sense(
    status: int, answer: bytes, kind: type[WorkspaceError]
) -> None:
    """Refusals are the operator's, everything that is no token is asked for again."""
    with pytest.raises(WorkspaceError) as raised:
        decode_token(status, {"Retry-After": "3"}, answer, NOW)
    assert type(raised.value) is kind
    if isinstance(raised.value, TryAgain) and status != 200:
        assert raised.value.retry_after == 3.0


def test_the_text_of_a_token_answer_goes_nowhere() -> None:
    """An answer with a token that cannot be used tells nothing of it in its error."""
    for answer in (body(access_token="s3cret", expires_in=0), b'{"access_token":"s3cret"', b"s3cret"):
        with pytest.raises(TryAgain) as raised:
            decode_token(200, {}, answer, NOW)
        assert "s3cret" not in repr(raised.value)


# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.too_slow])
LETTERS = 'aZ09 -."\\\n\0é€\u2028\U0001f600\ud800\udfff'
anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(LETTERS, max_size=8)
    | st.sampled_from(["1", "1780000000000", "nan", "null"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(LETTERS, max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)
fields = st.sampled_from([*Run.__struct_fields__, "new", "\ud800"])
HEADERS = st.text("0123456789-+.:,eGMTnaif ") | st.just(formatdate(NOW, usegmt=True))
objects = st.dictionaries(fields, anything, max_size=8)


@unhurried
@given(st.binary(max_size=80))
@example(b'{"runs":[{"run_id":1,"job_id":1,"run_name":"\xff"}]}')
@example(b'{"runs":[{"run_id":"\\ud800"}]}')
@example(b'{"runs":[{"a":' + b"1" * 5000 + b"}]}")
def test_any_bytes_are_a_page_or_try_again(data: bytes) -> None:
    """Whatever comes back, decoding ends in a page or in a passing fault, never in anything else."""
    for decode in (decode_run_page, decode_run, decode_job_page):
        with suppress(WorkspaceError):
            assert decode(data) is not None


@unhurried
@given(objects, st.booleans())
def test_any_object_is_a_run_or_a_decode_error(value: dict[str, Any], ascii_only: bool) -> None:  # noqa: FBT001  hypothesis passes it by name
    """Any JSON object as an item becomes a run or a decode_error, and the run beside it is always used."""
    text = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    read = decode_run_page(page(text, item(run_id=9)))
    assert read.runs[-1].run_id == 9
    assert len(read.runs) + len(read.decode_errors) == 2
    assert isinstance(decode_run(text), Run | DecodeError)


@unhurried
@given(st.integers(100, 599), st.dictionaries(st.sampled_from(["Retry-After", "Date"]), HEADERS), st.binary())
def test_any_answer_but_a_good_one_is_an_error_we_know(
    status: int, headers: dict[str, str], answer: bytes
) -> None:
    """Whatever the status, headers and body are, the error is one that says who must act."""
    if status in {200, 203}:
        check(status, headers, answer, NOW)
        return
    with pytest.raises(WorkspaceError) as raised:
        check(status, headers, answer, NOW)
    assert str(raised.value).isprintable()


@unhurried
@given(anything)
def test_words_and_ordinals_are_read_from_anything(value: object) -> None:
    """A word is text that can be served as UTF-8 or nothing; an ordinal is never negative."""
    text = word(value)
    assert text is None or text.encode()
    number = mended({"attempt_number": value})["attempt_number"]
    assert 0 <= number <= 10**6
