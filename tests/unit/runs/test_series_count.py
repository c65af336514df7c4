"""The series budget: what is counted is what is served, and new jobs without room are counted together."""

from itertools import count
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.families import RUNS
from exporter.runs.outcomes import RESULTS
from exporter.runs.records import ActiveGauges, Job
from exporter.runs.series_count import SeriesRules, active_series, job_series
from exporter.runs.series_keys import OTHER
from tests.unit.exposition import Observed, active_gauges, exposed, job_labels, jobs, observed
from tests.unit.runs.runs import LAYOUT, Books, active, run, task

RULES = SeriesRules(LAYOUT)
WHOLE = RULES.whole_job(collect_tasks=True)


def books(series: int) -> Books:
    """Books with a limit."""
    made = Books()
    made.limit = series
    return made


def whole_run(run_id: int, job_id: int, **fields: Any) -> Any:
    """A run with job-level phases and a task, as most series as one run can make."""
    return run(run_id, job_id, tasks=[task(run_id * 10)], **fields)


def labels(made: Books) -> set[str]:
    return set(made.tracker.jobs)


def runs(made: Books) -> int:
    """Every run counted anywhere, also under series keys that are gone."""
    first = LAYOUT.counters[RUNS.name].first
    everything = [*made.tracker.totals.items(), *made.dropped]
    return int(sum(sum(totals.row[first : first + len(RESULTS)]) for _, totals in everything))


@given(observed)
def test_series_of_a_label_set_are_those_rendered(what: Observed) -> None:
    """The budget counts what a scrape gets, whatever is in the totals."""
    totals = what.totals()
    assert RULES.totals_series(totals) == exposed("w", {("1", "NONE"): totals}).snapshot.series


@given(job_labels, jobs, st.none() | active_gauges)
def test_series_of_a_job_are_those_rendered(label: str, job: Job, gauges: ActiveGauges | None) -> None:
    """Last-run gauges, active runs and the name; one-off runs have no name."""
    served = exposed("w", {}, {label: (job, gauges)}).snapshot.series
    assert job_series(label, job) + (active_series(gauges) if gauges else 0) == served


def test_whole_job_is_more_than_one_run_makes() -> None:
    """It is an upper bound for a job whose runs all look alike."""
    made = books(10 * WHOLE)
    made.observe(whole_run(1, 1))
    assert 100 < made.series() < WHOLE
    assert RULES.whole_job(collect_tasks=False) < WHOLE - 54


@st.composite
def histories(draw: st.DrawFn) -> list[list[Any]]:
    """Polls: runs that have finished or are active, of many jobs, each run as the others of its job."""
    run_ids = count(1)
    one = st.tuples(st.integers(1, 12), st.booleans())
    return [
        [
            active(next(run_ids), job) if is_active else whole_run(next(run_ids), job)
            for job, is_active in poll
        ]
        for poll in draw(st.lists(st.lists(one, max_size=15), min_size=1, max_size=6))
    ]


def observe(made: Books, poll: list[Any], now_ms: int = 0) -> None:
    running = [one for one in poll if not one.end_time]
    made.observe(
        *(one for one in poll if one.end_time),
        active=running,
        followed=set(made.tracker.active),
        now_ms=now_ms,
    )


@settings(deadline=None)  # a busy machine proves nothing
@given(histories(), st.integers(2, 8))
def test_budget_is_kept_and_nothing_is_lost_by_it(polls: list[list[Any]], room_for: int) -> None:
    """However many jobs come at once; each run is counted once, and what was served stays."""
    made = books(room_for * WHOLE)
    known: set[str] = set()
    for poll in polls:
        observe(made, poll)
        assert made.series() <= made.limit
        assert known <= labels(made)
        known = labels(made)
    assert runs(made) == len([one for poll in polls for one in poll if one.end_time])
    assert {str(one.job_id) for poll in polls for one in poll} - known == set(made.tracker.limited)


@settings(deadline=None)  # a busy machine proves nothing
@given(histories(), st.integers(2, 8))
def test_charge_follows_the_changes(polls: list[list[Any]], room_for: int) -> None:
    """Kept up step by step it is what a fresh count says."""
    made = books(room_for * WHOLE)
    made.tracker.idle_ms = 3
    for now_ms, poll in enumerate(polls, 1):
        observe(made, poll, now_ms)
        # Copies, because a row remembers what was counted of it.
        totals = {series_key: each.copy() for series_key, each in made.tracker.totals.items()}
        restarted = Books(
            active=made.tracker.active,
            pending=made.tracker.pending,
            jobs=made.tracker.jobs,
            totals=totals,
        ).tracker
        assert made.tracker.charge(made.now) == restarted.charge(made.now)


