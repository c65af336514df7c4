"""Where each family's numbers stand in a row of totals, and how a row of another layout becomes one of this.

Pure. A row is an `array('d')`: the first slot says whether the series key shows its seeded results at 0;
then per histogram one count per bucket (not cumulative, the last is +Inf) and the sum, per counter one slot,
or one per result. The layout follows from the table in `families.py`; the state file holds a description of
the layout that its rows have, by the names of families and results and by the bounds of buckets.
"""

from array import array
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from exporter.families import RUN_FAMILIES, Family, with_duration_buckets

SEEDED = 0
# Of each exemplar: when its run ended (0 where there is none), the run's id and the value observed.
EXEMPLAR_LENGTH = 3


class HistogramSlots(NamedTuple):
    """Where a histogram stands: counts from `first` up to `sum`; `bounds` in the unit observed.

    `exemplars`: where its exemplars begin, None where it has none.
    """

    family: Family
    first: int
    sum: int
    bounds: tuple[float, ...]
    exemplars: int | None


class CounterSlots(NamedTuple):
    """Where a counter stands: one slot per result, or just one when there are none."""

    family: Family
    first: int

    @property
    def length(self) -> int:
        """How many slots it has."""
        return len(self.family.results) or 1


class StoredFamily(msgspec.Struct, frozen=True):
    """How a state file says where a family stands.

    `bounds`: of a histogram. `results`: of a counter. `words`: the labels of a counter of open words, whose
    counts stand beside the row.
    """

    name: str
    first: int
    bounds: tuple[float, ...] | None = None
    results: tuple[str, ...] = ()
    words: tuple[str, ...] = ()

    @property
    def length(self) -> int:
        """How many slots it has: a histogram also has +Inf and the sum, open words have none."""
        if self.bounds is not None:
            return len(self.bounds) + 2
        return 0 if self.words else len(self.results) or 1


class StoredLayout(msgspec.Struct, frozen=True):
    """The layout of the rows in a state file; `length` in slots."""

    length: int
    families: tuple[StoredFamily, ...]


class Layout:
    """The layout of every row in memory, made from the families that belong to a series key."""

    def __init__(self, families: Iterable[Family] = RUN_FAMILIES) -> None:
        self.families = tuple(families)
        self.histograms: dict[str, HistogramSlots] = {}
        self.counters: dict[str, CounterSlots] = {}
        slot, exemplars = SEEDED + 1, 0
        for family in self.families:
            if family.kind == "histogram":
                bounds = tuple(bound * family.scale for bound in family.buckets)
                begin = exemplars if family.exemplars else None
                self.histograms[family.name] = HistogramSlots(
                    family, slot, slot + len(bounds) + 1, bounds, begin
                )
                slot += len(bounds) + 2
                exemplars += EXEMPLAR_LENGTH * (len(bounds) + 1) if family.exemplars else 0
            elif family.words is None:  # open words are kept beside the row
                self.counters[family.name] = CounterSlots(family, slot)
                slot += self.counters[family.name].length
        self.length = slot
        self._empty_row = array("d", bytes(8 * slot))
        self._no_exemplars = array("q", bytes(8 * exemplars))

    @classmethod
    def with_buckets(cls, buckets: Sequence[float] | None) -> "Layout":
        """The layout of the table, with these buckets (seconds) for all durations; None keeps the table's."""
        return cls() if buckets is None else cls(with_duration_buckets(RUN_FAMILIES, buckets))

    def empty_row(self) -> "array[float]":
        """A row with nothing counted."""
        return self._empty_row[:]

    def no_exemplars(self) -> "array[int]":
        """The exemplars of such a row."""
        return self._no_exemplars[:]

    def stored(self) -> StoredLayout:
        """What a state file says of it."""
        histograms = (
            StoredFamily(name, slots.first, slots.bounds) for name, slots in self.histograms.items()
        )
        counters = (
            StoredFamily(name, slots.first, None, slots.family.results)
            for name, slots in self.counters.items()
        )
        words = (
            StoredFamily(family.name, 0, words=family.word_labels)
            for family in self.families
            if family.word_labels
        )
        return StoredLayout(self.length, (*histograms, *counters, *words))


class Remap(NamedTuple):
    """How rows of a stored layout become rows of another.

    `moves`: first slot before, first slot now, number of slots. `words`: the open counters that go on.
    `afresh`: the families that begin at 0, new ones and histograms with other buckets. `dropped`: those that
    are no longer counted.
    """

    length: int
    moves: tuple[tuple[int, int, int], ...]
    words: frozenset[str]
    afresh: tuple[str, ...]
    dropped: tuple[str, ...]

    def row(self, before: "array[float]") -> "array[float]":
        """A row of the stored layout as one of the other layout."""
        row = array("d", bytes(8 * self.length))
        for first_before, first_now, slots in self.moves:
            row[first_now : first_now + slots] = before[first_before : first_before + slots]
        return row


def remap(stored: StoredLayout, layout: StoredLayout) -> Remap:
    """What of the rows of a stored layout still means the same in another layout, by names and bounds."""
    before = {family.name: family for family in stored.families}
    moves = [(SEEDED, SEEDED, 1)]
    words = set()
    afresh = []
    for family in layout.families:
        earlier = before.pop(family.name, None)
        if earlier is None or (earlier.bounds, earlier.words) != (family.bounds, family.words):
            afresh.append(family.name)
        elif family.words:
            words.add(family.name)
        elif family.bounds is not None or not (family.results or earlier.results):
            moves.append((earlier.first, family.first, family.length))
        elif not family.results or not earlier.results:
            afresh.append(family.name)  # a counter that gained or lost its results counts something else
        else:
            moves += [
                (earlier.first + earlier.results.index(result), family.first + slot, 1)
                for slot, result in enumerate(family.results)
                if result in earlier.results
            ]
    return Remap(layout.length, tuple(moves), frozenset(words), tuple(afresh), tuple(before))
