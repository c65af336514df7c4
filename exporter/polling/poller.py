"""A poll: read the two lists of a workspace, hand them over in one step, wait for the next turn.

What must stay true: a poll is its two lists, and nothing else can fail it; it is taken over whole or not at
all; a failed one leaves "last good poll" where it was, so that the next one reads the same window again.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

import msgspec
import structlog

from exporter.config import Settings
from exporter.databricks.context import Priority, RequestContext
from exporter.own_metrics import WorkspaceMetrics
from exporter.polling.lookback import Lookback, cut, length_ms
from exporter.polling.loop import run_loop
from exporter.polling.reader import Read, Reader
from exporter.polling.recorder import Advance, Recorder
from exporter.polling.side_by_side import both
from exporter.runs.changes import Observation
from exporter.runs.records import Progress

# Runs can show up in the list later than they start; what is read twice is counted once.
OVERLAP_MS = 10 * 60 * 1000
# After a longer absence the finished runs are read in slices, like the lookback of a first poll.
ABSENCE_MS = 60 * 60 * 1000

_log = structlog.stdlib.get_logger(__name__)


class Poller:
    """Polls one workspace until it is told to stop."""

    def __init__(
        self,
        reader: Reader,
        recorder: Recorder,
        own_metrics: WorkspaceMetrics,
        settings: Settings,
        recovered: Callable[[], None],
    ) -> None:
        """`recovered`: is called when polls succeed again after a failure."""
        self.first_poll_done = asyncio.Event()
        # When a poll last began, by the loop's clock.
        self.last_start: float | None = None
        self._client = reader.client
        self._reader = reader
        self._recorder = recorder
        self._own_metrics = own_metrics
        self._settings = settings
        self._recovered = recovered
        # Our own start, by the server's clock as it is known later.
        self._started = asyncio.get_running_loop().time()
        self._patience = max(settings.poll.interval, 2 * settings.api.timeout)
        progress = recorder.tracker.progress
        own_metrics.note_first_poll(float(progress is not None and progress.first_poll_done))
        self._lookback = Lookback(reader, recorder, settings.api.concurrency, self._patience, self._note_left)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll at every interval, from start to start, whatever the last poll came to."""
        await run_loop("poll", self._client.workspace, self._turn, self._failed, stop)

    async def _turn(self) -> float:
        self.last_start = asyncio.get_running_loop().time()
        await self._poll()
        failed_before = self._own_metrics.last_error is not None
        self._own_metrics.poll_ended(asyncio.get_running_loop().time() - self.last_start, None)
        log = _log.bind(workspace=self._client.workspace, active_runs=self._own_metrics.active_runs)
        if not self.first_poll_done.is_set():
            self.first_poll_done.set()
            self._own_metrics.note_first_poll(1.0)
            log.info("first poll done")
        elif failed_before:
            log.info("polls succeed again", failed_polls=self._own_metrics.failed_polls)
            self._recovered()
        else:
            log.debug("poll done")
        self._compare_clocks()
        return self._due_in()

    def _failed(self, error: str) -> float:
        seconds = asyncio.get_running_loop().time() - (self.last_start or 0.0)
        self._own_metrics.poll_ended(seconds, error)
        _log.error(
            "poll failed; the next one reads the same window again",
            workspace=self._client.workspace,
            seconds=round(seconds, 3),
            cause=error,
        )
        return self._due_in()

    def _due_in(self) -> float:
        began = self.last_start or 0.0
        return began + self._settings.poll.interval - asyncio.get_running_loop().time()

    async def _poll(self) -> None:
        progress = self._recorder.tracker.progress
        if self._client.last_answer is None or progress is None:
            # The server's clock tells how long we were away.
            async with self._reading() as context:
                await self._client.probe_clock(context)
        if progress is None:
            progress = await self._begin()
        elif self._client.now().server_ms - progress.last_good_poll_ms > ABSENCE_MS:
            progress = await self._begin_to_catch_up(progress)
        if progress.slices:
            self._note_left(length_ms(progress.slices))
            await self._lookback.read(progress.slices)
        await self._read_lists()

    async def _begin(self) -> Progress:
        """The first step of a fresh state: what is active, since when runs count, what is to be read."""
        now = self._client.now()
        async with self._reading() as context:
            read = await self._reader.list_runs(context, active_only="true")
        remembered_from_ms = now.earliest_ms - int(self._settings.poll.lookback * 1000)
        counted_from_ms = remembered_from_ms
        if self._settings.state.path is None:
            # What ended before may have been counted by a process whose memory is lost.
            since_start = asyncio.get_running_loop().time() - self._started
            counted_from_ms = max(remembered_from_ms, now.server_ms - int(since_start * 1000))
        progress = Progress(
            counted_from_ms=counted_from_ms,
            remembered_from_ms=remembered_from_ms,
            first_poll_ms=now.earliest_ms,
            last_good_poll_ms=now.earliest_ms,
            slices=cut(remembered_from_ms, now.latest_ms, self._settings.api.concurrency),
        )
        await self._recorder.record(Observation(active=read.active.values()), lambda _: progress)
        return progress

    async def _begin_to_catch_up(self, progress: Progress) -> Progress:
        """Leave what finished in a long absence to slices, so that no single poll has to hold it."""
        now = self._client.now()
        _log.info(
            "catching up after an absence",
            workspace=self._client.workspace,
            hours=round((now.server_ms - progress.last_good_poll_ms) / 3_600_000, 1),
        )
        missed = cut(self._read_from_ms(progress), now.latest_ms, self._settings.api.concurrency)
        caught_up = msgspec.structs.replace(
            progress,
            last_good_poll_ms=now.server_ms,
            slices=(*progress.slices, *missed),
            # The slices reach until now: the next poll need not begin before it.
            newest_start_ms=None,
        )
        await self._recorder.record(Observation(), lambda _: caught_up)
        return caught_up

    async def _read_lists(self) -> None:
        """One whole poll: both lists, then one step."""
        progress = self._recorder.tracker.progress
        assert progress is not None  # noqa: S101
        began_ms = self._client.now().server_ms
        followed = self._recorder.begin_poll()
        async with self._reading() as context:
            active, finished = await both(
                self._reader.list_runs(context, active_only="true"),
                self._reader.list_runs(
                    context,
                    completed_only="true",
                    expand_tasks="true",
                    start_time_from=self._read_from_ms(progress),
                ),
            )
        for run in finished.finished.values():
            self._reader.note_withheld(run)
        await self._recorder.record_poll(
            Observation(
                finished=finished.finished.values(),
                # The list of active runs has no tasks: what ended meanwhile is like an item of a sweep.
                swept=[run for run_id, run in active.finished.items() if run_id not in finished.finished],
                active=[*finished.active.values(), *active.active.values()],
                followed=followed,
                is_whole_poll=True,
            ),
            _read_at(began_ms, _newest_start_ms(active, finished)),
        )

    def _read_from_ms(self, progress: Progress) -> int:
        """Since when runs have started that no good poll has listed, with an overlap.

        By the server's clock, and not later than the latest start that was listed: whatever runs have started
        since then, a clock that is wrong hides none of them.
        """
        listed_until_ms = min(progress.last_good_poll_ms, self._client.now().server_ms)
        if progress.newest_start_ms is not None:
            listed_until_ms = min(listed_until_ms, progress.newest_start_ms)
        return listed_until_ms - OVERLAP_MS

    def _reading(self) -> AbstractAsyncContextManager[RequestContext]:
        return RequestContext.while_pages_come(Priority.LISTS, self._patience)

    def _note_left(self, left_ms: int) -> None:
        progress = self._recorder.tracker.progress
        if progress is not None and not self.first_poll_done.is_set():
            whole_ms = int(self._settings.poll.lookback * 1000)
            self._own_metrics.note_first_poll(max(0.0, 1 - left_ms / max(whole_ms, 1)))

    def _compare_clocks(self) -> None:
        """Log that the two clocks disagree. Which one is wrong cannot be known here."""
        now = self._client.now()
        if now.disagree:
            _log.warning(
                "the workspace's clock and ours disagree, so more is kept than needed; set ours right, or "
                "find out what answers in the workspace's place",
                workspace=self._client.workspace,
                seconds_ahead=round((now.server_ms - now.ours_ms) / 1000),
            )


def _newest_start_ms(*lists: Read) -> int:
    starts = (run.start_time or 0 for read in lists for runs in read for run in runs.values())
    return int(max(starts, default=0))


def _read_at(began_ms: int, newest_start_ms: int) -> Advance:
    def advance(progress: Progress | None) -> Progress | None:
        if progress is None:
            return None
        newest_ms = max(progress.newest_start_ms or 0, newest_start_ms) or None
        return msgspec.structs.replace(progress, last_good_poll_ms=began_ms, newest_start_ms=newest_ms)

    return advance
