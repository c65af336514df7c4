"""A client connected to a simulated workspace, and what its exporter has counted."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from exporter.config import (
    ApiSettings,
    ClientCredentials,
    CredentialSource,
    PersonalToken,
    Proxy,
    WorkspaceAccess,
)
from exporter.databricks.client import WorkspaceClient
from exporter.databricks.context import Priority, RequestContext
from exporter.databricks.models import Run
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.simulator.credentials import DEFAULT_TOKEN

NAME = "adb-1.2.test"
NOW = 1_780_000_000.0


def within(seconds: float, priority: Priority = Priority.LISTS) -> RequestContext:
    """The terms of requests that end in so many seconds."""
    return RequestContext(priority, deadline=asyncio.get_running_loop().time() + seconds)


@dataclass
class Connection:
    client: WorkspaceClient
    own_metrics: OwnMetrics
    secrets: list[str] = field(default_factory=list)

    def counted(self, name: str, **labels: str) -> float:
        """A sample's value, 0 where there is none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.own_metrics.text().decode())
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    @property
    def retries(self) -> float:
        return self.counted("databricks_exporter_api_retries_total")

    async def run_ids(self, seconds: float = 20.0, **query: str | int) -> list[int]:
        """The ids of all runs of a listing."""
        pages = self.client.list_runs(within(seconds), **query)
        return [run.run_id async for page in pages for run in page.runs]

    async def run(self, run_id: int, seconds: float = 20.0) -> Run:
        found = await self.client.get_run(run_id, within(seconds))
        assert isinstance(found, Run)
        return found


@asynccontextmanager
async def connected(
    url: str,
    login: PersonalToken | ClientCredentials | None = None,
    *,
    rate: float = 1000.0,
    concurrency: int = 16,
    timeout: float = 5.0,  # noqa: ASYNC109  the setting api.timeout, not a limit on this function
    ca_file: Path | None = None,
    proxy: Proxy | None = None,
    source: CredentialSource | None = None,
    note_secret: Callable[[str], object] = str,
) -> AsyncIterator[Connection]:
    own_metrics = OwnMetrics()
    access = WorkspaceAccess(url, NAME, login or PersonalToken(SecretStr(DEFAULT_TOKEN)), source, proxy)
    secrets: list[str] = []

    def note(secret: str) -> None:
        secrets.append(secret)
        note_secret(secret)

    async with WorkspaceClient(
        access,
        ApiSettings(concurrency=concurrency, rate=rate, timeout=timeout, ca_file=ca_file),
        WorkspaceMetrics(own_metrics, NAME, interval=30.0),
        note,
    ) as client:
        yield Connection(client, own_metrics, secrets)


def most_in_any_second(arrivals: Iterable[float]) -> int:
    """The largest number of arrivals in any one second."""
    times = sorted(arrivals)
    most = first = 0
    for last, time in enumerate(times):
        while time - times[first] >= 1:
            first += 1
        most = max(most, last - first + 1)
    return most
