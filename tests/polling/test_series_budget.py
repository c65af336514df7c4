"""Workspaces share one budget, and the log says once that it is used up."""

import asyncio
from collections.abc import Iterator

import pytest
from structlog.testing import capture_logs
from structlog.typing import EventDict

from exporter.accounting.budget import whole_job
from exporter.accounting.draft import Observation
from exporter.accounting.labels import OTHER
from exporter.exposition.exposition import Exposition
from exporter.families import LIMITED
from exporter.instruments import Instruments, WorkspaceInstruments
from exporter.polling.ledger import Ledger
from exporter.polling.series_budget import SeriesBudget
from exporter.settings import Settings
from exporter.state.store import StateStore
from tests.accounting.runs import PROGRESS, run, task

WHOLE = whole_job(collect_tasks=True)


class Books:
    """Ledgers of several workspaces on one state, one exposition and one budget."""

    def __init__(self, series: int) -> None:
        self.instruments = Instruments()
        self.exposition = Exposition(self.instruments)
        self.budget = SeriesBudget(series)
        self._store = StateStore(None)

    async def ledger(self, workspace: str) -> Ledger:
        made = Ledger(
            self._store.load(workspace),
            self._store,
            self.exposition,
            WorkspaceInstruments(self.instruments, workspace, 30.0),
            self.budget,
            Settings(),
        )
        await made.publish_restored()
        await made.release()
        return made


async def settle(ledger: Ledger, jobs: range) -> None:
    """Every job has a run."""
    runs = [run(job, job, tasks=[task(job * 10)]) for job in jobs]
    await ledger.record(Observation(runs), 1_200_000, lambda _: PROGRESS)


def own(ledger: Ledger) -> int:
    """How many jobs have series of their own."""
    return len(ledger.tracker.jobs.keys() - {OTHER})


@pytest.fixture
def logs() -> Iterator[list[EventDict]]:
    with capture_logs() as captured:
        yield captured


async def test_workspaces_that_fill_up_at_once_share_the_room() -> None:
    """Neither is let into what the other has just taken."""
    books = Books(8 * WHOLE)
    ledgers = [await books.ledger(name) for name in ("a", "b", "c")]
    await asyncio.gather(*(settle(ledger, range(1, 7)) for ledger in ledgers))
    assert books.exposition.snapshot.series <= 8 * WHOLE
    assert 4 <= sum(map(own, ledgers)) < 18


async def test_what_a_workspace_had_counts_from_the_start() -> None:
    """After a restart no other workspace takes the room of one that has not been polled yet."""
    books = Books(4 * WHOLE)
    await settle(await books.ledger("a"), range(1, 4))
    books.budget = SeriesBudget(4 * WHOLE)
    await books.ledger("a")
    late = await books.ledger("b")
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
    ledger = await books.ledger("a")
    await settle(ledger, range(1, 9))
    limited = 8 - own(ledger)
    text = books.instruments.text().decode()
    assert f'{LIMITED.name}{{workspace="a"}} {float(limited)}' in text
    (entry,) = [entry for entry in logs if entry["log_level"] == "warning"]
    assert (entry["limit"], entry["limited_jobs"], entry["workspace"]) == (4 * WHOLE, limited, "a")
    assert "limits.series" in entry["event"]
