"""A simulated workspace in this process, and exporters as real ones beside it."""

import os
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from exporter.simulator.server import SimulatorServer
from exporter.simulator.workspace import Workspace
from tests.e2e.process import Launcher


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


def program(name: str) -> str:
    """The path of a program that the tests run; skips without it, or fails where it is required."""
    path = shutil.which(name)
    if path is None:
        message = f"{name} is not installed, so this is NOT TESTED; REQUIRE_PROMETHEUS=1 makes it a failure"
        if os.environ.get("REQUIRE_PROMETHEUS") == "1":
            pytest.fail(message)
        pytest.skip(message)
    return path
