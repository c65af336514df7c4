"""The sweep: lists finished runs again, to catch repairs and late listings that no poll's window holds.

What must stay true: it goes beside the polls and lets them pass; what it finds it commits page by page; its
failure fails no poll, and the next sweep then reads from where this one was to begin.
"""

import asyncio

import msgspec
import structlog

from exporter.config import Settings
from exporter.databricks.errors import WorkspaceError
from exporter.databricks.limits import RequestContext
from exporter.polling.reader import Read, Reader, sleep
from exporter.polling.recorder import Advance, Recorder
from exporter.runs.change_builder import Observation
from exporter.runs.records import Progress
from exporter.state.errors import StateError

_log = structlog.stdlib.get_logger(__name__)


class Sweeper:
    """Sweeps one workspace until it is told to stop."""

    def __init__(self, reader: Reader, recorder: Recorder, settings: Settings) -> None:
        self._client = reader.client
        self._reader = reader
        self._recorder = recorder
        self._interval = settings.poll.sweep_interval
        self._window_ms = int(settings.poll.sweep_window * 1000)
        self._retry_after = settings.poll.interval
        self._deadline = max(settings.poll.sweep_interval, 2 * settings.api.timeout)

    async def run(self, first_poll_done: asyncio.Event, stop: asyncio.Event) -> None:
        """Sweep whenever one interval has passed since the last sweep began, or since the first poll."""
        log = _log.bind(workspace=self._client.workspace)
        await first_poll_done.wait()
        while not stop.is_set():
            await sleep(stop, self._due_in())
            if stop.is_set():
                return
            try:
                await self._sweep()
            except (WorkspaceError, StateError) as fault:
                log.warning("sweep failed; it begins again", cause=str(fault))
                await sleep(stop, self._retry_after)
            except Exception:  # a loop survives what nobody foresaw
                log.exception("sweep failed in a way nobody foresaw; it begins again")
                await sleep(stop, self._retry_after)

    def _due_in(self) -> float:
        progress = self._progress()
        last_ms = progress.last_sweep_ms or progress.first_poll_ms
        return min(self._interval - (self._now_ms() - last_ms) / 1000, self._interval)

    async def _sweep(self) -> None:
        began_ms = self._now_ms()
        last_ms = self._progress().last_sweep_ms
        from_ms = min(began_ms, last_ms or began_ms) - self._window_ms
        context = RequestContext.within(self._deadline, background=True)
        async for page in self._client.list_runs(context, completed_only="true", start_time_from=from_ms):
            listed = Read.nothing()
            self._reader.sort(page, listed)
            read = await self._reader.detailed(listed.finished, context, with_tasks=False)
            running = listed.active | read.active
            await self._recorder.record(Observation(read.finished.values(), running.values()), self._now_ms())
        await self._recorder.record(Observation(), self._now_ms(), _swept_at(began_ms))

    def _progress(self) -> Progress:
        progress = self._recorder.tracker.progress
        assert progress is not None  # noqa: S101  the first poll is over
        return progress

    def _now_ms(self) -> int:
        return self._client.server_ms(asyncio.get_running_loop().time())


def _swept_at(began_ms: int) -> Advance:
    def advance(progress: Progress | None) -> Progress | None:
        return None if progress is None else msgspec.structs.replace(progress, last_sweep_ms=began_ms)

    return advance
