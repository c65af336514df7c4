"""Runs that are in neither list of a poll once they end, and faults that meet one run alone."""

from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace
from tests.e2e.process import PATIENCE_SECONDS, POLLS, RUNS, Exporter, Launcher, Samples, access, total
from tests.faults import Fault, SimulatorServer

PENDING = "databricks_exporter_pending_runs"
UP = "databricks_up"
# Far before the overlap of polls, within the lookback of a first poll and the window of a sweep.
LONG_SECONDS = 3 * 3600.0


def long_runs(workspace: Workspace, count: int, **shape: int) -> list[Run]:
    """Active runs, each of a job of its own, that started long ago."""
    start = workspace.clock() - LONG_SECONDS
    return [
        workspace.active_run(workspace.add_job(f"long {number}"), start=start + number, **shape)  # type: ignore[arg-type]
        for number in range(count)
    ]


def recent_run(workspace: Workspace, job: int | None = None) -> Run:
    """A run that has just ended: what started before it is too old for the next poll's list."""
    return workspace.finished_run(workspace.add_job("recent") if job is None else job, duration=5)


def finish(workspace: Workspace, *runs: Run) -> None:
    for run in runs:
        workspace.finish(run)


def break_run(server: SimulatorServer, run: Run, fault: Fault) -> Fault:
    """Let a fault meet every answer about one run, and nothing else."""
    fault.run_id = run.run_id
    return server.faults.add(fault)


async def start(
    launch: Launcher, server: SimulatorServer, *arguments: str, seconds: float = PATIENCE_SECONDS
) -> Exporter:
    """An exporter with the settings that it is shipped with, once it is ready."""
    exporter = await launch.spawn(*arguments, env=access(server)).listening()
    await exporter.until_ready(seconds)
    return exporter


def counted(samples: Samples, run: Run) -> float:
    """How often runs of this run's job were counted."""
    return total(samples, RUNS, job_id=str(run.job_id))


def good_polls(samples: Samples) -> float:
    return total(samples, POLLS, result="success")


def assert_all_is_well(samples: Samples) -> None:
    """No poll has failed, and the workspace is up."""
    assert total(samples, POLLS, result="error") == 0
    assert total(samples, UP) == 1
