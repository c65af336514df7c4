"""The state file as the file system has it: what happens to it while it is open is noticed at once."""

import os
from array import array
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exporter.runs.layout import Layout
from exporter.runs.records import Settled
from exporter.state.errors import StateError
from exporter.state.store import StateStore
from tests.unit.state.old_states import write_old
from tests.unit.state.test_store import LAYOUT, NOTHING, NOW, SOME, at

pytestmark = pytest.mark.slow  # waits, floods or goes through every byte


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def store(path: Path) -> Iterator[StateStore]:
    opened = in_use(path)
    yield opened
    opened.close()


def in_use(path: Path) -> StateStore:
    """A store whose file and log both have something in them."""
    StateStore(path, LAYOUT).close()
    opened = StateStore(path, LAYOUT)
    opened.commit("w", SOME, NOW)
    return opened


def log_of(path: Path) -> Path:
    return path.with_name("state.db-wal")


def aside(path: Path) -> Path:
    return path.with_name(f"{path.name}.aside")


def remove(path: Path) -> None:
    path.unlink()


def rename(path: Path) -> None:
    path.rename(aside(path))


def replace(path: Path) -> None:
    """By one with the same content, as a restore from a backup does."""
    aside(path).write_bytes(path.read_bytes())
    aside(path).replace(path)


def cut_off(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path) -> None:
    os.truncate(path, 0)


DEEDS: dict[Callable[[Path], None], str] = {
    remove: "removed",
    rename: "renamed",
    replace: "replaced",
    cut_off: "cut off",
    empty: "cut off",
}


@pytest.mark.parametrize("which", [Path, log_of], ids=["file", "log"])
@pytest.mark.parametrize("deed", DEEDS, ids=lambda deed: str(deed.__name__))
def test_the_next_commit_says_what_happened(
    store: StateStore, path: Path, deed: Callable[[Path], None], which: Callable[[Path], Path]
) -> None:
    """It fails, and names the file, what was done to it and what to do."""
    deed(which(path))
    with pytest.raises(StateError, match=rf"{which(path)} was .*{DEEDS[deed]}.*put it back, or restart"):
        store.commit("w", SOME, NOW)
    with pytest.raises(StateError, match=DEEDS[deed]):
        store.commit("w", NOTHING, NOW)


@pytest.mark.parametrize("which", [Path, log_of], ids=["file", "log"])
def test_a_file_that_is_put_back_goes_on(path: Path, which: Callable[[Path], Path]) -> None:
    """Nothing was lost: what could not be committed meanwhile is committed after."""
    store = in_use(path)
    rename(which(path))
    late = NOTHING._replace(settled={99: Settled(1, array("q", [5]))})
    with pytest.raises(StateError):
        store.commit("w", late, NOW)
    aside(which(path)).rename(which(path))
    store.commit("w", late, NOW)
    store.close()
    again = StateStore(path, LAYOUT)
    assert again.settled("w", [7, 8, 99]) == SOME.settled | late.settled
    assert again.load("w").totals == SOME.totals
    again.close()


def test_a_replacement_stays_as_it_is(store: StateStore, path: Path) -> None:
    """What was put in its place may be a backup: nothing is written into it."""
    path.rename(aside(path))
    path.write_bytes(b"a backup")
    for _ in range(3):
        with pytest.raises(StateError, match="replaced"):
            store.commit("w", SOME, NOW)
    assert path.read_bytes() == b"a backup"


@pytest.mark.parametrize("deed", [remove, rename, replace], ids=lambda deed: str(deed.__name__))
def test_a_second_exporter_is_refused_whatever_became_of_the_file(
    path: Path, deed: Callable[[Path], None]
) -> None:
    """The path is held, and free again once the first one is closed."""
    store = in_use(path)
    deed(path)
    log_of(path).unlink()
    with pytest.raises(StateError, match="in use by another process"):
        StateStore(path, LAYOUT)
    store.close()
    StateStore(path, LAYOUT).close()


@pytest.mark.parametrize("schema", [3, None])
def test_normal_use_is_never_taken_for_damage(path: Path, schema: int | None) -> None:
    """Hundreds of commits, each with a checkpoint, old runs forgotten, an upgrade and other buckets."""
    if schema is not None:
        write_old(path, schema)
    sizes = set()
    for layout in (LAYOUT, Layout.with_buckets([1, 60])):
        store = StateStore(path, layout)
        store._db.execute("PRAGMA wal_autocheckpoint = 2")
        for number in range(150):
            many = range(number * 1000, number * 1000 + 50)
            settled = {run_id: Settled(run_id, array("q", range(20))) for run_id in many}
            store.commit("w", NOTHING._replace(settled=settled), at(number * 86_400_000))
            sizes.add(path.stat().st_size)
        store.close()
    assert len(sizes) > 10, "the log was folded into the file on the way"
