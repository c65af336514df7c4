"""From totals and jobs to lines of the exposition. Pure; the same lines serve both text formats.

Each function gives one text per family, in the table's order: a line per sample, "" where there is none,
because nothing is exposed before there is something to say.
"""

from collections.abc import Iterable
from itertools import accumulate

from exporter import families
from exporter.accounting.records import ActiveGauges, Job, LabelSet
from exporter.accounting.totals import COUNTERS, HISTOGRAMS, SEEDED, SEEDED_SLOTS, Counter, Histogram, Totals
from exporter.accounting.tracker import is_one_off
from exporter.families import JOB_FAMILIES, JOB_LABELS, LABEL_SET_FAMILIES, RUN_LABELS, Family

_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


def label_text(names: Iterable[str], values: Iterable[str]) -> str:
    """Labels as they stand between the braces of a sample."""
    return ",".join(
        f'{name}="{value.translate(_ESCAPES)}"' for name, value in zip(names, values, strict=True)
    )


def render_totals(workspace: str, label_set: LabelSet, totals: Totals) -> tuple[str, ...]:
    """The lines of a label set, per family of `LABEL_SET_FAMILIES`."""
    labels = label_text(RUN_LABELS, (workspace, *label_set))
    return tuple(_of_totals(family, labels, totals) for family in LABEL_SET_FAMILIES)


def render_job(workspace: str, label: str, job: Job, active: ActiveGauges | None) -> tuple[str, ...]:
    """The lines of a job, per family of `JOB_FAMILIES`; `active` is None while none of its runs is."""
    lines = _last_run_lines(workspace, label, job)
    labels = label_text(JOB_LABELS, (workspace, label))
    if not is_one_off(label):
        name = label_text(("job_name",), (job.name or "",))
        lines[families.JOB_INFO] = f"{families.JOB_INFO.name}{{{labels},{name}}} 1\n"
    if active is not None:
        lines |= _active_lines(labels, active)
    return tuple(lines.get(family, "") for family in JOB_FAMILIES)


def _of_totals(family: Family, labels: str, totals: Totals) -> str:
    if family.kind == "histogram":
        return _histogram(family, labels, totals, HISTOGRAMS[family.name])
    if family is families.TERMINATIONS:
        return "".join(
            f"{family.name}{{{labels},{label_text(('code', 'type'), ended)}}} {count}\n"
            for ended, count in sorted(totals.terminations.items())
        )
    return _counter(family, labels, totals, COUNTERS[family.name])


def _histogram(family: Family, labels: str, totals: Totals, slots: Histogram) -> str:
    counts = list(accumulate(totals.row[slots.first : slots.sum]))
    if not counts[-1]:
        return ""
    name = family.name
    buckets = "".join(
        f'{name}_bucket{{{labels},le="{float(bound)}"}} {count:.0f}\n'
        for bound, count in zip(family.buckets, counts, strict=False)
    )
    return (
        f'{buckets}{name}_bucket{{{labels},le="+Inf"}} {counts[-1]:.0f}\n'
        f"{name}_count{{{labels}}} {counts[-1]:.0f}\n"
        f"{name}_sum{{{labels}}} {totals.row[slots.sum] / slots.scale!r}\n"
    )


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
