"""What we write is what Prometheus' own client library reads back, in both formats."""

import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import families
from exporter.exposition.exposition import Exposition
from exporter.exposition.render import label_text
from exporter.exposition.snapshot import EMPTY, Format
from exporter.families import FAMILIES, JOB_FAMILIES, RUN_FAMILIES, Family
from exporter.runs.durations import Phases
from exporter.runs.outcomes import RESULTS, SEEDED_RESULTS
from exporter.runs.records import ActiveGauges, Job, LastRun, LastSuccess
from exporter.runs.totals import Totals
from tests.unit.exposition import (
    LAYOUT,
    LETTERS,
    Observed,
    active_gauges,
    exposed,
    job_labels,
    jobs,
    observed,
    plain,
    sent,
    texts,
    words,
)

Labels = tuple[tuple[str, str], ...]
Samples = dict[tuple[str, Labels], float]
EOF = {Format.TEXT: b"", Format.OPENMETRICS: b"# EOF\n"}
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def parsed(exposition: Exposition, form: Format) -> list[Metric]:
    text = plain(exposition, form, EOF[form]).decode()
    if form is Format.TEXT:
        return list(parse_text(text))
    return list(parse_openmetrics(text))  # type: ignore[no-untyped-call]


def samples(metrics: list[Metric]) -> Samples:
    found: Samples = {}
    for metric in metrics:
        for sample in metric.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found, "a series twice"
            found[key] = sample.value
    return found


def key(name: str, **labels: str) -> tuple[str, Labels]:
    return name, tuple(sorted(labels.items()))


def expected_of_totals(what: Observed, **labels: str) -> Samples:
    """Worked out from what was observed, without the totals' own layout."""
    wanted: Samples = {}
    by_name = {family.name: family for family in RUN_FAMILIES}
    for name, values in what.values.items():
        scale = 1 if name == families.RUN_ATTEMPTS.name else 1000
        for bound in (*by_name[name].buckets, float("inf")):
            le = "+Inf" if bound == float("inf") else str(float(bound))
            wanted[key(f"{name}_bucket", **labels, le=le)] = sum(value <= bound * scale for value in values)
        wanted[key(f"{name}_count", **labels)] = len(values)
        wanted[key(f"{name}_sum", **labels)] = sum(values) / scale
    if what.seeded:
        for result in SEEDED_RESULTS:
            wanted[key(families.RUNS.name, **labels, result=result)] = 0
    for (name, result), count in what.counts.items():
        more = {"result": result} if result else {}
        wanted[key(name, **labels, **more)] = count
    for (code, kind), count in what.terminations.items():
        wanted[key(families.TERMINATIONS.name, **labels, code=code, type=kind)] = count
    return wanted


def expected_of_job(job: Job, active: ActiveGauges | None, workspace: str, job_id: str) -> Samples:
    wanted: Samples = {}
    mine = {"workspace": workspace, "job_id": job_id}
    if (run := job.last_run) is not None:
        phases = run.phases or (None, None, None)
        values = {
            families.LAST_START: run.start_ms / 1000 if run.start_ms else None,
            families.LAST_END: run.end_ms / 1000 if run.end_ms else None,
            families.LAST_DURATION: None if run.duration_ms is None else run.duration_ms / 1000,
            families.LAST_QUEUE: run.queue_ms / 1000,
            families.LAST_SETUP: None if phases[0] is None else phases[0] / 1000,
            families.LAST_EXECUTION: None if phases[1] is None else phases[1] / 1000,
            families.LAST_CLEANUP: None if phases[2] is None else phases[2] / 1000,
            families.LAST_ATTEMPTS: run.attempts,
            families.LAST_SUCCESS: run.success,
            families.LAST_ID: run.run_id,
        }
        for family, value in values.items():
            if value is not None:
                wanted[key(family.name, **mine, effective_performance_target=run.target)] = value
    if (success := job.last_success) is not None:
        name = families.LAST_SUCCESS_TIME.name
        labels = {**mine, "effective_performance_target": success.target}
        wanted[key(name, **labels)] = success.end_ms / 1000
    if job_id.isdigit():
        wanted[key(families.JOB_INFO.name, **mine, job_name=job.name or "")] = 1
    if active is not None:
        for state, (count, start_ms) in active.states.items():
            wanted[key(families.ACTIVE_RUNS.name, **mine, state=state)] = count
            if start_ms:
                wanted[key(families.OLDEST_ACTIVE.name, **mine, state=state)] = start_ms / 1000
        for reason, count in active.queue_reasons.items():
            wanted[key(families.QUEUED_RUNS.name, **mine, reason=reason)] = count
    return wanted


