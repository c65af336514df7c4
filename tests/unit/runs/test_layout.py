"""Totals outlive the code: whatever happens to the table, what still means the same goes on exactly."""

import sqlite3
import tempfile
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.databricks.clock import Instant
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Format
from exporter.families import RUN_FAMILIES, RUN_LABELS, Family
from exporter.own_metrics import OwnMetrics
from exporter.runs.changes import Changes
from exporter.runs.layout import SEEDED, Layout, StoredLayout, remap
from exporter.runs.records import Job
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals, WordCounts
from exporter.state.codec import decode_layout, encode
from exporter.state.errors import StateError
from exporter.state.store import StateStore
from tests.unit.exposition import plain

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
NOW = Instant(1_790_000_000_000, 1_790_000_000_000)
NAMES = ("a", "b", "c", "d", "e", "f")
bounds = st.lists(st.sampled_from([0.25, 1, 5, 60, 3600]), min_size=1, unique=True).map(sorted)
results = st.lists(st.sampled_from(["SUCCESS", "FAILED", "TIMEDOUT", "ODD"]), unique=True)
numbers = st.integers(0, 2**40)


def histogram(name: str, buckets: Sequence[float]) -> Family:
    return Family(name, "histogram", "H", RUN_LABELS, "series_key", tuple(buckets))


def counter(name: str, of: Sequence[str]) -> Family:
    labels = (*RUN_LABELS, "result") if of else RUN_LABELS
    return Family(name, "counter", "C", labels, "series_key", results=tuple(of))


def open_counter(name: str, labels: Sequence[str]) -> Family:
    return Family(
        name, "counter", "C", (*RUN_LABELS, *labels), "series_key", words=lambda _: tuple("?" for _ in labels)
    )


@st.composite
def families(draw: st.DrawFn) -> list[Family]:
    """A table: some of six names, in any order, each a histogram or counter of some kind."""
    table = []
    for name in draw(st.permutations(NAMES))[: draw(st.integers(0, len(NAMES)))]:
        kind = draw(st.sampled_from(["seconds", "count", "counter"]))
        if kind == "counter":
            table.append(counter(f"{name}_total", draw(results)))
        else:
            table.append(histogram(f"{name}_{kind}", draw(bounds)))
    return table


def filled(layout: Layout, data: st.DataObject) -> "array[float]":
    """A row with any number in each slot."""
    return array("d", data.draw(st.lists(numbers, min_size=layout.length, max_size=layout.length)))


class Value(NamedTuple):
    """What a row says of one family, by what it means and not by where it stands."""

    buckets: dict[float, float]
    sum: float
    results: dict[str, float]


def value(layout: Layout, row: "array[float]", family: Family) -> Value:
    if family.kind == "histogram":
        slots = layout.histograms[family.name]
        counts = row[slots.first : slots.sum]
        return Value(dict(zip((*family.buckets, float("inf")), counts, strict=True)), row[slots.sum], {})
    first = layout.counters[family.name].first
    return Value({}, 0, {result: row[first + slot] for slot, result in enumerate(family.results or ("",))})


def expected(before: Value | None, now: Family, earlier: Family | None) -> tuple[Value, bool]:
    """What a family says after its table changed, and whether it begins afresh."""
    nothing = Value(
        dict.fromkeys((*now.buckets, float("inf")), 0.0) if now.kind == "histogram" else {},
        0.0,
        {} if now.kind == "histogram" else dict.fromkeys(now.results or ("",), 0.0),
    )
    if before is None or earlier is None or earlier.kind != now.kind or earlier.buckets != now.buckets:
        return nothing, True
    if bool(earlier.results) != bool(now.results):
        return nothing, True
    if now.kind == "histogram":
        return before, False
    return Value({}, 0.0, {result: before.results.get(result, 0.0) for result in nothing.results}), False


def assert_goes_on(
    first: list[Family], second: list[Family], row: "array[float]", after: "array[float]"
) -> set[str]:
    """That a row of one table says in another what it should; the families that begin at 0."""
    earlier = {family.name: family for family in first}
    old, new = Layout(first), Layout(second)
    assert len(after) == new.length
    assert after[SEEDED] == row[SEEDED]
    afresh = set()
    for family in second:
        was = earlier.get(family.name)
        wanted, begins = expected(value(old, row, was) if was else None, family, was)
        assert value(new, after, family) == wanted
        if begins:
            afresh.add(family.name)
    return afresh


@unhurried
@given(families(), families(), st.data())
def test_what_means_the_same_is_exact_and_the_rest_begins_at_0(
    first: list[Family], second: list[Family], data: st.DataObject
) -> None:
    """Reordered, added, dropped, with other buckets or results, in any mixture; nothing is refused."""
    stored = decode_layout(encode(Layout(first).stored()))
    row = filled(Layout(first), data)
    how = remap(stored, Layout(second).stored())
    afresh = assert_goes_on(first, second, row, how.row(row))
    assert sorted(how.afresh) == sorted(afresh), "each is named once"
    assert set(how.dropped) == {family.name for family in first} - {family.name for family in second}


@unhurried
@given(families(), st.data())
def test_another_order_changes_nothing(first: list[Family], data: st.DataObject) -> None:
    """No family begins afresh when the table is sorted in another way, and the way back is exact."""
    second = data.draw(st.permutations(first))
    there = remap(Layout(first).stored(), Layout(second).stored())
    back = remap(Layout(second).stored(), Layout(first).stored())
    assert (there.afresh, there.dropped) == ((), ())
    row = filled(Layout(first), data)
    assert back.row(there.row(row)) == row


