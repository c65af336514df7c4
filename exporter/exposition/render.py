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
from exporter.families import JOB_LABELS, RUN_FAMILIES, RUN_LABELS, Family
from exporter.runs.records import ActiveGauges, Job
from exporter.runs.series_keys import is_one_off
from exporter.runs.totals import COUNTERS, HISTOGRAMS, SEEDED, SEEDED_SLOTS, Counter, Histogram, Totals

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


def render_totals(key: tuple[str, ...], totals: Totals, wanted: Iterable[Column]) -> list[str]:
    """The lines of a series key (workspace, label, target) in each of these columns."""
    labels = label_text(RUN_LABELS, key)
    return [_of_totals(column, labels, totals) for column in wanted]


def render_job(
    key: tuple[str, ...], value: tuple[Job, ActiveGauges | None], wanted: Iterable[Column]
) -> list[str]:
    """The lines of a job (workspace, label) in each of these columns; None while no run of it is active."""
    (workspace, label), (job, active) = key, value
    lines = _last_run_lines(workspace, label, job)
    labels = label_text(JOB_LABELS, key)
    if not is_one_off(label):
        name = label_text(("job_name",), (job.name or "",))
        lines[families.JOB_INFO] = f"{families.JOB_INFO.name}{{{labels},{name}}} 1\n"
    if active is not None:
        lines |= _active_lines(labels, active)
    return [lines.get(column.family, "") for column in wanted]


def _of_totals(column: Column, labels: str, totals: Totals) -> str:
    family = column.family
    if family.kind == "histogram":
        return _histogram(column, labels, totals)
    if family is families.TERMINATIONS:
        return "".join(
            f"{family.name}{{{labels},{label_text(('code', 'type'), ended)}}} {count}\n"
            for ended, count in sorted(totals.terminations.items())
        )
    return _counter(family, labels, totals, COUNTERS[family.name])


def _histogram(column: Column, labels: str, totals: Totals) -> str:
    family = column.family
    slots, row = HISTOGRAMS[family.name], totals.row
    counts = [*accumulate(map(int, row[slots.first : slots.sum]))]
    count = counts[-1]
    if not count:
        return ""
    numbers: Iterable[object] = counts
    if column.form is Format.OPENMETRICS:
        numbers = chain.from_iterable(zip(counts, _exemplars(totals, slots), strict=True))
    # The labels come last: what is in them is nobody's placeholder.
    return (_TEMPLATES[column] % (*numbers, count, row[slots.sum] / slots.scale)).replace("\0", labels)


def _exemplars(totals: Totals, slots: Histogram) -> Iterator[str]:
    """What stands behind each bucket in OpenMetrics; the value in seconds, then the time."""
    for end_ms, run_id, value_ms in totals.exemplars_of(slots):
        yield f' # {{run_id="{run_id}"}} {value_ms / 1000!r} {end_ms / 1000!r}' if end_ms else ""


def _template(column: Column) -> str:
    """The lines of a histogram with a place for each number, and NUL where the labels go."""
    name, exemplar = column.family.name, "%s" if column.form is Format.OPENMETRICS else ""
    bounds = [*(str(float(bound)) for bound in column.family.buckets), "+Inf"]
    buckets = "".join(f'{name}_bucket{{\0,le="{bound}"}} %d{exemplar}\n' for bound in bounds)
    return f"{buckets}{name}_count{{\0}} %d\n{name}_sum{{\0}} %r\n"


_TEMPLATES = {
    column: _template(column) for column in columns(RUN_FAMILIES, Format) if column.family.kind == "histogram"
}


def _counter(family: Family, labels: str, totals: Totals, slots: Counter) -> str:
    row = totals.row
    if not slots.results:
        return f"{family.name}{{{labels}}} {row[slots.first]:.0f}\n" if row[slots.first] else ""
    seeded = SEEDED_SLOTS if family is families.RUNS and row[SEEDED] else ()
    return "".join(
        f'{family.name}{{{labels},result="{result}"}} {row[slots.first + slot]:.0f}\n'
        for slot, result in enumerate(slots.results)
        if row[slots.first + slot] or slot in seeded
    )


def _last_run_lines(workspace: str, label: str, job: Job) -> dict[Family, str]:
    values: dict[Family, float | None] = {}
    last, success = job.last_run, job.last_success
    lines: dict[Family, str] = {}
    if last is not None:
        phases = last.phases or (None, None, None)
        values = {
            families.LAST_START: _seconds(last.start_ms or None),
            families.LAST_END: _seconds(last.end_ms),
            families.LAST_DURATION: _seconds(last.duration_ms),
            families.LAST_QUEUE: _seconds(last.queue_ms),
            families.LAST_SETUP: _seconds(phases[0]),
            families.LAST_EXECUTION: _seconds(phases[1]),
            families.LAST_CLEANUP: _seconds(phases[2]),
            families.LAST_ATTEMPTS: last.attempts,
            families.LAST_SUCCESS: int(last.success),
            families.LAST_ID: last.run_id,
        }
        labels = label_text(RUN_LABELS, (workspace, label, last.target))
        lines = {
            family: _sample(family, labels, value) for family, value in values.items() if value is not None
        }
    if success is not None:
        labels = label_text(RUN_LABELS, (workspace, label, success.target))
        family = families.LAST_SUCCESS_TIME
        lines[family] = _sample(family, labels, success.end_ms / 1000)
    return lines


def _active_lines(labels: str, active: ActiveGauges) -> dict[Family, str]:
    runs, oldest, queued = families.ACTIVE_RUNS, families.OLDEST_ACTIVE, families.QUEUED_RUNS
    states = [(label_text(("state",), (state,)), seen) for state, seen in sorted(active.states.items())]
    reasons = [(label_text(("reason",), (reason,)), n) for reason, n in sorted(active.queue_reasons.items())]
    return {
        runs: "".join(_sample(runs, f"{labels},{state}", count) for state, (count, _) in states),
        oldest: "".join(
            _sample(oldest, f"{labels},{state}", start_ms / 1000)
            for state, (_, start_ms) in states
            if start_ms
        ),
        queued: "".join(_sample(queued, f"{labels},{reason}", count) for reason, count in reasons),
    }


def _sample(family: Family, labels: str, value: float) -> str:
    return f"{family.name}{{{labels}}} {value!r}\n"


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
