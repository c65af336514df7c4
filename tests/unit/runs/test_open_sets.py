"""Words of the API that become labels: however many there are, few become series, and every run counts."""

from collections.abc import Callable
from typing import Any

import pytest

from exporter.databricks.models import Details, Run
from exporter.exposition.exposition import Exposition
from exporter.families import RUNS, TERMINATIONS
from exporter.own_metrics import OwnMetrics
from exporter.runs.open_sets import LIMITS, REASONS, RUN_TYPES, STATES, TARGETS
from exporter.runs.series_keys import NO_TARGET, OTHER
from tests.unit.runs.runs import LAYOUT, Books, active, run, task

pytestmark = pytest.mark.slow  # waits, floods or goes through every byte

MANY = 10_000


def ended(run_id: int, code: str, kind: str) -> Run:
    details = {"code": code, "type": kind}
    return run(run_id, code=None, status={"state": "TERMINATED", "termination_details": details})


def queued(run_id: int, reason: str) -> Run:
    item = active(run_id, state="QUEUED")
    assert item.status is not None
    item.status.queue_details = Details(reason)
    return item


def targets(books: Books) -> set[str]:
    return {target for _, target in books.tracker.totals}


def words(books: Books) -> dict[tuple[str, ...], int]:
    return books.totals().words[TERMINATIONS.name]


def counted(books: Books) -> int:
    return sum(sum(books.results(RUNS, *key).values()) for key in books.tracker.totals)


def job_ids(books: Books) -> set[str]:
    return {label for label, _ in books.tracker.totals}


FINISHED: dict[str, tuple[Callable[[int], Run], Callable[[Books], set[str]]]] = {
    TARGETS: (lambda i: run(i, effective_performance_target=f"T{i}"), targets),
    "code": (lambda i: ended(i, f"C{i}", "T"), lambda books: {code for code, _ in words(books)}),
    "type": (lambda i: ended(i, "C", f"T{i}"), lambda books: {kind for _, kind in words(books)}),
    RUN_TYPES: (lambda i: run(i, i, run_type=f"TYPE_{i}"), job_ids),
}


@pytest.mark.parametrize("label", FINISHED)
def test_finished_runs_of_any_number_of_words_make_few_series(label: str) -> None:
    """As many words as the set may have, and OTHER for the rest; each run is counted once."""
    make, seen = FINISHED[label]
    books = Books()
    changes = books.observe(*map(make, range(1, MANY + 1)))
    assert len(seen(books)) == LIMITS[label] + 1
    assert OTHER in seen(books)
    assert changes.limited_words == {label}
    assert counted(books) == MANY
    assert books.series() < 15_000


@pytest.mark.parametrize("label", FINISHED)
def test_a_restart_keeps_the_same_words(label: str) -> None:
    """What has series of its own has them afterwards; what had none is OTHER again."""
    make, seen = FINISHED[label]
    books = Books()
    books.observe(*map(make, range(1, 301)))
    before = seen(books)
    again = Books(jobs=books.tracker.jobs, totals=books.tracker.totals)
    again.observe(*map(make, range(300, 0, -1)))  # not settled here: they count once more
    assert seen(again) == before
    assert counted(again) == 600


def test_words_over_many_commits_are_bounded_together() -> None:
    """A word that came late is OTHER each time, one that came early is itself each time."""
    books = Books()
    for i in range(1, 2 * LIMITS[TARGETS] + 1):
        books.observe(run(i, effective_performance_target=f"T{i}"))
    books.observe(run(1000, effective_performance_target="T1"), run(1001, effective_performance_target="T99"))
    assert books.results(RUNS, target="T1") == {"SUCCESS": 2}
    assert books.results(RUNS, target=OTHER) == {"SUCCESS": LIMITS[TARGETS] + 1}


def test_pairs_of_codes_and_types_are_bounded() -> None:
    """Both are, each by its own limit: the series are few enough for any number of pairs."""
    books = Books()
    books.observe(*(ended(i, f"C{i % 1000}", f"T{i % 997}") for i in range(1, MANY + 1)))
    assert len(words(books)) <= (LIMITS["code"] + 1) * (LIMITS["type"] + 1)
    assert sum(words(books).values()) == MANY


