"""The state file: what is committed comes back, and what can't be trusted is refused with the way out."""

import os
import sqlite3
from array import array
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from exporter.databricks.clock import Instant
from exporter.families import TERMINATIONS
from exporter.runs.changes import Changes, Expired
from exporter.runs.durations import Phases
from exporter.runs.layout import Layout
from exporter.runs.records import (
    ActiveRun,
    Job,
    LastRun,
    LastSuccess,
    PendingRun,
    Progress,
    Settled,
)
from exporter.runs.totals import Totals
from exporter.state.errors import StateError
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.store import FORGET_EVERY_MS, KEPT_MS, StateStore
from tests.unit.state.old_states import make_older

LAYOUT = Layout()
NOW_MS = 1_790_000_000_000
NOW = Instant(NOW_MS, NOW_MS)
NOTHING = Changes({}, {}, {}, {}, frozenset(), {}, frozenset(), None, 0, 0)
LAST = LastRun(5, 7, "STANDARD", 1, 2.5, 0, Phases(1, 2, 3.5), 1, success=True)
QUEUED = ActiveRun("10", None, "QUEUED", 3, "WHY")


def some_totals() -> Totals:
    """Every slot has a number of its own, and one pair of open words is counted."""
    totals = Totals.empty(LAYOUT)
    for slot in range(LAYOUT.length):
        totals.row[slot] = slot + 0.5
    totals.count_words(TERMINATIONS.name, ("SUCCESS", "SUCCESS"))
    return totals


def at(later_ms: int) -> Instant:
    """So long after NOW."""
    return Instant(NOW_MS + later_ms, NOW_MS + later_ms)


SOME = Changes(
    settled={7: Settled(5, array("q", [71, 72])), 8: Settled(6, array("q"))},
    totals={("10", "STANDARD"): some_totals()},
    jobs={
        "10": Job(
            "STANDARD", "nightly", named_by_list=True, last_run=LAST, last_success=LastSuccess(4, 6, "NONE")
        )
    },
    active={9: QUEUED},
    no_longer_active=frozenset(),
    pending={12: PendingRun("vanished", 5, QUEUED, True, 2, 8), 13: PendingRun("large", 6)},
    no_longer_pending=frozenset(),
    progress=Progress(1, 2, 3, 4, None, ((5, 6),)),
    newly_settled=2,
    runs_counted=2,
    now_ms=NOW_MS - 5,
)


def test_everything_committed_comes_back(tmp_path: Path) -> None:
    """Progress, active runs, jobs, totals and settled runs survive a restart."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    store.close()
    store = StateStore(tmp_path / "state.db", LAYOUT)
    remembered = store.load("w")
    found = store.settled("w", [7, 8, 9])
    store.close()
    assert remembered.progress == SOME.progress
    assert remembered.active == SOME.active
    assert remembered.pending == SOME.pending
    assert remembered.jobs == SOME.jobs
    assert remembered.totals == SOME.totals
    assert remembered.last_ms == {("10", "STANDARD"): SOME.now_ms}
    assert remembered.settled_runs == 2
    assert found == SOME.settled


def test_what_is_gone_is_deleted(tmp_path: Path) -> None:
    """Label set and job, and no more than those; the settled runs stay, so that none is counted again."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    more = NOTHING._replace(totals={("10", "NONE"): Totals.empty(LAYOUT)}, jobs={"11": Job()}, now_ms=NOW_MS)
    store.commit("w", more, NOW)
    store.commit("other", SOME, NOW)
    gone = Expired(frozenset({("10", "STANDARD")}), frozenset({"10"}))
    store.commit("w", NOTHING._replace(expired=gone), NOW)
    store.close()
    store = StateStore(tmp_path / "state.db", LAYOUT)
    left, other = store.load("w"), store.load("other")
    settled = store.settled("w", [7, 8])
    store.close()
    assert (set(left.totals), set(left.last_ms), set(left.jobs)) == (
        {("10", "NONE")},
        {("10", "NONE")},
        {"11"},
    )
    assert settled == SOME.settled
    assert other.totals == SOME.totals


