"""Logging as a whole: levels, other libraries' records, de-duplication, and a standard error that is gone."""

import logging
import re
import warnings

import pytest

from exporter.logs import setup as logs
from tests.unit.logs import SECRET, Stderr, event, log


def test_lines_below_the_level_are_left_out(stderr: Stderr) -> None:
    """The level holds for our loggers and for others."""
    logs.configure("warning", "logfmt", [])
    log.info("ours")
    logging.getLogger("asyncio").info("theirs")
    assert not stderr.getvalue()


def test_configuring_again_starts_over(stderr: Stderr) -> None:
    """Loggers that were used before follow; no line is written twice."""
    logs.configure("error", "logfmt", [])
    log.info("not yet")
    logs.configure("info", "json", [])
    log.info("now")
    assert event(stderr)["msg"] == "now"


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


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("level", ["info", "warning", "error"])
def test_a_cause_is_logged_once_a_minute_with_what_was_left_out(level: str, stderr: Stderr) -> None:
    """Of the same failure over and over, one line a minute stays, with the number of the others."""
    clock = Clock()
    logs.configure("info", "logfmt", (), clock)
    for number in range(121):
        clock.now = float(number)
        getattr(log, level)("poll failed", workspace="adb-1", seconds=number, cause=f"not done in {number} s")
    lines = stderr.getvalue().splitlines()
    assert [line.partition(" repeated=")[2] for line in lines] == ["", "59", "59"]
    assert [re.findall(r" seconds=(\d+)", line) for line in lines] == [["0"], ["60"], ["120"]]


def test_other_causes_workspaces_and_messages_are_logged_at_once(stderr: Stderr) -> None:
    """Only a line that is the same in all three is left out."""
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
    """The same line with another exception behind it is logged."""
    logs.configure("info", "logfmt", (), Clock())
    for error in (KeyError("a"), ValueError("a"), KeyError("b")):
        try:
            raise error
        except (KeyError, ValueError):
            log.exception("a poll failed with an unexpected error")
    assert [("KeyError" in line, "ValueError" in line) for line in stderr.getvalue().splitlines()] == [
        (True, False),
        (False, True),
    ]


def test_debug_lines_are_never_left_out(stderr: Stderr) -> None:
    """Log de-duplication begins at info."""
    logs.configure("debug", "logfmt", (), Clock())
    for _ in range(3):
        log.debug("poll done")
    assert len(stderr.getvalue().splitlines()) == 3
