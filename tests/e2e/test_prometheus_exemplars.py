"""A real Prometheus reads the whole of a large body, and keeps the exemplars of what it scrapes."""

import time
from pathlib import Path
from typing import Any

from exporter.config import Settings
from exporter.families import RUN_DURATION, TASK_EXECUTION
from exporter.own_metrics import OwnMetrics
from exporter.server.pages import WebServer
from exporter.simulator.server import SimulatorServer
from tests.e2e.process import Launcher, wait_for
from tests.e2e.prometheus import prometheus, scrape_of
from tests.unit.exposition import large

OURS = '{__name__=~"databricks_(job|task)_.*"}'


async def test_prometheus_keeps_the_exemplars_of_both_families(
    server: SimulatorServer, launch: Launcher, tmp_path: Path
) -> None:
    """`query_exemplars` gives the newest run of each bucket: id, seconds and end, of runs and of tasks."""
    workspace, now = server.workspace, float(int(time.time()))
    job = workspace.add_job("nightly")
    workspace.finished_run(job, start=now - 250, duration=200, tasks=1, target="STANDARD")
    newest = workspace.finished_run(job, start=now - 210, duration=190.5, tasks=1, target="STANDARD")
    long = workspace.finished_run(job, start=now - 1200, duration=1000, tasks=2, setup=900, target="STANDARD")
    wanted: dict[str, dict[str, tuple[float, float]]] = {RUN_DURATION.name: {}, TASK_EXECUTION.name: {}}
    for run in (newest, long):
        assert run.end_ms is not None
        wanted[RUN_DURATION.name][str(run.run_id)] = ((run.end_ms - run.start_ms) / 1000, run.end_ms / 1000)
        last = max(run.attempts, key=lambda attempt: attempt.run_id)
        assert last.end_ms is not None
        assert last.execution_ms is not None
        wanted[TASK_EXECUTION.name][str(last.run_id)] = (last.execution_ms / 1000, last.end_ms / 1000)
    exporter = await launch.start(server)
    await exporter.until_ready()
    config = {"scrape_configs": [scrape_of(exporter.url)]}
    async with prometheus(tmp_path, config, "--enable-feature=exemplar-storage") as asked:
        for family, by_run in wanted.items():

            async def kept(family: str = family, count: int = len(by_run)) -> list[dict[str, Any]]:
                found = await asked.get(
                    "query_exemplars",
                    query=f"{family}_bucket",
                    start=f"{now - 3600}",
                    end=f"{now + 3600}",
                )
                exemplars = [exemplar for series in found for exemplar in series["exemplars"]]
                return exemplars if len(exemplars) >= count else []

            exemplars = await wait_for(kept, f"Prometheus has the exemplars of {family}", pause=0.3)
            assert {
                exemplar["labels"]["run_id"]: (float(exemplar["value"]), exemplar["timestamp"])
                for exemplar in exemplars
            } == by_run


async def test_prometheus_reads_a_large_body_whole(tmp_path: Path) -> None:
    """Of a packed body in many parts Prometheus takes in every series that the exporter says it serves."""
    exposition, own_metrics = large(), OwnMetrics()
    settings = Settings.model_validate({"web": {"listen_address": "127.0.0.1:0"}})
    async with (
        WebServer(settings, None, exposition, own_metrics, []).listening() as address,
        prometheus(tmp_path, {"scrape_configs": [scrape_of(address)]}) as asked,
    ):

        async def count() -> int:
            return int(sum(value for _, [(_, value)] in await asked.instant(f"count({OURS})")))

        assert await wait_for(count, "Prometheus has scraped", pause=0.3) == exposition.snapshot.series
        [(_, [(_, up)])] = await asked.instant("up")
    assert up == 1
