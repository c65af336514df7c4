"""A simulated workspace in this process, and exporters as real ones beside it."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from exporter.simulator.workspace import Workspace
from tests.e2e.process import Launcher
from tests.faults import SimulatorServer


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    async with SimulatorServer() as running:
        yield running


@pytest.fixture
def workspace(server: SimulatorServer) -> Workspace:
    return server.workspace


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launcher]:
    launcher = Launcher(tmp_path)
    yield launcher
    launcher.end()
