"""State files that earlier releases wrote, byte for byte: all that they say goes on."""

import sqlite3
from array import array
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from exporter.families import (
    REPAIRS,
    RUN_ATTEMPTS,
    RUN_DURATION,
    RUNS,
    TASK_EXECUTION,
    TASK_RETRIES,
    TASK_RUNS,
    TERMINATIONS,
    Family,
)
from exporter.runs.durations import Phases
from exporter.runs.layout import Layout, StoredFamily, StoredLayout
from exporter.runs.records import ActiveRun, Job, LastRun, LastSuccess, PendingRun, Progress, Settled
from exporter.runs.totals import Totals
from exporter.state import codec
from exporter.state.errors import StateError
from exporter.state.schema import SCHEMA_VERSION
from exporter.state.store import StateStore
from exporter.state.upgrade import LAYOUT_3
from tests.unit.state.old_states import write_old
from tests.unit.state.test_store import LAYOUT, NOTHING, NOW

HOST_3 = "adb-1.azuredatabricks.net"


def counted(totals: Totals, family: Family) -> list[int]:
    """A counter's slots, or how many observations each bucket of a histogram has."""
    if family.kind == "counter":
        counter = LAYOUT.counters[family.name]
        return [int(value) for value in totals.row[counter.first : counter.first + counter.length]]
    histogram = LAYOUT.histograms[family.name]
    return [int(value) for value in totals.row[histogram.first : histogram.sum]]


def summed(totals: Totals, family: Family) -> float:
    return totals.row[LAYOUT.histograms[family.name].sum]


