"""An exporter that cannot run says why, and its exit code says who must act."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.simulator.server import SimulatorServer
from tests.e2e.process import Launcher, access


async def refused(launch: Launcher, server: SimulatorServer, *arguments: str) -> tuple[int, str]:
    """The exit code of an exporter that does not get to run, and its log."""
    exporter = launch.spawn(*arguments, env=access(server))
    return await exporter.exit_code(), exporter.log


async def test_a_second_exporter_on_a_state_file_does_not_start(
    server: SimulatorServer, launch: Launcher
) -> None:
    """Two exporters on one state file would count twice: the second one ends and says so."""
    first = await launch.start(server)
    code, log = await refused(launch, server)
    assert code == 1
    assert f"the state file {launch.state} is in use by another process" in log
    await first.polls()


async def test_a_corrupt_state_file_is_refused_and_left_as_it_is(
    server: SimulatorServer, launch: Launcher
) -> None:
    """A damaged file is named together with the remedy, and never replaced."""
    launch.state.write_bytes(b"this was a database once" * 1000)
    code, log = await refused(launch, server)
    assert code == 1
    assert f"the state file {launch.state} is damaged" in log
    assert "restore it from a backup" in log
    assert launch.state.read_bytes() == b"this was a database once" * 1000


async def test_a_state_file_of_a_newer_version_is_refused(server: SimulatorServer, launch: Launcher) -> None:
    """A schema from the future is not touched: the log names both versions."""
    exporter = await launch.start(server)
    await exporter.until_ready()
    assert await exporter.terminate() == 0
    with sqlite3.connect(launch.state) as database:
        database.execute("PRAGMA user_version = 999")
    database.close()
    code, log = await refused(launch, server)
    assert code == 1
    assert "written by a newer version of this exporter (schema 999" in log


async def test_a_folder_that_cannot_be_made_is_refused(server: SimulatorServer, launch: Launcher) -> None:
    """Without a place for its state file it does not start, and names the setting."""
    # Not even root may make a folder there.
    code, log = await refused(launch, server, "--state.path=/proc/exporter/state.db")
    assert code == 1
    assert "can't be" in log
    assert "set state.path" in log
    assert "/proc/exporter" in log


async def test_a_port_that_is_taken_is_refused(server: SimulatorServer, launch: Launcher) -> None:
    """An address that is in use ends it with code 1 and the address."""
    address = server.url.removeprefix("http://")
    code, log = await refused(launch, server, f"--web.listen-address={address}")
    assert code == 1
    assert "address already in use" in log.lower()
    assert address.rpartition(":")[2] in log


@pytest.mark.parametrize("asked", ["run", "check"])
async def test_all_bad_settings_are_reported_at_once(
    server: SimulatorServer, launch: Launcher, asked: str, tmp_path: Path
) -> None:
    """Whatever is wrong in flags and environment is listed in one go, with exit code 2 and no secret."""
    env = access(server, "dapi 5ecret") | {"DATABRICKS_EXPORTER_POLL_INTERVALL": "30s"}
    command = ["check"] if asked == "check" else []
    exporter = launch.spawn(*command, "--api.rate=fast", f"--config.file={tmp_path / 'none.yml'}", env=env)
    assert await exporter.exit_code() == 2
    for word in ("--api.rate", "DATABRICKS_EXPORTER_POLL_INTERVALL", "No such file", "DATABRICKS_TOKEN"):
        assert word in exporter.log
    assert "5ecret" not in exporter.log


SECRET = "dapi0123456789abcdef-Planted"
# A value may be anything that an argument can hold, and a secret may slip into any.
texts = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = texts | st.builds("{}{}".format, texts, st.just(SECRET))


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(st.lists(st.builds("--{}={}".format, texts, values), min_size=1, max_size=3))
def test_a_process_with_hostile_arguments_ends_with_2_and_shows_no_secret(argv: list[str]) -> None:
    """The real program: exit code 2, no traceback, no secret on either stream."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *argv, f"--unknown={SECRET}"],
        env=inherited | {"DATABRICKS_HOST": "adb-1.2.azuredatabricks.net", "DATABRICKS_TOKEN": SECRET},
        check=False,
        capture_output=True,
        timeout=60,
    )
    said = (done.stdout + done.stderr).decode()
    if b"--help" not in b" ".join(word.encode() for word in argv):
        assert done.returncode == 2, said
    assert SECRET not in said
    assert "Traceback" not in said
