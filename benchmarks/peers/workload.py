"""The jobs that every peer exposes: the project's own families, filled as busy jobs have them. Pure.

Each job is a function of seed and number alone. It has one performance target and one task, so that no
family is empty: 175 series. All durations are multiples of 125 ms, which makes every sum exact in binary
and so the same in every peer, in whatever order it adds.
"""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import NamedTuple

from exporter import families
from exporter.families import JOB_FAMILIES, RUN_FAMILIES, Family
from exporter.runs.outcomes import SEEDED_RESULTS

WORKSPACE = "adb-1234567890123456.7.azuredatabricks.net"
TARGETS = ("STANDARD", "PERFORMANCE_OPTIMIZED", "NONE")
SERIES_PER_JOB = 175
FEWEST_RUNS, MOST_RUNS = 20, 100
STEP_MS = 125
FIRST_START_MS = 1_760_000_000_000
HOUR_MS = 3_600_000


class Run(NamedTuple):
    """One finished run of a single task, with its task's phases as its own."""

    run_id: int
    start_ms: int
    queue_ms: int
    phases_ms: tuple[int, int, int]
    attempts: int
    success: bool
    repaired: bool

    @property
    def duration_ms(self) -> int:
        return sum(self.phases_ms)

    @property
    def end_ms(self) -> int:
        return self.start_ms + self.queue_ms + self.duration_ms


class Job(NamedTuple):
    """Who a job is, and how long its phases take in the middle."""

    job_id: str
    target: str
    name: str
    typical_ms: tuple[float, float, float]


