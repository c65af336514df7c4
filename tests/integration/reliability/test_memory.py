"""Answers far too large, many at once: the exporter gives them up within a bounded memory."""

from pathlib import Path

import pytest

from exporter.databricks.client import MAX_BODIES_BYTES
from tests.e2e import recount
from tests.e2e.conftest import launch, server
from tests.e2e.process import Exporter, Launcher, total
from tests.faults import SimulatorServer, fault_of

__all__ = ["launch", "server"]

AT_ONCE = 8
# What the process needs without any answer, and what is read but not handed over yet, with room to spare.
REST = 200 * 2**20


def peak_memory(exporter: Exporter) -> int:
    """The most that a process has held in memory, in bytes."""
    lines = Path(f"/proc/{exporter.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


@pytest.mark.parametrize("damage", ["huge body", "gzip bomb"])
async def test_many_answers_of_200_megabytes_at_once_cost_bounded_memory(
    server: SimulatorServer, launch: Launcher, damage: str
) -> None:
    """Plain or packed, they are given up and told; the exporter lives on and counts every run."""
    job = server.workspace.add_job("nightly")
    runs = [server.workspace.active_run(job) for _ in range(AT_ONCE)]
    exporter = await launch.start(server, "--api.timeout=10s", f"--api.concurrency={AT_ONCE}")
    await exporter.until_ready()
    fault = server.faults.add(fault_of(damage, endpoint="runs/get", times=AT_ONCE))
    for run in runs:
        server.workspace.finish(run)
        server.workspace.hide(run.run_id)
    samples = await exporter.until(
        lambda seen: recount.counted_runs(seen) == recount.runs(server.workspace.truth()), "all counted"
    )
    assert fault.hits == AT_ONCE
    assert total(samples, "databricks_exporter_api_retries_total", endpoint="runs/get") > 0
    assert total(samples, "databricks_exporter_runs_lost_total") == 0
    assert peak_memory(exporter) < MAX_BODIES_BYTES + REST
