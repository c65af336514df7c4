"""The server's clock by its answers: no single answer decides, whatever its `Date`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.databricks.clock import AGREE_SECONDS, Instant, ServerClock

TRUTH = 1_790_000_000.0  # what time it is at moment 0
DAY = 86_400.0
WRONG = (-400 * DAY, -DAY, -600.0, 600.0, 20 * DAY, 400 * DAY)
# Answers take some time, and `Date` has whole seconds.
jitters = st.floats(-1, 1)
wrong = st.sampled_from(WRONG) | st.floats(AGREE_SECONDS + 2, 1e10) | st.floats(-1e9, -AGREE_SECONDS - 2)


def clock(*errors: float) -> ServerClock:
    """A clock that got an answer each second, whose `Date` was wrong by so much."""
    made = ServerClock()
    for moment, error in enumerate(errors):
        made.note(TRUTH + moment + error, float(moment))
    return made


def error_of(made: ServerClock, moment: float = 10.0, ours: float = 0.0) -> float:
    """By how many seconds the server's time is wrong; `ours`: by how many our own clock is."""
    return made.now(moment, TRUTH + moment + ours).server_ms / 1000 - (TRUTH + moment)


@pytest.mark.parametrize("error", WRONG)
@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("ours", [0.0, -7 * DAY, 7 * DAY])
def test_one_wrong_answer_of_three_never_decides(place: int, error: float, ours: float) -> None:
    """Whichever it is, in either direction, and whatever our own clock says."""
    answers = [0.0, 0.0, 0.0]
    answers[place] = error
    assert abs(error_of(clock(*answers), ours=ours)) < 0.01


@pytest.mark.parametrize("error", WRONG)
@pytest.mark.parametrize("answers", [1, 2])
def test_before_there_are_three_a_wrong_answer_has_our_clock_against_it(answers: int, error: float) -> None:
    """The first answer after a start, or the second: our own clock is the other witness."""
    for place in range(answers):
        before = [0.0] * answers
        before[place] = error
        assert abs(error_of(clock(*before))) < 0.01


@pytest.mark.parametrize("ours", [-7 * DAY, 7 * DAY])
def test_two_answers_that_agree_outvote_our_clock(ours: float) -> None:
    """A machine with a wrong clock reads the right windows after two answers; after one, its own ones."""
    assert abs(error_of(clock(0.0), ours=ours) - ours) < 0.01
    assert abs(error_of(clock(0.0, 1.0), ours=ours)) < 1.01


def test_another_answer_is_asked_for_until_two_say_the_same() -> None:
    """One that agrees with our own clock is enough."""
    assert ServerClock().needs_witness(10.0, TRUTH + 10)
    assert not clock(0.0).needs_witness(10.0, TRUTH + 10)
    assert clock(DAY).needs_witness(10.0, TRUTH + 10)
    assert not clock(DAY, DAY).needs_witness(10.0, TRUTH + 10)
    assert clock(DAY, 9 * DAY).needs_witness(10.0, TRUTH + 10)
    assert not clock(DAY, 9 * DAY, 30 * DAY).needs_witness(10.0, TRUTH + 10), "it must not ask for ever"


@given(st.lists(st.tuples(st.booleans(), jitters, wrong), min_size=1, max_size=40), st.floats(-299, 299))
def test_any_sequence_with_two_right_of_any_three_is_right(
    answers: list[tuple[bool, float, float]], ours: float
) -> None:
    """After every answer, however the wrong ones lie between; ours may be off by what clocks may."""
    made, since_wrong = ServerClock(), 2
    for moment, (is_wrong, jitter, error) in enumerate(answers):
        lies = is_wrong and since_wrong >= 2
        since_wrong = 0 if lies else since_wrong + 1
        made.note(TRUTH + moment + (error if lies else jitter), float(moment))
        off = abs(error_of(made, float(moment), ours))
        assert off <= (1.01 if moment >= 2 else abs(ours) + AGREE_SECONDS)


@given(st.lists(st.tuples(st.booleans(), wrong), min_size=3, max_size=40), st.floats(-1e9, 1e9))
def test_any_sequence_is_right_whatever_our_clock_says(
    answers: list[tuple[bool, float]], ours: float
) -> None:
    """From the third answer on our own clock has no part in it."""
    made, since_wrong = ServerClock(), 2
    for moment, (is_wrong, error) in enumerate(answers):
        lies = is_wrong and since_wrong >= 2
        since_wrong = 0 if lies else since_wrong + 1
        made.note(TRUTH + moment + (error if lies else 0.0), float(moment))
        if moment >= 2:
            assert abs(error_of(made, float(moment), ours)) < 0.01


def test_time_goes_on_between_answers() -> None:
    """By the clock that never goes back, also when our own one is set meanwhile."""
    made = clock(0.0, 0.0, 0.0)
    assert made.now(1_000.0, TRUTH - DAY).server_ms == (TRUTH + 1_000) * 1000


@given(st.integers(0, 2**45), st.integers(0, 2**45))
def test_of_two_clocks_that_disagree_the_one_that_keeps_more_decides(server_ms: int, ours_ms: int) -> None:
    """Five minutes are allowed: then the server's is used for all."""
    now = Instant(server_ms, ours_ms)
    assert now.disagree == (abs(server_ms - ours_ms) > 300_000)
    if now.disagree:
        assert (now.earliest_ms, now.latest_ms) == (min(now), max(now))
    else:
        assert now.earliest_ms == now.latest_ms == server_ms
