"""SIGTERM ends it in 5 seconds with code 0, whatever the system does to its threads."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import counted, recent_run, start
from tests.e2e.process import Exporter, Launcher, access, wait_for
from tests.faults import SimulatorServer

# The contract says 5; the rest is for a machine that is busy.
STOP_SECONDS = 6.5
# Imported by every Python process that finds it, before anything else.
HANGING = """
import os, socket, sqlite3, time
from pathlib import Path

FLAG = Path(os.environ["HANG_FLAG"])
NOTED = Path(os.environ["HANG_NOTED"])


def hang_while_flagged():
    if FLAG.exists():
        NOTED.touch()
        while True:
            time.sleep(60)


look_up, connect = socket.getaddrinfo, sqlite3.connect


def getaddrinfo(host, *arguments, **named):
    if "hanging" in str(host):
        hang_while_flagged()
    return look_up(host, *arguments, **named)


class Connection(sqlite3.Connection):
    def execute(self, sql, *arguments):
        if sql.startswith(os.environ.get("HANG_SQL", "COMMIT")):
            hang_while_flagged()
        return super().execute(sql, *arguments)


def connecting(*arguments, **named):
    return connect(*arguments, factory=Connection, **named)


socket.getaddrinfo, sqlite3.connect = getaddrinfo, connecting
"""


class Hanging:
    """What hangs, and when."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        (folder / "sitecustomize.py").write_text(HANGING)
        self.flag, self.noted = folder / "flag", folder / "noted"
        self.env = {"PYTHONPATH": str(folder), "HANG_FLAG": str(self.flag), "HANG_NOTED": str(self.noted)}

    async def hangs(self) -> None:
        async def is_noted() -> bool:
            return self.noted.exists()

        await wait_for(is_noted, "it hangs")


@pytest.fixture
def hanging(tmp_path: Path) -> Hanging:
    return Hanging(tmp_path / "hanging")


async def ends_well(exporter: Exporter) -> None:
    exporter.send(signal.SIGTERM)
    assert await exporter.exit_code(STOP_SECONDS) == 0
    assert "Traceback" not in exporter.log


async def test_it_stops_while_a_name_lookup_hangs(launch: Launcher, hanging: Hanging) -> None:
    """A resolver that never answers is left behind."""
    hanging.flag.touch()
    env = {"DATABRICKS_HOST": "https://hanging.example.com", "DATABRICKS_TOKEN": "dapi0123456789abcdef"}
    exporter = await launch.spawn(env=env | hanging.env | {"HANG_SQL": "nothing"}).listening()
    await hanging.hangs()
    await ends_well(exporter)


async def test_it_stops_while_a_commit_hangs_and_loses_nothing(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, hanging: Hanging
) -> None:
    """A disk that never answers is left behind; what was not committed is counted by the next process."""
    job = workspace.add_job("job")
    run = recent_run(workspace, job)
    exporter = await launch.spawn("--poll.interval=1s", env=access(server) | hanging.env).listening()
    assert counted(await exporter.until_ready(), run) == 1
    hanging.flag.touch()
    recent_run(workspace, job)
    await hanging.hangs()
    assert (await exporter.get("/-/ready"))[0] == 200
    await ends_well(exporter)
    hanging.flag.unlink()
    exporter = await start(launch, server)
    assert counted(await exporter.metrics(), run) == 2


async def test_it_stops_while_the_first_look_at_the_state_hangs(
    server: SimulatorServer, launch: Launcher, hanging: Hanging
) -> None:
    """A disk that hangs when the file is opened keeps nobody waiting either."""
    hanging.flag.touch()
    exporter = launch.spawn(env=access(server) | hanging.env | {"HANG_SQL": "PRAGMA"})
    await hanging.hangs()
    await ends_well(exporter)


async def test_it_stops_while_nobody_reads_its_log(server: SimulatorServer, launch: Launcher) -> None:
    """A log that can't be written, because its reader sleeps, keeps nobody waiting."""
    reading, writing = os.pipe()
    inherited = {name: word for name, word in os.environ.items() if not name.startswith("DATABRICKS_")}
    flags = ["--web.listen-address=127.0.0.1:0", f"--state.path={launch.state}"]
    process = subprocess.Popen(  # noqa: ASYNC220  started as by a shell, with a pipe for its log
        [sys.executable, "-m", "exporter", *flags, "--poll.interval=100ms", "--log.level=debug"],
        env=inherited | access(server) | {"DATABRICKS_EXPORTER_API_RATE": "1000"},
        stdin=subprocess.DEVNULL,
        stderr=writing,
    )
    os.close(writing)
    try:
        await wait_until_still(server)
        process.send_signal(signal.SIGTERM)

        async def ended() -> bool:
            return process.poll() is not None

        await wait_for(ended, "it ends", STOP_SECONDS)
        assert process.returncode == 0
    finally:
        process.kill()
        process.wait()
        os.close(reading)


async def wait_until_still(server: SimulatorServer) -> None:
    """Wait until no more requests come: it hangs in its log."""
    seen, still = -1, 0
    while still < 4:
        await asyncio.sleep(0.5)
        still = still + 1 if 0 < len(server.requests) == seen else 0
        seen = len(server.requests)
