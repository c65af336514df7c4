"""From an event to its line: the two formats, one line for any value, and no secret in any part of it."""

import json
import logging
import re
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import pytest
import structlog
from pydantic import SecretStr

from exporter.config import ClientCredentials, LogFormat
from exporter.logs import setup as logs
from exporter.logs.redaction import REDACTED
from tests.unit.logs import SECRET, Stderr, event, fail, line, log

FORGED = "nightly\nts=2026-01-01T00:00:00Z level=error msg=forged\x07\x1b[2J\r\u2028\x85\u202e"


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


def test_logfmt_lines_begin_with_time_level_logger_and_message(stderr: Stderr) -> None:
    """The four keys come first, then the event's own in their order."""
    logs.configure("info", "logfmt", [])
    log.warning("poll failed", workspace="adb-1", runs=3, ratio=0.5, ok=False, good=True, job=None)
    head, _, rest = line(stderr).partition(" ")
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", head)
    expected = 'level=warning logger=exporter.poller msg="poll failed" workspace=adb-1 runs=3 ratio=0.5'
    assert rest == f"{expected} ok=false good=true job="


def test_json_lines_carry_the_same_keys(stderr: Stderr) -> None:
    """One object per line; values keep their types."""
    logs.configure("info", "json", [])
    log.info("polled", runs=3, jobs=[1, 2], nested={"a": None})
    written = event(stderr)
    assert list(written) == ["ts", "level", "logger", "msg", "runs", "jobs", "nested"]
    assert written["jobs"] == [1, 2]
    assert written["nested"] == {"a": None}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", "plain"),
        ("", ""),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("back\\slash", r"back\slash"),
        ("back\\ slash", r'"back\\ slash"'),
        ("two\nlines", r"two\nlines"),
        ("two\nlong lines", r'"two\nlong lines"'),
        ("a\r\tb", r"a\r\tb"),
        ("\x1b[31m\x07", r"\x1b[31m\x07"),
        ("line\u2028separator", r"line\u2028separator"),
        ("Straße", "Straße"),
        ("\ud800", r"\ud800"),
        (["a", 1], "\"['a', 1]\""),
    ],
)
def test_logfmt_values_stay_on_one_line(value: object, expected: str, stderr: Stderr) -> None:
    """Whatever a parser could misread is quoted; control characters are visible as escapes."""
    logs.configure("info", "logfmt", [])
    log.info("x", value=value)
    assert line(stderr).partition(" value=")[2] == expected


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_a_job_name_forges_no_line(log_format: LogFormat, stderr: Stderr) -> None:
    """Escape sequences, bells, line breaks of every kind and marks of direction are shown, never obeyed."""
    logs.configure("info", log_format, [])
    log.warning("a run is left out", job_name=FORGED, jobs=[FORGED], named={FORGED: FORGED})
    assert line(stderr).isprintable()
    assert stderr.getvalue().count("\n") == 1
    if log_format == "json":
        assert event(stderr)["job_name"] == FORGED


def test_logfmt_keys_are_made_safe(stderr: Stderr) -> None:
    """A key cannot forge another pair."""
    logs.configure("info", "logfmt", [])
    log.info("x", **{"a b=c\n": 1, "": 2})
    assert line(stderr).endswith(" a_b_c_=1 _=2")


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_an_exception_is_one_line(log_format: LogFormat, stderr: Stderr) -> None:
    """The traceback is a value of the event, line breaks escaped."""
    logs.configure("info", log_format, [])
    try:
        fail("no")
    except ValueError:
        log.exception("poll failed")
    assert r"Traceback (most recent call last):\n" in line(stderr)
    assert "ValueError: no" in line(stderr)


def test_an_events_own_keys_cannot_replace_the_four(stderr: Stderr) -> None:
    """Level and message are what was called."""
    logs.configure("info", "json", [])
    log.info("real", level="fatal", logger="other", msg="forged", ts=0)
    written = event(stderr)
    assert (written["level"], written["logger"], written["msg"]) == ("info", "exporter.poller", "real")


def test_arguments_that_do_not_fit_are_shown_beside_the_message(stderr: Stderr) -> None:
    """A library's mistake costs no line and leaks nothing."""
    logs.configure("info", "json", [SECRET])
    logging.getLogger("asyncio").error("%d", SECRET)
    assert str(event(stderr)["msg"]).startswith("%d (")
    assert "0123" not in stderr.getvalue()


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_no_secret_comes_out_wherever_it_hides(log_format: LogFormat, stderr: Stderr) -> None:
    """Message, arguments, keys, values, containers, objects, exceptions and their tracebacks."""
    logs.configure("debug", log_format, [SECRET])
    nested: object = SECRET
    for _ in range(20):
        nested = {SECRET: [nested, (SECRET,), {SECRET}]}
    try:
        try:
            fail(SECRET)
        except ValueError as error:
            raise RuntimeError(f"https://x/?token={quote(SECRET, safe='')}") from error
    except RuntimeError as error:
        log.exception(SECRET, a=SECRET, b=SECRET.encode(), c=nested, d=error, e=Path(SECRET))
        log.info("%s %r", SECRET, SECRET, **{SECRET: 1})
        logging.getLogger("aiohttp").exception("%s", SECRET, stack_info=True)
        logging.getLogger(SECRET).exception("x")
    assert "0123" not in stderr.getvalue()
    assert stderr.getvalue().count(REDACTED) > 20
    assert len(stderr.getvalue().splitlines()) == 4


def test_the_basic_form_of_client_credentials_is_redacted(stderr: Stderr) -> None:
    """What an Authorization header shows is as secret as the secret."""
    redactor = logs.configure("info", "json", ClientCredentials("app", SecretStr("s3/cr")).secrets())
    log.info("sent", plain="Basic YXBwOnMzL2Ny", encoded="Basic YXBwOnMzJTJGY3I=", form="s3%2Fcr")
    written = event(stderr)
    assert (written["plain"], written["encoded"], written["form"]) == (
        "Basic [redacted]",
        "Basic [redacted]",
        "[redacted]",
    )
    assert redactor.text("s3/cr") == "[redacted]"


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_any_value_can_be_logged(log_format: LogFormat, stderr: Stderr) -> None:
    """What cannot be serialised or shown is replaced by something that can."""
    logs.configure("info", log_format, [SECRET])
    loop: list[object] = []
    loop.append(loop)
    log.info("x", a=object(), b=Unshowable(), c=loop, d=float("nan"), e={1: {2: b"\xff"}}, f=Unshowable)
    assert "<Unshowable>" in line(stderr)
    assert "0123" not in line(stderr)
    if log_format == "json":
        json.loads(line(stderr), parse_constant=fail)


def test_an_event_that_cannot_be_written_is_reported(stderr: Stderr) -> None:
    """The report names logger and error, not the event."""

    class Broken(dict[str, int]):
        def items(self) -> NoReturn:
            raise RuntimeError(SECRET)

    logs.configure("info", "json", [])
    log.info("x", value=Broken())
    written = event(stderr)
    assert (written["level"], written["logger"]) == ("error", "exporter.poller")
    assert written["msg"] == "an event could not be written: RuntimeError"


def test_bound_context_is_part_of_every_line(stderr: Stderr) -> None:
    """Values bound to a logger or to the context come out with each event."""
    logs.configure("info", "json", [])
    structlog.contextvars.bind_contextvars(workspace="adb-1")
    log.bind(poll=7).info("done")
    assert event(stderr)["workspace"] == "adb-1"
    assert event(stderr)["poll"] == 7
