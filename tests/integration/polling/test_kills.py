"""The process is killed at every SQL statement of its polls, one life per statement."""

import os
from itertools import groupby
from pathlib import Path

import pytest

from exporter.families import RUNS
from exporter.runs.outcomes import RESULTS
from tests.integration.polling.lives import (
    HOUR,
    STEPS,
    Arm,
    Play,
    folder_in_memory,
    kill,
    lived_on,
    never,
    one_life,
)
from tests.integration.polling.world import LAYOUT

_FIRST = LAYOUT.counters[RUNS.name].first
RUN_SLOTS = range(_FIRST, _FIRST + len(RESULTS))


class IdlePlay(Play):
    """A first poll, a jump that drops one of two jobs, its next run seen active, and its end."""

    def begin(self) -> None:
        workspace = self.world.workspace
        self.idle = workspace.add_job("idle")
        workspace.finished_run(self.idle, start=self.world.now - 500, duration=60)
        self.running = workspace.active_run(workspace.add_job("steady"))

    def go_to(self, step: int) -> None:
        workspace = self.world.workspace
        self.world.now += 100
        if step == 1:
            self.world.now += 3 * HOUR
        elif step == 2:
            self.running = workspace.active_run(self.idle)
        elif step == 3:
            workspace.finish(self.running)

    def counts(self) -> tuple[int, int, int]:
        """Runs of the one job in the totals, and whether they and the job itself are there."""
        label = str(self.idle)
        row = self.world.totals.get((label, "NONE"))
        runs = sum(row.row[slot] for slot in RUN_SLOTS) if row else 0
        return int(runs), int(row is not None), int(label in self.world.recorder.tracker.jobs)


def at_statement(number: int) -> Arm:
    """Kill at the so-many-th SQL statement."""

    def arm(play: Play) -> None:
        statements = 0

        def count(_: str) -> None:
            nonlocal statements
            statements += 1
            if statements == number:
                kill()

        play.world.store._db.set_trace_callback(count)

    return arm


@pytest.mark.timeout(400)  # some hundred lives
def test_killed_at_every_statement_nothing_seen_is_lost_or_counted_again() -> None:
    """Whatever a scrape saw before the kill is there after it, and in the end everything counts once."""
    for number in range(1, 1000):
        with folder_in_memory() as name:
            if lived_on(Path(name), at_statement(number)):
                break
    assert 30 < number < 999


@pytest.mark.timeout(400)  # some hundred lives
def test_killed_at_every_statement_an_idle_job_is_dropped_whole_and_counted_once() -> None:
    """Totals and job go and come together, and what was dropped never comes back."""
    for number in range(1, 1000):
        with folder_in_memory() as name:
            first, told = one_life(IdlePlay, Path(name), 0, at_statement(number))
            if first != 0:
                assert os.WIFSIGNALED(first), f"killed at {number}: {first}"
                second, after = one_life(IdlePlay, Path(name), min(told[-1][0], STEPS - 1), never)
                assert second == 0
                told += after
        # Unknown, counted, dropped, back at 0 or unseen, counted again.
        reports = [report[1:] for report in told]
        assert set(reports) <= {(0, 0, 0), (1, 1, 1), (0, 1, 1)}, f"killed at {number}: {told}"
        runs = [count for count, _ in groupby(report[0] for report in reports)]
        assert runs in ([0, 1, 0, 1], [1, 0, 1]), f"killed at {number}: {told}"
        assert reports[-1] == (1, 1, 1), f"killed at {number}: {told}"
        if first == 0:
            break
    assert 30 < number < 999
