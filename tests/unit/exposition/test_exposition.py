"""What an exposition serves: the same samples whatever the history, in the formats that are asked for."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.exposition.exposition import (
    JOBS_PER_GROUP,
    READY_SECONDS,
    SERIES_KEYS_PER_GROUP,
    Exposition,
)
from exporter.exposition.snapshot import Format, Snapshot
from exporter.own_metrics import OwnMetrics
from exporter.runs.changes import Expired
from exporter.runs.records import ActiveGauges, Job, LastRun
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals
from tests.unit.exposition import (
    LAYOUT,
    Observed,
    active_gauges,
    exposed,
    jobs,
    observed,
    packed,
    plain,
    sent,
    unpacked,
)

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
# More of each than two groups hold.
JOB_LABELS = [*(str(number) for number in range(2 * JOBS_PER_GROUP + 2)), "SUBMIT_RUN"]
LABEL_SETS = [(label, target) for label in JOB_LABELS[:7] for target in ("STANDARD", 'a "\\\n{}%s\0')]
Jobs = dict[str, tuple[Job, ActiveGauges | None]]


@dataclass
class Update:
    """What one call changes in a workspace."""

    workspace: str
    totals: dict[SeriesKey, Observed] = field(default_factory=dict)
    jobs: Jobs = field(default_factory=dict)
    gone_series_keys: set[SeriesKey] = field(default_factory=set)
    gone_jobs: set[str] = field(default_factory=set)
    # The format that a scrape asks for afterwards.
    scraped: Format | None = None


some_series_keys = st.sampled_from(LABEL_SETS)
some_jobs = st.sampled_from(JOB_LABELS)
updates = st.builds(
    Update,
    st.sampled_from(["a", "b", "c"]),
    st.dictionaries(some_series_keys, observed, max_size=2 * SERIES_KEYS_PER_GROUP + 1),
    st.dictionaries(some_jobs, st.tuples(jobs, st.none() | active_gauges), max_size=8),
    st.sets(some_series_keys) | st.just(set(LABEL_SETS)),
    st.sets(some_jobs) | st.just(set(JOB_LABELS)),
    st.none() | st.sampled_from(Format),
)


def expired(series_keys: Iterable[SeriesKey], labels: Iterable[str] = ()) -> Expired:
    return Expired(frozenset(series_keys), frozenset(labels))


def apply(exposition: Exposition, update: Update) -> None:
    exposition.update(
        update.workspace,
        {series_key: what.totals() for series_key, what in update.totals.items()},
        update.jobs,
        expired(update.gone_series_keys, update.gone_jobs),
    )
    if update.scraped:
        _ = exposition.ready(update.scraped) or exposition.prepare(update.scraped)


def outcome(history: Iterable[Update]) -> list[Update]:
    """The same as one update per workspace."""
    final: dict[str, Update] = {}
    for update in history:
        state = final.setdefault(update.workspace, Update(update.workspace))
        for series_key in update.gone_series_keys:
            state.totals.pop(series_key, None)
        for label in update.gone_jobs:
            state.jobs.pop(label, None)
        state.totals |= update.totals
        state.jobs |= update.jobs
    return list(final.values())


def by_family(body: bytes) -> dict[str, list[str]]:
    """The sorted sample lines under each heading; a family stands in one place."""
    found: dict[str, list[str]] = {}
    heading = ""
    for line in body.decode().split("\n")[:-1]:
        if line.startswith("# HELP "):
            heading = line
            assert heading not in found
        elif line.startswith("# TYPE "):
            heading += "\n" + line
            found[heading] = []
        else:
            found[heading].append(line)
    assert all(found.values()), "a heading with nothing below it"
    return {heading: sorted(lines) for heading, lines in found.items()}


@unhurried
@given(st.lists(updates, max_size=6))
def test_any_history_ends_in_the_samples_of_its_outcome(history: list[Update]) -> None:
    """Whatever was put, changed, dropped and scraped in between: every body says what is there now."""
    exposition, fresh = exposed("a", {}), exposed("a", {})
    for update in history:
        apply(exposition, update)
    for update in outcome(history):
        apply(fresh, update)
    for form in Format:
        body = plain(exposition, form)
        assert by_family(body) == by_family(plain(fresh, form))
        assert unpacked(packed(exposition, form)) == body
        series = sum(not line.startswith("#") for line in body.decode().split("\n")[:-1])
        assert exposition.snapshot.series == series


@unhurried
@given(st.lists(updates, min_size=1, max_size=6))
def test_a_snapshot_in_use_never_changes(history: list[Update]) -> None:
    """A scrape that began before a commit ends with what it began with, in both formats and codings."""
    exposition = exposed("a", {("1", "STANDARD"): Observed(seeded=True).totals()})
    held: list[tuple[Snapshot, list[bytes]]] = []
    for update in history:
        apply(exposition, update)
        held.append((exposition.snapshot, contents(exposition.snapshot)))
    for snapshot, before in held:
        assert contents(snapshot) == before


def contents(snapshot: Snapshot) -> list[bytes]:
    return [
        sent(body)
        for form in snapshot.renderings
        for body in (snapshot.plain(form, b""), snapshot.gzipped(form, b""))
    ]


@pytest.mark.slow
def test_a_scrape_in_progress_keeps_its_snapshot() -> None:
    """Parts that are asked for after later commits are those of the body that was begun."""
    totals = Observed({"databricks_job_run_duration_seconds": [1]}).totals()
    everything = {(str(number), "STANDARD"): totals for number in range(1500)}
    exposition = exposed("w", everything)
    before = plain(exposition, Format.TEXT)
    begun = exposition.snapshot.plain(Format.TEXT, b"")
    parts = iter(begun.parts)
    got = [next(parts)]
    for part in parts:
        exposition.update("w", {}, {}, expired(everything))
        exposition.update("w", dict.fromkeys(everything, Totals.empty(LAYOUT)), {"1": (Job(), None)})
        got.append(part)
    assert len(got) > 5
    assert b"".join(got) == before
    assert before != plain(exposition, Format.TEXT)


def test_a_label_set_that_is_put_while_it_is_dropped_stays() -> None:
    """Dropped and put in one update, a series key and a job show the new values only."""
    old, new = (Observed(counts={("databricks_task_run_retries_total", ""): number}) for number in (1, 2))
    exposition = exposed("w", {("1", "NONE"): old.totals()}, {"1": (Job(name="old"), None)})
    exposition.update(
        "w", {("1", "NONE"): new.totals()}, {"1": (Job(name="new"), None)}, expired([("1", "NONE")], ["1"])
    )
    text = plain(exposition, Format.TEXT).decode()
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert [sample.rpartition(" ")[2] for sample in samples] == ["2", "1"]
    assert 'job_name="new"' in text


def test_dropping_what_was_never_there_changes_nothing() -> None:
    """Unknown series keys and jobs, and those of another workspace, are dropped without a trace."""
    exposition = exposed("w", {("1", "NONE"): Observed(seeded=True).totals()}, {"1": (Job(), None)})
    before = plain(exposition, Format.TEXT)
    exposition.update("w", {}, {}, expired([("1", "STANDARD"), ("2", "NONE")], ["2"]))
    exposition.update("v", {}, {}, expired([("1", "NONE")], ["1"]))
    assert plain(exposition, Format.TEXT) == before


class Clock:
    """Seconds that stand still until the test moves them."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


