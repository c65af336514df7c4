"""What a change costs: its group is rendered and packed again, in the columns wanted, and nothing else."""

from collections.abc import Iterable, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.exposition.chunk_cache import ChunkCache, Key
from exporter.exposition.chunks import Chunk, ColumnData
from exporter.exposition.render import Column
from exporter.exposition.snapshot import Format
from exporter.families import LAST_ID, LAST_START, RUN_DURATION
from tests.unit.exposition import lines_of

GROUP_SIZE = 3
START, ID = Column(LAST_START, None), Column(LAST_ID, None)
BOTH = (START, ID)
unhurried = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))


class Rendering:
    """Renders a number as a line per column, and notes for whom it did."""

    def __init__(self) -> None:
        self.calls: list[tuple[Key, tuple[Column, ...]]] = []
        self.refused: Key | None = None

    def __call__(self, key: Key, value: int, columns: Sequence[Column]) -> Iterable[str]:
        self.calls.append((key, tuple(columns)))
        if key == self.refused:
            raise ValueError(key)
        return [f"{column.family.name} {key} {value}\n" if value >= 0 else "" for column in columns]

    def seen(self) -> list[str]:
        """The keys since the last time, in order."""
        calls, self.calls = self.calls, []
        return [key[0] for key, _ in calls]


def filled(count: int) -> tuple[ChunkCache[int], Rendering]:
    """ChunkCache with the keys "0" to `count` - 1, published once in both columns."""
    rendering = Rendering()
    caches = ChunkCache(rendering, GROUP_SIZE)
    caches.put({(str(number),): number for number in range(count)})
    caches.columns_data(BOTH)
    return caches, rendering


def chunks(caches: ChunkCache[int], column: Column) -> list[Chunk]:
    column_data = dict(caches._columns_data)[column]
    return [column_data[group] for group in range(len(caches._groups))]


def text(column_data: ColumnData) -> str:
    return b"".join(map(lines_of, column_data)).decode()


def test_each_is_rendered_once_at_first() -> None:
    """The first time every key is rendered once, for all columns together."""
    _, rendering = filled(7)
    assert rendering.calls == [((str(number),), BOTH) for number in range(7)]


def test_a_change_renders_its_group_alone() -> None:
    """Of three groups, the one with the change is rendered again; the others keep their very chunks."""
    caches, rendering = filled(9)
    rendering.seen()
    before = {column: chunks(caches, column) for column in BOTH}
    caches.put({("4",): 44})
    caches.columns_data(BOTH)
    assert rendering.seen() == ["3", "4", "5"]
    for column in BOTH:
        after = chunks(caches, column)
        assert [new == old for new, old in zip(after, before[column], strict=True)] == [True, False, True]


def test_nothing_is_rendered_where_nothing_changed() -> None:
    """The same columns again, or a drop of what is not there, cost no rendering."""
    caches, rendering = filled(9)
    rendering.seen()
    before = [column_data.segments for _, column_data in caches.columns_data(BOTH)]
    caches.drop([("9",), ("x", "y")])
    after = [column_data.segments for _, column_data in caches.columns_data(BOTH)]
    assert rendering.seen() == []
    assert all(new is old for new, old in zip(after, before, strict=True))


def test_the_same_lines_again_are_not_packed_again() -> None:
    """A value that is put again unchanged is rendered, and its chunk stays the one that was there."""
    caches, rendering = filled(3)
    before = dict(caches.columns_data(BOTH))[START].segments
    rendering.seen()
    caches.put({("1",): 1})
    caches.columns_data(BOTH)
    assert rendering.seen() == ["0", "1", "2"]
    assert dict(caches.columns_data(BOTH))[START].segments is before


