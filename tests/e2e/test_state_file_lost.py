"""What becomes of the state file while the exporter runs is said at once, not at the restart."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import UP, assert_all_is_well, recent_run, start
from tests.e2e.process import RUNS, Launcher, access, total, wait_for
from tests.faults import SimulatorServer


def remove(state: Path) -> None:
    state.unlink()


def rename(state: Path) -> None:
    state.rename(state.with_suffix(".old"))


def remove_the_folder(state: Path) -> None:
    shutil.rmtree(state.parent)


def rename_the_folder(state: Path) -> None:
    state.parent.rename(state.parent.with_suffix(".old"))


def replace_by_a_copy(state: Path) -> None:
    copy = state.with_suffix(".copy")
    shutil.copy(state, copy)
    copy.replace(state)


def replace_by_something_else(state: Path) -> None:
    other = state.with_suffix(".other")
    other.write_bytes(b"something else " * 100_000)
    other.replace(state)


def truncate(state: Path) -> None:
    os.truncate(state, 0)


def cut_off(state: Path) -> None:
    os.truncate(state, state.stat().st_size - 1)


def copy_a_backup_over_it(state: Path) -> None:
    """As `cp` does: the same file, other bytes, the same size."""
    backup = state.with_suffix(".backup")
    backup.write_bytes(bytes(state.stat().st_size))
    shutil.copyfile(backup, state)


def remove_its_log(state: Path) -> None:
    state.with_name(state.name + "-wal").unlink()


def truncate_its_log(state: Path) -> None:
    os.truncate(state.with_name(state.name + "-wal"), 0)


MISHAPS = (
    remove,
    rename,
    remove_the_folder,
    rename_the_folder,
    replace_by_a_copy,
    replace_by_something_else,
    truncate,
    cut_off,
    copy_a_backup_over_it,
    remove_its_log,
    truncate_its_log,
)


@pytest.mark.parametrize("mishap", MISHAPS)
async def test_a_mishap_of_the_state_file_is_said_while_it_runs(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, mishap: Callable[[Path], None]
) -> None:
    """The next poll fails and names the file, up falls, and nothing more is counted as if it were kept."""
    state = launch.folder / "state" / "state.db"
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s", f"--state.path={state}")
    assert_all_is_well(await exporter.polls(3))
    mishap(state)

    async def said() -> bool:
        return "poll failed" in exporter.log

    await wait_for(said, "the log says so", 10)
    assert str(state.name) in exporter.log
    recent_run(workspace)
    samples = await exporter.until(lambda seen: total(seen, UP) == 0, "up falls", 10)
    assert total(samples, RUNS) == 1
    assert "Traceback" not in exporter.log


async def test_a_file_that_is_put_back_is_used_again(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """A file that was renamed for a while and put back goes on, with exact totals."""
    recent_run(workspace)
    exporter = await start(launch, server, "--poll.interval=1s")
    away = launch.state.rename(launch.state.with_suffix(".old"))
    recent_run(workspace)
    await exporter.until(lambda seen: total(seen, UP) == 0, "up falls", 10)
    away.rename(launch.state)
    samples = await exporter.until(lambda seen: total(seen, RUNS) == 2, "it goes on")
    assert total(samples, UP) == 1
    exporter.kill()
    exporter = await start(launch, server)
    assert total(await exporter.metrics(), RUNS) == 2


@pytest.mark.parametrize("mishap", [remove, rename, replace_by_a_copy])
async def test_a_second_exporter_is_refused_whatever_became_of_the_file(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, mishap: Callable[[Path], None]
) -> None:
    """While one runs, no other takes the path: it would count the same runs again."""
    recent_run(workspace)
    await start(launch, server, "--poll.interval=1s")
    mishap(launch.state)
    second = launch.spawn(env=access(server))
    assert await second.exit_code() == 1
    assert "in use by another process" in second.log