@pytest.mark.parametrize("form", Format)
@unhurried
@given(texts, st.dictionaries(st.tuples(job_labels, words), observed, max_size=3))
def test_totals_are_read_back_as_they_were_observed(
    form: Format, workspace: str, series_keys: dict[tuple[str, str], Observed]
) -> None:
    """Buckets, sums, counts, counters and labels of any totals come back from both official parsers."""
    exposition = exposed(workspace, {labels: what.totals() for labels, what in series_keys.items()})
    wanted: Samples = {}
    for (job_id, target), what in series_keys.items():
        wanted |= expected_of_totals(
            what, workspace=workspace, job_id=job_id, effective_performance_target=target
        )
    assert samples(parsed(exposition, form)) == wanted
    assert exposition.snapshot.series == len(wanted)


@pytest.mark.parametrize("form", Format)
@unhurried
@given(texts, st.dictionaries(job_labels, st.tuples(jobs, st.none() | active_gauges), max_size=3))
def test_jobs_are_read_back_as_they_are(
    form: Format, workspace: str, some: dict[str, tuple[Job, ActiveGauges | None]]
) -> None:
    """Last runs, active runs and names of any jobs come back from both official parsers."""
    exposition = exposed(workspace, {}, some)
    wanted: Samples = {}
    for label, (job, active) in some.items():
        wanted |= expected_of_job(job, active, workspace, label)
    assert samples(parsed(exposition, form)) == wanted
    assert exposition.snapshot.series == len(wanted)


def one(**fields: object) -> Observed:
    return Observed(**fields)  # type: ignore[arg-type]


def text_of(exposition: Exposition) -> str:
    return plain(exposition, Format.TEXT).decode()


def test_first_failures_are_visible() -> None:
    """A seeded series key has the four results that alerts look at, at 0, and no other series."""
    exposition = exposed("w", {("7", "STANDARD"): one(seeded=True).totals()})
    found = samples(parsed(exposition, Format.TEXT))
    labels = {"workspace": "w", "job_id": "7", "effective_performance_target": "STANDARD"}
    assert found == {
        key("databricks_job_runs_total", **labels, result=result): 0.0
        for result in ("SUCCESS", "FAILED", "TIMEDOUT", "CANCELED")
    }


def test_a_result_outside_the_seeded_ones_appears_when_it_happens() -> None:
    """A skipped run adds its own series beside the zeros."""
    what = one(seeded=True, counts={("databricks_job_runs_total", "SKIPPED"): 2})
    lines = text_of(exposed("w", {("7", "NONE"): what.totals()})).splitlines()
    assert [line.rpartition('result="')[2] for line in lines if not line.startswith("#")] == [
        'SUCCESS"} 0',
        'FAILED"} 0',
        'TIMEDOUT"} 0',
        'CANCELED"} 0',
        'SKIPPED"} 2',
    ]


def test_a_family_without_samples_is_absent() -> None:
    """Neither HELP nor TYPE is written for what has no series."""
    assert sent(EMPTY.plain(Format.TEXT, b"")) == b""
    assert text_of(exposed("w", {("7", "NONE"): Totals.empty(LAYOUT)}, {"SUBMIT_RUN": (Job(), None)})) == ""
    what = one(values={"databricks_job_run_queue_duration_seconds": [0]})
    text = text_of(exposed("w", {("7", "NONE"): what.totals()}))
    assert {line.split()[2] for line in text.splitlines() if line.startswith("#")} == {
        "databricks_job_run_queue_duration_seconds"
    }


def test_each_job_shows_what_it_has() -> None:
    """A job without runs has a name; a run without phases has no phase series; a one-off run no name."""
    run = LastRun(2_000, 5, "NONE", 1_000, 1_000.0, 0.0, None, 1, success=False)
    text = text_of(exposed("w", {}, {"7": (Job(name="n"), None), "SUBMIT_RUN": (Job(last_run=run), None)}))
    names = {line.partition("{")[0] for line in text.splitlines() if not line.startswith("#")}
    assert names == {
        "databricks_job_info",
        *(
            f"databricks_job_last_run_{what}"
            for what in (
                "start_timestamp_seconds",
                "end_timestamp_seconds",
                "duration_seconds",
                "queue_duration_seconds",
                "attempts",
                "success",
                "id",
            )
        ),
    }
    assert 'databricks_job_info{workspace="w",job_id="7",job_name="n"} 1\n' in text
    assert text.count("databricks_job_info{") == 1


def test_a_run_id_keeps_every_digit() -> None:
    """A run id of 16 digits is written as a whole number, for links."""
    run = LastRun(2_000, 1_125_899_906_842_623, "NONE", 0, None, 0.0, None, 1, success=True)
    job = Job(last_run=run, last_success=LastSuccess(2_000, 1, "NONE"))
    text = text_of(exposed("w", {}, {"7": (job, None)}))
    assert 'effective_performance_target="NONE"} 1125899906842623\n' in text


