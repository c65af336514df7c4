#!/usr/bin/env python3
"""A month of a workspace's life in some minutes: does anything grow, leak or go wrong in the end?

The simulated workspace's clock takes a step with each poll of a real exporter process, and the exporter's own
wall clock with it: only what both say is past is forgotten. In every step runs
start, end, come and go unseen, are repaired, listed late and deleted; jobs come, fall silent and are dropped
as idle; sweeps run beside the polls. Afterwards come longer steps, past the 70 days for which settled runs
are remembered, to show that the state file stops growing. What the exporter must have counted is recounted
here, from what was done to the workspace.
"""

import argparse
import asyncio
import math
import random
import sys
from collections import Counter
from collections.abc import Callable
from heapq import heappop, heappush
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from processes import Exporter, WallClock, exporting, until, verdict
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator.runs import Run
from exporter.simulator.server import SimulatorServer
from exporter.simulator.traffic import Request, RequestLog
from exporter.simulator.workspace import Workspace

BEGIN = 1_790_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
STEP = 15 * 60.0
LATER_STEP = 6 * HOUR
REMEMBERED_DAYS = 70
IDLE_HOURS = 48
# Longer than anything that is still to come of what has happened.
CALM_DAYS = 0.5
TARGETS = (None, "STANDARD", "PERFORMANCE_OPTIMIZED")
RESULT_OF = {"SUCCESS": "SUCCESS", "RUN_EXECUTION_ERROR": "FAILED", "USER_CANCELED": "CANCELED"}
# Memory and files are taken as flat from here on: before, caches fill and the first of everything is met.
SETTLED_IN = 1 / 3
MOST_GROWTH_MB = 8.0
SWEEPS_OF_A_LATE_RUN_SECONDS = 3 * HOUR

Key = tuple[str, str, str]  # job, target, result


class Job(NamedTuple):
    """A job that starts runs about every `every` seconds until `ends`."""

    job_id: int
    target: str | None
    every: float
    ends: float


