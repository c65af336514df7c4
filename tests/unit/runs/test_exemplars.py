"""The run that stands behind each bucket: the newest by when it ended, whatever the order it was read in."""

import random
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.databricks.clock import Instant
from exporter.exposition.snapshot import Format
from exporter.families import RUN_DURATION, RUN_FAMILIES, TASK_EXECUTION, Family
from exporter.runs.changes import Observation
from exporter.runs.records import Progress
from exporter.runs.totals import Totals
from exporter.state.store import StateStore
from tests.unit.exposition import exposed, plain
from tests.unit.runs.runs import LAYOUT, Books, run, task

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
Shown = dict[float, tuple[int, int, float]]


def shown(totals: Totals, family: Family) -> Shown:
    """By bucket: when the run ended, its id and the value, in milliseconds."""
    slots = LAYOUT.histograms[family.name]
    bounds = [*family.buckets, float("inf")]
    return {
        bound: exemplar
        for bound, exemplar in zip(bounds, totals.exemplars_of(slots), strict=True)
        if exemplar[0]
    }


def ended(run_id: int, end: int, duration: float, **fields: Any) -> Any:
    return run(run_id, start_time=end - 10, end_time=end, run_duration=duration, **fields)


def test_each_bucket_shows_the_run_that_ended_last() -> None:
    """Of the runs in a bucket the newest by its end, of the buckets each its own."""
    books = Books()
    books.observe(ended(1, 5_000, 40_000), ended(2, 9_000, 50_000), ended(3, 7_000, 45_000))
    books.observe(ended(4, 6_000, 200_000))
    books.observe(ended(5, 8_000, 60_000))
    assert shown(books.totals(), RUN_DURATION) == {60: (9_000, 2, 50_000), 300: (6_000, 4, 200_000)}


def test_of_runs_that_ended_together_the_higher_id_is_shown() -> None:
    """Whichever is read first, a tie is decided by the run's id."""
    for first, second in ((1, 2), (2, 1)):
        books = Books()
        books.observe(ended(first, 5_000, 40_000))
        books.observe(ended(second, 5_000, 40_000))
        assert shown(books.totals(), RUN_DURATION) == {60: (5_000, 2, 40_000)}


def test_a_task_shows_its_own_run() -> None:
    """The exemplar of a task attempt has the id and end of the task's run, not of the job's."""
    books = Books()
    tasks = [
        task(71, execution_duration=2_000, end_time=4_000),
        task(72, execution_duration=3_000, end_time=3_000),
    ]
    books.observe(ended(1, 5_000, 40_000, tasks=tasks))
    assert shown(books.totals(), TASK_EXECUTION) == {5: (4_000, 71, 2_000)}
    assert shown(books.totals(), RUN_DURATION) == {60: (5_000, 1, 40_000)}


@pytest.mark.parametrize("fields", [{"run_id": None}, {"end_time": None}, {"end_time": 0}, {"end_time": -5}])
def test_a_task_without_an_id_or_an_end_leaves_none(fields: dict[str, Any]) -> None:
    """It is counted, and neither shown nor takes the place of one that is."""
    without = task(72, end_time=9_000) | fields
    books = Books()
    books.observe(ended(1, 5_000, 40_000, tasks=[without]))
    assert books.observed(TASK_EXECUTION)[0] == 1
    assert shown(books.totals(), TASK_EXECUTION) == {}
    books.observe(ended(2, 5_000, 40_000, tasks=[task(71, end_time=4_000), without]))
    assert books.observed(TASK_EXECUTION)[0] == 3
    assert shown(books.totals(), TASK_EXECUTION) == {60: (4_000, 71, 60_000)}


def test_a_run_without_any_time_leaves_none() -> None:
    """Where the API says neither when a run ended nor when it began, nothing is shown."""
    books = Books()
    books.observe(run(1, start_time=0, end_time=0, run_duration=0, setup_duration=0, execution_duration=0,
                      cleanup_duration=0))  # fmt: skip
    assert shown(books.totals(), RUN_DURATION) == {}


@unhurried
@given(st.floats(0.001, 1e11) | st.integers(1, 10**17))
def test_a_value_lies_in_the_bucket_that_shows_it(duration: float) -> None:
    """Any duration, fractions of a millisecond too: above the bucket below, at most the bucket's bound."""
    books = Books()
    books.observe(ended(1, 5_000, duration, tasks=[task(71, execution_duration=duration, end_time=4_000)]))
    bounds = [0.0, *RUN_DURATION.buckets, float("inf")]
    for family in (RUN_DURATION, TASK_EXECUTION):
        ((bound, (_, _, value)),) = shown(books.totals(), family).items()
        assert bounds[bounds.index(bound) - 1] * 1000 < value <= bound * 1000
        assert 0 <= value - duration < 1