@pytest.fixture(params=[1, 2])
def first(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[int, StateStore]:
    """A file of schema 1 or 2, which say the same, taken over and opened again."""
    write_old(tmp_path / "state.db", request.param)
    StateStore(tmp_path / "state.db", LAYOUT).close()
    return request.param, StateStore(tmp_path / "state.db", LAYOUT)


def test_files_of_the_first_two_schemas_go_on(first: tuple[int, StateStore]) -> None:
    """Progress, jobs, settled runs and totals of a workspace with one job under two targets."""
    version, store = first
    remembered = store.load("simulated")
    settled = store.settled("simulated", [90169943749465, 944271909999144])
    store.close()
    begun_ms = {1: 1789913599984, 2: 1789913599997}[version]
    assert remembered.progress is not None
    assert remembered.progress.counted_from_ms == remembered.progress.remembered_from_ms == begun_ms
    assert (remembered.progress.last_sweep_ms, remembered.progress.slices) == (None, ())
    last = LastRun(
        1790000100000, 944271909999144, "STANDARD", 1790000000000, 100_000, 0, Phases(0, 100_000, 0), 1, True
    )
    success = LastSuccess(last.end_ms, last.run_id, "STANDARD")
    assert remembered.jobs == {
        "997246481259893": Job(
            "STANDARD", "nightly", named_by_list=False, last_run=last, last_success=success
        )
    }
    assert (remembered.active, remembered.pending, remembered.settled_runs) == ({}, {}, 3)
    assert settled == {
        90169943749465: Settled(1789957400000, array("q", [708203932499358, 326237921249251])),
        944271909999144: Settled(1790000100000, array("q", [562305898749037])),
    }


def test_totals_of_the_first_two_schemas_are_exact(first: tuple[int, StateStore]) -> None:
    """Buckets, sums, counters, open words and when each series key last had a run."""
    version, store = first
    remembered = store.load("simulated")
    store.close()
    none = remembered.totals["997246481259893", "NONE"]
    standard = remembered.totals["997246481259893", "STANDARD"]
    assert none.seeded
    assert counted(none, RUN_DURATION) == [0, 0, 0, 0, 1, 0, 0, 1] + [0] * 8
    assert (summed(none, RUN_DURATION), summed(standard, RUN_DURATION)) == (660_000, 100_000)
    assert counted(none, RUN_ATTEMPTS) == [1, 1, 0, 0, 0, 0, 0, 0]
    assert counted(none, RUNS) == [1, 0, 1, 0, 0, 0, 0]
    assert counted(none, TASK_RUNS) == [2, 0, 2, 0, 0, 0, 0]
    assert counted(none, TASK_RETRIES) == [1]
    assert none.words == {
        TERMINATIONS.name: {("RUN_EXECUTION_ERROR", "CLIENT_ERROR"): 1, ("SUCCESS", "SUCCESS"): 1}
    }
    times = {1: (1795402405988, 1795402405988), 2: (1790000000000, 1790000099997)}[version]
    assert tuple(remembered.last_ms[key] for key in remembered.totals) == times


def test_a_file_of_schema_3_goes_on(tmp_path: Path) -> None:
    """All that release 0.1.0 wrote: every kind of record, each with all its fields."""
    write_old(tmp_path / "state.db", 3)
    store = StateStore(tmp_path / "state.db", LAYOUT)
    assert (store.remapped.afresh, store.remapped.dropped) == ((), ())
    remembered, settled = store.load(HOST_3), store.settled(HOST_3, [7, 8])
    store.close()
    assert remembered.progress == Progress(
        1789913600000,
        1789913600000,
        1789999950000,
        1789999999000,
        1789999998000,
        ((1789999930000, 1789999940000),),
    )
    assert remembered.active == {
        9: ActiveRun("10", None, "QUEUED", 1789999997000, "ACTIVE_RUNS_LIMIT_REACHED"),
        11: ActiveRun("10", "STANDARD", "RUNNING", 1789999991000, None),
    }
    last = LastRun(
        1789999995000, 7, "STANDARD", 1789999940000, 55_000, 1_000, Phases(1_000, 50_000, 4_000), 2, True
    )
    success = LastSuccess(last.end_ms, 7, "STANDARD")
    assert remembered.jobs == {
        "10": Job("STANDARD", "nightly", named_by_list=True, last_run=last, last_success=success),
        "SUBMIT_RUN": Job(None, None, named_by_list=False),
    }
    assert settled == {
        7: Settled(1789999995000, array("q", [71, 72])),
        8: Settled(1789999994000, array("q")),
    }
    assert remembered.last_ms == dict.fromkeys(remembered.totals, 1789999999995)
    assert remembered.settled_runs == 2


def test_totals_of_schema_3_are_exact(tmp_path: Path) -> None:
    """Every slot of the old rows, wherever it stands today: the dump has a number of its own in each."""
    write_old(tmp_path / "state.db", 3)
    with sqlite3.connect(tmp_path / "state.db") as db:
        rows = {
            (label, target): array("d", row)
            for label, target, row in db.execute("SELECT label, target, row FROM totals")
        }
    db.close()
    store = StateStore(tmp_path / "state.db", LAYOUT)
    totals = store.load(HOST_3).totals
    store.close()
    assert totals.keys() == rows.keys() == {("10", "STANDARD"), ("10", "NONE"), ("SUBMIT_RUN", "NONE")}
    today = {family.name: family for family in LAYOUT.stored().families}
    for key, before in rows.items():
        for family in LAYOUT_3.families:
            now = today[family.name]
            assert (
                totals[key].row[now.first : now.first + now.length]
                == before[family.first : family.first + family.length]
            )
    standard = totals["10", "STANDARD"]
    assert counted(standard, RUNS) == [38, 39, 40, 41, 42, 43, 44]
    assert counted(standard, REPAIRS) == [45, 46, 47, 48, 49, 50, 51]
    assert counted(standard, TASK_RETRIES) == [59]
    assert (counted(standard, RUN_DURATION), summed(standard, RUN_DURATION)) == ([0, 4] + [0] * 14, 14_000)
    assert counted(standard, TASK_EXECUTION) == [0, 0, 0, 1, 3] + [0] * 11
    assert standard.words == {
        TERMINATIONS.name: {("SUCCESS", "SUCCESS"): 3, ("RUN_EXECUTION_ERROR", "CLIENT_ERROR"): 1}
    }


@pytest.mark.parametrize(("version", "name"), [(1, "simulated"), (2, "simulated"), (3, HOST_3)])
def test_a_file_that_was_taken_over_is_one_of_today(tmp_path: Path, version: int, name: str) -> None:
    """It is used like any other, and what is changed in it is noticed from then on."""
    path = tmp_path / "state.db"
    write_old(path, version)
    store = StateStore(path, LAYOUT)
    before = store.load(name)
    store.commit(name, NOTHING._replace(pending={5: PendingRun("vanished", 1)}), NOW)
    store.close()
    store = StateStore(path, LAYOUT)
    assert store.load(name) == before._replace(pending={5: PendingRun("vanished", 1)})
    store.close()
    with sqlite3.connect(path) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        tables = {table for (table,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        assert not [table for table in tables if table.startswith("old_")]
        db.execute("UPDATE totals SET last_ms = last_ms + 1")
    db.close()
    with pytest.raises(StateError, match="rows of totals are not as they were written"):
        StateStore(path, LAYOUT)


@pytest.mark.parametrize("table", ["workspace", "settled", "active", "job", "totals"])
def test_a_damaged_file_of_schema_3_is_refused(tmp_path: Path, table: str) -> None:
    """Its checksums are looked at before anything of it is taken over, and it stays as it is."""
    path = tmp_path / "state.db"
    write_old(path, 3)
    with sqlite3.connect(path) as db:
        db.execute(f"UPDATE {table} SET checksum = checksum + 1")  # noqa: S608  names from above
        before = list(db.iterdump())
    db.close()
    with pytest.raises(StateError, match=f"rows of {table} are not as they were written"):
        StateStore(path, LAYOUT)
    with sqlite3.connect(path) as db:
        assert list(db.iterdump()) == before
    db.close()


def test_a_file_of_schema_3_meets_other_buckets(tmp_path: Path) -> None:
    """Taken over and remapped in one step: durations begin at 0, all else goes on."""
    write_old(tmp_path / "state.db", 3)
    layout = Layout.with_buckets([60, 3600])
    store = StateStore(tmp_path / "state.db", layout)
    totals = store.load(HOST_3).totals["10", "STANDARD"]
    durations = {name for name in layout.histograms if name != RUN_ATTEMPTS.name}
    assert set(store.remapped.afresh) == durations
    store.close()
    assert not any(any(totals.row[layout.histograms[name].first : layout.histograms[name].sum + 1])
                   for name in durations)  # fmt: skip
    attempts, runs = layout.histograms[RUN_ATTEMPTS.name], layout.counters[RUNS.name]
    assert list(totals.row[attempts.first : attempts.sum + 1]) == [1, 1, 0, 0, 1, 1, 0, 0, 14]
    assert list(totals.row[runs.first : runs.first + 7]) == [38, 39, 40, 41, 42, 43, 44]


# --- records of releases to come, and of ones that were

RECORDS = [
    (Progress(1, 2, 3, 4, 5, ((6, 7),), 8), codec.decode_progress),
    (ActiveRun("10", "STANDARD", "QUEUED", 3, "WHY"), codec.decode_active),
    (
        PendingRun("large", 5, ActiveRun("10", None, "RUNNING", 3, None), True, 2, 8),
        codec.decode_pending,
    ),
    (
        Job("S", "n", True, LastRun(5, 7, "S", 1, 2.5, 0, Phases(1, 2, 3), 1, True), LastSuccess(1, 2, "S")),
        codec.decode_job,
    ),
    (LAYOUT.stored(), codec.decode_layout),
]


@pytest.mark.parametrize(("record", "decode"), RECORDS, ids=lambda each: type(each).__name__)
def test_a_field_that_this_release_does_not_know_is_passed_over(
    record: msgspec.Struct, decode: Callable[[bytes], msgspec.Struct]
) -> None:
    """A later release may add fields to any record, and to those inside of it."""

    def with_more(value: object) -> object:
        if isinstance(value, dict):
            return {name: with_more(each) for name, each in value.items()} | {"added": [{"x": 1}]}
        return [with_more(each) for each in value] if isinstance(value, list) else value

    plain = msgspec.msgpack.decode(codec.encode(record))
    assert decode(codec.encode(with_more(plain))) == record


@pytest.mark.parametrize(
    ("before", "decode", "record"),
    [
        (
            {"counted_from_ms": 1, "remembered_from_ms": 2, "first_poll_ms": 3, "last_good_poll_ms": 4},
            codec.decode_progress,
            Progress(1, 2, 3, 4),
        ),
        ({"reason": "vanished", "since_ms": 5}, codec.decode_pending, PendingRun("vanished", 5)),
        ({}, codec.decode_job, Job()),
        (
            {"length": 2, "families": [{"name": "a_total", "first": 1}]},
            codec.decode_layout,
            StoredLayout(2, (StoredFamily("a_total", 1),)),
        ),
    ],
    ids=["Progress", "PendingRun", "Job", "StoredLayout"],
)
def test_a_field_that_an_earlier_release_did_not_know_has_a_default(
    before: dict[str, object],
    decode: Callable[[bytes], msgspec.Struct],
    record: msgspec.Struct,
) -> None:
    """What is left out is what it always was."""
    assert decode(codec.encode(before)) == record
