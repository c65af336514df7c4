"""Pending runs: what needs an answer of its own waits for it, and is settled, active again or lost by it."""

from typing import Any

import pytest

from exporter.databricks.clock import Instant
from exporter.families import REPAIRS, RUNS, TASK_RUNS
from exporter.runs.changes import Observation, merged
from exporter.runs.pending_changes import DOUBTED_MS, DOUBTS
from exporter.runs.records import ActiveRun, PendingRun, Progress
from exporter.runs.tracker import PENDING_KEPT_MS, PLACE_KEPT_MS
from tests.unit.runs.runs import Books, active, run, task
from tests.unit.runs.test_tracker import repaired

START_MS = 2_000_000
MINUTE_MS = 60_000
PLACE = ActiveRun("10", None, "RUNNING", 1_000_000, None)


def vanished(**kinds: Any) -> Books:
    """Run 1 was active, and is in neither list of the poll at START_MS."""
    books = Books(**kinds)
    books.observe(active=[active()], now_ms=1)
    books.observe(followed={1}, now_ms=START_MS)
    return books


def in_repair() -> Books:
    """Run 1 was settled as failed, was active again, and is in neither list at START_MS."""
    books = Books()
    books.observe(run(code="RUN_EXECUTION_ERROR"), now_ms=1)
    books.observe(active=[active()], now_ms=2)
    books.observe(followed={1}, now_ms=START_MS)
    return books


def states(books: Books) -> dict[str, int]:
    gauges = books.tracker.active_gauges(books.now)
    return {state: count for each in gauges.values() for state, (count, _) in each.states.items()}


# --- what becomes pending


def test_run_that_left_the_active_list_is_pending() -> None:
    """It was followed and no list shows it: it is no longer active, and not counted."""
    books = vanished()
    assert books.tracker.pending == {1: PendingRun("vanished", START_MS, PLACE, seen_active=True)}
    assert not books.tracker.active
    assert not books.settled
    assert books.results(RUNS) == {}


def test_run_that_a_list_shows_is_not_pending() -> None:
    """It is still active, or has finished: neither needs an answer."""
    books = Books()
    books.observe(active=[active(1), active(2)])
    books.observe(run(1), active=[active(2)], followed={1, 2})
    assert not books.tracker.pending


def test_run_that_became_active_while_a_poll_read_is_not_followed() -> None:
    """Only those that were active when the poll began can have vanished from it."""
    books = Books()
    books.observe(active=[active(1)])
    books.observe(followed=set())
    assert set(books.tracker.active) == {1}


def test_finished_run_of_many_tasks_is_pending() -> None:
    """A list gives its first hundred tasks only; nothing is counted before all are there."""
    books = Books()
    books.observe(run(has_more=True, tasks=[task(71)]), now_ms=START_MS)
    assert books.tracker.pending == {1: PendingRun("large", START_MS)}
    assert not books.tracker.totals
    books.answer(run(tasks=[task(71), task(72)]))
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert books.results(TASK_RUNS) == {"SUCCESS": 2}
    assert not books.tracker.pending


def test_active_run_of_many_tasks_that_has_finished_keeps_its_place() -> None:
    """Until its tasks are there it counts as active."""
    books = Books()
    books.observe(active=[active()], now_ms=1)
    books.observe(run(has_more=True), followed={1}, now_ms=START_MS)
    assert books.tracker.pending == {1: PendingRun("large", START_MS, PLACE, seen_active=True)}
    assert states(books) == {"RUNNING": 1}


def test_settled_run_with_a_newer_end_is_pending() -> None:
    """A list has no repair history: which repairs there were is asked for."""
    books = Books()
    books.observe(run(code="RUN_EXECUTION_ERROR"))
    books.observe(run(end_time=1_500_000), now_ms=START_MS)
    assert books.tracker.pending == {1: PendingRun("repaired", START_MS)}
    assert books.results(RUNS) == {"FAILED": 1}
    books.answer(repaired((1_500_000, "SUCCESS")))
    assert (books.results(RUNS), books.results(REPAIRS)) == ({"FAILED": 1}, {"SUCCESS": 1})
    assert not books.tracker.pending