def test_file_of_the_first_version_is_taken_over(tmp_path: Path) -> None:
    """Its totals have no time: they count as changed when the workspace's newest run was settled."""
    path = tmp_path / "state.db"
    store = StateStore(path, LAYOUT)
    store.commit("w", SOME, NOW)
    store.commit("w", NOTHING._replace(settled={5: Settled(1, array("q"))}), at(1))
    store.commit("other", SOME._replace(settled={}), NOW)
    store.close()
    make_older(path, 1)
    for _ in range(2):
        store = StateStore(path, LAYOUT)
        remembered, other = store.load("w"), store.load("other")
        store.close()
        assert remembered.totals == SOME.totals
        assert remembered.last_ms == {("10", "STANDARD"): NOW_MS + 1}
        assert other.last_ms == {("10", "STANDARD"): 0}


def test_file_of_the_second_version_is_taken_over(tmp_path: Path) -> None:
    """All that it says, for every workspace; from then on it has checksums."""
    path = tmp_path / "state.db"
    store = StateStore(path, LAYOUT)
    for name in ("w", "other"):
        store.commit(name, SOME._replace(pending={}), NOW)
    before = [(store.load(name), store.settled(name, [7, 8])) for name in ("w", "other")]
    store.close()
    make_older(path, 2)
    for _ in range(2):
        store = StateStore(path, LAYOUT)
        assert [(store.load(name), store.settled(name, [7, 8])) for name in ("w", "other")] == before
        store.close()
    with sqlite3.connect(path) as db:
        db.execute("UPDATE totals SET last_ms = last_ms + 1")
    db.close()
    with pytest.raises(StateError, match="2 of 2 rows of totals"):
        StateStore(path, LAYOUT)


@pytest.mark.parametrize("version", [1, 2])
def test_an_upgrade_that_fails_changes_nothing(tmp_path: Path, version: int) -> None:
    """It is one transaction: the file is still the old one, and can be taken over later."""
    path = tmp_path / "state.db"
    store = StateStore(path, LAYOUT)
    store.commit("w", SOME, NOW)
    store.close()
    make_older(path, version)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE tally (in_the_way)")
        before = list(db.iterdump())
    db.close()
    with pytest.raises(StateError, match="damaged"):
        StateStore(path, LAYOUT)
    with sqlite3.connect(path) as db:
        assert list(db.iterdump()) == before
        assert db.execute("PRAGMA user_version").fetchone() == (version,)
        db.execute("DROP TABLE tally")
    db.close()
    store = StateStore(path, LAYOUT)
    assert store.load("w").totals == SOME.totals
    store.close()


def test_threads_take_turns(tmp_path: Path) -> None:
    """Workspaces share the file, each with a thread of its own: no transaction gets into another."""
    store = StateStore(tmp_path / "state.db", LAYOUT)

    def commit(name: str) -> int:
        for number in range(100):
            settled = {number * 20 + one: Settled(one, array("q")) for one in range(20)}
            store.commit(name, NOTHING._replace(settled=settled), NOW)
        return store.load(name).settled_runs

    with ThreadPoolExecutor() as threads:
        assert list(threads.map(commit, ("w", "other"))) == [2000, 2000]
    store.close()
    StateStore(tmp_path / "state.db", LAYOUT).close()


def test_a_file_is_free_as_soon_as_it_is_closed(tmp_path: Path) -> None:
    """Also when another thread is in the middle of reading it: it finishes first, and nothing crashes."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    with ThreadPoolExecutor() as threads:
        reading = threads.submit(store.settled, "w", range(300_000))
        while not store._one_at_a_time.locked():
            assert not reading.done()
        store.close()
        StateStore(tmp_path / "state.db", LAYOUT).close()
        assert reading.result().keys() == SOME.settled.keys()


def test_workspaces_do_not_mix(tmp_path: Path) -> None:
    """Two workspaces in one file know nothing of each other."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("one", SOME, NOW)
    assert store.load("two").totals == {}
    assert store.settled("two", [7]) == {}
    store.close()


def test_run_that_is_no_longer_active_is_forgotten(tmp_path: Path) -> None:
    """In the same transaction that settles it."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    store.commit("w", NOTHING._replace(no_longer_active=frozenset({9})), NOW)
    assert store.load("w").active == {}
    store.close()


def test_settled_runs_are_forgotten_after_70_days(tmp_path: Path) -> None:
    """Not a moment sooner and within an hour; the number forgotten is returned."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    assert store.commit("w", NOTHING, at(KEPT_MS)) == 0
    assert store.commit("w", NOTHING, at(KEPT_MS + FORGET_EVERY_MS)) == 2
    assert store.settled("w", [7, 8]) == {}
    store.close()


