"""What one finished run, repair or task attempt adds to the totals. Pure.

What is observed, and by which rule, stands in `families.py`; here it is worked through family by family.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence

from exporter.databricks.models import HistoryItem, Run, Task
from exporter.families import Family, Subject
from exporter.runs import durations, outcomes
from exporter.runs.layout import EXEMPLAR_LENGTH, SEEDED, CounterSlots, HistogramSlots, Layout
from exporter.runs.records import LastRun
from exporter.runs.totals import Totals


def executed(run: Run, slot: int) -> bool:
    """Whether a finished run with this result executed: not skipped, and with a duration above 0."""
    return slot != outcomes.SKIPPED_SLOT and durations.run_duration_ms(run) > 0


def last_run(run: Run, slot: int, target: str) -> LastRun:
    """What a finished run with this result measured."""
    return LastRun(
        end_ms=durations.ended_ms(run),
        run_id=run.run_id,
        target=target,
        start_ms=int(max(run.start_time or 0, 0)),
        duration_ms=durations.run_duration_ms(run),
        queue_ms=durations.queue_duration_ms(run),
        phases=durations.job_phases(run),
        attempts=durations.attempts(run),
        success=slot in outcomes.SUCCESS_SLOTS,
    )


class Counting:
    """Adds runs, repairs and task attempts to totals of one layout."""

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self._run_histograms = self._histograms("run")
        self._run_counters = self._counters("run")
        self._run_words = [family for family in layout.families if family.subject == "run" and family.words]
        self._repair_counters = self._counters("repair")
        self._task_histograms = self._histograms("task")
        self._task_counters = self._counters("task")

    def count_run(
        self,
        totals: Totals,
        run: Run,
        *,
        executed: bool,
        bounded: Callable[[Family, tuple[str, ...]], tuple[str, ...]],
    ) -> None:
        """Add a finished run, without its tasks; `bounded` keeps open words within their limits."""
        row = totals.row
        row[SEEDED] = 1
        for counter, slot_of in self._run_counters:
            if (slot := slot_of(run)) is not None:
                row[counter.first + slot] += 1.0
        for family in self._run_words:
            if family.words is not None:
                words = family.words(run)
                if words not in totals.words.get(family.name, ()):
                    words = bounded(family, words)
                totals.count_words(family.name, words)
        if not executed:
            return
        for slots, value_of in self._run_histograms:
            if (value := value_of(run)) is None:
                continue
            bucket = bisect_left(slots.bounds, value)
            row[slots.first + bucket] += 1.0
            row[slots.sum] += value
            if slots.exemplars is not None:
                at = slots.exemplars + EXEMPLAR_LENGTH * bucket
                totals.note_exemplar(at, durations.ended_ms(run), run.run_id, value)

    def count_repair(self, totals: Totals, repair: HistoryItem) -> None:
        """Add a finished repair of a run that was counted before."""
        for slots, slot_of in self._repair_counters:
            if (slot := slot_of(repair)) is not None:
                totals.row[slots.first + slot] += 1.0

    def count_tasks(self, totals: Totals, tasks: Sequence[Task]) -> None:
        """Add finished task attempts of one target.

        Most of the CPU time of a first poll goes here, so one family is worked through at a time.
        """
        row = totals.row
        results = [outcomes.result_slot(task) for task in tasks]
        for counter, slot_of in self._task_counters:
            slots = results if slot_of is outcomes.result_slot else [slot_of(task) for task in tasks]
            for slot in set(slots):
                if slot is not None:
                    row[counter.first + slot] += slots.count(slot)
        executed = [
            task
            for task, result in zip(tasks, results, strict=True)
            if result != outcomes.SKIPPED_SLOT and durations.has_phases(task)
        ]
        for histogram, value_of in self._task_histograms:
            if histogram.exemplars is not None:
                _observe_with_exemplars(totals, histogram, executed, value_of)
                continue
            first, bounds, total = histogram.first, histogram.bounds, 0.0
            for value in map(value_of, executed):
                if value is not None:
                    row[first + bisect_left(bounds, value)] += 1.0
                    total += value
            row[histogram.sum] += total

    def _histograms(
        self, subject: Subject
    ) -> list[tuple[HistogramSlots, Callable[[Run | Task], float | None]]]:
        return [
            (slots, slots.family.value)
            for slots in self.layout.histograms.values()
            if slots.family.subject == subject and slots.family.value is not None
        ]

    def _counters(
        self, subject: Subject
    ) -> list[tuple[CounterSlots, Callable[[Run | Task | HistoryItem], int | None]]]:
        return [
            (slots, slots.family.slot)
            for slots in self.layout.counters.values()
            if slots.family.subject == subject and slots.family.slot is not None
        ]


def _observe_with_exemplars(
    totals: Totals, slots: HistogramSlots, tasks: Iterable[Task], value_of: Callable[[Task], float | None]
) -> None:
    row, exemplars, bounds, total = totals.row, totals.exemplars, slots.bounds, 0.0
    first, begin = slots.first, slots.exemplars or 0
    for task in tasks:
        if (value := value_of(task)) is None:
            continue
        bucket = bisect_left(bounds, value)
        row[first + bucket] += 1.0
        total += value
        at, end_ms = begin + EXEMPLAR_LENGTH * bucket, task.end_time or 0
        if end_ms >= exemplars[at] and task.run_id is not None:
            totals.note_exemplar(at, int(end_ms), task.run_id, value)
    row[slots.sum] += total