@pytest.mark.parametrize("end_time", [1_100_000, 0])
def test_unknown_run_that_a_sweep_finds_is_pending(end_time: int) -> None:
    """Sweeps list no tasks."""
    books = Books()
    books.observe(swept=[run(end_time=end_time)], now_ms=START_MS)
    assert books.tracker.pending == {1: PendingRun("vanished", START_MS)}
    books.answer(run(tasks=[task(71)]))
    assert books.results(TASK_RUNS) == {"SUCCESS": 1}


def test_settled_run_that_a_sweep_finds_again_is_pending_if_it_was_repaired() -> None:
    """And not if its end is no news."""
    books = Books()
    books.observe(run(1), run(2))
    books.observe(swept=[run(1), run(2, end_time=1_500_000)], now_ms=START_MS)
    assert books.tracker.pending == {2: PendingRun("repaired", START_MS)}


@pytest.mark.parametrize("found", [{"swept": [run()]}, {"finished": [run(has_more=True)]}])
def test_run_from_before_the_lookback_does_not_become_pending(found: dict[str, Any]) -> None:
    """It is never counted, so no answer is asked for."""
    books = Books(progress=Progress(1_100_001, 1_100_001, 1_100_001, 1_100_001))
    books.take(Observation(**found))
    assert not books.tracker.pending


def test_what_is_pending_goes_on_waiting() -> None:
    """Further lists and sweeps change neither since when nor why."""
    books = vanished()
    before = dict(books.tracker.pending)
    books.observe(run(has_more=True), swept=[run()], followed={1}, now_ms=START_MS + 1)
    assert books.tracker.pending == before


def test_pending_run_that_a_list_gives_whole_is_settled_by_it() -> None:
    """No other answer is needed then."""
    books = vanished()
    books.observe(run(tasks=[task(71)]))
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert not books.tracker.pending
    books.answer(run(tasks=[task(71)]))
    assert books.results(TASK_RUNS) == {"SUCCESS": 1}


# --- its place in the active gauges


def test_place_in_the_active_gauges_is_kept_for_ten_minutes() -> None:
    """A run that ends between two lists must not seem to be gone; then it is only pending."""
    books = vanished()
    for later_ms, wanted in ((0, {"RUNNING": 1}), (PLACE_KEPT_MS, {"RUNNING": 1}), (PLACE_KEPT_MS + 1, {})):
        books.now = Instant(START_MS + later_ms, START_MS + later_ms)
        assert states(books) == wanted
    assert set(books.tracker.pending) == {1}


@pytest.mark.parametrize("answer", [{"answers": {1: None}}, {"answers": {1: run()}}])
def test_place_goes_with_an_answer(answer: dict[str, Any]) -> None:
    """It has finished, or it does not exist."""
    books = vanished()
    assert states(books) == {"RUNNING": 1}
    books.take(Observation(**answer))
    assert states(books) == {}


# --- what an answer says


def test_answer_that_it_is_active_makes_it_active() -> None:
    """BLOCKED and WAITING may be missing from the list; then the next poll follows it again."""
    books = vanished()
    books.answer(active(state="BLOCKED"))
    assert not books.tracker.pending
    assert states(books) == {"BLOCKED": 1}
    books.observe(followed={1}, now_ms=START_MS + MINUTE_MS)
    assert books.tracker.pending[1].since_ms == START_MS + MINUTE_MS
    books.answer(run())
    assert books.results(RUNS) == {"SUCCESS": 1}


