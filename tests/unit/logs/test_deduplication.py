"""Once a minute per cause, and what is left out is counted."""

import pytest

from exporter.logs.deduplication import QUIET_SECONDS, REMEMBERED_CAUSES, Deduplication, cause_in


def test_a_cause_is_logged_at_once_and_then_once_a_minute() -> None:
    """The first at once, the next when a minute has passed, whatever comes between."""
    deduplication = Deduplication()
    logged = [moment for moment in range(180) if deduplication.admit("away", float(moment)) is not None]
    assert logged == [0, 60, 120]


def test_the_next_line_says_how_many_were_left_out() -> None:
    """Counting begins again with each line."""
    deduplication = Deduplication()
    moments = (0.0, 1.0, 2.0, QUIET_SECONDS, QUIET_SECONDS * 2)
    assert [deduplication.admit("away", moment) for moment in moments] == [0, None, None, 2, 0]


def test_one_cause_does_not_silence_another() -> None:
    """A new cause is logged at once, however often another one comes."""
    deduplication = Deduplication()
    assert [deduplication.admit(cause, 0.0) for cause in ("away", "refused", "away")] == [0, 0, None]


def test_causes_without_end_do_not_grow_memory() -> None:
    """The one that was logged longest ago is forgotten, and then logged again at once."""
    deduplication = Deduplication()
    for number in range(REMEMBERED_CAUSES + 1):
        deduplication.admit(number, 0.0)
    assert deduplication.admit(REMEMBERED_CAUSES, 0.0) is None
    assert deduplication.admit(1, 0.0) is None
    assert deduplication.admit(0, 0.0) == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("the workspace asked for no requests for another 41 s", "… another 7 s"),
        ("run 17 changed while its pages were read", "run 18 changed while its pages were read"),
        ("HTTP 502: request 8f3a-99c1 failed", "HTTP 502: request b2d0-1f failed"),
    ],
)
def test_numbers_and_ids_make_no_new_cause(one: str, other: str) -> None:
    """What differs from one occurrence to the next is left out."""
    assert cause_in(one) == cause_in(other.replace("…", "the workspace asked for no requests for"))


def test_another_status_is_another_cause() -> None:
    """An HTTP status says what happened, so it stays."""
    assert cause_in("runs/list: HTTP 500: oops") != cause_in("runs/list: HTTP 503: oops")
