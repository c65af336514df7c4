"""A simulated workspace and an exporter without its pages, in one event loop, moved step by step.

Real HTTP and a real state file; only time is ours: the workspace's clock stands still until it is moved.
"""

import asyncio
from collections import Counter
from collections.abc import Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, ClassVar, TypeVar

from pydantic import SecretStr

from exporter.config import ApiSettings, ClientCredentials, PersonalToken, Settings, WorkspaceAccess
from exporter.config.model import LimitsSettings, PollSettings, StateSettings
from exporter.databricks.client import WorkspaceClient
from exporter.exposition.exposition import Exposition
from exporter.families import Family
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.polling.pending import PendingReader
from exporter.polling.poller import Poller
from exporter.polling.reader import Reader
from exporter.polling.recorder import Recorder
from exporter.polling.series_budget import SeriesBudget
from exporter.polling.sweep import Sweeper
from exporter.runs.changes import Changes
from exporter.runs.layout import Layout
from exporter.runs.outcomes import RESULTS
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals
from exporter.runs.tracker import Tracker
from exporter.simulator.credentials import DEFAULT_TOKEN, Credentials
from exporter.simulator.workspace import Workspace
from exporter.state.store import StateStore
from tests.faults import SimulatorServer

BEGIN = 1_790_000_000.0
DAY = 24 * 3600.0
LAYOUT = Layout()
T = TypeVar("T")


class World:
    """A workspace, an exporter. `lookback`, `sweep_window`, `idle`: seconds; `patience` is api.timeout."""

    open: ClassVar[set["World"]] = set()

    def __init__(
        self,
        folder: Path | None,
        *,
        lookback: float = DAY,
        sweep_window: float = 30 * DAY,
        at_once: int = 16,
        series: int = 0,
        idle: float = 14 * DAY,
        patience: float = 30.0,
        rate: float = 1e6,
        login: PersonalToken | ClientCredentials | None = None,
        credentials: Credentials | None = None,
    ) -> None:
        self.now = BEGIN
        # How far our own clock is ahead of the workspace's.
        self.clock_error = 0.0
        self._series = series
        # Label sets that were dropped, each with its last totals.
        self.dropped: list[tuple[SeriesKey, Totals]] = []
        self.workspace = Workspace(clock=lambda: self.now)
        self.server = SimulatorServer(self.workspace, credentials=credentials)
        self._login = login or PersonalToken(SecretStr(DEFAULT_TOKEN))
        self._loop = asyncio.new_event_loop()
        self._path = None if folder is None else folder / "state.db"
        self._settings = Settings(
            poll=PollSettings(interval=0.01, lookback=lookback, sweep_window=sweep_window),
            api=ApiSettings(rate=rate, concurrency=at_once, timeout=patience),
            state=StateSettings(path=self._path),
            limits=LimitsSettings(idle=idle),
        )
        self.run(self.server.start())
        self._open = AsyncExitStack()
        World.open.add(self)
        self.start()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Do something in the loop."""
        return self._loop.run_until_complete(work)

    def start(self) -> None:
        """Start the exporter on what its state file holds."""
        self.run(self._start())

    def stop(self) -> None:
        """End the exporter, as a kill would: nothing is written any more."""
        self.run(self._open.aclose())

    def close(self) -> None:
        """End everything."""
        World.open.discard(self)
        self.stop()
        self.run(self.server.stop())
        self._loop.close()

    def restart(self) -> None:
        """End the exporter and start another on the same state."""
        self.stop()
        self.start()

    def poll(self) -> str | None:
        """One poll, and one look at every pending run; why the poll failed, None where it did not."""
        error = self.poll_lists()
        self.read_pending()
        return error

    def read_pending(self) -> None:
        """Ask once for every run that is pending, whatever its back-off."""

        async def read() -> None:
            stop = asyncio.Event()
            self.pending.retry_all()
            reading = asyncio.create_task(self.pending.run(stop))
            while not self.pending.is_idle() and not reading.done():  # noqa: ASYNC110  no event says so
                await asyncio.sleep(0.002)
            stop.set()
            await reading

        self.run(read())

    def everything_at_once(self) -> str | None:
        """A poll, a sweep and a look at every pending run side by side; why the poll failed."""

        async def all_of_it() -> None:
            stop = asyncio.Event()
            reading = asyncio.create_task(self.pending.run(stop))
            await asyncio.gather(self._one_poll(), self.sweeper.sweep())
            stop.set()
            await reading

        self.run(all_of_it())
        return self.own_metrics.last_error

    def poll_lists(self) -> str | None:
        """One poll, and no pending run is read; why it failed, None where it did not."""
        self.run(self._one_poll())
        return self.own_metrics.last_error

    async def _one_poll(self) -> None:
        stop = asyncio.Event()
        polling = asyncio.create_task(self.poller.run(stop))
        await asyncio.sleep(0)
        stop.set()
        await polling

    def sweep(self) -> None:
        """One sweep, and one look at every pending run."""
        self.sweep_lists()
        self.read_pending()

    def sweep_lists(self) -> None:
        """One sweep, and no pending run is read."""
        self.run(self.sweeper.sweep())

    @property
    def url(self) -> str:
        """Where the exporter looks for the workspace."""
        return self.server.url

    @property
    def totals(self) -> dict[tuple[str, str], Totals]:
        """What memory holds, by job label and target."""
        return self.recorder.tracker.totals

    def counts(self, family: Family) -> Counter[tuple[str, str, str]]:
        """A counter with results, by job label, target and result; zeros left out.

        What had counted and was dropped since is in it.
        """
        first = LAYOUT.counters[family.name].first
        counts: Counter[tuple[str, str, str]] = Counter()
        for key, totals in [*self.dropped, *self.totals.items()]:
            for slot, result in enumerate(RESULTS):
                if totals.row[first + slot]:
                    counts[(*key, result)] += int(totals.row[first + slot])
        return counts

    def apply(self, changes: Changes) -> None:
        """What the exporter does with changes it has committed; here what is dropped is kept."""
        self.dropped += [(key, self.totals[key]) for key in changes.expired.series_keys]
        Tracker.apply(self.recorder.tracker, changes)

    async def _start(self) -> None:
        self._open = AsyncExitStack()
        own_metrics = OwnMetrics()
        access = WorkspaceAccess(self.url, "simulated", self._login)
        self.own_metrics = WorkspaceMetrics(own_metrics, access.name, self._settings.poll.interval)
        self.store = store = StateStore(self._path, LAYOUT)
        self._open.callback(store.close)
        client = await self._open.enter_async_context(
            WorkspaceClient(
                access,
                self._settings.api,
                self.own_metrics,
                lambda _: None,
                wall_clock=lambda: self.now + self.clock_error,
            )
        )
        self.exposition = Exposition(own_metrics, LAYOUT)
        tracker = Tracker(store.load(access.name), LAYOUT, idle_ms=int(self._settings.limits.idle * 1000))
        self.recorder = Recorder(
            tracker, store, self.exposition, self.own_metrics, SeriesBudget(self._series), client.now
        )
        tracker.apply = self.apply  # type: ignore[method-assign]
        recording = asyncio.create_task(self.recorder.run())
        self._open.push_async_callback(_ended, recording)
        await self.recorder.publish_restored()
        reader = Reader(client, self.own_metrics)
        self.pending = PendingReader(reader, self.recorder, self.own_metrics, self._settings)
        self.poller = Poller(reader, self.recorder, self.own_metrics, self._settings, self.pending.retry_all)
        self.sweeper = Sweeper(reader, self.recorder, self._settings)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
