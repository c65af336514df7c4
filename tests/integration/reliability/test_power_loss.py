"""What is left of the state file when the power fails or the disk lies: an earlier commit, or an error."""

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.runs.changes import Changes
from exporter.state.errors import StateError
from exporter.state.store import PAGE_BYTES, StateStore
from tests.integration.polling.lives import folder_in_memory
from tests.integration.polling.world import LAYOUT
from tests.integration.reliability.scene import Scene

COMMITS = 8
WAL_HEADER, FRAME_HEADER = 32, 24
RANDOM_PLACES = 60
Books = dict[tuple[str, str], list[float]]


@dataclass(frozen=True)
class History:
    """A state file while it was written: its two parts, and the books at every length of the second."""

    scene: Scene
    main: bytes
    wal: bytes
    books_at: dict[int, Books]

    @property
    def frames(self) -> range:
        """Where frames of the write-ahead log begin and end."""
        page = int.from_bytes(self.wal[8:12], "big")
        return range(WAL_HEADER, len(self.wal) + 1, FRAME_HEADER + page)

    def books_after(self, length: int) -> Books:
        """What the last whole commit within so many bytes left."""
        return self.books_at[max(end for end in self.books_at if end <= length)]

    def leave(self, folder: Path, main: bytes, wal: bytes) -> Path:
        """A state file of these two parts."""
        path = folder / "state.db"
        path.write_bytes(main)
        path.with_name("state.db-wal").write_bytes(wal)
        return path


def books_of(path: Path) -> Books:
    """The totals that a new process finds."""
    store = StateStore(path, LAYOUT)
    try:
        return {labels: list(totals.row) for labels, totals in store.load("simulated").totals.items()}
    finally:
        store.close()


def books_in(scene: Scene) -> Books:
    return {labels: list(totals.row) for labels, totals in scene.totals.items()}


class Booked(Scene):
    """A scene that notes the books after every commit, by the length of the log."""

    def __init__(self, folder: Path) -> None:
        self.books_at: dict[int, Books] = {}
        self.log = folder / "state.db-wal"
        super().__init__(folder)

    def apply(self, changes: Changes) -> None:
        super().apply(changes)
        self.note()

    def note(self) -> None:
        self.books_at[self.log.stat().st_size] = books_in(self)


@pytest.fixture(scope="module")
def history() -> Iterator[History]:
    """Some commits, and their books, before anything is folded into the main file."""
    with folder_in_memory() as name:
        path, wal = Path(name) / "state.db", Path(name) / "state.db-wal"
        scene = Booked(Path(name))
        scene.restart()
        main = path.read_bytes()
        scene.books_at.clear()
        scene.note()
        for _ in range(COMMITS):
            scene.end_runs(scene.begin_runs())
            scene.poll_well()
        assert path.read_bytes() == main
        assert min(scene.books_at) == 0
        yield History(scene, main, wal.read_bytes(), scene.books_at)
        scene.close()


def test_a_log_cut_at_any_frame_holds_the_commits_before(history: History, tmp_path: Path) -> None:
    """At every frame boundary: what the last whole commit left, no more, no less, no mixture."""
    found = []
    for length in (0, *history.frames):
        path = history.leave(tmp_path, history.main, history.wal[:length])
        found.append(books_of(path))
        assert found[-1] == history.books_after(length), f"cut at {length} bytes"
    assert found[-1] != found[0]


def test_a_log_cut_or_changed_anywhere_holds_the_commits_before(history: History, tmp_path: Path) -> None:
    """At random bytes: cut off, or one bit turned over, or the rest overwritten by what was on the disk."""
    chance = random.Random(5)
    for _ in range(RANDOM_PLACES):
        place = chance.randrange(WAL_HEADER, len(history.wal))
        turned = bytearray(history.wal)
        turned[place] ^= 1 << chance.randrange(8)
        garbage = history.wal[:place] + chance.randbytes(len(history.wal) - place)
        for wal in (history.wal[:place], bytes(turned), garbage):
            path = history.leave(tmp_path, history.main, wal)
            assert books_of(path) == history.books_after(place), f"at byte {place}"


def test_after_a_power_loss_the_next_poll_makes_the_totals_exact(history: History) -> None:
    """Whatever the disk forgot is read again: polls go back to the last commit that is left."""
    scene = history.scene
    chance = random.Random(6)
    for run in scene.workspace.runs:
        scene.workspace.show(run.run_id)
    for _ in range(12):
        place = chance.randrange(len(history.wal))
        scene.stop()
        assert scene._path is not None
        history.leave(scene._path.parent, history.main, history.wal[:place])
        scene.start()
        scene.poll_well()
        scene.assert_books_balance()


def found_or_refused(path: Path, way_out: str) -> Books | None:
    """The books, or None where the file is refused with a way out."""
    try:
        return books_of(path)
    except StateError as error:
        refusal = str(error)
    assert re.search(way_out, refusal), refusal
    return None


@pytest.mark.parametrize("keep_log", [True, False])
def test_a_main_file_cut_anywhere_is_refused(
    history: History,
    tmp_path: Path,
    keep_log: bool,  # noqa: FBT001
) -> None:
    """Never taken for a smaller or a fresh one; only a log that has all of it may stand in for it."""
    chance = random.Random(7)
    places = {1, 15, 16, 99, 100, 511, 512, *range(PAGE_BYTES, len(history.main), PAGE_BYTES)}
    places |= {chance.randrange(1, len(history.main)) for _ in range(20)}
    for place in sorted(places | ({0} if keep_log else set())):
        path = history.leave(tmp_path, history.main[:place], history.wal if keep_log else b"")
        books = found_or_refused(path, "restore it from a backup|can't be read")
        assert books is None or (keep_log and books == history.books_after(len(history.wal))), f"at {place}"


def test_a_main_file_with_overwritten_pages_is_refused_or_whole(history: History, tmp_path: Path) -> None:
    """A page of something else is noticed at the start, unless it held nothing."""
    chance = random.Random(8)
    for place in range(0, len(history.main), PAGE_BYTES):
        main = history.main[:place] + chance.randbytes(PAGE_BYTES) + history.main[place + PAGE_BYTES :]
        books = found_or_refused(history.leave(tmp_path, main, b""), "move it away|another program")
        assert books in (None, history.books_after(0)), f"page at {place}"
