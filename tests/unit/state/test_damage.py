"""The state file under fire: whatever is changed in it, it is refused or says exactly what it said before."""

import random
import sqlite3
import tempfile
from array import array
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.families import RUNS, TERMINATIONS
from exporter.runs.changes import Changes
from exporter.runs.records import Settled
from exporter.runs.totals import Totals
from exporter.runs.tracker import Remembered
from exporter.state.checksums import COLUMNS, row_checksum
from exporter.state.errors import StateError
from exporter.state.store import PAGE_BYTES, StateStore
from tests.unit.state.old_states import COLUMNS_2, make_older
from tests.unit.state.test_store import LAYOUT, NOTHING, NOW, SOME, at

pytestmark = pytest.mark.slow  # waits, floods or goes through every byte

RUN_IDS = range(300)
PLACES = [
    (table, column) for table, columns in COLUMNS.items() for column in [*columns.split(", "), "checksum"]
]
OLD_PLACES = [(table, column) for table, columns in COLUMNS_2.items() for column in columns.split(", ")]
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
values = (
    st.none() | st.integers(-(2**63), 2**63 - 1) | st.floats() | st.binary(max_size=40) | st.text(max_size=20)
)


class Said(NamedTuple):
    """All that a state file says."""

    remembered: Remembered
    settled: dict[int, Settled]


class Place:
    """A folder with a good state file in it, to be damaged and made good again."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "state.db"
        store = StateStore(self.path, LAYOUT)
        store.commit("w", _some(), NOW)
        store.close()
        self.good = self.path.read_bytes()
        self.said = self.read()

    def put(self, content: bytes) -> None:
        for file in self.path.parent.iterdir():
            file.unlink()
        self.path.write_bytes(content)

    def read(self) -> Said:
        """What it says; it is closed again, and a commit works."""
        store = StateStore(self.path, LAYOUT)
        try:
            said = Said(store.load("w"), store.settled("w", RUN_IDS))
            store.commit("w", NOTHING, NOW)
        finally:
            store.close()
        return said

    def is_refused_or_whole(self, content: bytes) -> bool:
        """Whether it is refused; where it is not, it says what it said."""
        self.put(content)
        try:
            said = self.read()
        except StateError:
            return True
        assert said == self.said
        return False

    def change(self, *statements: str, values: tuple[object, ...] = ()) -> None:
        """Write to the good file as any program could."""
        self.put(self.good)
        # What SQLite itself would not take can't come about this way.
        with suppress(sqlite3.IntegrityError), sqlite3.connect(self.path) as db:
            for statement in statements:
                db.execute(statement, values)
        db.close()


def _some(amount: int = 1) -> Changes:
    totals = {}
    for number in range(20):
        one = Totals.empty(LAYOUT)
        one.words[TERMINATIONS.name] = {("SUCCESS", "SUCCESS"): number}
        one.row[LAYOUT.counters[RUNS.name].first] = amount
        totals[str(number), "STANDARD"] = one
    return SOME._replace(
        settled={run_id: Settled(run_id, array("q", [run_id, 1])) for run_id in RUN_IDS},
        totals=totals,
        jobs={str(number): SOME.jobs["10"] for number in range(20)},
    )


@pytest.fixture(scope="module")
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory() as folder:
        yield Place(Path(folder))


@unhurried
@given(st.integers(0, 2**32), st.integers(1, 6))
def test_flipped_bits_are_refused_or_change_nothing(place: Place, seed: int, bits: int) -> None:
    """A file with some bits turned over is damaged to us, or they were none that say anything."""
    content = bytearray(place.good)
    # Not drawn by hypothesis: it would try the ends of the file again and again.
    for bit in random.Random(seed).sample(range(8 * len(content)), bits):
        content[bit // 8] ^= 1 << bit % 8
    place.is_refused_or_whole(bytes(content))


@unhurried
@given(st.binary(min_size=1, max_size=600), st.integers(0, 2**32))
def test_overwritten_parts_are_refused_or_change_nothing(place: Place, foreign: bytes, seed: int) -> None:
    """A file with foreign bytes in it is damaged to us, or they stand where nothing is said."""
    content = bytearray(place.good)
    at = random.Random(seed).randrange(len(content) - len(foreign))
    content[at : at + len(foreign)] = foreign
    place.is_refused_or_whole(bytes(content))


@unhurried
@given(st.sampled_from(PLACES), values)
def test_a_value_that_was_changed_is_refused(
    place: Place, where: tuple[str, str], value: float | str | bytes | None
) -> None:
    """Also where all is well with SQLite: what this exporter did not write is not taken for its totals."""
    table, column = where
    place.change(f"UPDATE OR IGNORE {table} SET {column} = ?", values=(value,))  # noqa: S608  names from above
    place.is_refused_or_whole(place.path.read_bytes())


@pytest.mark.parametrize(
    ("table", "column"), [where for where in PLACES if where[1] not in {"name", "label"}]
)
def test_a_bit_inside_any_value_is_refused(place: Place, table: str, column: str) -> None:
    """There is no column whose numbers can change unnoticed; the error says where and what to do."""
    turned = f"CASE typeof({column}) WHEN 'integer' THEN {column} + 1024 ELSE x'00' END"
    place.change(f"UPDATE {table} SET {column} = {turned}")  # noqa: S608  names from above
    with pytest.raises(StateError, match=rf"rows of {table} are not as they were written.*move it away"):
        StateStore(place.path, LAYOUT)


@pytest.mark.parametrize("table", COLUMNS)
def test_a_row_that_is_lost_is_refused(place: Place, table: str) -> None:
    """Its checksum is lost with it, but the tally is not."""
    (trigger,) = _column(place, f"SELECT sql FROM sqlite_master WHERE name = '{table}_delete'")  # noqa: S608
    first = f"(SELECT min(checksum) FROM {table})"  # noqa: S608
    place.change(
        f"DROP TRIGGER {table}_delete",
        f"DELETE FROM {table} WHERE checksum = {first}",  # noqa: S608
        str(trigger),
    )
    with pytest.raises(StateError, match=rf"rows of {table} are not those that were written last"):
        StateStore(place.path, LAYOUT)


def test_a_page_of_before_is_refused_or_says_the_same(tmp_path: Path) -> None:
    """A write that the disk forgot leaves a page that is whole, with the rows of an earlier commit."""
    place = Place(tmp_path)
    before = place.good
    store = StateStore(place.path, LAYOUT)
    store.commit("w", _some(amount=2), NOW)
    store.close()
    place.good, place.said = place.path.read_bytes(), place.read()
    assert len(place.good) == len(before)
    refused = 0
    for start in range(0, len(before), PAGE_BYTES):
        if (old := before[start : start + PAGE_BYTES]) != place.good[start : start + PAGE_BYTES]:
            refused += place.is_refused_or_whole(place.good[:start] + old + place.good[start + PAGE_BYTES :])
    assert refused >= 5


def test_a_table_that_was_changed_is_refused(place: Place) -> None:
    """A trigger that does other things would write other tallies."""
    place.change("DROP TRIGGER totals_delete")
    with pytest.raises(StateError, match="its tables are not those of this exporter"):
        StateStore(place.path, LAYOUT)


def test_a_settled_run_that_is_damaged_meanwhile_is_refused(tmp_path: Path) -> None:
    """Rows are compared with their checksums whenever they are read, not at the start alone."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    store._db.execute("UPDATE settled SET end_ms = end_ms + 1 WHERE run_id = 7")
    assert store.settled("w", [8]) == {8: SOME.settled[8]}
    with pytest.raises(StateError, match="run 7 is not as it was written"):
        store.settled("w", [7, 8])
    store.close()


