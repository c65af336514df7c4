"""The loop: read a workspace, settle what has finished, wait for the next turn.

What must stay true: a poll is taken over whole or not at all, and a failed one leaves "last good poll" where
it was, so that the next one reads the same window again; a run that was active is followed until an answer
says that it has finished or does not exist.
"""

import asyncio
import time

import msgspec
import structlog

from exporter.config import Settings
from exporter.databricks.errors import WorkspaceError
from exporter.own_metrics import WorkspaceMetrics
from exporter.polling.lookback import Lookback, cut
from exporter.polling.reader import Reader, both, in_time, sleep
from exporter.polling.recorder import Advance, Recorder
from exporter.runs.change_builder import Observation
from exporter.runs.records import Progress
from exporter.state.errors import StateError

# Runs can show up in the list later than they start; what is read twice is counted once.
OVERLAP_MS = 10 * 60 * 1000
# After a longer absence the finished runs are read in slices, like the lookback of a first poll.
ABSENCE_MS = 60 * 60 * 1000
CLOCKS_AGREE_SECONDS = 300
# Of runs that are lost at once, so many are named.
TOLD_RUNS = 10

_log = structlog.stdlib.get_logger(__name__)


class Poller:
    """Polls one workspace until it is told to stop."""

    def __init__(
        self,
        reader: Reader,
        recorder: Recorder,
        own_metrics: WorkspaceMetrics,
        settings: Settings,
        started: float,
    ) -> None:
        """`started`: when the process began, by the loop's clock."""
        self.first_poll_done = asyncio.Event()
        # When a poll last began, by the loop's clock.
        self.last_start: float | None = None
        self._client = reader.client
        self._reader = reader
        self._recorder = recorder
        self._own_metrics = own_metrics
        self._settings = settings
        self._started = started
        self._deadline = max(settings.poll.interval, 2 * settings.api.timeout)
        self._lookback = Lookback(reader, recorder, settings.api.concurrency, self._deadline)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll at every interval, from start to start, whatever the last poll came to."""
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            began = self.last_start = loop.time()
            error: str | None = None
            try:
                await self._poll(began)
            except (WorkspaceError, StateError) as fault:
                error = str(fault)
            except Exception as fault:  # the one place that must survive what nobody foresaw
                error = f"{type(fault).__name__}: {fault}"
                _log.exception("a poll failed in a way nobody foresaw", workspace=self._client.workspace)
            self._finish(loop.time() - began, error)
            await sleep(stop, began + self._settings.poll.interval - loop.time())

    def _finish(self, seconds: float, error: str | None) -> None:
        failed_before = self._own_metrics.last_error is not None
        self._own_metrics.poll_ended(seconds, error)
        log = _log.bind(workspace=self._client.workspace, seconds=round(seconds, 3))
        if error is not None:
            log.error("poll failed; the next one reads the same window again", cause=error)
        elif not self.first_poll_done.is_set():
            self.first_poll_done.set()
            log.info("first poll done", active_runs=self._own_metrics.active_runs)
        elif failed_before:
            log.info("polls succeed again", failed_polls=self._own_metrics.failed_polls)
        else:
            log.debug("poll done", active_runs=self._own_metrics.active_runs)

    async def _poll(self, began: float) -> None:
        progress = self._recorder.tracker.progress
        if progress is None:
            progress = await self._begin(began)
        elif await self._was_absent(began, progress):
            progress = await self._begin_to_catch_up(began, progress)
        if progress.slices:
            self._recorder.hold()
            await self._lookback.read(progress.slices)
        await self._read_all()
        await self._recorder.release()

    async def _begin(self, began: float) -> Progress:
        """The first step of a fresh state: what is active, since when runs count, what is to be read."""
        async with in_time(self._deadline) as context:
            read = await self._reader.list_runs(context, active_only="true")
        first_poll_ms = self._client.server_ms(began)
        lookback_from_ms = first_poll_ms - int(self._settings.poll.lookback * 1000)
        counted_from_ms = lookback_from_ms
        if self._settings.state.path is None:
            # What ended before may have been counted by a process whose memory is gone.
            counted_from_ms = max(lookback_from_ms, self._client.server_ms(self._started))
        progress = Progress(
            counted_from_ms=counted_from_ms,
            remembered_from_ms=lookback_from_ms,
            first_poll_ms=first_poll_ms,
            last_good_poll_ms=first_poll_ms,
            slices=cut(lookback_from_ms, first_poll_ms, self._settings.api.concurrency),
        )
        self._recorder.hold()
        await self._recorder.record(
            Observation(active=read.active.values()), first_poll_ms, lambda _: progress
        )
        return progress

    async def _was_absent(self, began: float, progress: Progress) -> bool:
        if self._client.last_answer is None:
            # Only the server's clock can tell how long we were away.
            async with in_time(self._deadline) as context:
                await self._client.probe_clock(context)
        return self._client.server_ms(began) - progress.last_good_poll_ms > ABSENCE_MS

    async def _begin_to_catch_up(self, began: float, progress: Progress) -> Progress:
        """Leave what finished in a long absence to slices, so that no single poll has to hold it."""
        now_ms = self._client.server_ms(began)
        missed = cut(progress.last_good_poll_ms - OVERLAP_MS, now_ms, self._settings.api.concurrency)
        _log.info(
            "catching up after an absence",
            workspace=self._client.workspace,
            hours=round((now_ms - progress.last_good_poll_ms) / 3_600_000, 1),
        )
        caught_up = msgspec.structs.replace(
            progress, last_good_poll_ms=now_ms, slices=(*progress.slices, *missed)
        )
        self._recorder.hold()
        await self._recorder.record(Observation(), now_ms, lambda _: caught_up)
        return caught_up

    async def _read_all(self) -> None:
        """One whole poll: both lists, what vanished from the active one, and every detail; then the books."""
        began = asyncio.get_running_loop().time()
        progress = self._recorder.tracker.progress
        assert progress is not None  # noqa: S101
        followed = frozenset(self._recorder.tracker.active)
        # Where the server's clock has gone back, "last good poll" is still to come.
        read_from_ms = min(progress.last_good_poll_ms, self._client.server_ms(began)) - OVERLAP_MS
        async with in_time(self._deadline) as context:
            active, finished = await both(
                self._reader.list_runs(context, active_only="true"),
                self._reader.list_runs(
                    context,
                    completed_only="true",
                    expand_tasks="true",
                    start_time_from=read_from_ms,
                ),
            )
            # A run that ended between the two lists may be finished in the one that has no tasks.
            vanished = (followed | active.finished.keys()) - active.active.keys() - finished.finished.keys()
            details, followed_up = await both(
                self._reader.detailed(finished.finished, context), self._reader.get_runs(vanished, context)
            )
        running = finished.active | active.active | details.active | followed_up.active
        now_ms = self._client.server_ms(began)
        lost = followed_up.gone & followed
        await self._recorder.record(
            Observation(
                finished=[*details.finished.values(), *followed_up.finished.values()],
                active=running.values(),
                replaced=followed,
                gone=lost,
            ),
            now_ms,
            _read_at(now_ms),
        )
        if lost:
            _log.warning(
                "runs went away before they were seen to finish, so they are not counted; "
                "they were deleted, or access to their jobs was taken away",
                workspace=self._client.workspace,
                runs=sorted(lost)[:TOLD_RUNS],
                lost=len(lost),
            )
        self._compare_clocks(now_ms)

    def _compare_clocks(self, now_ms: int) -> None:
        """Tell of two clocks that disagree: which one is wrong, nobody here can say."""
        ahead = now_ms / 1000 - time.time()
        if abs(ahead) > CLOCKS_AGREE_SECONDS:
            _log.warning(
                "the workspace's clock and ours disagree; set ours, or look for what answers in its place",
                workspace=self._client.workspace,
                seconds_ahead=round(ahead),
            )


def _read_at(now_ms: int) -> Advance:
    def advance(progress: Progress | None) -> Progress | None:
        return None if progress is None else msgspec.structs.replace(progress, last_good_poll_ms=now_ms)

    return advance
