import math
import time
from pathlib import Path

from exporter.simulator.server import SimulatorServer
from tests.e2e.process import Launcher, wait_for
from tests.e2e.prometheus import Prometheus, prometheus, scrape_of

QUANTILE = (
    "histogram_quantile(0.95, sum by (le, effective_performance_target) "
    "(rate(databricks_job_run_duration_seconds_bucket[5m])))"
)


async def test_prometheus_draws_a_quantile_from_what_it_scrapes(
    server: SimulatorServer, launch: Launcher, tmp_path: Path
) -> None:
    """A real Prometheus scrapes the exporter and answers with a quantile of the run duration by target."""
    workspace = server.workspace
    job = workspace.add_job("nightly")
    for target in ("STANDARD", "PERFORMANCE_OPTIMIZED"):
        workspace.finished_run(job, start=time.time() - 300, duration=200, target=target)
    exporter = await launch.start(server)
    await exporter.until_ready()
    async with prometheus(tmp_path, {"scrape_configs": [scrape_of(exporter.url)]}) as asked:
        answer = await _quantiles(server, job, asked)
    assert answer.keys() <= {"STANDARD", "PERFORMANCE_OPTIMIZED"}
    # Every run lasts 200 s: the bucket from 120 to 300.
    assert all(120 < seconds <= 300 for seconds in answer.values())


async def _quantiles(server: SimulatorServer, job: int, asked: Prometheus) -> dict[str, float]:
    """The finite quantiles by target; runs finish until there is one."""

    async def finite() -> dict[str, float]:
        server.workspace.finished_run(
            job, start=time.time() - 200, duration=200, target="PERFORMANCE_OPTIMIZED"
        )
        return {
            labels["effective_performance_target"]: value
            for labels, [(_, value)] in await asked.instant(QUANTILE)
            if math.isfinite(value)
        }

    return await wait_for(finite, "Prometheus has a quantile", pause=0.3)
