"""Logging: the two formats, other libraries' records, and that no secret comes out."""

import json
import logging
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn
from urllib.parse import quote

import pytest
import structlog
from pydantic import SecretStr

from exporter.config import ClientCredentials, LogFormat
from exporter.logs import setup as logs

SECRET = "dapi0123/456+789=\"'\\x"
log = structlog.stdlib.get_logger("exporter.poller")


@dataclass
class Stderr:
    """Everything that was written to standard error so far."""

    capsys: pytest.CaptureFixture[str]
    text: str = ""

    def getvalue(self) -> str:
        self.text += self.capsys.readouterr().err
        return self.text


@pytest.fixture(autouse=True)
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """What is written to standard error; logging is put back as it was."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, levels = root.handlers[:], (root.level, access.level)
    yield Stderr(capsys)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    access.setLevel(levels[1])
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


def line(stderr: Stderr) -> str:
    """The only line that was written."""
    text = stderr.getvalue()
    assert text.endswith("\n")
    assert text.count("\n") == 1
    return text[:-1]


def event(stderr: Stderr) -> dict[str, object]:
    result = json.loads(line(stderr))
    assert isinstance(result, dict)
    return result


class Unshowable:
    def __str__(self) -> str:
        raise RuntimeError(SECRET)

    __repr__ = __str__


def fail(message: str) -> NoReturn:
    raise ValueError(message)


# Formats


def test_logfmt_lines_begin_with_time_level_logger_and_message(stderr: Stderr) -> None:
    """The four keys come first, then the event's own in their order."""
    logs.configure("info", "logfmt", [])
    log.warning("poll failed", workspace="adb-1", runs=3, ratio=0.5, ok=False, job=None)
    head, _, rest = line(stderr).partition(" ")
    assert re.fullmatch(r"ts=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", head)
    expected = 'level=warning logger=exporter.poller msg="poll failed" workspace=adb-1 runs=3 ratio=0.5'
    assert rest == f"{expected} ok=false job=null"


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
        ("", '""'),
        ("two words", '"two words"'),
        ("a=b", '"a=b"'),
        ('say "x"', r'"say \"x\""'),
        ("back\\slash", r'"back\\slash"'),
        ("a\nb\r\t\x1b[31m", r'"a\nb\r\t\u001b[31m"'),
        ("line\u2028separator", r'"line\u2028separator"'),
        ("Straße", "Straße"),
        ("\ud800", r'"\ud800"'),
        (["a", 1], r'"[\"a\", 1]"'),
    ],
)
def test_logfmt_values_stay_on_one_line(value: object, expected: str, stderr: Stderr) -> None:
    """Whatever a parser could misread is quoted and escaped."""
    logs.configure("info", "logfmt", [])
    log.info("x", value=value)
    assert line(stderr).partition(" value=")[2] == expected


def test_logfmt_keys_are_made_safe(stderr: Stderr) -> None:
    """A key cannot forge another pair."""
    logs.configure("info", "logfmt", [])
    log.info("x", **{"a b=c\n": 1, "": 2})
    assert line(stderr).endswith(" a_b_c_=1 _=2")


@pytest.mark.parametrize("log_format", ["logfmt", "json"])
def test_an_exception_is_one_line(log_format: LogFormat, stderr: Stderr) -> None:
    """The traceback is a value of the event, newlines escaped."""
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


def test_lines_below_the_level_are_left_out(stderr: Stderr) -> None:
    """The level holds for our loggers and for others."""
    logs.configure("warning", "logfmt", [])
    log.info("ours")
    logging.getLogger("asyncio").info("theirs")
    assert not stderr.getvalue()


def test_bound_context_is_part_of_every_line(stderr: Stderr) -> None:
    """Values bound to a logger or to the context come out with each event."""
    logs.configure("info", "json", [])
    structlog.contextvars.bind_contextvars(workspace="adb-1")
    log.bind(poll=7).info("done")
    assert event(stderr)["workspace"] == "adb-1"
    assert event(stderr)["poll"] == 7


def test_configuring_again_starts_over(stderr: Stderr) -> None:
    """Loggers that were used before follow; no line is written twice."""
    logs.configure("error", "logfmt", [])
    log.info("not yet")
    logs.configure("info", "json", [])
    log.info("now")
    assert event(stderr)["msg"] == "now"


# Other libraries


def test_records_of_other_libraries_have_the_same_format(stderr: Stderr) -> None:
    """What goes through `logging` comes out like ours."""
    logs.configure("info", "json", [])
    logging.getLogger("aiohttp.server").error("%s of %d", "one", 2)
    written = event(stderr)
    assert (written["level"], written["logger"], written["msg"]) == ("error", "aiohttp.server", "one of 2")


def test_the_access_log_is_off(stderr: Stderr) -> None:
    """A scrape writes no line, not even at debug."""
    logs.configure("debug", "logfmt", [])
    logging.getLogger("aiohttp.access").info("GET /metrics")
    assert not stderr.getvalue()