class Life:
    """The workspace, what happens in it by a seeded generator, and what must be counted of it."""

    def __init__(self, jobs: int, seed: int) -> None:
        self.now = BEGIN
        self.workspace = Workspace(lambda: self.now, encoded_runs=5000)
        self.runs: Counter[Key] = Counter()
        self.repairs: Counter[Key] = Counter()
        self.lost = 0
        self.deeds: Counter[str] = Counter()
        # Repairs and the like need steps shorter than themselves, or nobody can say what must be counted.
        self.eventful = True
        self.starting = True
        self._chance = random.Random(seed)
        self._due: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()
        self.lasting: set[str] = set()
        for number in range(jobs):
            job = self._job(f"lasting {number}", self._chance.uniform(HOUR, 6 * HOUR), math.inf)
            self.lasting.add(str(job.job_id))

    def step(self, seconds: float) -> None:
        """Move the clock and do what has become due by then."""
        end = self.now + seconds
        while self._due and self._due[0][0] <= end:
            at, _, deed = heappop(self._due)
            self.now = max(self.now, at)
            deed()
        self.now = end

    def hire(self) -> None:
        """A new job, which falls silent after some days."""
        self.deeds["jobs that came and fell silent"] += 1
        self._job("passing", 3 * HOUR, self.now + self._chance.uniform(1, 4) * DAY)

    def _job(self, name: str, every: float, ends: float) -> Job:
        job = Job(self.workspace.add_job(name), self._chance.choice(TARGETS), every, ends)
        self._at(self._chance.uniform(0, every), lambda: self._start(job))
        return job

    def _at(self, seconds: float, deed: Callable[[], None]) -> None:
        heappush(self._due, (self.now + seconds, next(self._order), deed))

    def _start(self, job: Job) -> None:
        if self.now > job.ends:
            return
        self._at(job.every * self._chance.uniform(0.5, 1.5), lambda: self._start(job))
        if not self.starting:
            return
        length = self._chance.expovariate(1 / (HOUR / 2))
        if length > STEP:
            run = self.workspace.active_run(job.job_id, target=job.target, tasks=self._chance.randint(1, 4))
            self._at(length, lambda: self._end(job, run))
            return
        code = self._code()
        run = self.workspace.finished_run(
            job.job_id, start=self.now, duration=length, target=job.target, code=code, setup=5
        )
        if self.eventful and self._chance.random() < 0.02:
            self.deeds["runs listed late"] += 1
            self.workspace.hide(run.run_id)
            self._at(SWEEPS_OF_A_LATE_RUN_SECONDS, lambda: self.workspace.show(run.run_id))
            self.runs[self._key(job, code)] += 1
        else:
            self._count(job, run, code)

    def _code(self) -> str:
        return self._chance.choices(list(RESULT_OF), (90, 7, 3))[0]

    def _key(self, job: Job, code: str) -> Key:
        return str(job.job_id), job.target or "NONE", RESULT_OF[code]

    def _end(self, job: Job, run: Run) -> None:
        if self.eventful and self._chance.random() < 0.01:
            self.deeds["active runs deleted"] += 1
            self.lost += 1
            self.workspace.delete(run.run_id)
            return
        code = self._code()
        self.workspace.finish(run, code)
        self._count(job, run, code)

    def _count(self, job: Job, run: Run, code: str) -> None:
        self.runs[self._key(job, code)] += 1
        fate = self._chance.random()
        if not self.eventful:
            return
        if code != "SUCCESS" and fate < 0.5:
            self._at(self._chance.uniform(1, 8) * HOUR, lambda: self._repair(job, run))
        elif fate < 0.05:
            self.deeds["finished runs deleted"] += 1
            self._at(self._chance.uniform(2, 200) * HOUR, lambda: self.workspace.delete(run.run_id))

    def _repair(self, job: Job, run: Run) -> None:
        self.deeds["repairs"] += 1
        self.workspace.repair(run)
        # Longer than a step, it is seen at work; shorter, only a sweep can find it.
        self._at(self._chance.uniform(60, 2 * STEP), lambda: self._end_repair(job, run))

    def _end_repair(self, job: Job, run: Run) -> None:
        code = self._code()
        self.workspace.finish_repair(run, code)
        self.repairs[self._key(job, code)] += 1


class Steps(RequestLog):
    """Takes a step with the first request of each poll, so that the whole of a poll sees one instant."""

    def __init__(self) -> None:
        super().__init__()
        self.polls = 0
        self.stepping: Callable[[], None] | None = None
        self._seen: set[str] = set()

    def begin(self, request: Request) -> None:
        """Remember a request."""
        super().begin(request)
        lists = {"active_only", "expand_tasks"} & request.query.keys()
        if request.endpoint != "runs/list" or "page_token" in request.query or not lists:
            return
        if not self._seen or lists & self._seen:
            self._seen.clear()
            self.polls += 1
            if self.stepping is not None:
                self.stepping()
        self._seen |= lists


class Day(NamedTuple):
    """What the kernel said at the end of a simulated day."""

    number: float
    memory_mb: float
    file_descriptors: int
    state_mb: float
    log_mb: float
    remembered_runs: float


