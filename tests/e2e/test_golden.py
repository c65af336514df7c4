"""The whole of /metrics for a fixed workspace, as the process serves it.

`UPDATE_GOLDEN=1` writes the golden file anew; read the difference before it is committed.
"""

import os
import subprocess
from itertools import chain, groupby
from pathlib import Path

from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.e2e.process import Exporter, Launcher, total
from tests.programs import program

NOW = 1_780_000_000.0
GOLDEN = Path(__file__).with_name("golden_metrics.txt")
PLACEHOLDER = "127.0.0.1:PORT"


class Clock:
    """Epoch seconds that stand still until the test moves them."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


def furnish(workspace: Workspace) -> None:
    """One run of each kind, all of them near NOW."""
    run, now = workspace.finished_run, NOW
    single = workspace.add_job('load "eu" \\ nightly')
    run(single, start=now - 3600, duration=300, queue=12.5, setup=20, cleanup=1, target="STANDARD")
    multi = workspace.add_job("multi task")
    run(multi, start=now - 3000, duration=600, tasks=3, setup=30, cleanup=2, target="PERFORMANCE_OPTIMIZED")
    retried = workspace.add_job("retried")
    run(retried, start=now - 2900, duration=900, retries=2, setup=100)
    both = workspace.add_job("both targets")
    run(both, start=now - 2000, duration=200, setup=3, target="STANDARD")
    run(both, start=now - 1000, duration=100, setup=3, target="PERFORMANCE_OPTIMIZED", code="DRIVER_ERROR")
    other = workspace.add_job("other endings")
    run(other, start=now - 900, code="MAX_CONCURRENT_RUNS_EXCEEDED")
    run(other, start=now - 800, duration=40, code="USER_CANCELED")
    run(other, start=now - 700, duration=130.25, code="TIMEDOUT")
    run(other, start=now - 1500, duration=10, code="A_WORD_OF_TOMORROW")
    run(81_001, start=now - 600, duration=7, run_type="SUBMIT_RUN", run_name="ad hoc", target="STANDARD")
    run(81_002, start=now - 500, duration=9, run_type="SUBMIT_RUN", run_name="ad hoc", target="STANDARD")
    waiting = workspace.add_job("waiting")
    workspace.active_run(waiting, start=now - 90, state="QUEUED")
    workspace.active_run(waiting, start=now - 60, state="QUEUED")
    workspace.active_run(waiting, start=now - 400, state="RUNNING", target="STANDARD")
    early = workspace.add_job("repaired before it was counted")
    repaired = run(early, start=now - 5000, duration=100, tasks=2, code="RUN_EXECUTION_ERROR")
    workspace.repair(repaired, at=now - 4000)
    workspace.finish_repair(repaired, "SUCCESS", at=now - 3950)


async def repair_a_counted_run(exporter: Exporter, workspace: Workspace, clock: Clock) -> None:
    """Fail a run, let the exporter count it, then repair it, a minute apart."""
    job = workspace.add_job("repaired after it was counted", job_id=79_000)
    run = workspace.finished_run(job, start=NOW - 300, duration=120, tasks=2, code="RUN_EXECUTION_ERROR")
    name, label = "databricks_job_active_runs", str(job)
    await exporter.until(lambda seen: total(seen, "databricks_job_runs_total", job_id=label), "counted")
    clock.now += 60
    workspace.repair(run)
    await exporter.until(lambda seen: total(seen, name, job_id=label, state="RUNNING"), "repair seen")
    clock.now += 60
    workspace.finish_repair(run, "SUCCESS")
    await exporter.until(lambda seen: not total(seen, name, job_id=label), "repair over")


def job_families(body: str, workspace: str) -> str:
    """The families of jobs and tasks, with the workspace's port taken out and the series keys in order."""
    lines = [line for line in body.replace(workspace, PLACEHOLDER).splitlines() if _of_a_job(line)]
    # The order of the series keys is that of the polls' answers; that within one is part of the contract.
    groups = (list(group) for _, group in groupby(lines, key=lambda line: line.startswith("#")))
    ordered = [group if group[0].startswith("#") else sorted(group, key=_series_key) for group in groups]
    return "\n".join(chain.from_iterable(ordered)) + "\n"


def _of_a_job(line: str) -> bool:
    name = line.split(" ")[2] if line.startswith("#") else line
    return name.startswith(("databricks_job_", "databricks_task_"))


def _series_key(line: str) -> list[str]:
    labels = line[line.index("{") + 1 : line.rindex("}")].split(",")
    return [label for label in labels if not label.startswith("le=")]


def lint(body: str) -> tuple[int, str]:
    """What promtool has to say."""
    command = [program("promtool"), "check", "metrics"]
    done = subprocess.run(command, input=body, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


async def test_every_job_and_task_family_is_as_the_contract_says(launch: Launcher) -> None:
    """The job and task families of a fixed workspace are the golden file, and promtool finds no fault."""
    clock = Clock()
    workspace = Workspace(clock)
    furnish(workspace)
    async with SimulatorServer(workspace) as server:
        exporter = await launch.start(server)
        await exporter.until_ready()
        await repair_a_counted_run(exporter, workspace, clock)
        _, body = await exporter.get("/metrics")
        actual = job_families(body, server.url.removeprefix("http://"))
    if os.environ.get("UPDATE_GOLDEN") == "1":
        GOLDEN.write_text(actual)
    assert actual == GOLDEN.read_text()
    assert lint(body) == (0, "")
