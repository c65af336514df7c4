"""Reads a long past in slices of start times, side by side, each committed by itself.

What must stay true: memory is bounded by the pages of the slices in hand; a crash costs the pages in hand,
not the ones before, because what is still to be read is part of the state.
"""

import asyncio
from contextlib import aclosing

import msgspec

from exporter.accounting.draft import Observation
from exporter.accounting.records import Progress
from exporter.polling.ledger import Advance, Ledger
from exporter.polling.reading import Read, Reader, in_time, side_by_side
from exporter.workspace.limits import Lane

# After so many runs and task attempts, which are what takes up memory, a slice is committed as far as it is
# read, and goes on shorter. The more are committed together, the fewer totals are written more than once.
ITEMS_PER_COMMIT = 1_500

Slice = tuple[int, int]


def cut(from_ms: int, to_ms: int, parts: int) -> tuple[Slice, ...]:
    """An interval of start times in about equal parts; they share their ends, which costs nothing."""
    if to_ms <= from_ms:
        return ()
    step = max(-(-(to_ms - from_ms) // parts), 1)
    return tuple((start, min(start + step, to_ms)) for start in range(from_ms, to_ms, step))


class Lookback:
    """Reads the slices that the ledger's progress still holds."""

    def __init__(self, reader: Reader, ledger: Ledger, at_once: int, deadline: float) -> None:
        """`deadline`: seconds that a slice may take from one commit to the next."""
        self._reader = reader
        self._ledger = ledger
        self._at_once = at_once
        self._deadline = deadline

    async def read(self, slices: tuple[Slice, ...]) -> None:
        """Read and commit every slice; a fault leaves the rest for the next time."""
        await side_by_side(self._read_slice, slices, self._at_once)

    async def _read_slice(self, whole: Slice) -> None:
        left: Slice | None = whole
        while left is not None:
            async with in_time(self._deadline) as lane:
                listed, rest = await self._list_some(left, lane)
                read = await self._reader.detailed(listed.finished, lane)
            await self._ledger.record(
                Observation(read.finished.values(), (listed.active | read.active).values()),
                self._reader.client.server_ms(asyncio.get_running_loop().time()),
                _replacing(left, rest),
            )
            left = rest

    async def _list_some(self, part: Slice, lane: Lane) -> tuple[Read, Slice | None]:
        """What of a slice is to be committed together, and the slice that it leaves to be read."""
        loop, half_time = asyncio.get_running_loop(), lane.deadline - self._deadline / 2
        from_ms, to_ms = part
        read = Read.nothing()
        pages = self._reader.client.list_runs(
            lane,
            completed_only="true",
            expand_tasks="true",
            start_time_from=from_ms,
            start_time_to=to_ms,
        )
        oldest_ms, newest_first, items = float(to_ms), True, 0
        async with aclosing(pages):
            async for page in pages:
                self._reader.sort(page, read)
                for run in page.runs:
                    start_ms = run.start_time or 0
                    newest_first = newest_first and from_ms <= start_ms <= oldest_ms
                    oldest_ms = start_ms
                    items += 1 + len(run.tasks or ())
                # The other half is for what the list leaves to `runs/get`.
                enough = items >= ITEMS_PER_COMMIT or loop.time() > half_time
                # Only a list in its documented order says that nothing newer is still to come.
                if enough and newest_first and oldest_ms < to_ms and page.next_page_token:
                    return read, (from_ms, int(oldest_ms))
        return read, None


def _replacing(done: Slice, rest: Slice | None) -> Advance:
    def advance(progress: Progress | None) -> Progress | None:
        if progress is None:
            return None
        others = tuple(part for part in progress.slices if part != done)
        return msgspec.structs.replace(progress, slices=others if rest is None else (*others, rest))

    return advance
