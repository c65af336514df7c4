#!/usr/bin/env python3
"""Whether a poll gets through a list of thousands of active runs, with all settings at their defaults.

Three workspaces: runs that started over some minutes and can be read in slices side by side; runs that all
started in one instant, whose pages come one after another; and one finished run of thousands of attempts,
each page of it slow, that must hold up no poll.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from pending import sample
from processes import Exporter, exporting, until, verdict
from simulated import Simulated, simulated

from exporter.simulator.workspace import Workspace

LIST_PAGE_SECONDS = 0.15
RUN_PAGE_SECONDS = 2.0
AGE_SECONDS = 3 * 3600.0
OVER_SECONDS = 600.0
# To read a scrape keeps the simulator, a thread of this process, from its work.
SCRAPE_EVERY_SECONDS = 3.0
MOST_SECONDS, MOST_INSTANT_SECONDS = 40.0, 90.0


class Outcome(NamedTuple):
    """How long the first poll took after the first request, and how many polls failed."""

    seconds: float
    failed: float
    active: float


def poll_seconds(exporter: Exporter) -> float:
    return sample(exporter, "databricks_exporter_poll_duration_seconds_sum")


def read_active(runs: int, over_seconds: float, state: Path) -> Outcome:
    """A second poll, like every later one: the first one lists the active runs once more."""
    workspace = Workspace()
    jobs = [workspace.add_job(f"job {number}") for number in range(min(runs, 1000))]
    begin = workspace.clock() - AGE_SECONDS
    workspace.finished_run(jobs[0], start=begin, duration=5)
    with simulated(workspace) as simulator, exporting(simulator.url, state=state) as exporter:
        until(exporter.is_ready, "the first poll")

        def queue_all() -> None:
            for number in range(runs):
                workspace.active_run(
                    jobs[number % len(jobs)], start=begin + over_seconds * number / runs, state="QUEUED"
                )
            simulator.delays["runs/list"] = LIST_PAGE_SECONDS

        simulator.do(queue_all)
        before = poll_seconds(exporter)
        polls = good_polls(exporter)
        until(
            lambda: sample(exporter, "databricks_job_active_runs") == runs,
            "all are seen",
            400,
            SCRAPE_EVERY_SECONDS,
        )
        until(lambda: good_polls(exporter) > polls, "the poll is over", pause=SCRAPE_EVERY_SECONDS)
        seconds = (poll_seconds(exporter) - before) / (good_polls(exporter) - polls)
        return Outcome(seconds, failed_polls(exporter), sample(exporter, "databricks_job_active_runs"))


def good_polls(exporter: Exporter) -> float:
    return sample(exporter, "databricks_exporter_polls_total", result="success")


def failed_polls(exporter: Exporter) -> float:
    return sample(exporter, "databricks_exporter_polls_total", result="error")


def read_large(attempts: int, state: Path) -> Outcome:
    """How long it takes until a run of so many attempts is counted, each page of which is slow."""
    workspace = Workspace()
    job = workspace.add_job("large")
    workspace.finished_run(job, duration=5)
    with simulated(workspace) as simulator, exporting(simulator.url, state=state) as exporter:
        until(exporter.is_ready, "the first poll")
        add = _adding(simulator, workspace, job, attempts)
        simulator.do(add)
        began = time.monotonic()
        until(
            lambda: sample(exporter, "databricks_task_runs_total") == attempts + 1,
            "the run is counted",
            600,
            SCRAPE_EVERY_SECONDS,
        )
        return Outcome(time.monotonic() - began, failed_polls(exporter), 0)


def _adding(simulator: Simulated, workspace: Workspace, job: int, attempts: int) -> Callable[[], None]:
    def add() -> None:
        simulator.delays["runs/get"] = RUN_PAGE_SECONDS
        workspace.finished_run(job, tasks=attempts, duration=300, code="RUN_EXECUTION_ERROR")

    return add


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=12_000)
    parser.add_argument("--attempts", type=int, default=4_000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spread = read_active(arguments.runs, OVER_SECONDS, folder / "spread.db")
        print(f"{arguments.runs:,} active runs, started over ten minutes: read in {spread.seconds:.0f} s")
        instant = read_active(arguments.runs, 0, folder / "instant.db")
        print(f"{arguments.runs:,} active runs, started in one instant:   read in {instant.seconds:.0f} s")
        large = read_large(arguments.attempts, folder / "large.db")
        print(
            f"one run of {arguments.attempts:,} attempts:                    counted in {large.seconds:.0f} s"
        )
    fast = spread.seconds <= MOST_SECONDS
    fast_enough = instant.seconds <= MOST_INSTANT_SECONDS
    all_good = not (spread.failed or instant.failed or large.failed)
    print(f"target: started over ten minutes, within {MOST_SECONDS:g} s: {verdict(good=fast)}")
    print(f"target: started in one instant, within {MOST_INSTANT_SECONDS:g} s: {verdict(good=fast_enough)}")
    print(f"target: every poll good: {verdict(good=all_good)}")
    return 0 if fast and fast_enough and all_good else 1


if __name__ == "__main__":
    sys.exit(main())
