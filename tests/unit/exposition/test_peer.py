"""Ours beside prometheus-client's: the same totals through both, family by family and sample by sample."""

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar

from exporter import families
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Format
from exporter.families import JOB_FAMILIES, RUN_FAMILIES, Family
from exporter.own_metrics import OwnMetrics
from exporter.runs.layout import EXEMPLAR_LENGTH
from exporter.runs.outcomes import SEEDED_RESULTS
from exporter.runs.records import ActiveGauges, Job
from exporter.runs.totals import Totals
from tests.unit.exposition import LAYOUT, active_gauges, job_labels, jobs, observed, plain, texts, words

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=30, suppress_health_check=list(HealthCheck))
LabelSetKey = tuple[str, str, str]
JobKey = tuple[str, str]
numbers = st.integers(0, 2**53).map(float)
# Whole milliseconds and fractions of them, up to the largest that is read.
sums = (
    st.integers(0, 10**17).map(float) | st.floats(0, 1e17) | st.sampled_from([0.1, 1e17, 1e16, 123456789.0])
)
ids = st.integers(1, 2**63 - 1)
ends = st.integers(1, 10**17)


@st.composite
def any_totals(draw: st.DrawFn) -> Totals:
    """Totals as they may be: what was observed, or rows of any numbers, with exemplars."""
    totals = draw(observed).totals()
    for slots in draw(st.lists(st.sampled_from(list(LAYOUT.histograms.values())), max_size=3)):
        length = slots.sum - slots.first
        filled = draw(st.dictionaries(st.integers(0, length - 1), st.integers(0, 10**9), max_size=5))
        for bucket, count in filled.items():
            totals.row[slots.first + bucket] = float(count)
            if slots.exemplars is not None and count and draw(st.booleans()):
                value = draw(st.integers(0, int(min([*slots.bounds, 10**17][bucket:]))))
                totals.note_exemplar(slots.exemplars + EXEMPLAR_LENGTH * bucket, draw(ends), draw(ids), value)
        totals.row[slots.sum] = draw(sums)
    return totals


class Everything(NamedTuple):
    """All there is to expose."""

    totals: Mapping[LabelSetKey, Totals]
    jobs: Mapping[JobKey, tuple[Job, ActiveGauges | None]]

    def exposition(self) -> Exposition:
        exposition = Exposition(OwnMetrics(), LAYOUT)
        for workspace in {key[0] for key in (*self.totals, *self.jobs)}:
            exposition.update(
                workspace,
                {key[1:]: totals for key, totals in self.totals.items() if key[0] == workspace},
                {key[1]: job for key, job in self.jobs.items() if key[0] == workspace},
            )
        return exposition


everything = st.builds(
    Everything,
    st.dictionaries(st.tuples(texts, job_labels, words), any_totals(), max_size=6),
    st.dictionaries(st.tuples(texts, job_labels), st.tuples(jobs, st.none() | active_gauges), max_size=4),
)


class Peer(Collector):
    """The same through prometheus-client's own metric families, as its documentation says."""

    def __init__(self, what: Everything) -> None:
        self._what = what

    def collect(self) -> Iterator[Metric]:
        for family in RUN_FAMILIES:
            if family.kind == "histogram":
                yield self._histogram(family)
            else:
                yield self._counter(family)
        for family in JOB_FAMILIES:
            yield self._gauge(family)

    def _histogram(self, family: Family) -> Metric:
        metric = HistogramMetricFamily(family.name, family.help, labels=family.labels)
        slots = LAYOUT.histograms[family.name]
        for key, totals in self._what.totals.items():
            counts = totals.row[slots.first : slots.sum]
            if not sum(counts):
                continue
            exemplars = list(totals.exemplars_of(slots)) if family.exemplars else [(0, 0, 0)] * len(counts)
            buckets: list[tuple[str, float] | tuple[str, float, Exemplar]] = []
            for number, bound in enumerate([*family.buckets, float("inf")]):
                le = "+Inf" if bound == float("inf") else str(float(bound))
                end_ms, run_id, value = exemplars[number]
                cumulative = sum(counts[: number + 1])
                if end_ms:
                    shown = Exemplar({"run_id": str(run_id)}, value / 1000, end_ms / 1000)
                    buckets.append((le, cumulative, shown))
                else:
                    buckets.append((le, cumulative))
            metric.add_metric(key, buckets, totals.row[slots.sum] / family.scale)
        return metric

    def _counter(self, family: Family) -> Metric:
        metric = CounterMetricFamily(family.name, family.help, labels=family.labels)
        for key, totals in self._what.totals.items():
            if family is families.TERMINATIONS:
                for ended, count in totals.words.get(family.name, {}).items():
                    metric.add_metric([*key, *ended], count)
                continue
            slots = LAYOUT.counters[family.name]
            seeded = SEEDED_RESULTS if family is families.RUNS and totals.seeded else ()
            for slot, result in enumerate(family.results or ("",)):
                count = int(totals.row[slots.first + slot])
                if count or result in seeded:
                    metric.add_metric([*key, *([result] if result else [])], count)
        return metric

    def _gauge(self, family: Family) -> Metric:
        metric = GaugeMetricFamily(family.name, family.help, labels=family.labels)
        for key, (job, active) in self._what.jobs.items():
            for labels, value in _of_job(family, key[1], job, active):
                metric.add_metric([*key, *labels], value)
        return metric