@settings(deadline=None)  # a busy machine proves nothing
@given(histories(), st.integers(2, 8), st.integers(1, 3))
def test_budget_and_idle_together_count_every_run_once(
    polls: list[list[Any]], room_for: int, idle_ms: int
) -> None:
    """What is dropped had counted what it had; what comes back starts afresh, in series of its own or not."""
    made = books(room_for * WHOLE)
    made.tracker.idle_ms = idle_ms
    for now_ms, poll in enumerate(polls, 1):
        observe(made, poll, now_ms)
        assert made.series() <= made.limit
    for now_ms, poll in enumerate(polls, len(polls) + 1):
        observe(made, [one for one in poll if one.end_time], now_ms)
    assert runs(made) == len([one for poll in polls for one in poll if one.end_time])


def test_jobs_without_room_are_counted_together() -> None:
    """Runs, seeds and active gauges under OTHER, and nothing under their own ids."""
    made = books(3 * WHOLE)
    made.observe(whole_run(1, 1), whole_run(2, 2), whole_run(3, 3), active=[active(4, 4), active(5, 3)])
    assert labels(made) == {"1", "2", OTHER}
    assert made.results(RUNS, OTHER) == {"SUCCESS": 1}
    assert made.tracker.active_gauges(made.now)[OTHER].states == {"RUNNING": (2, 1_000_000)}
    assert set(made.tracker.limited) == {"3", "4"}


def test_known_job_grows_without_room() -> None:
    """What is served goes on under its own label, also under a new target."""
    made = books(3 * WHOLE)
    made.observe(*(whole_run(i, i) for i in (1, 2, 3)))
    made.observe(whole_run(4, 1, effective_performance_target="STANDARD"))
    assert made.results(RUNS, "1", "STANDARD") == {"SUCCESS": 1}


def test_one_off_runs_have_room_always() -> None:
    """They are few labels, and share them already."""
    made = books(WHOLE)
    made.observe(run(1, 1, run_type="SUBMIT_RUN"))
    assert labels(made) == {"SUBMIT_RUN"}
    assert not made.tracker.limited


def test_job_gets_its_own_label_once_there_is_room() -> None:
    """Its earlier runs stay in OTHER, the next is its own, and it is limited no more."""
    made = books(2 * WHOLE)
    made.tracker.idle_ms = 100
    made.observe(whole_run(1, 1), whole_run(2, 2), now_ms=1)
    assert set(made.tracker.limited) == {"2"}
    made.observe(now_ms=200)
    made.observe(whole_run(3, 2), whole_run(2, 2), now_ms=201)
    assert made.results(RUNS, "2") == {"SUCCESS": 1}
    assert not made.tracker.limited
    assert runs(made) == 3


def test_restart_limits_the_same_jobs() -> None:
    """Those that have series have them again, those that had none find no room."""
    made = books(3 * WHOLE)
    made.observe(*(whole_run(i, i) for i in range(1, 6)))
    again = Books(jobs=made.tracker.jobs, totals=made.tracker.totals)
    again.limit = made.limit
    again.observe(*(whole_run(i, i - 10) for i in range(15, 10, -1)))
    assert labels(again) == labels(made)
    assert again.results(RUNS, OTHER) == {"SUCCESS": 6}


def test_jobs_that_are_only_active_take_the_room_they_will_need() -> None:
    """Each shows few series at first; that must not let in more than can grow."""
    made = books(4 * WHOLE)
    for run_id in range(1, 20):
        made.observe(active=[active(run_id, run_id)])
    made.observe(*(whole_run(i, i) for i in range(1, 20)))
    assert made.series() <= made.limit
    assert 3 <= len(labels(made)) < 8


def test_job_that_leaves_no_run_behind_is_forgotten_as_limited() -> None:
    """The gauge says how many are limited now."""
    made = books(2 * WHOLE)
    made.tracker.idle_ms = 100
    made.observe(whole_run(1, 1), whole_run(2, 2), now_ms=1)
    made.observe(whole_run(3, 1), now_ms=101)
    assert set(made.tracker.limited) == {"2"}
    made.observe(whole_run(4, 1), now_ms=102)
    assert not made.tracker.limited
