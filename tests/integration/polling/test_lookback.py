"""Slices of the past are committed in parts: by what they hold in memory, and by the time they take."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.families import RUNS, TASK_RUNS
from exporter.polling import lookback
from tests.faults import Fault, error
from tests.integration.polling.world import BEGIN, World

PAGE = 25
MANY = 12 * PAGE
ITEMS = 2  # of each run: itself and its task


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """Runs of one task, to be read in one slice that has two seconds from one commit to the next."""
    made = World(tmp_path, at_once=1, patience=1.0)
    job = made.workspace.add_job("nightly")
    for number in range(MANY):
        made.workspace.finished_run(job, start=BEGIN - 3600 - 60 * number, duration=30)
    yield made
    made.close()


def test_past_that_is_read_slowly_is_read_to_its_end(tmp_path: Path) -> None:
    """However long each slice waits for its turn: a poll is given up only when no page at all comes."""
    made = World(tmp_path, at_once=16, patience=0.5, rate=8)
    job = made.workspace.add_job("nightly")
    for number in range(60):
        made.workspace.finished_run(job, start=BEGIN - 600 - 1400 * number, duration=30)
    assert made.poll() is None
    assert made.counts(RUNS).total() == 60
    made.close()


def test_slice_is_committed_once_enough_of_it_is_read(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fault costs the runs that were read since: here two pages of five, and the first are counted."""
    monkeypatch.setattr(lookback, "ITEMS_PER_COMMIT", 3 * PAGE * ITEMS)
    world.server.faults.add(Fault(error(403, "PERMISSION_DENIED", "no"), endpoint="runs/list", skip=1 + 5))
    assert world.poll() is not None
    assert world.counts(RUNS).total() == 3 * PAGE


def test_large_runs_of_a_slice_hold_up_nobody(tmp_path: Path) -> None:
    """A slice is over once its list is read; runs of more than a hundred tasks are read beside the polls."""
    world = World(tmp_path, at_once=4)
    job = world.workspace.add_job("nightly")
    for number in range(PAGE):
        world.workspace.finished_run(job, start=BEGIN - 3600 - 60 * number, duration=30, tasks=101)
    world.server.faults.add(Fault(error(500, "INTERNAL_ERROR", "oops"), endpoint="runs/get"))
    assert world.poll() is None
    assert world.counts(RUNS).total() == 0
    assert {pending.reason for pending in world.recorder.tracker.pending.values()} == {"large"}
    world.server.faults.clear()
    world.restart()
    assert world.poll() is None
    assert world.counts(RUNS).total() == PAGE
    assert world.counts(TASK_RUNS).total() == PAGE * 101
    world.close()
