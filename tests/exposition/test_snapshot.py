"""The bytes that scrapes get: one whole rendering, plain or as one gzip member, swapped in at once."""

import asyncio
import shutil
import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.accounting.records import ActiveGauges, Job
from exporter.accounting.totals import Totals
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import EMPTY, Format, Snapshot
from exporter.families import FAMILIES, JOB_INFO, RUNS
from exporter.instruments import Instruments
from exporter.settings import Settings
from exporter.web import WebServer
from tests.exposition import Observed, exposed

own_bytes = st.binary(max_size=200)
contents = st.lists(st.tuples(st.sampled_from(FAMILIES), st.binary(max_size=300)), max_size=5).map(tuple)
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))


def unpacked(body: bytes) -> bytes:
    """The content of one gzip member, as curl and wget read it: checked, and with nothing behind it."""
    reader = zlib.decompressobj(wbits=31)
    plain = reader.decompress(body)
    assert reader.eof, "the checksum and the size are there and right"
    assert reader.unused_data == b""
    assert reader.unconsumed_tail == b""
    return plain


def many_jobs(count: int) -> Exposition:
    totals = Observed(seeded=True).totals()
    return exposed(
        "adb-1.2.test",
        {(str(number), "STANDARD"): totals for number in range(count)},
        {str(number): (Job(name=f"job {number} «é»"), None) for number in range(count)},
    )


@pytest.mark.parametrize("form", Format)
@unhurried
@given(contents, own_bytes, own_bytes)
def test_a_gzip_body_is_one_member_with_the_plain_body_in_it(
    form: Format, families: tuple[tuple[object, bytes], ...], own: bytes, later: bytes
) -> None:
    """However often and with whatever own metrics it is asked for, the packed body is the plain one."""
    snapshot = Snapshot(families, 0)  # type: ignore[arg-type]  # mypy forgets the element type in .map(tuple)
    for metrics in (own, later, b""):
        assert unpacked(b"".join(snapshot.gzipped(form, metrics))) == b"".join(snapshot.plain(form, metrics))


def test_a_large_body_is_packed_whole() -> None:
    """Several megabytes come out as they went in, and much smaller."""
    snapshot = many_jobs(5_000).snapshot
    plain = b"".join(snapshot.plain(Format.TEXT, b"own 1\n"))
    packed = b"".join(snapshot.gzipped(Format.TEXT, b"own 1\n"))
    assert len(plain) > 2_000_000
    assert unpacked(packed) == plain
    assert len(packed) < len(plain) / 8


def test_the_formats_differ_in_the_names_of_counters_only() -> None:
    """OpenMetrics announces a counter without `_total`; the samples are the same bytes."""
    snapshot = many_jobs(3).snapshot
    text, openmetrics = (b"".join(snapshot.plain(form, b"")).decode() for form in Format)
    assert f"# TYPE {RUNS.name} counter\n" in text
    assert f"# TYPE {RUNS.name.removesuffix('_total')} counter\n" in openmetrics
    assert f"# TYPE {JOB_INFO.name} gauge\n" in openmetrics
    assert text == openmetrics.replace(f" {RUNS.name.removesuffix('_total')} ", f" {RUNS.name} ")


def test_the_own_metrics_come_last() -> None:
    """What is made at the scrape follows the job families, as OpenMetrics' end mark must."""
    assert EMPTY.plain(Format.OPENMETRICS, b"# EOF\n") == [b"# EOF\n"]
    assert b"".join(many_jobs(1).snapshot.plain(Format.OPENMETRICS, b"# EOF\n")).endswith(b"} 1\n# EOF\n")


def test_what_is_packed_already_stays_packed_after_a_commit() -> None:
    """Who asked for gzip once does not wait for the packing of later snapshots; nobody else's is made."""
    exposition = many_jobs(2)
    before = exposition.snapshot
    assert not before.has_deflated(Format.TEXT)
    before.gzipped(Format.TEXT, b"")
    exposition.update("adb-1.2.test", {}, {"1": (Job(name="renamed"), None)})
    after = exposition.snapshot
    assert after is not before
    assert (after.has_deflated(Format.TEXT), after.has_deflated(Format.OPENMETRICS)) == (True, False)
    assert b'job_name="renamed"' in unpacked(b"".join(after.gzipped(Format.TEXT, b"")))


def test_a_snapshot_in_use_never_changes() -> None:
    """A scrape that began before a commit ends with what it began with."""
    exposition = many_jobs(2)
    snapshot = exposition.snapshot
    before = snapshot.plain(Format.TEXT, b"")
    exposition.update(
        "adb-1.2.test",
        {("1", "STANDARD"): Totals()},
        {"1": (Job(), ActiveGauges({"RUNNING": (1, 1)}, {}))},
    )
    assert snapshot.plain(Format.TEXT, b"") == before
    assert exposition.snapshot.plain(Format.TEXT, b"") != before


def test_the_exporter_says_how_many_series_it_serves() -> None:
    """The series of the job families and the time of their last rendering are metrics of their own."""
    instruments = Instruments()
    exposition = Exposition(instruments)
    exposition.update("w", {("1", "NONE"): Observed(seeded=True).totals()}, {"1": (Job(), None)})
    assert exposition.snapshot.series == 5
    lines = dict(
        line.rsplit(" ", 1) for line in instruments.text().decode().splitlines() if not line.startswith("#")
    )
    assert float(lines["databricks_exporter_series"]) == 5
    assert float(lines["databricks_exporter_render_duration_seconds"]) > 0


@pytest.mark.skipif(shutil.which("curl") is None, reason="there is no curl to read it with")
@pytest.mark.parametrize("accept", ["text/plain", "application/openmetrics-text"])
async def test_curl_reads_a_packed_body_to_its_end(accept: str) -> None:
    """`curl --compressed` gets every line of the job families and of the exporter's own."""
    exposition = many_jobs(2_000)
    web_settings = Settings.from_layers({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(web_settings, None, exposition, Instruments(), []).listening() as address:
        bodies = []
        for more in ([], ["--compressed"]):
            curl = await asyncio.create_subprocess_exec(
                "curl", "-sSf", *more, "-H", f"Accept: {accept}", f"http://{address}/metrics",
                stdout=asyncio.subprocess.PIPE,
            )  # fmt: skip
            output, _ = await curl.communicate()
            assert curl.returncode == 0
            bodies.append(output)
    form = Format.OPENMETRICS if "openmetrics" in accept else Format.TEXT
    jobs = b"".join(exposition.snapshot.plain(form, b""))
    assert all(body.startswith(jobs) for body in bodies)
    own = [body.removeprefix(jobs).decode() for body in bodies]
    assert all("\ndatabricks_exporter_build_info{" in text for text in own)
    assert len(own[0].splitlines()) == len(own[1].splitlines())
