"""From totals and jobs to lines of the exposition. Pure; but for exemplars the same lines serve both formats.

Each function gives one text per column, in the table's order: a line per sample, "" where there is none,
because nothing is exposed before there is something to say.
"""

import re
from collections.abc import Iterable, Iterator
from itertools import accumulate, chain
from typing import NamedTuple

from exporter import families
from exporter.exposition.snapshot import Format
from exporter.families import JOB_LABELS, LAST_RUN_FAMILIES, RUN_LABELS, Family
from exporter.runs.layout import CounterSlots, HistogramSlots, Layout
from exporter.runs.outcomes import RESULTS, SEEDED_RESULTS
from exporter.runs.records import ActiveGauges, Job
from exporter.runs.series_keys import is_job_id
from exporter.runs.totals import Totals

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})
_ESCAPED = re.compile(r'[\\\n"]')


def label_text(names: Iterable[str], values: Iterable[str]) -> str:
    """Labels as they stand between the braces of a sample."""
    return ",".join([f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)])


def _escaped(value: str) -> str:
    return value.translate(_ESCAPES) if _ESCAPED.search(value) else value  # hardly any needs it


class Column(NamedTuple):
    """A family's lines in the body: the same in both formats, but where only one of them has exemplars."""

    family: Family
    form: Format | None


def columns(of: Iterable[Family], forms: Iterable[Format]) -> list[Column]:
    """The columns that bodies in these formats need of these families, in the body's order."""
    wanted = set(forms)
    ordered = [form for form in Format if form in wanted]
    return [Column(family, form) for family in of for form in (ordered if family.exemplars else (None,))]


def heading(family: Family, form: Format) -> str:
    """The lines above a family's samples."""
    name = family.openmetrics_name if form is Format.OPENMETRICS else family.name
    # The table's help texts hold nothing that must be escaped; a test says so.
    return f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n"


class TotalsRenderer:
    """Renders the totals of one layout."""

    def __init__(self, layout: Layout) -> None:
        self.families = layout.families
        self._layout = layout
        self._templates = {
            column: _template(column)
            for column in columns(layout.families, Format)
            if column.family.kind == "histogram"
        }

    def render(self, key: tuple[str, ...], totals: Totals, wanted: Iterable[Column]) -> list[str]:
        """The lines of a series key (workspace, label, target) in each of these columns."""
        labels = label_text(RUN_LABELS, key)
        return [self._lines(column, labels, totals) for column in wanted]

    def _lines(self, column: Column, labels: str, totals: Totals) -> str:
        family = column.family
        if family.kind == "histogram":
            return self._histogram(column, labels, totals)
        if family.words is not None:
            return _open_counter(family, labels, totals)
        return _counter(labels, totals, self._layout.counters[family.name])

    def _histogram(self, column: Column, labels: str, totals: Totals) -> str:
        slots, row = self._layout.histograms[column.family.name], totals.row
        counts = [*accumulate(map(int, row[slots.first : slots.sum]))]
        count = counts[-1]
        if not count:
            return ""
        numbers: Iterable[object] = counts
        if column.form is Format.OPENMETRICS:
            numbers = chain.from_iterable(zip(counts, _exemplars(totals, slots), strict=True))
        # The labels come last, so that nothing in them is taken for a placeholder.
        text = self._templates[column] % (*numbers, count, row[slots.sum] / column.family.scale)
        return text.replace("\0", labels)


def render_job(
    key: tuple[str, ...], value: tuple[Job, ActiveGauges | None], wanted: Iterable[Column]
) -> list[str]:
    """The lines of a job (workspace, label) in each of these columns; None while no run of it is active."""
    (workspace, label), (job, active) = key, value
    lines = _last_run_lines(workspace, label, job)
    labels = label_text(JOB_LABELS, key)
    if is_job_id(label):
        lines[families.JOB_INFO] = _sample(families.JOB_INFO, labels, 1, job.name or "")
    if active is not None:
        lines |= _active_lines(labels, active)
    return [lines.get(column.family, "") for column in wanted]


def _open_counter(family: Family, labels: str, totals: Totals) -> str:
    counts = sorted(totals.words.get(family.name, {}).items())
    return "".join(_sample(family, labels, count, *words) for words, count in counts)


def _counter(labels: str, totals: Totals, slots: CounterSlots) -> str:
    family, row = slots.family, totals.row
    if not family.results:
        return f"{family.name}{{{labels}}} {row[slots.first]:.0f}\n" if row[slots.first] else ""
    seeded = _SEEDED_SLOTS if family.seeded and totals.seeded else ()
    return "".join(
        f'{family.name}{{{labels},{family.labels[-1]}="{result}"}} {row[slots.first + slot]:.0f}\n'
        for slot, result in enumerate(family.results)
        if row[slots.first + slot] or slot in seeded
    )


def _exemplars(totals: Totals, slots: HistogramSlots) -> Iterator[str]:
    """What stands behind each bucket in OpenMetrics; the value in seconds, then the time."""
    for end_ms, run_id, value_ms in totals.exemplars_of(slots):
        yield f' # {{run_id="{run_id}"}} {value_ms / 1000!r} {end_ms / 1000!r}' if end_ms else ""


def _template(column: Column) -> str:
    """The lines of a histogram with a place for each number, and NUL where the labels go."""
    name, exemplar = column.family.name, "%s" if column.form is Format.OPENMETRICS else ""
    bounds = [*(str(float(bound)) for bound in column.family.buckets), "+Inf"]
    buckets = "".join(f'{name}_bucket{{\0,le="{bound}"}} %d{exemplar}\n' for bound in bounds)
    return f"{buckets}{name}_count{{\0}} %d\n{name}_sum{{\0}} %r\n"


_SEEDED_SLOTS = frozenset(RESULTS.index(result) for result in SEEDED_RESULTS)


def _last_run_lines(workspace: str, label: str, job: Job) -> dict[Family, str]:
    lines: dict[Family, str] = {}
    if (last := job.last_run) is not None:
        labels = label_text(RUN_LABELS, (workspace, label, last.target))
        for family in LAST_RUN_FAMILIES:
            if family.value is not None and (value := family.value(last)) is not None:
                lines[family] = _sample(family, labels, value)
    if (success := job.last_success) is not None:
        family = families.LAST_SUCCESS_TIME
        labels = label_text(RUN_LABELS, (workspace, label, success.target))
        lines[family] = _sample(family, labels, success.end_ms / 1000)
    return lines


def _active_lines(labels: str, active: ActiveGauges) -> dict[Family, str]:
    runs, oldest, queued = families.ACTIVE_RUNS, families.OLDEST_ACTIVE, families.QUEUED_RUNS
    states, reasons = sorted(active.states.items()), sorted(active.queue_reasons.items())
    return {
        runs: "".join(_sample(runs, labels, count, state) for state, (count, _) in states),
        oldest: "".join(
            _sample(oldest, labels, start_ms / 1000, state) for state, (_, start_ms) in states if start_ms
        ),
        queued: "".join(_sample(queued, labels, count, reason) for reason, count in reasons),
    }


def _sample(family: Family, labels: str, value: float, *further: str) -> str:
    """One line; `further`: the values of the family's last labels, which `labels` does not hold."""
    if further:
        labels = f"{labels},{label_text(family.labels[-len(further) :], further)}"
    return f"{family.name}{{{labels}}} {value!r}\n"
