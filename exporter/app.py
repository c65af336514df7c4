"""The composition root: builds and owns every long-lived object, starts them, and stops them in order.

What must stay true: whatever was begun is ended by `serve`, and within 5 seconds of being told to stop.
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog
from pydantic import SecretStr

from exporter.config import Invocation, PersonalToken, WorkspaceAccess
from exporter.databricks.client import WorkspaceClient
from exporter.exposition.exposition import Exposition
from exporter.logs.setup import Redactor
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.polling.job_settings import JobNames
from exporter.polling.pending import PendingReader
from exporter.polling.poller import Poller
from exporter.polling.reader import Reader
from exporter.polling.recorder import Recorder
from exporter.polling.series_budget import SeriesBudget
from exporter.polling.sweep import Sweeper
from exporter.runs.layout import Layout, Remap
from exporter.runs.tracker import Tracker
from exporter.server.pages import WebServer, WorkspaceView
from exporter.server.web_config import WebConfigFile
from exporter.state.store import StateStore

# What is under way when we are told to stop may go on for so long; then it is cancelled.
GRACE_SECONDS = 0.5

_log = structlog.stdlib.get_logger(__name__)
_Work = Mapping[str, Coroutine[Any, Any, None]]


async def serve(invocation: Invocation, redactor: Redactor, stop: asyncio.Event) -> None:
    """Export until told to stop. Raises StateError, WebConfigError or OSError when it can't begin."""
    settings = invocation.settings
    web_config = WebConfigFile(settings.web.config.file) if settings.web.config.file else None
    async with AsyncExitStack() as stack:
        workspaces = await stack.enter_async_context(accessible(invocation))
        path = settings.state.path
        if invocation.demo and settings.state.path_is_default:
            folder = stack.enter_context(TemporaryDirectory(prefix="databricks-jobs-exporter-"))
            path = Path(folder) / "demo.db"
        layout = Layout.with_buckets(settings.histograms.buckets)
        store = await asyncio.to_thread(StateStore, path, layout)
        stack.callback(store.close)
        _log_remapped(store.remapped)
        own_metrics = OwnMetrics()
        budget = SeriesBudget(settings.limits.series)
        app = _App(invocation, redactor, layout, store, Exposition(own_metrics, layout), own_metrics, budget)
        for access in workspaces:
            await app.add(access, stack, stop)
        server = WebServer(settings, web_config, app.exposition, own_metrics, app.views)
        address = await stack.enter_async_context(server.listening())
        _log.info("listening", address=address, path=settings.web.telemetry_path)
        await _run(app.work, app.recorders, stop)
        _log.info("stopping")


@asynccontextmanager
async def accessible(invocation: Invocation) -> AsyncIterator[tuple[WorkspaceAccess, ...]]:
    """The workspaces to read: those of the settings, or a simulated one while the context is open."""
    if not invocation.demo:
        yield invocation.workspaces
        return
    # Who reads a real workspace pays neither time nor memory for the simulated one.
    from exporter.simulator.credentials import DEFAULT_TOKEN  # noqa: PLC0415
    from exporter.simulator.scenario import demo_workspace  # noqa: PLC0415
    from exporter.simulator.server import SimulatorServer  # noqa: PLC0415

    async with SimulatorServer(demo_workspace()) as server:
        login = PersonalToken(SecretStr(DEFAULT_TOKEN))
        yield (WorkspaceAccess(server.url, server.url.removeprefix("http://"), login),)


@dataclass
class _App:
    """What all workspaces share, and what they add to it."""

    invocation: Invocation
    redactor: Redactor
    layout: Layout
    store: StateStore
    exposition: Exposition
    own_metrics: OwnMetrics
    budget: SeriesBudget
    views: list[WorkspaceView] = field(default_factory=list)
    work: dict[str, Coroutine[Any, Any, None]] = field(default_factory=dict)
    # These commit what the work above has read, so they end after it.
    recorders: dict[str, Coroutine[Any, Any, None]] = field(default_factory=dict)

    async def add(self, access: WorkspaceAccess, stack: AsyncExitStack, stop: asyncio.Event) -> None:
        """Build everything of one workspace; `stack` closes what must be closed."""
        loop = asyncio.get_running_loop()
        settings = self.invocation.settings
        own_metrics = WorkspaceMetrics(
            self.own_metrics, access.name, settings.poll.interval, redact=self.redactor.text
        )
        client = await stack.enter_async_context(
            WorkspaceClient(access, settings.api, own_metrics, self.redactor.add)
        )
        tracker = Tracker(
            await asyncio.to_thread(self.store.load, access.name),
            self.layout,
            collect_tasks=settings.collect.tasks,
            idle_ms=int(settings.limits.idle * 1000),
        )
        recorder = Recorder(tracker, self.store, self.exposition, own_metrics, self.budget, client.now)
        # Totals of thousands of jobs stay; looking through them for cycles would hold up the loop.
        gc.freeze()
        await recorder.publish_restored()
        started = loop.time()
        reader = Reader(client, own_metrics)
        pending = PendingReader(reader, recorder, own_metrics, settings)
        poller = Poller(reader, recorder, own_metrics, settings, pending.retry_all)

        def last_sign_of_life() -> float:
            signs = (poller.last_start, client.last_answer, recorder.last_commit, started)
            return max(sign for sign in signs if sign is not None)

        self.views.append(WorkspaceView(own_metrics, poller.first_poll_done.is_set, last_sign_of_life))
        self.work |= {
            f"poll {access.name}": poller.run(stop),
            f"pending runs of {access.name}": pending.run(stop),
            f"sweep {access.name}": Sweeper(reader, recorder, settings).run(poller.first_poll_done, stop),
            f"job names of {access.name}": JobNames(client, recorder).run(stop),
        }
        self.recorders[f"record {access.name}"] = recorder.run()


def _log_remapped(remapped: Remap) -> None:
    """Say which totals of the state file begin at 0, or are no longer counted."""
    if remapped.afresh or remapped.dropped:
        _log.warning(
            "the state file was written with other metrics; what still means the same goes on",
            begin_at_0=remapped.afresh,
            no_longer_counted=remapped.dropped,
        )


async def _run(work: _Work, recorders: _Work, stop: asyncio.Event) -> None:
    """Run until told to stop, or until something ends that should not: its error is raised."""
    working = [asyncio.create_task(coroutine, name=name) for name, coroutine in work.items()]
    recording = [asyncio.create_task(coroutine, name=name) for name, coroutine in recorders.items()]
    tasks = working + recording
    stopped = asyncio.create_task(stop.wait(), name="stop")
    try:
        ended, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
        too_early = [task.get_name() for task in ended if task is not stopped and not stop.is_set()]
        stop.set()
        await asyncio.wait(working, timeout=GRACE_SECONDS)
    finally:
        for task in (stopped, *tasks):
            task.cancel()
        await asyncio.wait([stopped, *tasks])
    for task in tasks:
        if not task.cancelled() and (error := task.exception()) is not None:
            raise error
    if too_early:
        raise RuntimeError(f"ended before it was told to: {', '.join(too_early)}")
