"""The exporter without its polling: totals as the tracker holds them, the real exposition and web server.

All that knows the insides of the exporter is `_Exporter`.
"""

import asyncio
import gc
import json
import os
import sys
import time
from bisect import bisect_left
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from io import FileIO
from random import Random
from typing import Any, TypeVar

from exporter.cli import GC_THRESHOLD, SWITCH_SECONDS  # also for the memory of all that it imports
from exporter.config import Settings
from exporter.config.addresses import ListenAddress
from exporter.exposition.chunk_cache import Render
from exporter.exposition.exposition import Exposition
from exporter.exposition.render import TotalsRenderer, columns, render_job
from exporter.exposition.snapshot import Format
from exporter.families import JOB_FAMILIES, RUN_FAMILIES, Family
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.runs.durations import Phases
from exporter.runs.layout import Layout
from exporter.runs.records import Job, LastRun, LastSuccess
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals
from exporter.server.pages import WebServer, WorkspaceView
from peers import workload
from peers.processes import forget_peak, say
from peers.workload import WORKSPACE

TICK_SECONDS = 0.001
V = TypeVar("V")


class _Exporter:
    """A workspace's worth of totals and jobs, and what serves them."""

    def __init__(self, seed: int, many: int) -> None:
        self._seed = seed
        self._layout = Layout()
        self.start_afresh()
        self._totals: dict[SeriesKey, Totals] = {}
        self._jobs: dict[str, Job] = {}
        self._series_keys: list[SeriesKey] = []
        self._steps = 0
        for number in range(many):
            job = workload.job(seed, number)
            runs = workload.runs(seed, number, job)
            self._series_keys.append((job.job_id, job.target))
            self._settle(job, runs, Totals.empty(self._layout))

    def start_afresh(self) -> None:
        """With nothing rendered yet, as after a restart."""
        self._own_metrics = OwnMetrics()
        self._exposition = Exposition(self._own_metrics, self._layout)

    def settle_later_runs(self, numbers: Iterable[int]) -> list[SeriesKey]:
        """One more run of each of these jobs; the series keys that it changed."""
        self._steps += 1
        changed = []
        for number in numbers:
            job = workload.job(self._seed, number)
            run = workload.later_run(self._seed, number, job, self._steps)
            series_key = self._series_keys[number]
            self._settle(job, [run], self._totals[series_key].copy())
            changed.append(series_key)
        return changed

    def publish(self, changed: list[SeriesKey] | None = None) -> None:
        """Serve these series keys and their jobs as they are now, or all of them."""
        series_keys = self._series_keys if changed is None else changed
        totals = {series_key: self._totals[series_key] for series_key in series_keys}
        jobs = {label: (self._jobs[label], None) for label, _ in series_keys}
        self._exposition.update(WORKSPACE, totals, jobs)

    def render(self, form: Format) -> int:
        """Every line of one format, not compressed and not kept; how many bytes they are."""
        render_totals = TotalsRenderer(self._layout).render
        rendered = [
            *zip(*self._rendered(render_totals, self._totals.items(), RUN_FAMILIES, form), strict=True),
            *zip(*self._rendered(render_job, self._labelled(), JOB_FAMILIES, form), strict=True),
        ]
        return sum(len("".join(lines).encode()) for lines in rendered)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        """The address of the real web server while the context is open."""
        settings = Settings()
        web = settings.web.model_copy(update={"listen_address": ListenAddress("127.0.0.1", 0)})
        workspace = WorkspaceMetrics(self._own_metrics, WORKSPACE, settings.poll.interval)
        view = WorkspaceView(workspace, lambda: True, time.monotonic)
        server = WebServer(
            settings.model_copy(update={"web": web}), None, self._exposition, self._own_metrics, [view]
        )
        async with server.listening() as address:
            yield address

    def _labelled(self) -> Iterable[tuple[tuple[str], tuple[Job, None]]]:
        return (((label,), (job, None)) for label, job in self._jobs.items())

    @staticmethod
    def _rendered(
        render: Render[V], values: Iterable[tuple[tuple[str, ...], V]], of: Iterable[Family], form: Format
    ) -> list[Iterable[str]]:
        wanted = columns(of, [form])
        return [render((WORKSPACE, *key), value, wanted) for key, value in values]

    def _settle(self, job: workload.Job, runs: list[workload.Run], totals: Totals) -> None:
        for family, values in workload.observations(runs).items():
            slots = self._layout.histograms[family.name]
            for value in values:
                observed = value * family.scale
                totals.row[slots.first + bisect_left(slots.bounds, observed)] += 1
                totals.row[slots.sum] += observed
        totals.seed()
        for (family, labels), count in workload.counts(runs).items():
            if family.words is None:
                slot = family.results.index(labels[0]) if labels else 0
                totals.row[self._layout.counters[family.name].first + slot] += count
            else:
                for _ in range(count):
                    totals.count_words(family.name, labels)
        self._totals[job.job_id, job.target] = totals
        before = self._jobs.get(job.job_id)
        last = runs[-1]
        successes = [LastSuccess(run.end_ms, run.run_id, job.target) for run in runs if run.success]
        self._jobs[job.job_id] = Job(
            target=job.target,
            name=job.name,
            named_by_list=True,
            last_run=LastRun(
                end_ms=last.end_ms,
                run_id=last.run_id,
                target=job.target,
                start_ms=last.start_ms,
                duration_ms=last.duration_ms,
                queue_ms=last.queue_ms,
                phases=Phases(*last.phases_ms),
                attempts=last.attempts,
                success=last.success,
            ),
            last_success=successes[-1] if successes else before.last_success if before else None,
        )