def test_tasks_and_active_runs_share_the_targets_of_runs() -> None:
    """No other way leads past the limit."""
    books = Books()
    books.observe(
        run(1, tasks=[task(i, effective_performance_target=f"T{i}") for i in range(2, 2000)]),
        active=[active(i, effective_performance_target=f"A{i}") for i in range(3000, 5000)],
    )
    assert len(targets(books)) <= LIMITS[TARGETS] + 2  # OTHER and NONE
    assert {run.target for run in books.tracker.active.values()} <= targets(books)


@pytest.mark.parametrize(
    ("label", "make", "place"),
    [
        (STATES, lambda i: active(i, state=f"S{i}"), "states"),
        (REASONS, lambda i: queued(i, f"R{i}"), "queue_reasons"),
    ],
)
def test_active_runs_of_any_number_of_words_make_few_series(
    label: str, make: Callable[[int], Run], place: str
) -> None:
    """Each run is in the gauge once, also of the poll after."""
    books = Books()
    for runs in (range(1, MANY + 1), range(MANY, 0, -1)):
        changes = books.observe(active=list(map(make, runs)), followed=set(books.tracker.active))
        gauges: Any = getattr(books.tracker.active_gauges(books.now)["10"], place)
        assert len(gauges) == LIMITS[label] + 1
        assert sum(one[0] if isinstance(one, tuple) else one for one in gauges.values()) == MANY
        assert changes.limited_words == {label}


@pytest.mark.parametrize(
    ("make", "place"),
    [(lambda i: active(i, state=f"S{i}"), "states"), (lambda i: queued(i, f"R{i}"), "queue_reasons")],
)
def test_a_restart_keeps_the_words_of_active_runs(make: Callable[[int], Run], place: str) -> None:
    """The gauges show the same series after it, in whatever order the runs are listed."""
    books = Books()
    books.observe(active=list(map(make, range(1, 201))))
    before = set(getattr(books.tracker.active_gauges(books.now)["10"], place))
    again = Books(jobs=books.tracker.jobs, totals=books.tracker.totals, active=books.tracker.active)
    again.observe(active=list(map(make, range(200, 0, -1))), followed=set(again.tracker.active))
    assert set(getattr(again.tracker.active_gauges(again.now)["10"], place)) == before


def test_no_word_at_all_takes_no_place() -> None:
    """NONE, UNKNOWN and OTHER are always there, also once the sets are full."""
    books = Books()
    books.observe(*(run(i, effective_performance_target=f"T{i}") for i in range(1, 100)))
    books.observe(run(200), run(201, code=None, status={"state": "TERMINATED"}))
    assert books.results(RUNS, target=NO_TARGET) == {"SUCCESS": 1, "UNKNOWN": 1}
    assert words(books)["UNKNOWN", "UNKNOWN"] == 1


@pytest.mark.parametrize("run_type", ["²", "123", "-5", "٣", "007", "1e3", "", "JOB_RUN", "Ⅳ"])
def test_run_type_never_meets_the_series_of_a_job(run_type: str) -> None:
    """Whatever digits it is made of; names are refreshed all the same, and a one-off run gets none."""
    books = Books()
    job_id = int(run_type) if run_type in {"123", "-5", "007"} else 9
    books.observe(run(1, job_id), run(2, 55, run_type=run_type))
    books.observe(names={job_id: "nightly", 55: "own"}, now_ms=1)
    assert books.results(RUNS, str(job_id)) == {"SUCCESS": 1}
    assert books.tracker.jobs[str(job_id)].name == "nightly"
    is_job_run = run_type in {"", "JOB_RUN"}
    others = {label: job.name for label, job in books.tracker.jobs.items() if label != str(job_id)}
    label = "55" if is_job_run else "UNKNOWN" if job_id != 9 else run_type
    assert list(others) == [label], "a word is served as it is, unless it reads as a job's id"
    assert list(others.values()) == (["own"] if is_job_run else [None])
    exposition = Exposition(OwnMetrics(), LAYOUT)
    exposition.update(
        "w", books.tracker.totals, {label: (job, None) for label, job in books.tracker.jobs.items()}
    )
    assert exposition.snapshot.series == books.series()
    assert counted(books) == 2