def _of_job(
    family: Family, label: str, job: Job, active: ActiveGauges | None
) -> Iterator[tuple[tuple[str, ...], float]]:
    """The samples of a job in a family: the labels beside workspace and job, and the value."""
    last, success = job.last_run, job.last_success
    if last is not None:
        phases = last.phases or (None, None, None)
        ms: dict[Family, float | None] = {
            families.LAST_START: last.start_ms or None,
            families.LAST_END: last.end_ms or None,
            families.LAST_DURATION: last.duration_ms,
            families.LAST_QUEUE: last.queue_ms,
            families.LAST_SETUP: phases[0],
            families.LAST_EXECUTION: phases[1],
            families.LAST_CLEANUP: phases[2],
        }
        if (value := ms.get(family)) is not None:
            yield (last.target,), value / 1000
        plain_values = {families.LAST_ATTEMPTS: last.attempts, families.LAST_SUCCESS: last.success,
                        families.LAST_ID: last.run_id}  # fmt: skip
        if family in plain_values:
            yield (last.target,), plain_values[family]
    if success is not None and family is families.LAST_SUCCESS_TIME:
        yield (success.target,), success.end_ms / 1000
    if family is families.JOB_INFO and label.isdigit():
        yield (job.name or "",), 1
    if active is not None:
        yield from _of_active(family, active)


def _of_active(family: Family, active: ActiveGauges) -> Iterator[tuple[tuple[str, ...], float]]:
    for state, (count, oldest_ms) in active.states.items():
        if family is families.ACTIVE_RUNS:
            yield (state,), count
        if family is families.OLDEST_ACTIVE and oldest_ms:
            yield (state,), oldest_ms / 1000
    if family is families.QUEUED_RUNS:
        yield from (((reason,), count) for reason, count in active.queue_reasons.items())


def theirs(what: Everything, form: Format) -> str:
    registry = CollectorRegistry()
    registry.register(Peer(what))
    if form is Format.TEXT:
        return generate_text(registry).decode()
    return bytes(generate_openmetrics(registry)).decode()  # type: ignore[no-untyped-call]


def ours(what: Everything, form: Format) -> str:
    return plain(what.exposition(), form, b"" if form is Format.TEXT else b"# EOF\n").decode()


def parsed(text: str, form: Format) -> list[tuple[object, ...]]:
    """Name, type, unit, help and samples of each family that has any, in order."""
    read = parse_text(text) if form is Format.TEXT else parse_openmetrics(text)  # type: ignore[no-untyped-call]
    return [
        (metric.name, metric.type, metric.unit, metric.documentation, read_samples(metric))
        for metric in read
        if metric.samples
    ]


def read_samples(metric: Metric) -> Mapping[tuple[str, tuple[tuple[str, str], ...]], tuple[object, ...]]:
    """Value, timestamp and exemplar of each sample, by its name and labels."""
    found = {
        (sample.name, tuple(sorted(sample.labels.items()))): (sample.value, sample.timestamp, sample.exemplar)
        for sample in metric.samples
    }
    assert len(found) == len(metric.samples), "a series twice"
    return found


@pytest.mark.parametrize("form", Format)
@unhurried
@given(everything)
def test_ours_reads_as_prometheus_clients(form: Format, what: Everything) -> None:
    """Random totals and jobs are the same families, types, helps, samples and exemplars through both."""
    assert parsed(ours(what, form), form) == parsed(theirs(what, form), form)


@pytest.mark.parametrize("form", Format)
@unhurried
@given(everything)
def test_the_headings_are_prometheus_clients_byte_by_byte(form: Format, what: Everything) -> None:
    """HELP and TYPE of every family with samples are written as prometheus-client writes them."""
    assert set(headings(ours(what, form))) <= set(headings(theirs(what, form)))


def headings(text: str) -> list[str]:
    return [line for line in text.split("\n") if line.startswith(("# HELP ", "# TYPE "))]
