"""Properties of the accounting over whole histories."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from exporter.databricks.models import Run
from exporter.families import RUNS
from exporter.runs.records import Settled
from tests.unit.runs.runs import Books, run, task

CODES = st.sampled_from(["SUCCESS", "RUN_EXECUTION_ERROR", "SKIPPED", "CANCELED", "NEW_WORD"])
TARGETS = st.sampled_from([None, "STANDARD", "PERFORMANCE_OPTIMIZED"])
DURATIONS = st.one_of(st.none(), st.integers(-5, 10**9))


@st.composite
def finished_runs(draw: st.DrawFn) -> list[Run]:
    """Finished runs with ids of their own, each with its tasks."""
    runs = []
    for run_id in range(1, draw(st.integers(1, 12)) + 1):
        tasks = [
            task(
                run_id * 100 + i,
                draw(st.sampled_from("ab")),
                attempt=i,
                code=draw(CODES),
                execution_duration=draw(DURATIONS),
                effective_performance_target=draw(TARGETS),
            )
            for i in range(draw(st.integers(0, 3)))
        ]
        runs.append(
            run(
                run_id,
                draw(st.integers(1, 3)),
                code=draw(CODES),
                run_duration=draw(DURATIONS),
                queue_duration=draw(DURATIONS),
                end_time=draw(st.integers(1, 10**9)),
                effective_performance_target=draw(TARGETS),
                tasks=tasks,
            )
        )
    return runs


def state(books: Books) -> Any:
    """Everything that is exposed or stored."""
    return books.tracker.totals, books.tracker.jobs, books.settled


@given(finished_runs(), st.randoms(use_true_random=False))
def test_any_order_overlap_and_duplication_gives_the_same_totals(runs: list[Run], random: Any) -> None:
    """Pages may come in any order, overlap and repeat."""
    straight = Books()
    straight.observe(*runs)
    shuffled = Books()
    again = runs + random.choices(runs, k=len(runs))
    random.shuffle(again)
    while again:
        size = random.randint(1, 5)
        shuffled.observe(*again[:size])
        again = again[size:]
    assert state(straight) == state(shuffled)


@given(finished_runs())
def test_observing_twice_changes_nothing(runs: list[Run]) -> None:
    """Neither totals nor jobs nor what is settled."""
    books = Books()
    books.observe(*runs)
    once = {key: totals.copy() for key, totals in books.tracker.totals.items()}, dict(books.tracker.jobs)
    books.observe(*runs)
    assert (books.tracker.totals, books.tracker.jobs) == once


@given(finished_runs(), finished_runs())
def test_counters_never_fall(first: list[Run], second: list[Run]) -> None:
    """No slot of any row is ever lower after an observation, whatever it holds."""
    books = Books()
    books.observe(*first)
    before = {key: totals.copy() for key, totals in books.tracker.totals.items()}
    books.observe(*second)
    for key, totals in before.items():
        assert all(a <= b for a, b in zip(totals.row, books.tracker.totals[key].row, strict=True))


@given(finished_runs())
def test_nothing_finished_is_missed(runs: list[Run]) -> None:
    """Every run is in exactly one result."""
    books = Books()
    books.observe(*runs)
    counted = sum(sum(books.results(RUNS, *key).values()) for key in books.tracker.totals)
    assert counted == len(runs)
    assert set(books.settled) == {item.run_id for item in runs}
    assert all(isinstance(record, Settled) for record in books.settled.values())
