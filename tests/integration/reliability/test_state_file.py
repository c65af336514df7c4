"""A state file that can't be written for a while, may not be written at all, or is of the release before."""

import os
import random
import re
import resource
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from exporter.families import REPAIRS, RUNS, TASK_RUNS
from exporter.simulator.server import SimulatorServer
from exporter.state.errors import StateError
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.store import StateStore
from tests.e2e import recount
from tests.e2e.conftest import launch, server
from tests.e2e.process import Launcher, total
from tests.integration.polling.lives import Play, folder_in_memory
from tests.integration.polling.world import World

__all__ = ["launch", "server"]

STATES = Path(__file__).parents[2] / "unit" / "state"
VERSIONS = {version: STATES / f"state_v{version}.sql" for version in (1, 2)}
NOBODY = 65534
Commit = Callable[..., int]


def may_grow_to(size: int | None, pid: int = 0) -> None:
    """Let no file of a process grow beyond so many bytes; None: as far as before."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard if size is None else size, hard))


async def test_a_disk_that_is_full_for_a_while_costs_no_run(
    server: SimulatorServer, launch: Launcher
) -> None:
    """Polls fail and say why, totals stay; with room again all is counted, without a restart."""
    workspace = server.workspace
    job = workspace.add_job("nightly")
    exporter = await launch.start(server)
    await exporter.until_ready()
    log = launch.state.with_name("state.db-wal")
    may_grow_to(log.stat().st_size + 100, exporter.pid)
    for _ in range(20):
        workspace.finished_run(job, tasks=3)
    await exporter.until(lambda seen: total(seen, "databricks_up") == 0, "down")
    assert f"the state file {launch.state} can't be read or written" in exporter.log
    assert "check the folder, its permissions and the disk" in exporter.log
    assert total(await exporter.metrics(), "databricks_job_runs_total") == 0
    may_grow_to(None, exporter.pid)
    truth = recount.runs(workspace.truth())
    await exporter.until(lambda seen: recount.counted_runs(seen) == truth, "all counted")
    samples = await exporter.polls()
    assert recount.counted_runs(samples) == truth
    assert total(samples, "databricks_exporter_runs_lost_total") == 0
    assert "polls succeed again" in exporter.log
    assert await exporter.terminate() == 0


def with_room_for(store: StateStore, commit: Commit, size: int) -> None:
    """Let commits find so much room in the log, and nothing else be bounded."""

    def bounded(*args: Any) -> int:
        may_grow_to(size)
        try:
            return commit(*args)
        finally:
            may_grow_to(None)

    store.commit = bounded  # type: ignore[method-assign, assignment]


def test_a_commit_that_finds_no_room_at_any_byte_changes_nothing() -> None:
    """Wherever in a commit the room ends, the next one with room is as if nothing had happened."""
    chance, failed = random.Random(9), 0
    with folder_in_memory() as name:
        world = World(Path(name))
        job = world.workspace.add_job("nightly")
        log, commit = Path(name) / "state.db-wal", world.store.commit
        for _ in range(30):
            world.workspace.finished_run(job, tasks=2)
            before = world.counts(RUNS)
            with_room_for(world.store, commit, log.stat().st_size + chance.randrange(20_000))
            if (cause := world.poll()) is not None:
                failed += 1
                assert "can't be read or written" in cause
                assert world.counts(RUNS) == before
            world.store.commit = commit  # type: ignore[method-assign]
            assert world.poll() is None
            assert world.counts(RUNS) == recount.runs(world.workspace.truth())
        assert failed > 10
        world.restart()
        assert world.counts(RUNS) == recount.runs(world.workspace.truth())
        world.close()


def as_nobody(act: Callable[[], None]) -> str:
    """What StateError says when this is done by a user who owns nothing."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            if os.getuid() == 0:
                os.setuid(NOBODY)
            act()
        except StateError as error:
            os.write(write, str(error).encode())
        finally:
            os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    return said


@pytest.mark.parametrize(("file_mode", "folder_mode"), [(0o444, 0o555), (0o444, 0o777), (0o000, 0o777)])
def test_a_state_that_may_not_be_written_is_refused(file_mode: int, folder_mode: int) -> None:
    """Whether the file or its folder is read-only: the error names the file and what to check."""
    with folder_in_memory() as name:
        path = Path(name) / "state.db"
        StateStore(path).close()
        path.chmod(file_mode)
        path.parent.chmod(folder_mode)
        said = as_nobody(lambda: StateStore(path).close())
        path.parent.chmod(0o700)
    assert f"the state file {path} can't be read or written" in said
    assert "its permissions" in said


def test_a_new_state_in_a_folder_that_may_not_be_written_is_refused() -> None:
    """The same, where there is no file yet."""
    with folder_in_memory() as name:
        Path(name).chmod(0o555)
        said = as_nobody(lambda: StateStore(Path(name) / "state.db").close())
        Path(name).chmod(0o700)
    assert "can't be read or written" in said


def write_version(path: Path) -> None:
    """Make the fixture again: what this release leaves of two steps of a history, as SQL."""
    with folder_in_memory() as name:
        play = Play(Path(name))
        assert play.world.poll() is None
        play.go_to(1)
        assert play.world.poll() is None
        play.world.close()
        with closing(sqlite3.connect(Path(name) / "state.db")) as database:
            dump = [line for line in database.iterdump() if line not in {"BEGIN TRANSACTION;", "COMMIT;"}]
            pragmas = (
                (word, database.execute(f"PRAGMA {word}")) for word in ("application_id", "user_version")
            )
            dump += [f"PRAGMA {word} = {rows.fetchone()[0]};" for word, rows in pragmas]
    path.write_text("\n".join(dump) + "\n")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_state_of_the_release_before_goes_on_where_it_was(version: int) -> None:
    """As its version wrote it: its totals are there, and what finished since is counted once."""
    with folder_in_memory() as name:
        with closing(sqlite3.connect(Path(name) / "state.db")) as database:
            database.executescript(VERSIONS[version].read_text())
        play = Play(Path(name))
        assert play.counts() == (3, 0, 5)
        for step in (1, 2, 3):
            play.go_to(step)
            assert play.world.poll() is None
        assert play.counts() == (3, 1, 6)
        assert [play.world.counts(family).total() for family in (RUNS, REPAIRS, TASK_RUNS)] == [3, 1, 6]
        play.world.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_the_fixture_of_the_release_before_is_of_that_release(version: int) -> None:
    """Text, of its schema: a newer schema needs a fixture of its own beside it, not in its place."""
    assert re.search(rf"^PRAGMA user_version = {version};$", VERSIONS[version].read_text(), re.MULTILINE)


def test_every_schema_before_todays_has_a_fixture() -> None:
    """So that none is forgotten when the next one comes."""
    assert set(VERSIONS) == set(range(1, SCHEMA_VERSION))
