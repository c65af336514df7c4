import json
import math
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import aiohttp

from exporter.simulator.server import SimulatorServer
from tests.e2e.conftest import program
from tests.e2e.process import Launcher, wait_for

QUANTILE = (
    "histogram_quantile(0.95, sum by (le, effective_performance_target) "
    "(rate(databricks_job_run_duration_seconds_bucket[5m])))"
)
_LISTENS = re.compile(r"Listening on.*address=(127\.0\.0\.1:\d+)")


@contextmanager
def running(folder: Path, *more: str) -> Iterator[Callable[[], str]]:
    """A Prometheus with the configuration in a folder, and its log, while the context is open."""
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
        *more,
    ]
    path = folder / "log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        yield path.read_text
    finally:
        process.kill()
        process.wait()


async def ask(log: Callable[[], str], path: str, **params: str) -> Any:
    """The data that Prometheus' API answers with; None while it is not ready to answer."""

    async def address() -> str | None:
        found = _LISTENS.search(log())
        return found[1] if found else None

    url = f"http://{await wait_for(address, 'Prometheus listens')}/api/v1/{path}"
    async with aiohttp.ClientSession() as session, session.get(url, params=params) as response:
        return (await response.json())["data"] if response.status == 200 else None


async def test_prometheus_draws_a_quantile_from_what_it_scrapes(
    server: SimulatorServer, launch: Launcher, tmp_path: Path
) -> None:
    """A real Prometheus scrapes the exporter and answers with a quantile of the run duration by target."""
    program("prometheus")
    workspace = server.workspace
    job = workspace.add_job("nightly")
    for target in ("STANDARD", "PERFORMANCE_OPTIMIZED"):
        workspace.finished_run(job, start=time.time() - 300, duration=200, target=target)
    exporter = await launch.start(server)
    await exporter.until_ready()
    targets = [{"targets": [exporter.url.removeprefix("http://")]}]
    config = {"scrape_configs": [{"job_name": "e", "scrape_interval": "1s", "static_configs": targets}]}
    (tmp_path / "prometheus.yml").write_text(json.dumps(config))
    with running(tmp_path) as log:
        answer = await _quantiles(server, job, log)
    assert answer.keys() <= {"STANDARD", "PERFORMANCE_OPTIMIZED"}
    # Every run lasts 200 s: the bucket from 120 to 300.
    assert all(120 < seconds <= 300 for seconds in answer.values())


async def _quantiles(server: SimulatorServer, job: int, log: Callable[[], str]) -> dict[str, float]:
    """The finite quantiles by target; runs finish until there is one."""

    async def finite() -> dict[str, float]:
        server.workspace.finished_run(
            job, start=time.time() - 200, duration=200, target="PERFORMANCE_OPTIMIZED"
        )
        found = await ask(log, "query", query=QUANTILE)
        return {
            series["metric"]["effective_performance_target"]: value
            for series in (found or {}).get("result", [])
            if math.isfinite(value := float(series["value"][1]))
        }

    return await wait_for(finite, "Prometheus has a quantile", pause=0.3)
