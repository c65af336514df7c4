"""Makers of runs as the API words them, for tests of the pure middle."""

import math
from collections.abc import Collection
from typing import Any

import msgspec

from exporter.databricks.clock import Instant
from exporter.databricks.models import Run, mended
from exporter.exposition.exposition import Exposition
from exporter.families import Family
from exporter.own_metrics import OwnMetrics
from exporter.runs.change_builder import observe
from exporter.runs.changes import Changes, Observation
from exporter.runs.layout import Layout
from exporter.runs.outcomes import RESULTS
from exporter.runs.records import Progress, Settled
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals
from exporter.runs.tracker import Remembered, Tracker

LAYOUT = Layout()
PROGRESS = Progress(counted_from_ms=0, remembered_from_ms=0, first_poll_ms=0, last_good_poll_ms=0)


def run(run_id: int = 1, job_id: int = 10, *, code: str | None = "SUCCESS", **fields: Any) -> Run:
    """A finished run of 100 s; `code` None leaves `status` out; fields are the API's own."""
    body: dict[str, Any] = {
        "run_id": run_id,
        "job_id": job_id,
        "start_time": 1_000_000,
        "end_time": 1_100_000,
        "run_duration": 100_000,
        "setup_duration": 20_000,
        "execution_duration": 79_000,
        "cleanup_duration": 1_000,
    }
    if code is not None:
        body["status"] = {"state": "TERMINATED", "termination_details": {"code": code, "type": "SUCCESS"}}
    return msgspec.convert(mended(body | fields), Run)


def task(
    run_id: int, key: str = "main", *, attempt: int = 0, code: str = "SUCCESS", **fields: Any
) -> dict[str, Any]:
    """A finished task attempt, as an element of `tasks`."""
    return {
        "run_id": run_id,
        "task_key": key,
        "attempt_number": attempt,
        "setup_duration": 5_000,
        "execution_duration": 60_000,
        "cleanup_duration": 0,
        "status": {"state": "TERMINATED", "termination_details": {"code": code}},
    } | fields


def active(run_id: int = 1, job_id: int = 10, state: str = "RUNNING", **fields: Any) -> Run:
    """A run that has not finished."""
    return msgspec.convert(
        {
            "run_id": run_id,
            "job_id": job_id,
            "start_time": 1_000_000,
            "end_time": 0,
            "status": {"state": state},
        }
        | fields,
        Run,
    )


class Books:
    """A tracker with its settled runs beside it, as the state file would keep them."""

    def __init__(self, *, collect_tasks: bool = True, idle_ms: int = 0, **remembered: Any) -> None:
        """`remembered`: what a `Remembered` is made of."""
        self.tracker = Tracker(
            Remembered(**{"progress": PROGRESS} | remembered),
            LAYOUT,
            collect_tasks=collect_tasks,
            idle_ms=idle_ms,
        )
        self.settled: dict[int, Settled] = {}
        # How many series there may be, and what series keys had counted that were dropped since.
        self.limit = math.inf
        self.dropped: list[tuple[SeriesKey, Totals]] = []
        self.lost: set[int] = set()
        self.now = Instant(0, 0)

    def observe(self, *finished: Run, now_ms: int = 0, **observation: Any) -> Changes:
        """Observe finished items of a list and whatever else, and apply what that changes.

        `now_ms` makes it a whole poll at that time; without it no time has passed.
        """
        before = self.tracker.progress
        if now_ms:
            self.now = Instant(now_ms, now_ms)
        return self.take(
            Observation(finished=finished, is_whole_poll=bool(now_ms), **observation),
            msgspec.structs.replace(before, last_good_poll_ms=now_ms) if before and now_ms else None,
        )

    def answer(self, *runs: Run, at_ms: int | None = None, missing: Collection[int] = ()) -> Changes:
        """Observe answers of `runs/get`; those of `missing` say that the run does not exist."""
        if at_ms is not None:
            self.now = Instant(at_ms, at_ms)
        whole: dict[int, Run | None] = {run.run_id: run for run in runs}
        return self.take(Observation(answers=whole | dict.fromkeys(missing)))

    def take(self, observation: Observation, progress: Progress | None = None) -> Changes:
        """Apply what an observation changes."""
        changes = self.changes(observation, progress)
        self.settled.update(changes.settled)
        self.lost |= changes.lost
        self.dropped += [(key, self.tracker.totals[key]) for key in sorted(changes.expired.series_keys)]
        self.tracker.apply(changes)
        return changes

    def changes(self, observation: Observation, progress: Progress | None = None) -> Changes:
        """What an observation changes, not applied; the state store is asked about no other runs."""
        asked = observation.run_ids() | self.tracker.overdue(self.now)
        return observe(
            self.tracker,
            observation,
            {run_id: self.settled[run_id] for run_id in asked & self.settled.keys()},
            progress,
            self.now,
            self.limit - self.tracker.charge(self.now),
        )

    def series(self) -> int:
        """How many series a scrape sees."""
        gauges = self.tracker.active_gauges(self.now)
        exposition = Exposition(OwnMetrics(), LAYOUT)
        jobs = {label: (job, gauges.get(label)) for label, job in self.tracker.jobs.items()}
        exposition.update("w", self.tracker.totals, jobs)
        return exposition.snapshot.series

    def totals(self, label: str = "10", target: str = "NONE") -> Totals:
        """The totals of a series key."""
        return self.tracker.totals[label, target]

    def results(self, family: Family, label: str = "10", target: str = "NONE") -> dict[str, int]:
        """A counter by result, without zeros."""
        first, row = LAYOUT.counters[family.name].first, self.totals(label, target).row
        return {result: int(row[first + i]) for i, result in enumerate(RESULTS) if row[first + i]}

    def observed(self, family: Family, label: str = "10", target: str = "NONE") -> tuple[int, float]:
        """How many observations a histogram holds, and their sum in the family's unit."""
        slots, row = LAYOUT.histograms[family.name], self.totals(label, target).row
        return int(sum(row[slots.first : slots.sum])), row[slots.sum] / family.scale