def test_run_that_was_seen_active_is_counted_whenever_it_ended() -> None:
    """Also before the lookback began, and also after a restart."""
    bounds = Progress(1_100_001, 1_100_001, 1_100_001, 1_100_001)
    books = vanished(progress=bounds)
    again = Books(progress=bounds, jobs=books.tracker.jobs, totals=books.tracker.totals,
                  pending=books.tracker.pending)  # fmt: skip
    again.answer(run())
    assert again.results(RUNS) == {"SUCCESS": 1}


def test_run_whose_answer_says_that_it_ended_before_the_lookback_is_dropped() -> None:
    """The list had no end for it; the answer has."""
    books = Books(progress=Progress(1_100_001, 1_100_001, 1_100_001, 1_100_001))
    books.observe(swept=[run(start_time=0, end_time=0)])
    assert set(books.tracker.pending) == {1}
    books.answer(run())
    assert not books.tracker.pending
    assert not books.settled
    assert (books.tracker.totals, books.lost) == ({}, set())


def test_answer_about_a_run_that_is_not_pending_is_no_harm() -> None:
    """It was settled meanwhile: it is neither counted again nor doubted."""
    books = vanished()
    books.observe(run())
    books.answer(run())
    books.answer(missing={1, 2})
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert not books.tracker.pending


# --- lost runs


def test_run_is_lost_once_three_answers_over_ten_minutes_say_so() -> None:
    """Not by fewer answers, nor by any number in a shorter time."""
    books = vanished()
    for number in range(2 * DOUBTS):
        books.answer(missing={1}, at_ms=START_MS + number)
    assert books.lost == set()
    books.answer(missing={1}, at_ms=START_MS + DOUBTED_MS - 1)
    assert books.lost == set()
    changes = books.answer(missing={1}, at_ms=START_MS + DOUBTED_MS)
    assert changes.lost == {1}
    assert not books.tracker.pending
    assert books.answer(missing={1}, at_ms=START_MS + DOUBTED_MS + 1).lost == set(), "it is lost once"


def test_two_answers_an_hour_apart_are_too_few() -> None:
    """The third decides, whenever it comes."""
    books = vanished()
    books.answer(missing={1}, at_ms=START_MS)
    books.answer(missing={1}, at_ms=START_MS + 60 * MINUTE_MS)
    assert books.lost == set()
    books.answer(missing={1}, at_ms=START_MS + 61 * MINUTE_MS)
    assert books.lost == {1}


def test_passing_answers_that_it_does_not_exist_lose_nothing() -> None:
    """An answer that it is there ends the doubts, and they begin anew."""
    books = vanished()
    books.answer(missing={1}, at_ms=START_MS)
    books.answer(missing={1}, at_ms=START_MS + DOUBTED_MS)
    books.answer(active(), at_ms=START_MS + DOUBTED_MS + 1)
    books.observe(followed={1}, now_ms=START_MS + DOUBTED_MS + 2)
    books.answer(missing={1}, at_ms=START_MS + DOUBTED_MS + 3)
    assert books.lost == set()
    books.answer(run(), at_ms=START_MS + DOUBTED_MS + 4)
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert books.lost == set()


def test_doubts_survive_a_restart() -> None:
    """They are part of the state."""
    books = vanished()
    books.answer(missing={1}, at_ms=START_MS)
    books.answer(missing={1}, at_ms=START_MS + 1)
    again = Books(pending=books.tracker.pending, jobs=books.tracker.jobs, totals=books.tracker.totals)
    again.answer(missing={1}, at_ms=START_MS + DOUBTED_MS)
    assert again.lost == {1}


def test_clock_that_jumps_ahead_loses_nothing() -> None:
    """Ten minutes and sixty days must have passed by both clocks: the earlier one decides."""
    books = vanished()
    for number in range(DOUBTS + 1):
        ours = START_MS + number
        books.now = Instant(ours + 400 * 24 * 60 * MINUTE_MS, ours)
        books.answer(missing={1})
    assert books.lost == set()
    books = vanished()
    for number in range(DOUBTS):
        books.answer(missing={1}, at_ms=START_MS + number)
    books.now = Instant(START_MS + 400 * 24 * 60 * MINUTE_MS, START_MS + DOUBTS)
    books.answer(missing={1})
    assert books.lost == set()
    books.now = Instant(START_MS, START_MS + PENDING_KEPT_MS + 1)
    books.take(Observation())
    assert books.lost == set()


