"""The counters and histograms of one series key, as one flat row of numbers. Pure.

A row is an `array('d')` whose slots follow the table in `families.py`: per histogram one count per bucket
(not cumulative, the last is +Inf) and the sum, per counter one slot, or one per result. Histogram sums are
kept in milliseconds (attempts in attempts): whole numbers, so that the order in which runs are observed
never changes a total. A row is about 1 kB; it is copied before it is changed, and stored as it is.

Beside the row stand the exemplars: per bucket of the histograms that have them the newest run that fell into
it. They are hints for the reader of a graph, no totals: memory only, and gone after a restart.
"""

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from math import ceil
from typing import NamedTuple

from exporter.families import (
    RESULTS,
    RUN_ATTEMPTS,
    RUN_FAMILIES,
    SEEDED_RESULTS,
    TASK_RETRIES,
    TERMINATIONS,
)

# The first slot says whether the series key shows its seeded results at 0.
SEEDED = 0
SEEDED_SLOTS = frozenset(RESULTS.index(result) for result in SEEDED_RESULTS)


class Histogram(NamedTuple):
    """Where a histogram lives in a row: counts from `first` up to `sum`; `bounds` in the unit observed.

    `exemplars`: where its exemplars begin, None where it has none.
    """

    first: int
    sum: int
    bounds: tuple[float, ...]
    scale: int
    exemplars: int | None


class Counter(NamedTuple):
    """Where a counter lives in a row: one slot per result, or just one when there are none."""

    first: int
    results: tuple[str, ...]


class PhaseHistograms(NamedTuple):
    """Where the three histograms of setup, execution and clean-up live in a row; they share their bounds."""

    bounds: tuple[float, ...]
    setup: int
    setup_sum: int
    execution: int
    execution_sum: int
    cleanup: int
    cleanup_sum: int

    @classmethod
    def of(cls, setup: Histogram, execution: Histogram, cleanup: Histogram) -> "PhaseHistograms":
        """The places of three histograms in one."""
        return cls(setup.bounds, *setup[:2], *execution[:2], *cleanup[:2])


# Of each exemplar: when its run ended (0 where there is none), the run's id and the value observed.
EXEMPLAR_LENGTH = 3


def _lay_out() -> tuple[dict[str, Histogram], dict[str, Counter], int, int]:
    histograms: dict[str, Histogram] = {}
    counters: dict[str, Counter] = {}
    slot, exemplars = SEEDED + 1, 0
    for family in RUN_FAMILIES:
        if family.kind == "histogram":
            scale = 1 if family is RUN_ATTEMPTS else 1000
            bounds = tuple(bound * scale for bound in family.buckets)
            begin = exemplars if family.exemplars else None
            histograms[family.name] = Histogram(slot, slot + len(bounds) + 1, bounds, scale, begin)
            slot += len(bounds) + 2
            exemplars += EXEMPLAR_LENGTH * (len(bounds) + 1) if family.exemplars else 0
        elif family is not TERMINATIONS:  # its codes are an open set, kept beside the row
            results = () if family is TASK_RETRIES else RESULTS
            counters[family.name] = Counter(slot, results)
            slot += len(results) or 1
    return histograms, counters, slot, exemplars


HISTOGRAMS, COUNTERS, ROW_LENGTH, _EXEMPLARS_LENGTH = _lay_out()
_EMPTY_ROW = array("d", bytes(8 * ROW_LENGTH))
_NO_EXEMPLARS = array("q", bytes(8 * _EXEMPLARS_LENGTH))


class Totals:
    """What one series key has counted. Never changed once it is in the tracker: changes go to a copy."""

    __slots__ = ("exemplars", "row", "series", "terminations")

    def __init__(
        self,
        row: "array[float] | None" = None,
        terminations: dict[tuple[str, str], int] | None = None,
        exemplars: "array[int]" = _NO_EXEMPLARS,
    ) -> None:
        self.row = _EMPTY_ROW[:] if row is None else row
        self.terminations = {} if terminations is None else terminations
        self.exemplars = exemplars[:]
        # How many series it makes; None until somebody has counted them.
        self.series: int | None = None

    def copy(self) -> "Totals":
        """An equal one that may be changed."""
        return Totals(self.row[:], dict(self.terminations), self.exemplars)

    def observe(self, histogram: Histogram, value: float) -> int:
        """Add one observation, in the unit of the histogram's bounds; the number of its bucket."""
        row, bucket = self.row, bisect_left(histogram.bounds, value)
        row[histogram.first + bucket] += 1.0
        row[histogram.sum] += value
        return bucket

    def observe_phases(self, places: PhaseHistograms, phases: tuple[float, float, float]) -> None:
        """Add one observation to each of the three; this is where most of the accounting's time goes."""
        row = self.row
        bounds, setup, setup_sum, execution, execution_sum, cleanup, cleanup_sum = places
        setup_ms, execution_ms, cleanup_ms = phases
        row[setup + bisect_left(bounds, setup_ms)] += 1.0
        row[execution + bisect_left(bounds, execution_ms)] += 1.0
        row[cleanup + bisect_left(bounds, cleanup_ms)] += 1.0
        row[setup_sum] += setup_ms
        row[execution_sum] += execution_ms
        row[cleanup_sum] += cleanup_ms

    def exemplify(self, at: int, end_ms: int, run_id: int, value: float) -> None:
        """Let a run stand as the exemplar at this place if it ended later than the one that does."""
        exemplars, newest_ms = self.exemplars, self.exemplars[at]
        if end_ms > newest_ms or (end_ms == newest_ms and run_id > exemplars[at + 1]):
            # Rounded up it is still in the bucket: a bound is whole and belongs to the bucket below.
            exemplars[at], exemplars[at + 1], exemplars[at + 2] = end_ms, run_id, ceil(value)

    def exemplars_of(self, histogram: Histogram) -> "Iterator[tuple[int, int, int]]":
        """Per bucket of a histogram that has exemplars: end, run id, value observed; end 0 for none."""
        at = histogram.exemplars or 0
        part = self.exemplars[at : at + EXEMPLAR_LENGTH * (len(histogram.bounds) + 1)]
        return zip(part[::3], part[1::3], part[2::3], strict=True)

    def count(self, counter: Counter, slot: int = 0) -> None:
        """Add one to a counter, for the result at `slot` of `RESULTS` where it has results."""
        self.row[counter.first + slot] += 1.0

    def count_termination(self, code: str, kind: str) -> None:
        """Add one finished run that ended with this code and type."""
        self.terminations[code, kind] = self.terminations.get((code, kind), 0) + 1

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Totals) and self.row == other.row and self.terminations == other.terminations

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        filled = {slot: value for slot, value in enumerate(self.row) if value}
        return f"Totals({filled}, {self.terminations})"
