"""Every query of the dashboards, answered by a real Prometheus that scraped the real exporter."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace
from tests.deploy.dashboard_queries import PanelQuery, filled, queries
from tests.e2e.process import Launcher, wait_for
from tests.e2e.prometheus import Prometheus, is_data, prometheus, scrape_of
from tests.faults import Fault, SimulatorServer, throttled

MACROS = {"__range": "2m", "__rate_interval": "10s"}
# The API reports these of runs of one task only, and nobody makes them up.
OF_ONE_TASK = (
    "databricks_job_last_run_setup",
    "databricks_job_last_run_exec",
    "databricks_job_last_run_clean",
)


@dataclass
class Business:
    """A workspace where something of everything happens, again and again."""

    workspace: Workspace
    one_task: int = 0
    tasks: int = 0
    _failed: list[Run] = field(default_factory=list)
    _in_repair: list[Run] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.one_task = self.workspace.add_job("one task")
        self.tasks = self.workspace.add_job("several tasks")
        for job in (self.one_task, self.tasks):
            self.workspace.active_run(job, start=time.time() - 7200, state="QUEUED")
            self.workspace.active_run(job, start=time.time() - 60)

    def goes_on(self) -> None:
        """Runs end well and badly at both targets, the last ones that failed are repaired; one waits long."""
        for run in self._in_repair:
            self.workspace.finish_repair(run)
        for run in self._failed:
            self.workspace.repair(run)
        self._in_repair, self._failed = self._failed, []
        for job, tasks in ((self.one_task, 1), (self.tasks, 3)):
            for target in ("STANDARD", "PERFORMANCE_OPTIMIZED"):
                for code in ("SUCCESS", "RUN_EXECUTION_ERROR"):
                    run = self.workspace.finished_run(
                        job,
                        duration=100,
                        queue=20,
                        code=code,
                        tasks=tasks,
                        retries=1,
                        setup=10,
                        cleanup=2,
                        target=target,
                    )
            self._failed.append(run)


async def _until_answered(
    asked: Iterable[tuple[PanelQuery, str]], server: Prometheus, business: Business
) -> None:
    """Business goes on until every query has had data once."""
    waiting = list(asked)

    async def all_answered() -> bool:
        business.goes_on()
        answers = await asyncio.gather(*(server.instant(expression) for _, expression in waiting))
        waiting[:] = [one for one, answer in zip(waiting, answers, strict=True) if not is_data(answer)]
        return not waiting

    try:
        await wait_for(all_answered, "every query has data", seconds=100, pause=1)
    except AssertionError:
        pytest.fail("no data for:\n" + "\n".join(f"{query}\n    {text}" for query, text in waiting))


def _asked(workspace: str, job: int) -> list[tuple[PanelQuery, str]]:
    """Every query, looking at one job where it looks at one; a 0 that stands in for nothing is no data."""
    values = MACROS | {"workspace": workspace, "job": str(job), "target": ".*"}
    return [(query, filled(query.expression, values).removesuffix(" or vector(0)")) for query in queries()]


@pytest.mark.timeout(180)
async def test_every_query_of_every_panel_returns_data(
    server: SimulatorServer, launch: Launcher, tmp_path: Path
) -> None:
    """Nothing on a dashboard stays empty, whether the picked job has one task or several."""
    business = Business(server.workspace)
    server.faults.add(Fault(throttled(0), endpoint="runs/list", times=3))
    exporter = await launch.start(server)
    await exporter.until_ready()
    config = {"scrape_configs": [scrape_of(exporter.url, "500ms")]}
    name = server.url.removeprefix("http://")
    several = [
        (query, text)
        for query, text in _asked(name, business.tasks)
        if query.dashboard == "job" and not any(word in text for word in OF_ONE_TASK)
    ]
    async with prometheus(tmp_path, config) as running:
        await _until_answered([*_asked(name, business.one_task), *several], running, business)
        made_up = [
            text for _, text in _asked(name, business.tasks) if any(word in text for word in OF_ONE_TASK)
        ]
        assert len(made_up) == len(OF_ONE_TASK)
        assert not any([is_data(await running.instant(text)) for text in made_up])
