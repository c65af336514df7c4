"""A running simulator whose clock the test holds, and an HTTP client for it."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from exporter.simulator.credentials import DEFAULT_TOKEN
from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace

NOW = 1_780_000_000.0


class Clock:
    """Epoch seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> float:
        return self.now


@dataclass(frozen=True, slots=True)
class Api:
    """Asks the server as a client with a valid token would."""

    session: aiohttp.ClientSession

    async def ask(self, path: str, **query: Any) -> tuple[int, dict[str, Any]]:
        words = {name: str(word).lower() if isinstance(word, bool) else word for name, word in query.items()}
        async with self.session.get(f"/api/2.2/jobs/{path}", params=words) as response:
            return response.status, await response.json()

    async def get(self, path: str, **query: Any) -> dict[str, Any]:
        status, body = await self.ask(path, **query)
        assert status == 200, body
        return body

    async def run(self, run_id: int, **query: Any) -> dict[str, Any]:
        return await self.get("runs/get", run_id=run_id, **query)

    async def listed(self, **query: Any) -> list[dict[str, Any]]:
        """Every run of a list, page by page."""
        runs: list[dict[str, Any]] = []
        while True:
            page = await self.get("runs/list", **query)
            runs += page.get("runs", [])
            if not page.get("next_page_token"):
                return runs
            query["page_token"] = page["next_page_token"]

    async def listed_ids(self, **query: Any) -> list[int]:
        return [run["run_id"] for run in await self.listed(**query)]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[SimulatorServer]:
    async with SimulatorServer(Workspace(clock)) as running:
        yield running


@pytest.fixture
def workspace(server: SimulatorServer) -> Workspace:
    return server.workspace


@pytest.fixture
async def api(server: SimulatorServer) -> AsyncIterator[Api]:
    headers = {"Authorization": f"Bearer {DEFAULT_TOKEN}"}
    async with aiohttp.ClientSession(server.url, headers=headers) as session:
        yield Api(session)
