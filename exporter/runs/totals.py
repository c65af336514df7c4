"""The counters and histograms of one series key, as one flat row of numbers. Pure.

Histogram sums are kept in milliseconds (attempts in attempts): whole numbers, so that the order in which
runs are observed never changes a total. A row is about 1 kB; it is copied before it is changed, and stored as
it is. Where each family stands in it is in `layout.py`.

Beside the row stand the counts of open words, and the exemplars: per bucket of the histograms that have them
the newest run that fell into it. Exemplars are hints for the reader of a graph, no totals: they are in memory
only, and lost with a restart.
"""

from array import array
from collections.abc import Iterator
from math import ceil

from exporter.runs.layout import EXEMPLAR_LENGTH, SEEDED, HistogramSlots, Layout

# By the names of the counters with open labels: how often each combination of words was counted.
WordCounts = dict[str, dict[tuple[str, ...], int]]


class Totals:
    """What one series key has counted. Never changed once it is in the tracker: changes go to a copy."""

    __slots__ = ("exemplars", "row", "series", "words")

    def __init__(self, row: "array[float]", words: WordCounts, exemplars: "array[int]") -> None:
        self.row = row
        self.words = words
        self.exemplars = exemplars
        # How many series it makes; None until they are counted.
        self.series: int | None = None

    @classmethod
    def empty(cls, layout: Layout) -> "Totals":
        """Totals with nothing counted."""
        return cls(layout.empty_row(), {}, layout.no_exemplars())

    def copy(self) -> "Totals":
        """Equal totals that may be changed."""
        words = {name: dict(counts) for name, counts in self.words.items()}
        return Totals(self.row[:], words, self.exemplars[:])

    @property
    def seeded(self) -> bool:
        """Whether the series key shows its seeded results at 0."""
        return bool(self.row[SEEDED])

    def seed(self) -> None:
        """Show the seeded results at 0 from now on."""
        self.row[SEEDED] = 1.0

    def count_words(self, name: str, words: tuple[str, ...]) -> None:
        """Add one to a counter with open labels."""
        counts = self.words.setdefault(name, {})
        counts[words] = counts.get(words, 0) + 1

    def note_exemplar(self, at: int, end_ms: int, run_id: int, value: float) -> None:
        """Let a run be the exemplar at this place if it ended later than the one that is."""
        exemplars, newest_ms = self.exemplars, self.exemplars[at]
        if end_ms > newest_ms or (end_ms == newest_ms and run_id > exemplars[at + 1]):
            # Rounded up it is still in the bucket: a bound is whole and belongs to the bucket below.
            exemplars[at], exemplars[at + 1], exemplars[at + 2] = end_ms, run_id, ceil(value)

    def exemplars_of(self, slots: HistogramSlots) -> "Iterator[tuple[int, int, int]]":
        """Per bucket of a histogram that has exemplars: end, run id, value observed; end 0 for none."""
        at = slots.exemplars or 0
        part = self.exemplars[at : at + EXEMPLAR_LENGTH * (len(slots.bounds) + 1)]
        return zip(part[::3], part[1::3], part[2::3], strict=True)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Totals) and self.row == other.row and self.words == other.words

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        filled = {slot: value for slot, value in enumerate(self.row) if value}
        return f"Totals({filled}, {self.words})"
