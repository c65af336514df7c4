"""`check` prints every job on one line, whatever its name, the terminal and the reader of the pipe."""

import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from exporter.simulator.server import SimulatorServer
from tests.e2e.process import BRISK, PATIENCE_SECONDS, Launcher, access

NAMES = (
    "nightly 🚀",
    "données",
    "\x1b]0;title\x07\x1b[31mred",
    "one\n  job 1  two",
    "a\ttab\rb\x00",
    "\u202elauf",
)
SHOWN = (
    "nightly 🚀",
    "données",
    r"\x1b]0;title\x07\x1b[31mred",
    r"one\n  job 1  two",
    r"a\ttab\rb\x00",
    r"\u202elauf",
)


def start(server: SimulatorServer, *arguments: str, stdout: int, **more: str) -> subprocess.Popen[bytes]:
    """The program with pipes; of our own environment without what it would read."""
    inherited = {name: word for name, word in os.environ.items() if not name.startswith("DATABRICKS_")}
    return subprocess.Popen(
        [sys.executable, "-m", "exporter", *arguments, "--state.path=", *BRISK],
        env={**inherited, **access(server), **more},
        stdout=stdout,
        stderr=subprocess.PIPE,
    )


def run(server: SimulatorServer, **more: str) -> tuple[int, bytes, bytes]:
    """Exit code, standard output and standard error of `check`."""
    checking = start(server, "check", stdout=subprocess.PIPE, **more)
    output, errors = checking.communicate(timeout=PATIENCE_SECONDS)
    return checking.returncode, output, errors


def run_into_head(server: SimulatorServer, **more: str) -> tuple[int, bytes, bytes]:
    """The same with the first line alone: then the reader goes away."""
    checking = start(server, "check", stdout=subprocess.PIPE, **more)
    assert checking.stdout is not None
    first = checking.stdout.readline()
    checking.stdout.close()
    checking.stdout = None
    _, errors = checking.communicate(timeout=PATIENCE_SECONDS)
    return checking.returncode, first, errors


def run_into_full_disk(server: SimulatorServer, asked: str) -> tuple[int, bytes]:
    with Path("/dev/full").open("wb") as full:
        asking = start(server, asked, stdout=full.fileno())
        _, errors = asking.communicate(timeout=PATIENCE_SECONDS)
    return asking.returncode, errors


@pytest.mark.parametrize("encoding", ["utf-8", "cp1252", "ascii"])
async def test_every_name_is_shown_in_every_encoding(server: SimulatorServer, encoding: str) -> None:
    """What the terminal cannot write, and what it would obey, is an escape; one line per job."""
    for name in NAMES:
        server.workspace.add_job(name)
    code, output, errors = await asyncio.to_thread(run, server, PYTHONIOENCODING=encoding)
    assert (code, errors) == (0, b"")
    lines = output.decode(encoding).splitlines()
    found = [re.sub(r"^  job \d+  ", "", line) for line in lines if line.startswith("  job ")]
    assert sorted(found) == sorted(
        name.encode(encoding, "backslashreplace").decode(encoding) for name in SHOWN
    )


async def test_a_reader_that_goes_away_does_not_change_the_exit_code(server: SimulatorServer) -> None:
    """3,000 jobs into `head -1`: no traceback; 0 when all is well, 1 when the login is refused."""
    for number in range(3000):
        server.workspace.add_job(f"job {number}")
    code, first, errors = await asyncio.to_thread(run_into_head, server)
    assert (code, errors) == (0, b"")
    assert b"3000 jobs" in first
    code, first, errors = await asyncio.to_thread(run_into_head, server, DATABRICKS_TOKEN="dapi-mistyped")
    assert (code, errors) == (1, b"")
    assert b"Invalid access token" in first


@pytest.mark.parametrize("asked", ["--help", "--version", "check"])
async def test_a_full_disk_is_an_error_without_a_traceback(server: SimulatorServer, asked: str) -> None:
    """Exit code 1 and the cause."""
    code, errors = await asyncio.to_thread(run_into_full_disk, server, asked)
    assert code == 1
    assert b"No space left on device" in errors
    assert b"Traceback" not in errors


async def test_a_state_path_that_cannot_be_a_file_is_said(server: SimulatorServer, launch: Launcher) -> None:
    """A folder, and a path below a file: exit code 1, and what to set."""
    (launch.folder / "file").write_text("")
    for path, cause in (
        (launch.folder, "is not a file; set state.path to a file"),
        (launch.folder / "file" / "x.db", f"cannot be made: {launch.folder / 'file'} is not a directory"),
    ):
        checking = launch.spawn("check", f"--state.path={path}", *BRISK, env=access(server))
        assert await checking.exit_code() == 1
        assert f"state file: {path} {cause}" in checking.output
