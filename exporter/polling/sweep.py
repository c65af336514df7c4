"""The sweep: lists finished runs again, to catch repairs and late listings that no poll's window holds.

What must stay true: it runs beside the polls and yields to them; what it finds becomes pending, page by page;
its failure fails no poll, and the next sweep then reads from where this one was to begin.
"""

import asyncio

import msgspec
import structlog

from exporter.config import Settings
from exporter.databricks.context import Priority, RequestContext
from exporter.polling.loop import run_loop
from exporter.polling.reader import Read, Reader
from exporter.polling.recorder import Advance, Recorder
from exporter.runs.changes import Observation
from exporter.runs.records import Progress

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
        self._patience = max(settings.poll.sweep_interval, 2 * settings.api.timeout)

    async def run(self, first_poll_done: asyncio.Event, stop: asyncio.Event) -> None:
        """Sweep whenever one interval has passed since the last sweep began, or since the first poll."""
        await first_poll_done.wait()
        await run_loop("sweep", self._client.workspace, self._turn, self._failed, stop)

    async def _turn(self) -> float:
        if (due_in := self._due_in()) <= 0:
            await self.sweep()
            due_in = self._due_in()
        return due_in

    def _failed(self, error: str) -> float:
        _log.warning("sweep failed; it begins again", workspace=self._client.workspace, cause=error)
        return self._retry_after

    def _due_in(self) -> float:
        progress = self._progress()
        last_ms = progress.last_sweep_ms or progress.first_poll_ms
        return min(self._interval - (self._client.now().server_ms - last_ms) / 1000, self._interval)

    async def sweep(self) -> None:
        """One sweep."""
        began = self._client.now()
        last_ms = self._progress().last_sweep_ms
        from_ms = min(began.earliest_ms, last_ms or began.earliest_ms) - self._window_ms
        async with RequestContext.while_pages_come(Priority.BACKGROUND, self._patience) as context:
            pages = self._client.list_runs(context, completed_only="true", start_time_from=from_ms)
            async for page in pages:
                read = Read.nothing()
                self._reader.sort(page, read)
                await self._recorder.record(
                    Observation(swept=read.finished.values(), active=read.active.values())
                )
        await self._recorder.record(Observation(), _swept_at(began.server_ms))

    def _progress(self) -> Progress:
        progress = self._recorder.tracker.progress
        assert progress is not None  # noqa: S101  the first poll is over
        return progress


def _swept_at(began_ms: int) -> Advance:
    def advance(progress: Progress | None) -> Progress | None:
        return None if progress is None else msgspec.structs.replace(progress, last_sweep_ms=began_ms)

    return advance