def test_refusal_is_no_answer() -> None:
    """Those who read hand over no observation of it, so the run waits as it did, up to sixty days."""
    books = vanished()
    before = dict(books.tracker.pending)
    for hours in range(1, 100):
        books.observe(now_ms=START_MS + hours * 60 * MINUTE_MS)
    assert (books.tracker.pending, books.lost) == (before, set())


def test_run_that_is_pending_for_sixty_days_is_lost() -> None:
    """The API does not have it any more; with the next observation of anything it is given up."""
    books = vanished()
    books.observe(now_ms=START_MS + PENDING_KEPT_MS)
    assert books.lost == set()
    changes = books.observe(now_ms=START_MS + PENDING_KEPT_MS + 1)
    assert changes.lost == {1}
    assert not books.tracker.pending


def test_answer_in_the_last_moment_settles() -> None:
    """Of a run whose sixty days are over in the same observation."""
    books = vanished()
    books.answer(run(), at_ms=START_MS + PENDING_KEPT_MS + 1)
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert books.lost == set()
    books = vanished()
    books.answer(active(), at_ms=START_MS + PENDING_KEPT_MS + 1)
    assert (set(books.tracker.active), books.lost) == ({1}, set())


def test_settled_run_is_never_lost() -> None:
    """Its repair is given up, and it was counted: by the answers, or after sixty days."""
    books = in_repair()
    for number in range(DOUBTS):
        books.answer(missing={1}, at_ms=START_MS + number * DOUBTED_MS)
    assert (books.tracker.pending, books.lost) == ({}, set())
    books = in_repair()
    books.observe(now_ms=START_MS + PENDING_KEPT_MS + 1)
    assert (books.tracker.pending, books.lost) == ({}, set())


# --- repairs


def test_stale_answer_does_not_end_a_repair() -> None:
    """One that still shows the end before the repair says nothing new: the run goes on waiting."""
    books = in_repair()
    books.answer(run(code="RUN_EXECUTION_ERROR"), at_ms=START_MS)
    assert books.tracker.pending[1].doubts == 1
    books.answer(repaired((1_500_000, "SUCCESS")), at_ms=START_MS + 1)
    assert books.results(REPAIRS) == {"SUCCESS": 1}
    assert not books.tracker.pending


def test_repair_that_three_answers_say_nothing_of_is_waited_for_no_longer() -> None:
    """Over ten minutes; a list that shows a newer end later makes it pending again."""
    books = in_repair()
    for number in range(DOUBTS):
        assert set(books.tracker.pending) == {1}
        books.answer(run(code="RUN_EXECUTION_ERROR"), at_ms=START_MS + number * DOUBTED_MS)
    assert not books.tracker.pending
    books.observe(run(end_time=1_500_000))
    books.answer(repaired((1_500_000, "SUCCESS")))
    assert (books.results(RUNS), books.results(REPAIRS)) == ({"FAILED": 1}, {"SUCCESS": 1})


@pytest.mark.parametrize("order", [1, -1])
@pytest.mark.parametrize("answered", [True, False])
def test_repair_that_list_and_sweep_find_together_is_counted_once(order: int, *, answered: bool) -> None:
    """A poll, a sweep and an answer in one commit, in any order."""
    books = Books()
    books.observe(run(code="RUN_EXECUTION_ERROR"))
    books.observe(active=[active()])
    whole = repaired((1_500_000, "SUCCESS"), tasks=[task(72)])
    together = [
        Observation(finished=[run(end_time=1_500_000)], followed={1}),
        Observation(swept=[run(end_time=1_500_000)]),
        *([Observation(answers={1: whole})] if answered else []),
    ]
    books.take(merged(together[::order]))
    books.answer(whole)
    assert (books.results(RUNS), books.results(REPAIRS)) == ({"FAILED": 1}, {"SUCCESS": 1})
    assert books.results(TASK_RUNS) == {"SUCCESS": 1}
    assert (books.tracker.pending, books.tracker.active) == ({}, {})


