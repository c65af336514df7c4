"""From a run that fails in the workspace to a message at a receiver, all real but the workspace."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from exporter.simulator.server import SimulatorServer
from tests.e2e.monitoring import Receiver, alerting, monitored
from tests.e2e.process import Exporter, Launcher, wait_for
from tests.e2e.prometheus import Prometheus

FAILED = "DatabricksJobFailed"


class Stack:
    """An exporter, a Prometheus and an Alertmanager whose messages are received here."""

    def __init__(self, exporter: Exporter, prometheus: Prometheus, receiver: Receiver, job: int) -> None:
        self.exporter, self.prometheus, self.receiver, self.job = exporter, prometheus, receiver, job

    async def received(self, *expected: tuple[str, str, str, str]) -> None:
        """Wait for the last of these notifications; no other may have come."""

        async def there() -> bool:
            return expected[-1] in self.receiver.notifications

        await wait_for(there, f"{expected[-1]} among {self.receiver.notifications}", pause=0.1)
        assert self.receiver.notifications == list(expected)

    async def alerts(self) -> set[str]:
        """The names of the alerts that Prometheus has."""
        return {alert["labels"]["alertname"] for alert in (await self.prometheus.get("alerts"))["alerts"]}


@pytest.fixture
async def stack(server: SimulatorServer, launch: Launcher, tmp_path: Path) -> AsyncIterator[Stack]:
    job, steady = server.workspace.add_job("nightly"), server.workspace.add_job("steady")
    for each in (job, steady):
        server.workspace.finished_run(each, duration=20)
    exporter = await launch.start(server)
    await exporter.until_ready()
    async with (
        Receiver() as receiver,
        alerting(tmp_path, receiver.url) as alertmanager,
        monitored(tmp_path, exporter.url, alertmanager) as prometheus,
    ):

        async def seen() -> bool:
            return bool(await prometheus.instant("databricks_job:last_run_success:max == 1"))

        await wait_for(seen, "the rules have seen the jobs", pause=0.2)
        yield Stack(exporter, prometheus, receiver, job)


async def test_a_job_that_fails_is_told_once_and_so_is_its_recovery(
    stack: Stack, server: SimulatorServer
) -> None:
    server.workspace.finished_run(stack.job, duration=20, code="RUN_EXECUTION_ERROR")
    fires = ("chat", "firing", FAILED, str(stack.job))
    await stack.received(fires)
    assert stack.receiver.alerts[0]["annotations"]["summary"] == "Job nightly failed"
    server.workspace.finished_run(stack.job, duration=20)
    await stack.received(fires, ("chat", "resolved", FAILED, str(stack.job)))


async def test_an_exporter_that_is_away_does_not_make_a_job_look_repaired(
    stack: Stack, server: SimulatorServer, launch: Launcher
) -> None:
    """The alert of the job ends in Prometheus meanwhile; Alertmanager keeps that back."""
    server.workspace.finished_run(stack.job, duration=20, code="RUN_EXECUTION_ERROR")
    fires = ("chat", "firing", FAILED, str(stack.job))
    await stack.received(fires)
    stack.exporter.kill()
    down = ("pager", "firing", "DatabricksExporterDown", "")
    await stack.received(fires, down)

    async def forgotten() -> bool:
        return FAILED not in await stack.alerts()

    await wait_for(forgotten, "Prometheus forgets the failed job", pause=0.2)
    assert stack.receiver.notifications == [fires, down]
    address = stack.exporter.url.removeprefix("http://")
    await launch.start(server, f"--web.listen-address={address}")

    async def back() -> bool:
        return ("pager", "resolved", "DatabricksExporterDown", "") in stack.receiver.notifications

    await wait_for(back, "the pager hears that the exporter is back", pause=0.2)

    async def known() -> bool:
        return FAILED in await stack.alerts()

    await wait_for(known, "Prometheus knows the failed job again", pause=0.2)