def test_a_job_that_stopped_being_active_has_no_active_series() -> None:
    """The gauges of active runs go away with the last of them."""
    exposition = exposed("w", {}, {"7": (Job(), ActiveGauges({"RUNNING": (2, 5_000)}, {"X": 1}))})
    assert "databricks_job_active_runs{" in text_of(exposition)
    exposition.update("w", {}, {"7": (Job(), None)})
    assert "active" not in text_of(exposition)
    assert "queued" not in text_of(exposition)


def test_two_workspaces_share_a_family() -> None:
    """Families are written once, with the series of every workspace under them."""
    exposition = exposed("a", {("7", "NONE"): one(seeded=True).totals()})
    exposition.update("b", {("7", "NONE"): one(seeded=True).totals()}, {})
    text = text_of(exposition)
    assert text.count("# TYPE databricks_job_runs_total counter\n") == 1
    assert (text.count('workspace="a"'), text.count('workspace="b"')) == (4, 4)


def test_buckets_hold_what_is_at_most_their_bound() -> None:
    """A run of exactly one bucket's bound counts in that bucket, a millisecond more in the next."""
    name = "databricks_job_run_duration_seconds"
    what = one(values={name: [60_000, 60_001]})
    found = samples(parsed(exposed("w", {("7", "NONE"): what.totals()}), Format.TEXT))
    by_bound = {dict(labels).get("le"): value for (_, labels), value in found.items()}
    assert (by_bound["30.0"], by_bound["60.0"], by_bound["120.0"], by_bound["+Inf"]) == (0, 1, 2, 2)
    counts = [value for (sample, _), value in found.items() if sample == f"{name}_bucket"]
    assert counts == sorted(counts) == [0] * 4 + [1] + [2] * 11


@unhurried
@given(st.text(LETTERS))
def test_a_label_value_is_one_line_in_quotes(value: str) -> None:
    """Whatever a label holds, it ends neither its quotes nor its line, and can be read back."""
    text = label_text(["x"], [value])
    escaped = re.fullmatch(r'x="((?:[^"\\\n]|\\[\\n"])*)"', text)
    assert escaped is not None
    assert re.sub(r"\\(.)", lambda pair: {"n": "\n"}.get(pair[1], pair[1]), escaped[1]) == value


@pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
def test_the_table_is_fit_to_be_written(family: Family) -> None:
    """Names and labels are legal, help needs no escaping, counters end in _total, buckets rise."""
    assert family.name.replace("_", "a").isalnum()
    assert family.name.isascii()
    assert family.name == family.name.lower()
    assert not set(family.help) & set('\\"\n')
    assert family.help.isprintable()
    assert (family.kind == "counter") == family.name.endswith("_total")
    assert bool(family.buckets) == (family.kind == "histogram")
    assert list(family.buckets) == sorted(set(family.buckets))
    assert len(set(family.labels)) == len(family.labels)
    assert "le" not in family.labels


def test_the_table_has_every_family_once() -> None:
    """No two families share a name, and results are a closed set."""
    names = [family.name for family in FAMILIES]
    assert len(set(names)) == len(names)
    assert set(SEEDED_RESULTS) < set(RESULTS)


@pytest.mark.parametrize("form", Format)
def test_types_and_help_are_those_of_the_table(form: Format) -> None:
    """Each family is announced with its own type and help, in the table's order."""
    everything = Observed(
        {family.name: [1] for family in RUN_FAMILIES if family.kind == "histogram"},
        {
            (family.name, "FAILED" if "result" in family.labels else ""): 1
            for family in RUN_FAMILIES
            if family.kind == "counter" and family is not families.TERMINATIONS
        },
        {("SUCCESS", "SUCCESS"): 1},
    )
    run = LastRun(2_000, 5, "NONE", 1_000, 1_000.0, 0.0, Phases(1.0, 1.0, 1.0), 1, success=True)
    job = Job(last_run=run, last_success=LastSuccess(2_000, 5, "NONE"))
    active = ActiveGauges({"RUNNING": (1, 1_000)}, {"LIMIT": 1})
    metrics = parsed(exposed("w", {("7", "NONE"): everything.totals()}, {"7": (job, active)}), form)
    table = (*RUN_FAMILIES, *JOB_FAMILIES)
    assert [(metric.name, metric.type, metric.documentation) for metric in metrics] == [
        (family.openmetrics_name, family.kind, family.help) for family in table
    ]
    for metric, family in zip(metrics, table, strict=True):
        assert {frozenset(sample.labels) - {"le"} for sample in metric.samples} == {frozenset(family.labels)}