class Soak:
    """One exporter in one life."""

    def __init__(self, life: Life, steps: Steps, exporter: Exporter, clock: WallClock) -> None:
        self.life, self.steps, self.exporter, self.clock = life, steps, exporter, clock
        self.days: list[Day] = []

    async def live(self, days: float, step: float) -> None:
        """So many days in steps of so many seconds, one with each poll."""
        end = self.life.now + days * DAY
        next_day = self.life.now + min(DAY, days * DAY / 6)

        def move() -> None:
            if self.life.now < end:
                self.life.step(step)
                self.clock.set(self.life.now)

        self.steps.stepping = move
        while self.life.now < end:
            if self.life.now >= next_day:
                next_day += min(DAY, days * DAY / 6)
                await self.note()
                for _ in range(2 if self.life.eventful else 0):
                    self.life.hire()
            self.exporter.check_alive()
            await asyncio.sleep(0.02)
        self.steps.stepping = None

    async def note(self) -> None:
        """Write down what the exporter takes now."""
        samples = await self.scrape()
        self.days.append(
            Day(
                (self.life.now - BEGIN) / DAY,
                self.exporter.memory_mb(),
                self.exporter.file_descriptors(),
                self.exporter.state_mb(),
                self.exporter.log_mb(),
                total(samples, "databricks_exporter_tracked_runs"),
            )
        )
        day = self.days[-1]
        said = (
            f"{day.memory_mb:6.1f} MB, {day.file_descriptors} file descriptors, state {day.state_mb:.2f} MB"
        )
        print(f"day {day.number:5.1f}: {said}, {day.remembered_runs:,.0f} runs remembered", flush=True)

    async def scrape(self) -> "Samples":
        """What it serves now."""
        status, body = await asyncio.to_thread(self.exporter.get, "/metrics")
        assert status == 200, status
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(body)
            for sample in family.samples
        }

    async def calm(self) -> "Samples":
        """Let everything that is under way end, the last sweep too; what is served then, and stays so."""
        await self.live(CALM_DAYS, STEP)
        # What has no end yet but a planned one is over then.
        self.life.starting = False
        await self.live(2 * STEP / DAY, STEP)
        self.life.starting = True
        wanted = sum(self.life.runs.values())
        for _ in range(200):
            if total(await self.scrape(), SETTLED) >= wanted:
                break
            await self.polls(2)
        await self.polls(20)
        return await self.scrape()

    async def polls(self, number: int) -> None:
        """Wait for so many more polls."""
        wanted = self.steps.polls + number
        while self.steps.polls < wanted:
            self.exporter.check_alive()
            await asyncio.sleep(0.02)


Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
SETTLED = "databricks_exporter_runs_settled_total"
RUNS = "databricks_job_runs_total"
REPAIRS = "databricks_job_run_repairs_total"


def total(samples: Samples, name: str) -> float:
    """The sum of the samples of a name."""
    return sum(value for (sample, _), value in samples.items() if sample == name)


def counted(samples: Samples, name: str, jobs: set[str]) -> Counter[Key]:
    """What was counted for these jobs, zeros left out."""
    found: Counter[Key] = Counter()
    for (sample, labels), value in samples.items():
        label = dict(labels)
        if sample == name and value and label["job_id"] in jobs:
            found[label["job_id"], label["effective_performance_target"], label["result"]] = int(value)
    return found


def of_jobs(counts: Counter[Key], jobs: set[str]) -> Counter[Key]:
    return Counter({key: number for key, number in counts.items() if key[0] in jobs})


def check(life: Life, samples: Samples) -> list[str]:
    """What is not as it must be."""
    wrong: list[str] = []

    def compare(what: str, wanted: object, had: object) -> None:
        if wanted != had:
            wrong.append(f"{what}: {had} instead of {wanted}")

    compare("runs settled", sum(life.runs.values()), total(samples, SETTLED))
    compare("runs lost", life.lost, total(samples, "databricks_exporter_runs_lost_total"))
    compare("decode errors", 0, total(samples, "databricks_exporter_decode_errors_total"))
    failed = {key: value for key, value in samples.items() if key[0] == "databricks_exporter_polls_total"}
    compare("failed polls", 0, sum(v for (_, labels), v in failed.items() if ("result", "error") in labels))
    for name, wanted in ((RUNS, life.runs), (REPAIRS, life.repairs)):
        expected, had = of_jobs(wanted, life.lasting), counted(samples, name, life.lasting)
        for key in expected.keys() | had.keys():
            compare(f"{name} of {'/'.join(key)}", expected[key], had[key])
    return wrong


