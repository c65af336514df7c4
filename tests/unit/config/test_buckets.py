"""histograms.buckets: the built-in bounds, or a list of seconds."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.config.buckets import MOST_BUCKETS
from tests.unit.config.test_settings import config, errors_of, invoke

FLAG = "--histograms.buckets"


def test_without_the_setting_the_bounds_are_the_built_in_ones() -> None:
    """None, also where the word for them is written."""
    assert invoke().settings.histograms.buckets is None
    assert invoke([f"{FLAG}=duration"]).settings.histograms.buckets is None


@pytest.mark.parametrize(
    "text",
    [
        "histograms: {buckets: [0.5, 30, 60.0, 1e3]}",
        "histograms: {buckets: '0.5,30,60,1000'}",
        "histograms:\n  buckets:\n  - 0.5\n  - '30'\n  - 60\n  - 1000\n",
    ],
)
def test_the_file_may_hold_a_list_or_a_text(text: str, tmp_path: Path) -> None:
    """Both are what the flag takes."""
    expected = (0.5, 30, 60, 1000)
    assert invoke([config(tmp_path, text)]).settings.histograms.buckets == expected
    assert invoke([f"{FLAG}= 0.5, 30, 60, 1000"]).settings.histograms.buckets == expected


@given(st.sets(st.integers(1, 10**8) | st.floats(1e-3, 1e8), min_size=1, max_size=MOST_BUCKETS))
def test_every_ascending_list_of_seconds_is_taken(bounds: set[float]) -> None:
    """Whole seconds come back as they are shown in `le`: without a fraction."""
    expected = tuple(sorted(bounds))
    found = invoke([f"{FLAG}={','.join(map(str, expected))}"]).settings.histograms.buckets
    assert found == expected
    assert found is not None
    assert all(isinstance(bound, int) == float(bound).is_integer() for bound in found)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (
            "",
            "bound 1 is not a number of seconds above 0; write duration, or seconds with commas between them",
        ),
        ("1,,2", "bound 2 is not a number of seconds above 0"),
        ("1,2,", "bound 3 is not a number of seconds above 0"),
        ("30s,60s", "bound 1 is not a number of seconds above 0"),
        ("1 2 3", "bound 1 is not a number of seconds above 0"),
        ("1;2", "bound 1 is not a number of seconds above 0"),
        ("-1,2", "bound 1 is not a number of seconds above 0"),
        ("1,nan", "bound 2 is not a number of seconds above 0"),
        ("1_0", "bound 1 is not a number of seconds above 0"),
        ("durations", "bound 1 is not a number of seconds above 0"),
        ("0,1", "bound 1 must be more than 0"),
        ("1,1e999", "bound 2 must be more than 0 and at most 315360000 seconds"),
        ("1,+Inf", "bound 2 is infinite; leave it out, every histogram has +Inf"),
        ("1,2,2", "bound 3 is not more than the bound before it"),
        ("60,30", "bound 2 is not more than the bound before it; sort the bounds in ascending order"),
        (",".join(map(str, range(1, 102))), "more than 100 bounds"),
    ],
)
def test_any_other_list_is_an_error_that_says_which_bound(text: str, complaint: str) -> None:
    """Counted from 1, without the text."""
    [error] = errors_of([f"{FLAG}={text}"])
    assert error.startswith(f"flag {FLAG}: {complaint}")


@pytest.mark.parametrize(
    ("value", "complaint"),
    [
        ("[1, [2]]", "must be a list of plain values"),
        ("[1, {a: 2}]", "must be a list of plain values"),
        ("{a: 1}", "must be a list of plain values"),
        ("[]", "bound 1 is not a number of seconds above 0"),
        ("[1, null]", "bound 2 is not a number of seconds above 0"),
        ("[2, 1]", "bound 2 is not more than the bound before it"),
    ],
)
def test_a_bad_list_in_the_file_is_an_error_of_its_line(value: str, complaint: str, tmp_path: Path) -> None:
    """With the key."""
    [error] = errors_of([config(tmp_path, f"histograms:\n  buckets: {value}")])
    assert error.startswith(f"configuration file, line 2, key histograms.buckets: {complaint}")
