"""Reads a long past in slices of start times, side by side, each committed by itself.

What must stay true: memory is bounded by the pages of the slices in hand; a crash costs the pages in hand,
not the ones before, because what is still to be read is part of the state.
"""

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from math import inf

import msgspec

from exporter.databricks.limits import RequestContext
from exporter.databricks.models import Run
from exporter.polling.reader import Read, Reader, in_time, side_by_side
from exporter.polling.recorder import Advance, Recorder
from exporter.runs.change_builder import Observation
from exporter.runs.records import Progress

# After so many runs and task attempts, which are what takes up memory, a slice is committed as far as it is
# read, and goes on shorter. The more are committed together, the fewer totals are written more than once.
ITEMS_PER_COMMIT = 1_500
# After so many runs that the list gave in part it is asked whether there is time for more of them: each takes
# up to ten requests, and all slices share the rate.
FETCHED_TOGETHER = 4

Slice = tuple[int, int]


def cut(from_ms: int, to_ms: int, parts: int) -> tuple[Slice, ...]:
    """An interval of start times in about equal parts; they share their ends, which costs nothing."""
    if to_ms <= from_ms:
        return ()
    step = max(-(-(to_ms - from_ms) // parts), 1)
    return tuple((start, min(start + step, to_ms)) for start in range(from_ms, to_ms, step))


class Lookback:
    """Reads the slices that the recorder's progress still holds."""

    def __init__(self, reader: Reader, recorder: Recorder, at_once: int, deadline: float) -> None:
        """`deadline`: seconds that a slice may take from one commit to the next."""
        self._reader = reader
        self._recorder = recorder
        self._at_once = at_once
        self._deadline = deadline

    async def read(self, slices: tuple[Slice, ...]) -> None:
        """Read and commit every slice; a fault leaves the rest for the next time."""
        await side_by_side(self._read_slice, slices, self._at_once)

    async def _read_slice(self, whole: Slice) -> None:
        left: Slice | None = whole
        while left is not None:
            async with in_time(self._deadline) as context:
                listed, rest = await self._list_some(left, context)
                read, rest = await self._detail_some(listed, left, rest, context)
            await self._recorder.record(
                Observation(read.finished.values(), (listed.active | read.active).values()),
                self._reader.client.server_ms(asyncio.get_running_loop().time()),
                _replacing(left, rest),
            )
            left = rest

    async def _list_some(self, part: Slice, context: RequestContext) -> tuple[Read, Slice | None]:
        """What of a slice is to be committed together, and the slice that it leaves to be read."""
        from_ms, to_ms = part
        read = Read.nothing()
        pages = self._reader.client.list_runs(
            context,
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
                enough = items >= ITEMS_PER_COMMIT or self._half_time_is_over(context)
                # Only a list in its documented order says that nothing newer is still to come.
                if enough and newest_first and oldest_ms < to_ms and page.next_page_token:
                    return read, (from_ms, int(oldest_ms))
        return read, None

    async def _detail_some(
        self, listed: Read, part: Slice, rest: Slice | None, context: RequestContext
    ) -> tuple[Read, Slice | None]:
        """What was listed, with details, newest first, for as long as there is time; and what that leaves."""
        read = Read.nothing()
        portions = _portions(listed.finished.values(), part)
        for number, portion in enumerate(portions, 1):
            details = await self._reader.detailed({run.run_id: run for run in portion}, context)
            read.finished.update(details.finished)
            read.active.update(details.active)
            oldest_ms = int(portion[-1].start_time or 0)
            shorter = part[0] <= oldest_ms < part[1]
            if shorter and number < len(portions) and self._half_time_is_over(context):
                return read, (part[0], oldest_ms)
        return read, rest

    def _half_time_is_over(self, context: RequestContext) -> bool:
        return asyncio.get_running_loop().time() > context.deadline - self._deadline / 2


def _portions(runs: Iterable[Run], part: Slice) -> list[list[Run]]:
    """Runs, newest first, with a few in each portion that the list gave in part."""
    from_ms, to_ms = part

    def start_ms(run: Run) -> float:
        # One that is listed where it does not belong is no end of a slice: it goes first.
        started_ms = run.start_time or 0
        return started_ms if from_ms <= started_ms <= to_ms else inf

    portions: list[list[Run]] = []
    in_part = 0
    for run in sorted(runs, key=start_ms, reverse=True):
        if not portions or (run.has_more and in_part == FETCHED_TOGETHER):
            portions.append([])
            in_part = 0
        portions[-1].append(run)
        in_part += bool(run.has_more)
    return portions


def _replacing(done: Slice, rest: Slice | None) -> Advance:
    def advance(progress: Progress | None) -> Progress | None:
        if progress is None:
            return None
        others = tuple(part for part in progress.slices if part != done)
        return msgspec.structs.replace(progress, slices=others if rest is None else (*others, rest))

    return advance
