"""Job and task totals as the exposition takes them, made up by hypothesis or by hand, and what it serves."""

import random
import zlib
from dataclasses import dataclass, field

from hypothesis import strategies as st

from exporter.exposition import chunks
from exporter.exposition.chunks import Chunk
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Body, Format, Snapshot
from exporter.families import TERMINATIONS
from exporter.own_metrics import OwnMetrics
from exporter.runs.durations import Phases
from exporter.runs.layout import SEEDED, Layout
from exporter.runs.outcomes import RESULTS
from exporter.runs.records import ActiveGauges, Job, LastRun, LastSuccess
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals

LAYOUT = Layout()

# What the escaping, the parsers and the line ends could stumble over; lone surrogates never get this far.
LETTERS = 'aZ09_-., {}=#%\\"\n\r\t\0\x85\u2028é€\U0001f600'
texts = st.text(LETTERS, max_size=8)
words = texts | st.sampled_from(["STANDARD", "PERFORMANCE_OPTIMIZED", "NONE", '\\"', "\\n", "\\\\n", "# EOF"])
job_labels = st.integers(1, 2**53).map(str) | st.sampled_from(["SUBMIT_RUN", "WORKFLOW_RUN"])
milliseconds = st.integers(0, 10**11)
# How many there are in the large exposition.
LABEL_SETS = 400


@dataclass
class Observed:
    """What happened under one series key: the plain list that the totals are to say the same as."""

    values: dict[str, list[int]] = field(default_factory=dict)
    counts: dict[tuple[str, str], int] = field(default_factory=dict)
    terminations: dict[tuple[str, str], int] = field(default_factory=dict)
    seeded: bool = False

    def totals(self) -> Totals:
        totals = Totals.empty(LAYOUT)
        for name, values in self.values.items():
            slots = LAYOUT.histograms[name]
            for value in values:
                totals.row[slots.first + sum(bound < value for bound in slots.bounds)] += 1
                totals.row[slots.sum] += value
        for (name, result), count in self.counts.items():
            slot = RESULTS.index(result) if result else 0
            totals.row[LAYOUT.counters[name].first + slot] += count
        for ended, count in self.terminations.items():
            for _ in range(count):
                totals.count_words(TERMINATIONS.name, ended)
        totals.row[SEEDED] = float(self.seeded)
        return totals


def _counts() -> st.SearchStrategy[dict[tuple[str, str], int]]:
    keys = [
        (name, result)
        for name, counter in LAYOUT.counters.items()
        for result in counter.family.results or ("",)
    ]
    return st.dictionaries(st.sampled_from(keys), st.integers(1, 3), max_size=6)


observed = st.builds(
    Observed,
    st.dictionaries(
        st.sampled_from(list(LAYOUT.histograms)), st.lists(milliseconds, min_size=1, max_size=4), max_size=4
    ),
    _counts(),
    st.dictionaries(st.tuples(words, words), st.integers(1, 3), max_size=3),
    st.booleans(),
)
last_runs = st.builds(
    LastRun,
    milliseconds,
    st.integers(1, 2**53),
    words,
    milliseconds,
    st.none() | milliseconds | st.floats(0, 1e11),
    milliseconds,
    st.none() | st.builds(Phases, milliseconds, milliseconds, milliseconds),
    st.integers(1, 5000),
    st.booleans(),
)
last_successes = st.builds(LastSuccess, milliseconds, st.integers(1, 2**53), words)
jobs = st.builds(Job, st.none() | words, st.none() | texts, st.booleans(), st.none() | last_runs,
                 st.none() | last_successes)  # fmt: skip
active_gauges = st.builds(
    ActiveGauges,
    st.dictionaries(words, st.tuples(st.integers(1, 9), milliseconds), max_size=3),
    st.dictionaries(words, st.integers(1, 9), max_size=3),
)


def exposed(
    workspace: str,
    totals: dict[SeriesKey, Totals],
    jobs: dict[str, tuple[Job, ActiveGauges | None]] | None = None,
) -> Exposition:
    exposition = Exposition(OwnMetrics(), LAYOUT)
    exposition.update(workspace, totals, jobs or {})
    return exposition


def snapshot_in(exposition: Exposition, form: Format) -> Snapshot:
    """What a scrape in this format gets."""
    return exposition.ready(form) or exposition.prepare(form)


def sent(body: Body) -> bytes:
    """Every byte of a body, as many as it says."""
    whole = b"".join(body.parts)
    assert len(whole) == body.length
    return whole


def plain(exposition: Exposition, form: Format, own: bytes = b"") -> bytes:
    return sent(snapshot_in(exposition, form).plain(form, own))


def packed(exposition: Exposition, form: Format, own: bytes = b"") -> bytes:
    return sent(snapshot_in(exposition, form).gzipped(form, own))


def lines_of(chunk: Chunk) -> bytes:
    """The lines of a chunk."""
    return b"".join(chunks.unpacked([chunk.data], 2**16))


def unpacked(body: bytes) -> bytes:
    """The content of one gzip member, as curl and wget read it: checked, and with nothing behind it."""
    reader = zlib.decompressobj(wbits=31)
    content = reader.decompress(body)
    assert reader.eof, "the checksum and the size are there and right"
    assert reader.unused_data == b""
    assert reader.unconsumed_tail == b""
    return content


def large() -> Exposition:
    """Some megabytes that do not pack too well, in a hundred groups, with exemplars."""
    chance = random.Random(7)
    totals: dict[tuple[str, str], Totals] = {}
    for number in range(LABEL_SETS):
        values = {name: [chance.randrange(10**8) for _ in range(3)] for name in LAYOUT.histograms}
        what = Observed(values, {("databricks_job_runs_total", "FAILED"): 1}, seeded=True).totals()
        for slots in LAYOUT.histograms.values():
            if slots.exemplars is not None:
                what.note_exemplar(slots.exemplars + 3 * 5, 1_780_000_000_000 + number, number + 1, 100_000)
        totals[str(number), "STANDARD"] = what
    jobs: dict[str, tuple[Job, ActiveGauges | None]] = {
        str(number): (Job(name=f"job {number} «é» \\ \"'", last_run=LastRun(
            chance.randrange(10**12), number + 1, "STANDARD", 1, 5, 0, None, 1, success=True)), None)
        for number in range(LABEL_SETS)
    }  # fmt: skip
    return exposed("adb-1.2.test", totals, jobs)