def report(soak: Soak, settled_in: int, exact: list[str]) -> str:
    """The figures, each beside what it must be."""
    life, days = soak.life, soak.days
    half = settled_in + (len(days) - settled_in) // 2
    earlier, later, last = days[settled_in:half], days[half:], days[-1]
    memory = [sum(day.memory_mb for day in part) / len(part) for part in (earlier, later)]
    descriptors = [max(day.file_descriptors for day in part) for part in (earlier, later)]
    state = max(day.state_mb for day in days)
    log = max(day.log_mb for day in days)
    full = [day.state_mb for day in days if day.number > REMEMBERED_DAYS + 2] or [last.state_mb]
    per_run = 1e6 * last.state_mb / last.remembered_runs
    deeds = ", ".join(f"{number:,} {what}" for what, number in sorted(life.deeds.items()))
    targets = {
        "totals exact": (
            not exact,
            f"{sum(life.runs.values()):,} runs, {sum(life.repairs.values()):,} repairs",
        ),
        f"memory flat, less than {MOST_GROWTH_MB:g} MB more in the later half": (
            memory[1] - memory[0] < MOST_GROWTH_MB,
            f"{memory[0]:.1f} MB, then {memory[1]:.1f} MB",
        ),
        "file descriptors flat, no more in the later half": (
            descriptors[1] <= descriptors[0] + 1,
            f"at most {descriptors[0]}, then {descriptors[1]}",
        ),
        f"state file does not grow beyond {REMEMBERED_DAYS} days of runs": (
            max(full) <= full[0] * 1.05,
            f"at most {state:.2f} MB and a log of {log:.2f} MB, at the end {per_run:.0f} bytes for each run",
        ),
    }
    return "\n".join(
        [
            f"{last.number:.0f} days in {soak.steps.polls:,} polls; {deeds}",
            f"CPU {soak.exporter.cpu_seconds():.0f} s, peak memory {soak.exporter.peak_mb():.1f} MB",
            *(f"target: {what}: {verdict(good=good)} ({told})" for what, (good, told) in targets.items()),
            *exact[:20],
        ]
    )


async def benchmark(days: float, after: float, jobs: int, seed: int) -> bool:
    """Live through it all; whether the totals are exact."""
    life, steps = Life(jobs, seed), Steps()
    server = SimulatorServer(life.workspace)
    server.requests = steps
    async with server:
        flags = (
            "--poll.interval=50ms",
            "--poll.lookback=0s",
            "--poll.sweep-interval=1s",
            f"--limits.idle={IDLE_HOURS}h",
            "--api.rate=100000",
        )
        # While this starts and ends a process, the simulated workspace stands still; nothing minds.
        with TemporaryDirectory() as folder:
            clock = WallClock(Path(folder) / "clock", life.now)
            with exporting(server.url, *flags, clock=clock) as exporter:
                exact = await soaked(Soak(life, steps, exporter, clock), days, after)
    return not exact


async def soaked(soak: Soak, days: float, after: float) -> list[str]:
    """Live through it all and say what that took; what is not exact in the end."""
    exporter, life = soak.exporter, soak.life
    await asyncio.to_thread(until, lambda: exporter.get("/-/ready")[0] == 200, "the exporter is ready")
    await soak.live(days, STEP)
    settled_in = int(len(soak.days) * SETTLED_IN)
    life.eventful = False
    exact = check(life, await soak.calm())
    if after:
        await soak.live(after, LATER_STEP)
        exact += check(life, await soak.calm())
    await soak.note()
    print(report(soak, settled_in, exact))
    return exact


def main() -> int:
    """Exit code 1 where a total is not exact."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--days", type=float, default=30, help="in steps of 15 minutes, one with each poll")
    parser.add_argument("--after", type=float, default=75, help="more days, in steps of 6 hours")
    parser.add_argument("--jobs", type=int, default=40)
    parser.add_argument("--seed", type=int, default=1)
    return 0 if asyncio.run(benchmark(**vars(parser.parse_args()))) else 1


if __name__ == "__main__":
    sys.exit(main())
