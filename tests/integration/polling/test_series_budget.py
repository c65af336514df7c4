"""Workspaces share one budget, and the log says once that it is used up."""

import asyncio

from structlog.typing import EventDict

from exporter.databricks.clock import Instant
from exporter.exposition.exposition import Exposition
from exporter.families import LIMITED
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.polling.recorder import Recorder
from exporter.polling.series_budget import SeriesBudget
from exporter.runs.changes import Observation
from exporter.runs.layout import Layout
from exporter.runs.series_count import SeriesRules
from exporter.runs.series_keys import OTHER
from exporter.runs.tracker import Tracker
from exporter.state.store import StateStore
from tests.unit.runs.runs import PROGRESS, run, task

LAYOUT = Layout()
WHOLE = SeriesRules(LAYOUT).whole_job(collect_tasks=True)
NOW = Instant(1_200_000, 1_200_000)


class Books:
    """Recorders of several workspaces on one state, one exposition and one budget."""

    def __init__(self, series: int) -> None:
        self.own_metrics = OwnMetrics()
        self.exposition = Exposition(self.own_metrics, LAYOUT)
        self.budget = SeriesBudget(series)
        self._running: list[asyncio.Task[None]] = []
        self._store = StateStore(None, LAYOUT)

    async def recorder(self, workspace: str) -> Recorder:
        made = Recorder(
            Tracker(self._store.load(workspace), LAYOUT),
            self._store,
            self.exposition,
            WorkspaceMetrics(self.own_metrics, workspace, 30.0),
            self.budget,
            lambda: NOW,
        )
        await made.publish_restored()
        self._running.append(asyncio.create_task(made.run()))
        return made


async def settle(recorder: Recorder, jobs: range) -> None:
    """Every job has a run."""
    runs = [run(job, job, tasks=[task(job * 10)]) for job in jobs]
    await recorder.record(Observation(runs), lambda _: PROGRESS)


def own(recorder: Recorder) -> int:
    """How many jobs have series of their own."""
    return len(recorder.tracker.jobs.keys() - {OTHER})


async def test_workspaces_that_fill_up_at_once_share_the_room() -> None:
    """Neither is let into what the other has just taken."""
    books = Books(8 * WHOLE)
    recorders = [await books.recorder(name) for name in ("a", "b", "c")]
    await asyncio.gather(*(settle(recorder, range(1, 7)) for recorder in recorders))
    assert books.exposition.snapshot.series <= 8 * WHOLE
    assert 4 <= sum(map(own, recorders)) < 18


async def test_what_a_workspace_had_counts_from_the_start() -> None:
    """After a restart no other workspace takes the room of one that has not been polled yet."""
    books = Books(4 * WHOLE)
    await settle(await books.recorder("a"), range(1, 4))
    books.budget = SeriesBudget(4 * WHOLE)
    await books.recorder("a")
    late = await books.recorder("b")
    await settle(late, range(1, 9))
    assert own(late) <= 1


async def test_used_up_budget_is_told_once_and_again_after_it_had_room(logs: list[EventDict]) -> None:
    """Over all workspaces, with the settings that help."""
    budget = SeriesBudget(1000)
    told = []
    for workspace, limited in [("a", 0), ("a", 3), ("b", 2), ("a", 0), ("b", 0), ("b", 1)]:
        budget.note_limited(workspace, limited)
        told.append([entry["log_level"] for entry in logs])
        logs.clear()
    assert told == [[], ["warning"], [], [], ["info"], ["warning"]]


async def test_limited_jobs_are_told_per_workspace(logs: list[EventDict]) -> None:
    """The gauge and the warning come with the commit that limits them."""
    books = Books(4 * WHOLE)
    recorder = await books.recorder("a")
    await settle(recorder, range(1, 9))
    limited = 8 - own(recorder)
    text = books.own_metrics.text().decode()
    assert f'{LIMITED.name}{{workspace="a"}} {float(limited)}' in text
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert (entry["limit"], entry["limited_jobs"], entry["workspace"]) == (4 * WHOLE, limited, "a")
    assert "limits.series" in entry["event"]
