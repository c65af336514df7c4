import asyncio
import signal

import pytest

from tests.e2e.process import Launcher, access, wait_for
from tests.faults import SimulatorServer, fault_of


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_cleanly_while_requests_hang(
    server: SimulatorServer, launch: Launcher, number: signal.Signals
) -> None:
    """SIGTERM and SIGINT end it within 5 seconds with exit code 0, whatever the workspace keeps waiting."""
    workspace = server.workspace
    run = workspace.active_run(workspace.add_job("nightly"))
    exporter = await launch.start(server, "--api.timeout=30s")
    await exporter.until_ready()
    fault = server.faults.add(fault_of("hang"))
    workspace.finish(run)

    async def hangs() -> bool:
        return fault.hits >= 2

    await wait_for(hangs, "both lists of a poll hang")
    began = asyncio.get_running_loop().time()
    exporter.send(number)
    assert await exporter.exit_code() == 0
    assert asyncio.get_running_loop().time() - began < 5
    assert "Traceback" not in exporter.log


@pytest.mark.parametrize(("command", "code"), [((), 0), (("check",), 1)])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_while_it_is_being_loaded_ends_it_without_a_traceback(
    server: SimulatorServer,
    launch: Launcher,
    number: signal.Signals,
    command: tuple[str, ...],
    code: int,
) -> None:
    """Whoever stops it in its first second gets an exit code, and a check that was cut short is not good."""
    server.faults.add(fault_of("hang"))
    # Python tells on standard error of each module that it has loaded.
    exporter = launch.spawn(*command, env={**access(server), "PYTHONPROFILEIMPORTTIME": "1"})

    async def loads() -> bool:
        return "asyncio" in exporter.log

    await wait_for(loads, "modules are being loaded", pause=0.005)
    exporter.send(number)
    assert await exporter.exit_code() == code
    assert "Traceback" not in exporter.log


@pytest.mark.parametrize("command", [("check",), ("--log.level=debug", "check")])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_interrupted_check_is_not_good_and_shows_no_traceback(
    server: SimulatorServer, launch: Launcher, number: signal.Signals, command: tuple[str, ...]
) -> None:
    """Ctrl-C ends a check that waits for its workspace with exit code 1, and without Python's inner life."""
    fault = server.faults.add(fault_of("hang"))
    exporter = launch.spawn(*command, env=access(server))

    async def hangs() -> bool:
        return fault.hits >= 1

    await wait_for(hangs, "the check waits for an answer")
    exporter.send(number)
    assert await exporter.exit_code() == 1
    assert "Traceback" not in exporter.log
