"""The bytes that scrapes get: one whole rendering, plain or as one gzip member, swapped in at once."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.exposition.chunks import Packer, checked
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import EMPTY, Format, Rendering, Snapshot
from exporter.families import JOB_INFO, RUNS
from exporter.own_metrics import OwnMetrics
from exporter.runs.records import Job
from exporter.runs.totals import Totals
from tests.unit.exposition import LAYOUT, Observed, exposed, packed, plain, sent, unpacked

own_bytes = st.binary(max_size=200)
lines = st.lists(st.tuples(st.text(max_size=100), st.integers(0, 9)), max_size=5)
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def many_jobs(count: int) -> Exposition:
    totals = Observed(seeded=True).totals()
    return exposed(
        "adb-1.2.test",
        {(str(number), "STANDARD"): totals for number in range(count)},
        {str(number): (Job(name=f"job {number} «é»"), None) for number in range(count)},
    )


@pytest.mark.parametrize("form", Format)
@unhurried
@given(lines, own_bytes, own_bytes)
def test_a_gzip_body_is_one_member_with_the_plain_body_in_it(
    form: Format, contents: list[tuple[str, int]], own: bytes, later: bytes
) -> None:
    """However often and with whatever own metrics it is asked for, the packed body is the plain one."""
    packer = Packer()
    chunks = [packer.pack(text.encode(), series) for text, series in contents]
    rendering = Rendering.of([([chunk.data for chunk in chunks], checked(chunks))])
    snapshot = Snapshot({form: rendering}, rendering.check.series)
    jobs = "".join(text for text, _ in contents).encode()
    for metrics in (own, later, b""):
        assert sent(snapshot.plain(form, metrics)) == jobs + metrics
        assert unpacked(sent(snapshot.gzipped(form, metrics))) == jobs + metrics


def test_a_large_body_is_packed_whole() -> None:
    """Several megabytes come out as they went in, in parts, and much smaller."""
    exposition = many_jobs(5_000)
    whole = plain(exposition, Format.TEXT, b"own 1\n")
    gzip = packed(exposition, Format.TEXT, b"own 1\n")
    assert len(whole) > 2_000_000
    assert unpacked(gzip) == whole
    assert len(gzip) < len(whole) / 8
    assert len(list(exposition.snapshot.plain(Format.TEXT, b"").parts)) > 5


def test_the_formats_differ_in_the_names_of_counters_only() -> None:
    """OpenMetrics announces a counter without `_total`; the samples without exemplars are the same bytes."""
    exposition = many_jobs(3)
    text, openmetrics = (plain(exposition, form).decode() for form in Format)
    assert f"# TYPE {RUNS.name} counter\n" in text
    assert f"# TYPE {RUNS.name.removesuffix('_total')} counter\n" in openmetrics
    assert f"# TYPE {JOB_INFO.name} gauge\n" in openmetrics
    assert text == openmetrics.replace(f" {RUNS.name.removesuffix('_total')} ", f" {RUNS.name} ")


def test_the_own_metrics_come_last() -> None:
    """What is made at the scrape follows the job families, as OpenMetrics' end mark must."""
    assert sent(EMPTY.plain(Format.OPENMETRICS, b"# EOF\n")) == b"# EOF\n"
    assert plain(many_jobs(1), Format.OPENMETRICS, b"# EOF\n").endswith(b"} 1\n# EOF\n")


@pytest.mark.parametrize("form", Format)
def test_before_the_first_update_there_is_an_empty_body(form: Format) -> None:
    """A scrape before any poll, or of what has no sample, gets the own metrics alone, packed or not."""
    exposition = Exposition(OwnMetrics(), LAYOUT)
    assert exposition.ready(form) is EMPTY
    for _ in range(2):
        assert plain(exposition, form, b"own 1\n") == b"own 1\n"
        assert unpacked(packed(exposition, form, b"own 1\n")) == b"own 1\n"
        assert unpacked(packed(exposition, form)) == b""
        assert exposition.snapshot.series == 0
        exposition.update("w", {("1", "NONE"): Totals.empty(LAYOUT)}, {"SUBMIT_RUN": (Job(), None)})


def test_the_exporter_says_how_many_series_it_serves() -> None:
    """The series of the job families and the time of their last rendering are metrics of their own."""
    own_metrics = OwnMetrics()
    exposition = Exposition(own_metrics, LAYOUT)
    exposition.update("w", {("1", "NONE"): Observed(seeded=True).totals()}, {"1": (Job(), None)})
    assert exposition.snapshot.series == 5
    lines = dict(
        line.rsplit(" ", 1) for line in own_metrics.text().decode().splitlines() if not line.startswith("#")
    )
    assert float(lines["databricks_exporter_series"]) == 5
    assert float(lines["databricks_exporter_render_duration_seconds"]) > 0