def timed() -> tuple[Exposition, Clock]:
    """An exposition whose plain text and OpenMetrics have both been asked for now."""
    clock = Clock()
    exposition = Exposition(OwnMetrics(), LAYOUT, clock)
    exposition.update(
        "w", {("1", "NONE"): Observed({"databricks_job_run_duration_seconds": [1]}).totals()}, {}
    )
    plain(exposition, Format.TEXT)
    return exposition, clock


def renamed(exposition: Exposition, name: str) -> set[Format]:
    """The formats that are ready after one more update."""
    exposition.update("w", {}, {"1": (Job(name=name), None)})
    return set(exposition.snapshot.renderings)


def test_openmetrics_is_ready_before_anybody_asks() -> None:
    """What Prometheus will ask for is there after the first update; the other format when it is asked for."""
    exposition = exposed("w", {}, {"1": (Job(), None)})
    assert set(exposition.snapshot.renderings) == {Format.OPENMETRICS}
    assert exposition.ready(Format.OPENMETRICS) is exposition.snapshot
    assert exposition.ready(Format.TEXT) is None
    assert exposition.prepare(Format.TEXT) is exposition.snapshot is exposition.ready(Format.TEXT)
    assert set(exposition.snapshot.renderings) == set(Format)


def test_a_format_can_be_prepared_without_asking_first() -> None:
    """`prepare` alone is enough, also long after the format was let go."""
    exposition, clock = timed()
    clock.now += 10 * READY_SECONDS
    exposition.ready(Format.OPENMETRICS)
    assert renamed(exposition, "n") == {Format.OPENMETRICS}
    assert Format.TEXT in exposition.prepare(Format.TEXT).renderings


