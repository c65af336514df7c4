"""The fixtures of the simulator's tests, with a server that can have faults."""

from collections.abc import AsyncIterator

import pytest

from exporter.simulator.workspace import Workspace
from tests.faults import SimulatorServer
from tests.unit.simulator.conftest import Clock, api, clock, workspace

__all__ = ["api", "clock", "workspace"]


@pytest.fixture
async def server(clock: Clock) -> AsyncIterator[SimulatorServer]:
    async with SimulatorServer(Workspace(clock)) as running:
        yield running