@unhurried
@given(
    st.lists(st.tuples(st.integers(1, 9), st.sampled_from([1, 40_000, 50_000, 59_999.5])), max_size=12),
    st.randoms(use_true_random=False),
)
def test_the_order_of_reading_changes_nothing(runs: list[tuple[int, float]], order: random.Random) -> None:
    """Runs and tasks read one by one in any order leave the exemplars of the newest in each bucket."""
    observations = [
        ended(number, end, duration, tasks=[task(100 + number, execution_duration=duration, end_time=end)])
        for number, (end, duration) in enumerate(runs, 1)
    ]
    wanted: Shown = {}
    for number, (end, duration) in enumerate(runs, 1):
        bound = 1 if duration == 1 else 60
        if (end, number) > wanted.get(bound, (0, 0, 0))[:2]:
            wanted[bound] = (end, number, 60_000 if duration == 59_999.5 else duration)
    order.shuffle(observations)
    books = Books()
    for each in observations:
        books.observe(each)
    totals = books.totals() if runs else Totals.empty(LAYOUT)
    assert shown(totals, RUN_DURATION) == wanted
    of_tasks = {bound: (end, 100 + number, value) for bound, (end, number, value) in wanted.items()}
    assert shown(totals, TASK_EXECUTION) == of_tasks


def test_a_run_from_before_the_first_poll_leaves_none() -> None:
    """What is not counted is not shown: it is in no bucket."""
    books = Books(progress=Progress(4_000, 0, 4_000, 4_000))
    books.observe(ended(1, 3_000, 40_000, tasks=[task(71, end_time=3_000)]), ended(2, 5_000, 200_000))
    assert shown(books.totals(), RUN_DURATION) == {300: (5_000, 2, 200_000)}
    assert shown(books.totals(), TASK_EXECUTION) == {}


def test_exemplars_are_no_part_of_what_was_counted() -> None:
    """Totals with and without them are equal, and a copy has its own."""
    totals, slots = Totals.empty(LAYOUT), LAYOUT.histograms[RUN_DURATION.name]
    copy = totals.copy()
    copy.note_exemplar(slots.exemplars or 0, 5_000, 1, 10)
    assert copy == totals
    assert shown(copy.copy(), RUN_DURATION) == shown(copy, RUN_DURATION) != {}
    assert shown(totals, RUN_DURATION) == shown(Totals.empty(LAYOUT), RUN_DURATION) == {}


def test_a_restart_forgets_exemplars_and_keeps_totals(tmp_path: Path) -> None:
    """What the state file gives back counts the same and shows no run."""
    books = Books()
    observation = Observation(finished=[ended(1, 5_000, 40_000, tasks=[task(71, end_time=4_000)])])
    changes = books.take(observation)
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", changes, Instant(9_000, 9_000))
    store.close()
    store = StateStore(tmp_path / "state.db", LAYOUT)
    restored = store.load("w").totals["10", "NONE"]
    store.close()
    assert restored == books.totals()
    assert shown(books.totals(), RUN_DURATION) != {} != shown(books.totals(), TASK_EXECUTION)
    assert shown(restored, RUN_DURATION) == shown(restored, TASK_EXECUTION) == {}


def test_only_openmetrics_shows_them() -> None:
    """One exemplar in each of the two families, on its bucket; plain text has no such thing."""
    books = Books()
    books.observe(ended(1, 5_000, 40_000, tasks=[task(71, execution_duration=2_000, end_time=4_000)]))
    exposition = exposed("w", {("10", "NONE"): books.totals()})
    lines = plain(exposition, Format.OPENMETRICS).decode().splitlines()
    labels = 'workspace="w",job_id="10",effective_performance_target="NONE"'
    assert [line for line in lines if " # " in line] == [
        f'{RUN_DURATION.name}_bucket{{{labels},le="60.0"}} 1 # {{run_id="1"}} 40.0 5.0',
        f'{TASK_EXECUTION.name}_bucket{{{labels},le="5.0"}} 1 # {{run_id="71"}} 2.0 4.0',
    ]
    text = plain(exposition, Format.TEXT).decode()
    assert "run_id=" not in text
    assert " # " not in text


def test_two_families_have_them() -> None:
    """The table names the run's duration and the task's execution, and no other."""
    assert [family for family in RUN_FAMILIES if family.exemplars] == [RUN_DURATION, TASK_EXECUTION]