@settings(unhurried, max_examples=20)
@given(families(), families(), st.data())
def test_a_state_file_is_opened_by_any_table(
    first: list[Family], second: list[Family], data: st.DataObject
) -> None:
    """Written by one, opened by another and again by the first: each time what still means the same."""
    keys: list[SeriesKey] = [("1", "STANDARD"), ("2", "NONE")]
    rows = {key: filled(Layout(first), data) for key in keys}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        store = StateStore(path, Layout(first))
        store.commit("w", _changes(Layout(first), rows), NOW)
        store.close()
        for before, now in ((first, second), (second, first)):
            store = StateStore(path, Layout(now))
            restored = {key: totals.row for key, totals in store.load("w").totals.items()}
            named = store.remapped
            # It is one of today's now: the next commit and the next start find nothing to do.
            store.commit("w", _changes(Layout(now), {keys[0]: restored[keys[0]]}), NOW)
            store.close()
            for key in keys:
                afresh = assert_goes_on(before, now, rows[key], restored[key])
                assert sorted(named.afresh) == sorted(afresh)
            rows = restored
            store = StateStore(path, Layout(now))
            assert (store.remapped.afresh, store.remapped.dropped) == ((), ())
            assert {key: totals.row for key, totals in store.load("w").totals.items()} == rows
            store.close()


def test_a_row_that_is_not_of_the_stored_layout_is_never_remapped(tmp_path: Path) -> None:
    """Where the layout was changed by another hand, the file is refused: its checksum is wrong."""
    path = tmp_path / "state.db"
    StateStore(path, Layout()).close()
    with sqlite3.connect(path) as db:
        other = encode(Layout.with_buckets([1]).stored())
        db.execute("UPDATE layout SET layout = ?", (other,))
    db.close()
    with pytest.raises(StateError, match="rows of layout are not as they were written"):
        StateStore(path, Layout())


def test_seconds_are_stored_in_the_unit_observed() -> None:
    """A bound of 60 s is one of 60,000 ms; attempts are what they are. The names say which."""
    layout = Layout([histogram("a_seconds", [0.25, 60]), histogram("b", [2])])
    assert [family.bounds for family in layout.stored().families] == [(250, 60_000), (2,)]


def test_one_list_of_buckets_is_for_all_durations() -> None:
    """`histograms.buckets` leaves attempts alone; without it the table's own are used."""
    own, other = Layout.with_buckets(None), Layout.with_buckets([1, 10.5])
    assert own.stored() == Layout().stored()
    for family in RUN_FAMILIES:
        if family.kind == "histogram":
            wanted = (1, 10.5) if family.name.endswith("_seconds") else family.buckets
            assert other.histograms[family.name].family.buckets == wanted
    named = {name for name in own.histograms if name.endswith("_seconds")}
    assert set(remap(own.stored(), other.stored()).afresh) == named


def test_the_stored_layout_is_read_back_as_it_was() -> None:
    """Bounds that are no whole numbers too."""
    stored = Layout.with_buckets([0.1, 0.3, 1e6]).stored()
    assert msgspec.msgpack.decode(encode(stored), type=StoredLayout) == stored


# --- counters with open words


def test_a_new_counter_of_open_words_is_named() -> None:
    """It begins at 0 like any other new family, so the one log line names it too."""
    words = open_counter("x_total", ["code"])
    how = remap(Layout([]).stored(), Layout([words]).stored())
    assert how.afresh == ("x_total",)
    assert remap(Layout([words]).stored(), Layout([]).stored()).dropped == ("x_total",)


def _served(path: Path, table: list[Family]) -> list[str]:
    store = StateStore(path, Layout(table))
    totals = store.load("w").totals
    store.close()
    exposition = Exposition(OwnMetrics(), Layout(table))
    exposition.update("w", totals, {"1": (Job(), None)})
    lines = plain(exposition, Format.TEXT).decode().splitlines()
    return [line for line in lines if line.startswith("x_total")]


def test_a_counter_of_other_open_words_begins_at_0(tmp_path: Path) -> None:
    """Counts by code and type are none by code: they are neither served nor mistaken for those."""
    path = tmp_path / "state.db"
    both, one = open_counter("x_total", ["code", "type"]), open_counter("x_total", ["code"])
    store = StateStore(path, Layout([both]))
    changes = _changes(
        Layout([both]), {("1", "NONE"): Layout([both]).empty_row()}, {"x_total": {("SUCCESS", "T"): 3}}
    )
    store.commit("w", changes, NOW)
    store.close()
    assert len(_served(path, [both])) == 1
    assert _served(path, [one]) == []


def test_a_dropped_counter_of_open_words_begins_at_0_when_it_comes_back(tmp_path: Path) -> None:
    """As every other family does: what was not counted meanwhile is no part of it."""
    path = tmp_path / "state.db"
    words = open_counter("x_total", ["code"])
    store = StateStore(path, Layout([words]))
    changes = _changes(
        Layout([words]), {("1", "NONE"): Layout([words]).empty_row()}, {"x_total": {("SUCCESS",): 3}}
    )
    store.commit("w", changes, NOW)
    store.close()
    assert _served(path, []) == []
    assert _served(path, [words]) == []


def _changes(
    layout: Layout, rows: "dict[SeriesKey, array[float]]", words: WordCounts | None = None
) -> Changes:
    totals = {key: Totals(row, words or {}, layout.no_exemplars()) for key, row in rows.items()}
    return Changes({}, totals, {}, {}, frozenset(), {}, frozenset(), None, 0, 0, now_ms=5)