def test_a_column_that_is_wanted_again_renders_that_column_only() -> None:
    """A column let go and taken back costs its own rendering; the one that stayed is not touched."""
    caches, rendering = filled(6)
    kept = chunks(caches, ID)
    caches.columns_data([ID])
    rendering.seen()
    caches.put({("0",): 100})
    caches.columns_data([ID])
    assert {columns for _, columns in rendering.calls} == {(ID,)}
    assert rendering.seen() == ["0", "1", "2"]
    assert "100" in text(dict(caches.columns_data(BOTH))[START])
    assert [(key[0], columns) for key, columns in rendering.calls] == [(str(n), (START,)) for n in range(6)]
    assert chunks(caches, ID)[1] == kept[1]


def test_new_ones_fill_the_gaps_that_dropped_ones_left() -> None:
    """A group with room takes the next new one, before another group is opened."""
    caches, _ = filled(9)
    caches.drop([("1",), ("5",)])
    caches.put({("a",): 1, ("b",): 2, ("c",): 3})
    caches.columns_data(BOTH)
    assert sorted(map(len, caches._groups)) == [1, GROUP_SIZE, GROUP_SIZE, GROUP_SIZE]
    assert caches._groups[3] == [("c",)]


def test_an_emptied_group_has_no_lines() -> None:
    """Where everything was dropped, or nothing has a line, the column_data is empty."""
    caches, _ = filled(3)
    caches.drop([("0",), ("1",), ("2",)])
    assert [text(column_data) for _, column_data in caches.columns_data(BOTH)] == ["", ""]
    caches.put({("0",): -1})
    assert [text(column_data) for _, column_data in caches.columns_data(BOTH)] == ["", ""]


def test_a_failed_rendering_is_made_up_for() -> None:
    """When a rendering fails, the next one still has every line of old and new columns."""
    caches, rendering = filled(6)
    caches.columns_data([ID])
    rendering.refused = ("4",)
    caches.put({("0",): 100})
    with pytest.raises(ValueError, match="4"):
        caches.columns_data(BOTH)
    rendering.refused = None
    for column, column_data in caches.columns_data(BOTH):
        assert text(column_data).splitlines() == [
            f"{column.family.name} {(str(number),)} {number or 100}" for number in range(6)
        ]


@pytest.mark.parametrize("forms", [(Format.TEXT,), (Format.TEXT, Format.OPENMETRICS)])
def test_columns_come_in_the_order_asked_for(forms: tuple[Format, ...]) -> None:
    """The columns_data stand in the order of the columns, kept ones and new ones mixed."""
    caches, _ = filled(2)
    wanted = [ID, *(Column(RUN_DURATION, form) for form in forms), START]
    assert [column for column, _ in caches.columns_data(wanted)] == wanted


keys = st.integers(0, 11).map(lambda number: (str(number),))
steps = st.lists(
    st.tuples(
        st.dictionaries(keys, st.integers(-1, 3), max_size=5),
        st.sets(keys, max_size=5) | st.just({(str(number),) for number in range(12)}),
        st.sampled_from([(START,), (ID,), BOTH, None]),
    ),
    max_size=12,
)


@unhurried
@given(steps)
def test_any_history_keeps_the_books(
    history: list[tuple[dict[Key, int], set[Key], tuple[Column, ...] | None]],
) -> None:
    """Whatever is dropped, put and published: each key stands once, in a group with room known once."""
    caches, final = ChunkCache(Rendering(), GROUP_SIZE), dict[Key, int]()
    for puts, drops, columns in history:
        caches.drop(drops)
        caches.put(puts)
        final = {key: value for key, value in final.items() if key not in drops} | puts
        if columns:
            caches.columns_data(columns)
    assert sorted(key for group in caches._groups for key in group) == sorted(final)
    assert all(key in caches._groups[group] for key, group in caches._group_of.items())
    rooms = [number for number, group in enumerate(caches._groups) if len(group) < GROUP_SIZE]
    assert sorted(caches._with_room) == rooms
    for column, column_data in caches.columns_data(BOTH):
        lines = sorted(f"{column.family.name} {key} {value}" for key, value in final.items() if value >= 0)
        assert sorted(text(column_data).splitlines()) == lines
        assert sum(chunk.series for chunk in column_data) == len(lines)