def test_a_format_nobody_asks_for_is_let_go() -> None:
    """Both stay ready for `READY_SECONDS` after they were asked for; then the other alone is kept."""
    exposition, clock = timed()
    clock.now += READY_SECONDS
    exposition.ready(Format.OPENMETRICS)
    assert renamed(exposition, "one") == set(Format)
    clock.now += 1
    assert renamed(exposition, "two") == {Format.OPENMETRICS}
    assert b'job_name="two"' in plain(exposition, Format.TEXT), "and comes back whole"
    assert b'_bucket{workspace="w"' in plain(exposition, Format.TEXT)


@pytest.mark.parametrize("last", Format)
def test_the_last_format_asked_for_stays(last: Format) -> None:
    """Without any scrape for a day, the format of the last one is still ready."""
    exposition, clock = timed()
    clock.now += 1
    exposition.ready(last)
    clock.now += 86_400
    assert renamed(exposition, "n") == {last}


def test_families_that_the_formats_share_are_not_made_again() -> None:
    """A format that is let go and asked for again finds the pieces without exemplars as they were."""
    exposition, clock = timed()
    renamed(exposition, "n")
    shared = [strip for column, strip in exposition._jobs._strips.items() if column.form is None]
    before = [segment for strip in shared for segment in strip.segments]
    assert before
    clock.now += READY_SECONDS + 1
    exposition.ready(Format.OPENMETRICS)
    assert renamed(exposition, "n") == {Format.OPENMETRICS}
    plain(exposition, Format.TEXT)
    after = [strip for column, strip in exposition._jobs._strips.items() if column.form is None]
    segments = [segment for strip in after for segment in strip.segments]
    assert all(new is old for new, old in zip(segments, before, strict=True))


def job_that_ended(number: int) -> tuple[Job, None]:
    run = LastRun(number, number, "NONE", 1, None, 0.0, None, 1, success=True)
    return Job(last_run=run), None


def test_busy_jobs_stand_together() -> None:
    """New series keys are placed by when their job last ended, the newest first."""
    totals = Observed(counts={("databricks_task_run_retries_total", ""): 1}).totals()
    order = [5, 2, 9, 1, 7]
    exposition = exposed(
        "w",
        {(str(number), "NONE"): totals for number in order},
        {str(number): job_that_ended(number) for number in order},
    )
    text = plain(exposition, Format.TEXT).decode()
    lines = [line for line in text.splitlines() if line.startswith("databricks_task_run_retries_total")]
    assert [line.split('"')[3] for line in lines] == ["9", "7", "5", "2", "1"]


@pytest.mark.slow
def test_nothing_grows_while_jobs_come_and_go() -> None:
    """Thousands of jobs that appear and are dropped again leave no more behind than the last few."""
    exposition = exposed("w", {("keep", "NONE"): Observed(seeded=True).totals()}, {})
    names = _pairs()
    for old, new in (next(names) for _ in range(2_000)):
        exposition.update(
            "w", {(new, "NONE"): Totals.empty(LAYOUT)}, {new: (Job(), None)}, expired([(old, "NONE")], [old])
        )
    for blocks in (exposition._series_keys, exposition._jobs):
        assert len(blocks._groups) == 1
        assert len(blocks._with_room) <= 1
        assert len(blocks._values) == len(blocks._group_of) <= 2


def _pairs() -> Iterator[tuple[str, str]]:
    for number in count(1):
        yield str(number - 1), str(number)