# --- what it does on command


class _Ticker:
    """Finds the longest time that the event loop kept a task waiting.

    On a machine that is shared, some of it is the kernel running another process while the loop could run:
    the longest is given with and without that (the second number of /proc/…/schedstat, in nanoseconds).
    """

    def __init__(self) -> None:
        self._longest = self._longest_own = 0.0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._longest = self._longest_own = 0.0
        self._task = asyncio.create_task(self._tick(), name="tick")

    async def stop(self) -> dict[str, float]:
        """The longest stalls in milliseconds."""
        assert self._task is not None
        await asyncio.sleep(2 * TICK_SECONDS)
        self._task.cancel()
        return {"ms": 1000 * self._longest, "own_ms": 1000 * self._longest_own}

    async def _tick(self) -> None:
        with open("/proc/thread-self/schedstat", "rb", buffering=0) as schedstat:  # noqa: ASYNC230, PTH123
            before, waited_before = time.perf_counter(), _waited_seconds(schedstat)
            while True:
                await asyncio.sleep(TICK_SECONDS)
                now, waited = time.perf_counter(), _waited_seconds(schedstat)
                stall = now - before - TICK_SECONDS
                self._longest = max(self._longest, stall)
                self._longest_own = max(self._longest_own, stall - (waited - waited_before))
                before, waited_before = now, waited


def _waited_seconds(schedstat: FileIO) -> float:
    return int(os.pread(schedstat.fileno(), 100, 0).split()[1]) / 1e9


def _chosen(chance: Random, many: int, changed: int, *, adjacent: bool) -> Iterable[int]:
    """Which jobs had a run since the last poll."""
    if not adjacent:
        return sorted(chance.sample(range(many), changed))
    first = chance.randrange(many - changed + 1)
    return range(first, first + changed)


async def _serve(seed: int, many: int) -> None:
    exporter = _Exporter(seed, many)
    chance = Random(seed)
    gc.collect()
    gc.freeze()  # as the exporter does with what it restores
    forget_peak()
    while True:
        async with exporter.listening() as address:
            say(address=address)
            if not await _obeyed(exporter, chance, many):
                return
        exporter.start_afresh()
        gc.collect()


async def _obeyed(exporter: _Exporter, chance: Random, many: int) -> bool:
    """Do what standard input says; True when it says to start afresh, False when it ends."""
    ticker = _Ticker()
    changed: list[SeriesKey] | None = None
    while line := await asyncio.to_thread(sys.stdin.readline):
        command: dict[str, Any] = json.loads(line)
        match command["do"]:
            case "settle":  # the tracker's part of a poll, not measured here
                numbers = _chosen(chance, many, command["changed"], adjacent=command["adjacent"])
                changed = exporter.settle_later_runs(numbers)
                say(settled=len(changed))
            case "publish":
                began, cpu = time.perf_counter(), time.process_time()
                await asyncio.to_thread(exporter.publish, changed)
                say(cpu=time.process_time() - cpu, seconds=time.perf_counter() - began)
            case "render":
                cpu = time.process_time()
                size = exporter.render(Format[command["form"]])
                say(cpu=time.process_time() - cpu, size=size)
            case "watch":
                await ticker.start()
                say(watching=True)
            case "stall":
                say(**await ticker.stop())
            case "start afresh":
                return True
    return False


def main() -> None:
    """Fill, listen, and do what standard input says until it ends."""
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(GC_THRESHOLD)
    asyncio.run(_serve(*map(int, sys.argv[1:])))