def test_the_tally_is_kept_by_all_that_commits_do(tmp_path: Path) -> None:
    """Rows that are replaced, dropped and forgotten: what is left is what is said to be left."""
    path = tmp_path / "state.db"
    for changes in (_some(), _some(3), NOTHING._replace(no_longer_active=frozenset({9})), SOME, NOTHING):
        store = StateStore(path, LAYOUT)
        store.commit("w", changes, NOW)
        store.commit("other", changes, at(80 * 86_400_000))
        store.commit("other", NOTHING, at(160 * 86_400_000))
        store.close()
    StateStore(path, LAYOUT).close()


def test_a_row_has_the_checksum_that_it_always_had() -> None:
    """Files that are written today must be understood for ever."""
    assert row_checksum(1, "w", None, -5, b"\x00\xff", 2**40) == 3466300139


@unhurried
@given(st.sampled_from(OLD_PLACES), values)
def test_an_old_file_with_anything_in_it_is_used_or_refused(
    place: Place, where: tuple[str, str], value: float | str | bytes | None
) -> None:
    """Before schema 3 there are no checksums to prove that it is right; it ends in a StateError at worst."""
    table, column = where
    place.put(place.good)
    make_older(place.path, 2)
    with suppress(sqlite3.IntegrityError), sqlite3.connect(place.path) as db:
        db.execute(f"UPDATE OR IGNORE {table} SET {column} = ?", (value,))  # noqa: S608
    db.close()
    with suppress(StateError):
        place.read()


def _column(place: Place, query: str) -> list[object]:
    place.put(place.good)
    with sqlite3.connect(place.path) as db:
        found = [row[0] for row in db.execute(query)]
    db.close()
    return found
