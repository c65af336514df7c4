"""Reads a long past in slices of start times, side by side, each committed by itself.

What must stay true: memory is bounded by the pages of the slices in hand; a crash costs the pages in hand,
not the ones before, because what is still to be read is part of the state.
"""

import asyncio
from collections.abc import Callable
from contextlib import aclosing

import msgspec
import structlog

from exporter.databricks.context import Priority, RequestContext
from exporter.polling.reader import Read, Reader
from exporter.polling.recorder import Advance, Recorder
from exporter.polling.side_by_side import side_by_side
from exporter.runs.changes import Observation
from exporter.runs.records import Progress

# After so many runs and task attempts, which are what takes up memory, a slice is committed as far as it is
# read, and goes on shorter. The more are committed together, the fewer totals are written more than once.
ITEMS_PER_COMMIT = 1_500
# How often the log says how far it is.
LOG_SECONDS = 10.0

Slice = tuple[int, int]

_log = structlog.stdlib.get_logger(__name__)


def cut(from_ms: int, to_ms: int, parts: int) -> tuple[Slice, ...]:
    """An interval of start times in about equal parts; they share their ends, which costs nothing."""
    if to_ms <= from_ms:
        return ()
    step = max(-(-(to_ms - from_ms) // parts), 1)
    return tuple((start, min(start + step, to_ms)) for start in range(from_ms, to_ms, step))


def length_ms(slices: tuple[Slice, ...]) -> int:
    """How much time slices span together."""
    return sum(to_ms - from_ms for from_ms, to_ms in slices)


class Lookback:
    """Reads the slices that the recorder's progress still holds."""

    def __init__(
        self,
        reader: Reader,
        recorder: Recorder,
        at_once: int,
        patience: float,
        note_left: Callable[[int], None],
    ) -> None:
        """`patience`: seconds without a page. `note_left`: takes how many milliseconds are left to read."""
        self._reader = reader
        self._recorder = recorder
        self._at_once = at_once
        self._patience = patience
        self._note_left = note_left
        self._runs = 0

    async def read(self, slices: tuple[Slice, ...]) -> None:
        """Read and commit every slice; a fault leaves the rest for the next time."""
        self._runs = 0
        logging = asyncio.create_task(self._log_progress(length_ms(slices)), name="lookback progress")
        try:
            # A page of any slice is progress of all: at a low api.rate each waits long for its turn.
            async with RequestContext.while_pages_come(Priority.LISTS, self._patience) as context:
                await side_by_side(lambda part: self._read_slice(part, context), slices, self._at_once)
        finally:
            logging.cancel()

    async def _read_slice(self, whole: Slice, context: RequestContext) -> None:
        left: Slice | None = whole
        while left is not None:
            read, rest = await self._list_some(left, context)
            self._runs += len(read.finished)
            await self._recorder.record(
                Observation(finished=read.finished.values(), active=read.active.values()),
                _replacing(left, rest),
            )
            context.page_came()  # a commit is progress too
            self._note_left(self._left_ms())
            left = rest

    async def _list_some(self, part: Slice, context: RequestContext) -> tuple[Read, Slice | None]:
        """What of a slice is to be committed together, and the slice that it leaves to be read."""
        from_ms, to_ms = part
        read = Read.nothing()
        oldest_ms, newest_first, items = float(to_ms), True, 0
        pages = self._reader.client.list_runs(
            context,
            completed_only="true",
            expand_tasks="true",
            start_time_from=from_ms,
            start_time_to=to_ms,
        )
        async with aclosing(pages):
            async for page in pages:
                self._reader.sort(page, read)
                for run in page.runs:
                    start_ms = run.start_time or 0
                    newest_first = newest_first and from_ms <= start_ms <= oldest_ms
                    oldest_ms = start_ms
                    items += 1 + len(run.tasks or ())
                # Only a list in its documented order says that nothing newer is still to come.
                shorter = newest_first and oldest_ms < to_ms and page.next_page_token
                if items >= ITEMS_PER_COMMIT and shorter:
                    return read, (from_ms, int(oldest_ms))
        return read, None

    def _left_ms(self) -> int:
        progress = self._recorder.tracker.progress
        return length_ms(progress.slices) if progress else 0

    async def _log_progress(self, whole_ms: int) -> None:
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            await asyncio.sleep(LOG_SECONDS)
            done = 1 - self._left_ms() / max(whole_ms, 1)
            seconds = loop.time() - began
            _log.info(
                "the past is being read",
                workspace=self._reader.client.workspace,
                percent=round(100 * done),
                runs=self._runs,
                seconds_left=round(seconds * (1 - done) / done) if done > 0 else None,
            )


def _replacing(done: Slice, rest: Slice | None) -> Advance:
    def advance(progress: Progress | None) -> Progress | None:
        if progress is None:
            return None
        others = tuple(part for part in progress.slices if part != done)
        return msgspec.structs.replace(progress, slices=others if rest is None else (*others, rest))

    return advance
