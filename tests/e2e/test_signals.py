import asyncio
import signal

import pytest

from exporter.simulator.faults import Fault
from exporter.simulator.server import SimulatorServer
from tests.e2e.process import Launcher, wait_for


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_while_requests_hang(
    server: SimulatorServer, launch: Launcher, number: signal.Signals
) -> None:
    """SIGTERM and SIGINT end it within 5 seconds with exit code 0, whatever the workspace keeps waiting."""
    workspace = server.workspace
    run = workspace.active_run(workspace.add_job("nightly"))
    exporter = await launch.start(server, "--api.timeout=30s")
    await exporter.until_ready()
    fault = server.faults.add(Fault(damage="hang"))
    workspace.finish(run)

    async def hangs() -> bool:
        return fault.hits >= 2

    await wait_for(hangs, "both lists of a poll hang")
    began = asyncio.get_running_loop().time()
    exporter.send(number)
    assert await exporter.exit_code() == 0
    assert asyncio.get_running_loop().time() - began < 5
    assert "Traceback" not in exporter.log