def series_keys(series: int) -> int:
    """How many jobs make at least so many series."""
    return -(-series // SERIES_PER_JOB)


def job(seed: int, number: int) -> Job:
    """The job of this number."""
    chance = Random(f"{seed} job {number}")
    job_id = chance.randrange(10**14, 10**15)
    name = f"{chance.choice(('ingest', 'clean', 'train', 'report', 'export'))} {number} nightly"
    setup, execution, cleanup = (
        1000 * math.exp(chance.uniform(math.log(least), math.log(most))) for least, most in _TYPICAL_S
    )
    return Job(str(job_id), TARGETS[number % len(TARGETS)], name, (setup, execution, cleanup))


_TYPICAL_S = ((2, 300), (20, 7200), (0.5, 10))


def runs(seed: int, number: int, typical: Job) -> list[Run]:
    """The runs of a job up to now. The first failed, was retried and repaired, so that nothing is missing."""
    chance = Random(f"{seed} runs {number}")
    history = [_run(chance, typical, hour) for hour in range(chance.randint(FEWEST_RUNS, MOST_RUNS))]
    history[0] = history[0]._replace(attempts=3, success=False, repaired=True)
    history[-1] = history[-1]._replace(success=True)
    return history


def later_run(seed: int, number: int, typical: Job, step: int) -> Run:
    """The run that ends after change number `step`."""
    return _run(Random(f"{seed} run {number} {step}"), typical, MOST_RUNS + step)


def _run(chance: Random, typical: Job, hour: int) -> Run:
    setup, execution, cleanup = (_rounded(ms * chance.lognormvariate(0, 0.3)) for ms in typical.typical_ms)
    return Run(
        run_id=chance.randrange(10**14, 10**15),
        start_ms=FIRST_START_MS + hour * HOUR_MS + STEP_MS * chance.randrange(8000),
        queue_ms=0 if chance.random() < 0.7 else STEP_MS * chance.randrange(1, 1600),
        phases_ms=(setup, execution, cleanup),
        attempts=1 if chance.random() < 0.95 else 2,
        success=chance.random() < 0.95,
        repaired=chance.random() < 0.01,
    )


def _rounded(milliseconds: float) -> int:
    return STEP_MS * max(1, round(milliseconds / STEP_MS))


# --- what is exposed of them


def observations(history: list[Run]) -> dict[Family, list[float]]:
    """What each histogram observes, in seconds (attempts in attempts)."""
    setup, execution, cleanup = ([run.phases_ms[phase] / 1000 for run in history] for phase in range(3))
    return {
        families.RUN_DURATION: [run.duration_ms / 1000 for run in history],
        families.RUN_QUEUE: [run.queue_ms / 1000 for run in history],
        families.RUN_SETUP: setup,
        families.RUN_EXECUTION: execution,
        families.RUN_CLEANUP: cleanup,
        families.RUN_ATTEMPTS: [float(run.attempts) for run in history],
        families.TASK_SETUP: setup,
        families.TASK_EXECUTION: execution,
        families.TASK_CLEANUP: cleanup,
    }


def counts(history: list[Run]) -> dict[tuple[Family, tuple[str, ...]], int]:
    """What each counter adds, by the labels beside those of the series key; seeded results may add 0."""
    added: dict[tuple[Family, tuple[str, ...]], int] = {
        (families.RUNS, (result,)): 0 for result in SEEDED_RESULTS
    }
    for run in history:
        result = "SUCCESS" if run.success else "FAILED"
        ended = (result, "SUCCESS") if run.success else ("RUN_EXECUTION_ERROR", "CLIENT_ERROR")
        steps: list[tuple[tuple[Family, tuple[str, ...]], int]] = [
            ((families.RUNS, (result,)), 1),
            ((families.TERMINATIONS, ended), 1),
            ((families.REPAIRS, ("SUCCESS",)), int(run.repaired)),
            ((families.TASK_RUNS, (result,)), 1),
            ((families.TASK_RUNS, ("FAILED",)), run.attempts - 1),
            ((families.TASK_RETRIES, ()), run.attempts - 1),
        ]
        for key, more in steps:
            if more:
                added[key] = added.get(key, 0) + more
    return added


def gauges(history: list[Run]) -> dict[Family, float]:
    """What each last-run gauge shows."""
    last, success = history[-1], [run for run in history if run.success][-1]
    setup, execution, cleanup = (phase_ms / 1000 for phase_ms in last.phases_ms)
    return {
        families.LAST_START: last.start_ms / 1000,
        families.LAST_END: last.end_ms / 1000,
        families.LAST_DURATION: last.duration_ms / 1000,
        families.LAST_QUEUE: last.queue_ms / 1000,
        families.LAST_SETUP: setup,
        families.LAST_EXECUTION: execution,
        families.LAST_CLEANUP: cleanup,
        families.LAST_ATTEMPTS: last.attempts,
        families.LAST_SUCCESS: int(last.success),
        families.LAST_ID: last.run_id,
        families.LAST_SUCCESS_TIME: success.end_ms / 1000,
    }


# --- the same for peers that know neither the table nor the jobs


def write_samples(path: Path, seed: int, many: int) -> None:
    """A line of JSON per family, an empty line, then one per child: its family, its labels, its numbers.

    A histogram's numbers are its observations; a counter or a gauge has one, its value.
    """
    table = [*RUN_FAMILIES, *JOB_FAMILIES]
    with path.open("w", encoding="utf-8") as file:
        for family in table:
            name = family.name if family.kind != "counter" else family.openmetrics_name
            facts = {"kind": family.kind, "help": family.help, "labels": family.labels}
            file.write(json.dumps({"name": name, **facts, "buckets": family.buckets}) + "\n")
        file.write("\n")
        for number in range(many):
            for family, labels, numbers in _children(seed, number):
                file.write(json.dumps([table.index(family), labels, numbers]) + "\n")


def _children(seed: int, number: int) -> Iterator[tuple[Family, tuple[str, ...], list[float]]]:
    typical = job(seed, number)
    history = runs(seed, number, typical)
    labels = (WORKSPACE, typical.job_id, typical.target)
    for family, observed in observations(history).items():
        yield family, labels, observed
    for (family, more), count in counts(history).items():
        yield family, (*labels, *more), [count]
    for family, value in gauges(history).items():
        yield family, labels, [value]
    yield families.JOB_INFO, (WORKSPACE, typical.job_id, typical.name), [1]