@pytest.mark.parametrize("order", [1, -1])
def test_run_and_repair_that_list_and_sweep_find_apart_are_both_right(order: int) -> None:
    """The list still has the first end and settles it; the sweep has the repair's, which is counted later."""
    books = Books()
    together = [
        Observation(finished=[run(code="RUN_EXECUTION_ERROR")]),
        Observation(swept=[run(end_time=1_500_000)]),
    ]
    books.take(merged(together[::order]))
    books.observe(run(end_time=1_500_000))  # the next poll: its window overlaps
    books.answer(repaired((1_500_000, "SUCCESS")))
    assert (books.results(RUNS), books.results(REPAIRS)) == ({"FAILED": 1}, {"SUCCESS": 1})
    assert not books.tracker.pending


def test_repair_in_progress_that_is_repaired_again_counts_both() -> None:
    """Pending, active again by an answer, pending again: each repair that ended since is counted once."""
    books = in_repair()
    books.answer(active(state="WAITING"), at_ms=START_MS)
    books.observe(followed={1}, now_ms=START_MS + MINUTE_MS)
    books.answer(repaired((1_500_000, "RUN_EXECUTION_ERROR"), (1_700_000, "SUCCESS")))
    assert books.results(REPAIRS) == {"FAILED": 1, "SUCCESS": 1}
    assert books.results(RUNS) == {"FAILED": 1}


# --- polls that read while others settle


def test_run_that_was_settled_while_a_poll_read_stays_inactive() -> None:
    """The poll's answer that it is active may be the older one."""
    books = vanished()
    books.answer(run())
    books.observe(active=[active()], settled_meanwhile={1}, now_ms=START_MS + 1)
    assert not books.tracker.active
    assert states(books) == {}
    books.observe(active=[active()], now_ms=START_MS + 2)
    assert set(books.tracker.active) == {1}, "the next poll says that it is being repaired"


def test_run_that_was_settled_while_a_poll_read_is_not_pending() -> None:
    """It was followed when the poll began, and needs no further answer."""
    books = Books()
    books.observe(active=[active()])
    books.observe(run())
    books.observe(followed={1}, settled_meanwhile={1})
    assert not books.tracker.pending


@pytest.mark.parametrize("order", [1, -1])
def test_active_list_and_finished_answer_of_one_commit_settle(order: int) -> None:
    """The finished answer wins over the active one, whichever was handed over first."""
    books = vanished()
    together = [Observation(active=[active()]), Observation(answers={1: run()})]
    books.take(merged(together[::order]))
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert (books.tracker.active, books.tracker.pending) == ({}, {})


def test_active_list_ends_the_doubts() -> None:
    """An answer that it does not exist, and a list that shows it, in one commit."""
    books = vanished()
    books.take(Observation(answers={1: None}, active=[active()]))
    assert (set(books.tracker.active), books.tracker.pending) == ({1}, {})


def test_run_that_vanishes_from_a_poll_and_is_answered_in_the_same_commit_is_settled() -> None:
    """Nothing is left to be asked for."""
    books = Books()
    books.observe(active=[active()])
    books.take(Observation(followed={1}, answers={1: run()}))
    assert books.results(RUNS) == {"SUCCESS": 1}
    assert not books.tracker.pending


def test_the_numbers_are_those_of_the_contract() -> None:
    """Three answers over ten minutes, ten minutes in the gauges, sixty days in all."""
    assert (DOUBTS, DOUBTED_MS) == (3, 600_000)
    assert (PLACE_KEPT_MS, PENDING_KEPT_MS) == (600_000, 60 * 86_400_000)
