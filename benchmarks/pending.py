#!/usr/bin/env python3
"""How fast runs are settled that ended while the exporter was away and are in no list of a poll any more.

Each needs a request of its own (`runs/get`), so `api.rate` is the most that is possible. The exporter is as
it is shipped, all settings at their defaults; the polls go on beside and must all succeed.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from processes import Exporter, exporting, until, verdict
from prometheus_client.parser import text_string_to_metric_families
from simulated import Simulated, simulated

from exporter.config import ApiSettings
from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace

AGE_SECONDS = 3 * 3600.0
JOBS = 50
TARGET_PART = 0.8
SCRAPE_EVERY_SECONDS = 1.0


def fill(workspace: Workspace, runs: int) -> list[Run]:
    """Runs that have been active for hours, and one that has just ended."""
    jobs = [workspace.add_job(f"job {number}") for number in range(JOBS)]
    begin = workspace.clock() - AGE_SECONDS
    active = [
        workspace.active_run(jobs[number % JOBS], start=begin + number % 3600, tasks=2)
        for number in range(runs)
    ]
    workspace.finished_run(jobs[0], duration=5)
    return active


def end_all(workspace: Workspace, runs: list[Run]) -> None:
    """Let all of them end now."""
    for run in runs:
        workspace.finish(run)
    workspace.finished_run(runs[0].job_id, duration=5)


def sample(exporter: Exporter, name: str, **labels: str) -> float:
    """The sum of the samples with this name and these labels."""
    _, body = exporter.get("/metrics")
    return sum(
        each.value
        for family in text_string_to_metric_families(body)
        for each in family.samples
        if each.name == name and labels.items() <= each.labels.items()
    )


def measure(simulator: Simulated, active: list[Run], state: Path) -> tuple[float, float, float, float]:
    """Seconds from the first request to the last settled run, failed polls, good ones, and peak memory."""
    with exporting(simulator.url, state=state) as exporter:
        until(exporter.is_ready, "the first poll", 300)
    simulator.do(lambda: end_all(simulator.server.workspace, active))
    simulator.do(simulator.server.requests.clear)
    with exporting(simulator.url, state=state) as exporter:
        until(
            lambda: simulator.do(lambda: bool(simulator.server.requests.of("runs/get"))), "the first request"
        )
        began = time.monotonic()
        deadline = began + len(active)  # one a second is far too slow
        while (settled := sample(exporter, "databricks_exporter_runs_settled_total")) < len(active):
            if time.monotonic() > deadline:
                raise SystemExit(f"only {settled:g} runs were settled")
            time.sleep(SCRAPE_EVERY_SECONDS)
        seconds = time.monotonic() - began
        failed = sample(exporter, "databricks_exporter_polls_total", result="error")
        good = sample(exporter, "databricks_exporter_polls_total", result="success")
        return seconds, failed, good, exporter.peak_mb()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=10_000)
    arguments = parser.parse_args()
    workspace = Workspace()
    active = fill(workspace, arguments.runs)
    with simulated(workspace) as simulator, tempfile.TemporaryDirectory() as folder:
        seconds, failed, good, memory = measure(simulator, active, Path(folder) / "pending.db")
    rate = ApiSettings().rate
    per_second = arguments.runs / seconds
    print(f"runs that ended while it was away:   {arguments.runs:,}")
    print(f"settled within:                      {seconds:.0f} s")
    print(f"settled per second, api.rate:        {per_second:.1f}, {rate:g}")
    print(f"good polls meanwhile, failed ones:   {good:g}, {failed:g}")
    print(f"peak memory:                         {memory:.0f} MB")
    fast, all_good = per_second >= TARGET_PART * rate, failed == 0 and good > 0
    print(f"target: at least {TARGET_PART:.0%} of api.rate: {verdict(good=fast)}")
    print(f"target: every poll good: {verdict(good=all_good)}")
    return 0 if fast and all_good else 1


if __name__ == "__main__":
    sys.exit(main())