def test_warnings_have_the_same_format(stderr: Stderr) -> None:
    """Python's warnings are events of the logger py.warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure("info", "json", [SECRET])
        warnings.warn(f"old {SECRET}", stacklevel=1)
        logging.captureWarnings(False)
    assert event(stderr)["logger"] == "py.warnings"
    assert SECRET not in str(event(stderr))


def test_arguments_that_do_not_fit_are_shown_beside_the_message(stderr: Stderr) -> None:
    """A library's mistake costs no line and leaks nothing."""
    logs.configure("info", "json", [SECRET])
    logging.getLogger("asyncio").error("%d", SECRET)
    assert str(event(stderr)["msg"]).startswith("%d (")
    assert "0123" not in stderr.getvalue()


# Secrets


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
    assert stderr.getvalue().count(logs.REDACTED) > 20
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


def test_tokens_that_come_later_are_redacted(stderr: Stderr) -> None:
    """An access token is secret from the moment it is added."""
    redactor = logs.configure("info", "json", ["first"])
    redactor.add("second")
    log.info("x", a="first second third")
    assert event(stderr)["a"] == "[redacted] [redacted] third"


@pytest.mark.slow
def test_a_rotating_token_does_not_grow_memory() -> None:
    """Of many tokens the last ones are known, and the first secrets always."""
    redactor = logs.Redactor(["first"])
    for number in range(1000):
        redactor.add(f"token-{number}-")
    assert redactor.text("first token-999- token-940-") == "[redacted] [redacted] [redacted]"
    assert redactor.text("token-5-") == "token-5-"


def test_a_token_that_is_added_again_stays_known() -> None:
    """What counts is when a token was last in use."""
    redactor = logs.Redactor()
    for number in range(100):
        redactor.add("steady")
        redactor.add(f"token-{number}-")
    assert redactor.text("steady") == "[redacted]"


def test_a_longer_secret_leaves_no_end_behind() -> None:
    """Where one secret begins with another, the longer one goes as a whole."""
    assert logs.Redactor(["abc", "abcdef"]).text("abcdef abc") == "[redacted] [redacted]"


def test_an_empty_secret_redacts_nothing() -> None:
    """An empty value is no secret, or every text would be full of them."""
    redactor = logs.Redactor([""])
    redactor.add("")
    assert redactor.text("text") == "text"


# Never fails


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


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_cause_is_told_once_a_minute_with_what_was_left_unsaid(level: str, stderr: Stderr) -> None:
    """Of the same failure over and over, one line a minute stays, and it says how many there were."""
    clock = Clock()
    logs.configure("info", "logfmt", (), clock)
    for number in range(121):
        clock.now = float(number)
        getattr(log, level)("poll failed", workspace="adb-1", seconds=number, cause=f"not done in {number} s")
    lines = stderr.getvalue().splitlines()
    assert [line.partition(" repeated=")[2] for line in lines] == ["", "59", "59"]
    assert [re.findall(r" seconds=(\d+)", line) for line in lines] == [["0"], ["60"], ["120"]]


def test_other_causes_workspaces_and_messages_are_told_at_once(stderr: Stderr) -> None:
    """Only what is the same in all three is kept quiet."""
    logs.configure("info", "logfmt", (), Clock())
    for _ in range(2):
        log.error("poll failed", workspace="adb-1", cause="HTTP 500: oops")
        log.error("poll failed", workspace="adb-1", cause="HTTP 503: oops")
        log.error("poll failed", workspace="adb-2", cause="HTTP 500: oops")
        log.error("sweep failed", workspace="adb-1", cause="HTTP 500: oops")
        logging.getLogger("asyncio").error("poll failed")
    assert len(stderr.getvalue().splitlines()) == 5


def test_each_run_that_is_not_understood_is_named(stderr: Stderr) -> None:
    """Two runs with the same fault are two lines, as the help text of the counter promises."""
    logs.configure("info", "logfmt", (), Clock())
    for run in (101, 102, 101):
        log.warning("a run is left out", workspace="adb-1", run=run, cause="Expected `int`")
    assert ["run=101" in line for line in stderr.getvalue().splitlines()] == [True, False]


def test_exceptions_of_another_type_are_another_cause(stderr: Stderr) -> None:
    """The same line with another exception behind it is told."""
    logs.configure("info", "logfmt", (), Clock())
    for error in (KeyError("a"), ValueError("a"), KeyError("b")):
        try:
            raise error
        except (KeyError, ValueError):
            log.exception("a poll failed in a way nobody foresaw")
    assert [("KeyError" in line, "ValueError" in line) for line in stderr.getvalue().splitlines()] == [
        (True, False),
        (False, True),
    ]


def test_whoever_debugs_is_told_everything(stderr: Stderr) -> None:
    """Debug lines are not kept quiet."""
    logs.configure("debug", "logfmt", (), Clock())
    for _ in range(3):
        log.debug("poll done")
    assert len(stderr.getvalue().splitlines()) == 3