def test_failed_commit_changes_nothing(tmp_path: Path) -> None:
    """A statement that fails takes the whole transaction back, and the store goes on."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    bad = SOME._replace(settled={11: Settled(1, array("q"))}, totals={("10", 5): Totals.empty(LAYOUT)})  # type: ignore[dict-item]
    with store._noted():
        store._db.execute(
            "CREATE TRIGGER no BEFORE INSERT ON totals WHEN new.target = '5' "
            "BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
    with pytest.raises(StateError):
        store.commit("w", bad, NOW)
    assert store.settled("w", [11]) == {}
    store.commit("w", SOME, NOW)
    store.close()


def test_memory_only_needs_no_file() -> None:
    """Without a path the same works in memory."""
    store = StateStore(None, LAYOUT)
    store.commit("w", SOME, NOW)
    assert store.load("w").totals == SOME.totals
    store.close()


def test_second_exporter_is_refused(tmp_path: Path) -> None:
    """A file in use is refused, and free again once it is closed."""
    first = StateStore(tmp_path / "state.db", LAYOUT)
    with pytest.raises(StateError, match="in use by another process"):
        StateStore(tmp_path / "state.db", LAYOUT)
    first.close()
    StateStore(tmp_path / "state.db", LAYOUT).close()


def test_newer_schema_is_refused(tmp_path: Path) -> None:
    """What a later version wrote is not touched."""
    StateStore(tmp_path / "state.db", LAYOUT).close()
    with sqlite3.connect(tmp_path / "state.db") as db:
        db.execute(f"PRAGMA user_version = {SCHEMA_VERSION + 1}")
    db.close()
    with pytest.raises(StateError, match="newer version"):
        StateStore(tmp_path / "state.db", LAYOUT)


def test_foreign_database_is_refused(tmp_path: Path) -> None:
    """Another program's SQLite file is not written to."""
    with sqlite3.connect(tmp_path / "other.db") as db:
        db.execute("CREATE TABLE notes (text)")
    db.close()
    with pytest.raises(StateError, match="another program"):
        StateStore(tmp_path / "other.db", LAYOUT)


@pytest.mark.parametrize("content", [b"no database at all " * 300, b"SQLite format 3\x00" + b"\xff" * 5000])
def test_corrupt_file_is_refused(tmp_path: Path, content: bytes) -> None:
    """The error names the file and the way out, and the file stays as it is."""
    path = tmp_path / "state.db"
    path.write_bytes(content)
    with pytest.raises(StateError, match=r"damaged.*move it away|can't be read"):
        StateStore(path, LAYOUT)
    assert path.read_bytes() == content


def test_overwritten_pages_are_noticed(tmp_path: Path) -> None:
    """A file that is damaged in its middle is refused at the start, not trusted until a read fails."""
    path = tmp_path / "state.db"
    store = StateStore(path, LAYOUT)
    many = {i: Settled(i, array("q", range(5))) for i in range(5000)}
    store.commit("w", NOTHING._replace(settled=many), NOW)
    store.close()
    with path.open("r+b") as file:
        file.seek(5 * 4096)
        file.write(os.urandom(20 * 4096))
    with pytest.raises(StateError, match="damaged"):
        StateStore(path, LAYOUT)


def test_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    """A path that can't be made is an error with its name."""
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"set state\.path"):
        StateStore(tmp_path / "file" / "state.db", LAYOUT)


def test_full_disk_is_an_error_and_nothing_is_lost(tmp_path: Path) -> None:
    """A commit without room fails as a whole; with room again it goes through."""
    store = StateStore(tmp_path / "state.db", LAYOUT)
    store.commit("w", SOME, NOW)
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    many = {i: Settled(i, array("q", range(50))) for i in range(1000)}
    with pytest.raises(StateError, match="full"):
        store.commit("w", NOTHING._replace(settled=many), NOW)
    assert store.load("w").settled_runs == 2
    store._db.execute("PRAGMA max_page_count = 1000000")
    store.commit("w", NOTHING._replace(settled=many), NOW)
    assert store.load("w").settled_runs == 1000
    store.close()
