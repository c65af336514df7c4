"""Whatever goes wrong on the way: every run is counted, once, and what is told of it is true."""

import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import pytest_asyncio

from tests.e2e import recount
from tests.e2e.process import POLLS, Exporter, Launcher, Samples, total, wait_for
from tests.faults import Fault, SimulatorServer, error, fault_of, html, login_page, throttled, throttled_until

pytestmark = pytest.mark.asyncio(loop_scope="module")

# Each is met by one request, of any kind; a reset by two, because aiohttp's client repeats one by itself.
PASSING: dict[str, Callable[[], Fault]] = {
    "429 with seconds": lambda: Fault(throttled(1), times=1),
    "429 with a date": lambda: Fault(throttled_until(time.time() + 1), times=1),
    "429 without a time": lambda: Fault(throttled(None), times=1),
    "500": lambda: Fault(error(500, "INTERNAL_ERROR", "oops"), times=1),
    "502 of a gateway": lambda: Fault(html(502, "Bad Gateway"), times=1),
    "503": lambda: Fault(error(503, "TEMPORARILY_UNAVAILABLE", "later"), times=1),
    "504 of a gateway": lambda: Fault(html(504, "Gateway Time-out"), times=1),
    "200 with HTML": lambda: Fault(login_page(), times=1),
    "reset": lambda: fault_of("reset", times=2),
    "reset mid-body": lambda: fault_of("reset mid-body", times=1),
    "truncated": lambda: fault_of("truncated", times=1),
    "broken JSON": lambda: fault_of("broken JSON", times=1),
    "broken gzip": lambda: fault_of("broken gzip", times=1),
    "empty body": lambda: fault_of("empty body", times=1),
    "drip": lambda: fault_of("drip", pace=0.0005, times=1),
    "slower than the timeout": lambda: Fault(delay=1.5, times=1),
}
# Nothing that asking again within the poll would help against.
LASTING: dict[str, Callable[[], Fault]] = {
    "403": lambda: Fault(error(403, "PERMISSION_DENIED", "not yours"), endpoint="runs/list", times=1),
    "500 for a whole poll": lambda: Fault(error(500, "INTERNAL_ERROR", "oops")),
    "hang for a whole poll": lambda: fault_of("hang"),
}


@dataclass(frozen=True, slots=True)
class Scene:
    """A workspace with one exporter that has to get through all that this module does to it."""

    server: SimulatorServer
    exporter: Exporter
    job: int

    async def run_through(self, fault: Fault) -> None:
        """Let runs finish while a fault is on: one that both lists have, one to be asked for, one skipped."""
        workspace = self.server.workspace
        listed, hidden = (workspace.active_run(self.job, start=time.time() - 30) for _ in range(2))
        await self.exporter.until(
            lambda seen: total(seen, "databricks_job_active_runs", job_id=str(self.job)) == 2, "both active"
        )
        self.server.faults.add(fault)
        workspace.finish(listed, "RUN_EXECUTION_ERROR")
        workspace.finish(hidden)
        workspace.hide(hidden.run_id)
        workspace.finished_run(self.job, code="MAX_CONCURRENT_RUNS_EXCEEDED")

    async def recovered(self) -> Samples:
        """The scrape that has counted all there is, after two good polls more."""
        truth = recount.runs(self.server.workspace.truth())
        await self.exporter.until(lambda seen: recount.counted_runs(seen) == truth, f"all counted: {truth}")
        samples = await self.exporter.polls()
        assert recount.counted_runs(samples) == truth
        assert total(samples, "databricks_exporter_runs_lost_total") == 0
        return await self.exporter.until(lambda seen: total(seen, "databricks_up") == 1, "up")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def scene(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Scene]:
    launcher = Launcher(tmp_path_factory.mktemp("faults"))
    async with SimulatorServer() as server:
        exporter = await launcher.start(server, "--poll.interval=150ms")
        await exporter.until_ready()
        yield Scene(server, exporter, server.workspace.add_job("nightly"))
        launcher.end()


@pytest.mark.parametrize("kind", PASSING)
async def test_a_passing_fault_costs_no_run(scene: Scene, kind: str) -> None:
    """After a fault that meets some requests every run is counted exactly once and the workspace is up."""
    fault = PASSING[kind]()
    await scene.run_through(fault)
    await scene.recovered()
    assert fault.hits == fault.times


@pytest.mark.parametrize("kind", LASTING)
async def test_a_fault_that_outlasts_a_poll_is_an_error_and_costs_no_run(scene: Scene, kind: str) -> None:
    """A poll that can't be saved is counted as an error, and the next good one counts what it missed."""
    errors = total(await scene.exporter.metrics(), POLLS, result="error")
    await scene.run_through(LASTING[kind]())
    await scene.exporter.until(lambda seen: total(seen, POLLS, result="error") > errors, "a failed poll")
    scene.server.faults.clear()
    await scene.recovered()


async def test_up_falls_while_the_workspace_is_away_and_rises_when_it_is_back(scene: Scene) -> None:
    """An absence of three intervals is 0 in databricks_up; afterwards it is 1 and nothing was missed."""
    workspace = scene.server.workspace
    run = workspace.active_run(scene.job, start=time.time() - 30)
    await scene.exporter.polls()
    await scene.server.stop()
    workspace.finish(run)
    await scene.exporter.until(lambda seen: total(seen, "databricks_up") == 0, "down")
    await scene.server.start()
    await scene.recovered()


async def test_requests_that_failed_are_told_by_their_code(scene: Scene) -> None:
    """Every request is counted under its HTTP status, `timeout` or `error`, and every repetition too."""

    async def codes() -> set[str]:
        samples = await scene.exporter.metrics()
        found = (dict(labels) for name, labels in samples if name == "databricks_exporter_api_requests_total")
        return {label["code"] for label in found}

    scene.server.faults.add(Fault(throttled(None), times=1))
    scene.server.faults.add(fault_of("reset mid-body", times=1))
    scene.server.faults.add(Fault(delay=1.5, times=1))

    async def all_told() -> bool:
        return {"200", "429", "error", "timeout"} <= await codes()

    await wait_for(all_told, "each kind of answer is told")
    samples = await scene.recovered()
    assert total(samples, "databricks_exporter_api_retries_total") > 0
