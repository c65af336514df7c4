"""The workspace is asked no faster than it was agreed."""

import time

from tests.e2e.process import RUNS, Launcher, total
from tests.faults import Fault, SimulatorServer

RATE, CONCURRENCY = 10, 2


def busiest_second(arrivals: list[float]) -> int:
    """The most arrivals in any second, wherever it begins."""
    return max(sum(first <= arrival < first + 1 for arrival in arrivals) for first in arrivals)


async def test_no_second_sees_more_than_the_rate_and_no_more_are_in_flight_than_agreed(
    server: SimulatorServer, launch: Launcher
) -> None:
    """With many runs to be asked for one by one, neither the rate nor the concurrency limit is exceeded."""
    workspace = server.workspace
    job = workspace.add_job("nightly")
    runs = [workspace.active_run(job, start=time.time() - 60) for _ in range(35)]
    # So few in flight that a busy machine can't bunch what was sent apart.
    limits = (f"--api.rate={RATE}", f"--api.concurrency={CONCURRENCY}", "--poll.interval=500ms")
    exporter = await launch.start(server, *limits, "--api.timeout=30s")
    await exporter.until_ready()
    for run in runs:
        workspace.finish(run)
        workspace.hide(run.run_id)
    slow = server.faults.add(Fault(delay=0.4, endpoint="runs/get", times=6))
    await exporter.until(lambda seen: total(seen, RUNS) == len(runs), "all counted")
    assert len(server.requests.of("runs/get")) >= len(runs)
    assert busiest_second([request.arrival for request in server.requests]) <= RATE * 1.3
    assert (slow.hits, server.requests.peak_in_flight) == (6, CONCURRENCY)
