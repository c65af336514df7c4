"""Everything of one kind that is exposed, series keys or jobs, rendered and compressed in small groups.

What must stay true: a change costs the rendering of its group, in the columns that are wanted, and nothing
else; what was put side by side stays side by side, so those that change together should come together.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Generic, TypeVar

from exporter.exposition.chunks import Chunk, ColumnData, Packer
from exporter.exposition.render import Column
from exporter.families import Family

# A workspace, a job's label and, of a series key, its target.
Key = tuple[str, ...]
V = TypeVar("V")
# What is packed waits for so many groups until it is joined: more at once would be memory for nothing.
_GROUPS_AT_ONCE = 128
# One text per column; "" where there is nothing to expose.
Render = Callable[[Key, V, Sequence[Column]], Iterable[str]]


class ChunkCache(Generic[V]):
    """`group_size`: how many are rendered again for the change of one; smaller groups pack worse."""

    def __init__(self, render: Render[V], group_size: int) -> None:
        self._render = render
        self._group_size = group_size
        self._values: dict[Key, V] = {}
        self._group_of: dict[Key, int] = {}
        self._groups: list[list[Key]] = []
        # Each group that is not full, once.
        self._with_room: list[int] = []
        self._changed: set[int] = set()
        self._columns_data: dict[Column, ColumnData] = {}
        self._packer = Packer()

    def put(self, values: Mapping[Key, V]) -> None:
        """Take over new or changed ones; new ones are placed in their order."""
        for key, value in values.items():
            self._values[key] = value
            group = self._group_of.get(key)
            self._changed.add(self._place(key) if group is None else group)

    def drop(self, keys: Iterable[Key]) -> None:
        """Expose these no more; ones that are unknown cost nothing."""
        for key in keys:
            group = self._group_of.pop(key, None)
            if group is not None:
                del self._values[key]
                if len(self._groups[group]) == self._group_size:
                    self._with_room.append(group)
                self._groups[group].remove(key)
                self._changed.add(group)

    def columns_data(self, columns: Sequence[Column]) -> list[tuple[Column, ColumnData]]:
        """These columns as they are now; others are forgotten, and made anew when they are wanted again."""
        kept = [column for column in columns if column in self._columns_data]
        new = [column for column in columns if column not in self._columns_data]
        # They are taken over together at the end: where a rendering fails, the next one makes up for it.
        columns_data = {column: self._columns_data.get(column) or ColumnData() for column in columns}
        if kept:
            self._pack(sorted(self._changed), {column: columns_data[column] for column in kept})
        if new:
            self._pack(range(len(self._groups)), {column: columns_data[column] for column in new})
        self._columns_data = columns_data
        self._changed.clear()
        return list(columns_data.items())

    def _place(self, key: Key) -> int:
        """A group with room for a new one."""
        if not self._with_room:
            self._with_room.append(len(self._groups))
            self._groups.append([])
        group = self._with_room[-1]
        self._groups[group].append(key)
        if len(self._groups[group]) == self._group_size:
            self._with_room.pop()
        self._group_of[key] = group
        return group

    def _pack(self, groups: Sequence[int], into: Mapping[Column, ColumnData]) -> None:
        for first in range(0, len(groups), _GROUPS_AT_ONCE):
            self._pack_some(groups[first : first + _GROUPS_AT_ONCE], into)

    def _pack_some(self, groups: Sequence[int], into: Mapping[Column, ColumnData]) -> None:
        columns, columns_data = list(into), list(into.values())
        chunks: list[dict[int, Chunk]] = [{} for _ in columns]
        for group in groups:
            rendered = [self._render(key, self._values[key], columns) for key in self._groups[group]]
            texts = zip(*rendered, strict=True) if rendered else ((),) * len(columns)
            for column, column_data, packed, lines in zip(columns, columns_data, chunks, texts, strict=True):
                text = "".join(lines).encode()
                if not column_data.has(group, text):
                    packed[group] = self._packer.pack(text, _series(column.family, lines))
        for column_data, packed in zip(columns_data, chunks, strict=True):
            column_data.replace(packed)


def _series(family: Family, texts: Sequence[str]) -> int:
    """How many lines these are; those of a histogram need no counting."""
    if family.kind == "histogram":
        return (len(family.buckets) + 3) * sum(map(bool, texts))
    return sum(text.count("\n") for text in texts)
