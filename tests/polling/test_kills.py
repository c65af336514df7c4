"""The process is killed at every SQL statement of its polls, one life per statement."""

import os
import signal
import struct
import tempfile
from collections import Counter
from itertools import groupby, pairwise
from pathlib import Path
from typing import NoReturn

from exporter.accounting.totals import COUNTERS
from exporter.families import REPAIRS, RESULTS, RUNS, TASK_RUNS
from tests.polling.world import DAY, World

STEPS = 4
HOUR = 3600.0
RUN_SLOTS = range(COUNTERS[RUNS.name].first, COUNTERS[RUNS.name].first + len(RESULTS))
# What a life tells: the step it is in, and how many runs, repairs and task attempts a scrape can see.
REPORT = struct.Struct("<4q")


class Play:
    """The same four steps in every life: a first poll, runs that end, a repair, and its end."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder, at_once=1, idle=2 * HOUR)
        self.begin()

    def begin(self) -> None:
        """What there is before the first poll."""
        workspace = self.world.workspace
        job = workspace.add_job("nightly")
        self.failed = workspace.finished_run(
            job, start=self.world.now - 500, duration=60, code="RUN_EXECUTION_ERROR", tasks=2
        )
        workspace.finished_run(job, start=self.world.now - DAY / 2, duration=600, retries=1)
        self.running = workspace.active_run(job, target="STANDARD")

    def go_to(self, step: int) -> None:
        """Move the workspace to a step."""
        workspace, now = self.world.workspace, self.world.now
        self.world.now = now + 100
        if step == 1:
            workspace.finish(self.running)
        elif step == 2:
            workspace.repair(self.failed)
        elif step == 3:
            workspace.finish_repair(self.failed)

    def counts(self) -> tuple[int, int, int]:
        """Runs, repairs and task attempts in the totals."""
        runs, repairs, tasks = (self.world.counts(family).total() for family in (RUNS, REPAIRS, TASK_RUNS))
        return runs, repairs, tasks


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
        return int(runs), int(row is not None), int(label in self.world.ledger.tracker.jobs)


def live(kind: type[Play], folder: Path, pipe: int, first_step: int, kill_at: int) -> NoReturn:
    """A life in a process of its own, from a step on, killed at a statement; 0 is never."""
    play = kind(folder)
    for step in range(1, first_step + 1):
        play.go_to(step)
    statements = 0
    step = first_step

    def count(_: str) -> None:
        nonlocal statements
        statements += 1
        if statements == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    play.world.store._db.set_trace_callback(count)
    update = play.world.exposition.update

    def tell(*args: object) -> None:
        update(*args)  # type: ignore[arg-type]
        os.write(pipe, REPORT.pack(step, *play.counts()))

    play.world.exposition.update = tell  # type: ignore[method-assign, assignment]
    os.write(pipe, REPORT.pack(step, *play.counts()))
    for step in range(first_step, STEPS):
        if step > first_step:
            play.go_to(step)
        if play.world.poll() is not None:
            os._exit(1)
    os.write(pipe, REPORT.pack(STEPS, *play.counts()))
    os._exit(0)


def one_life(
    kind: type[Play], folder: Path, first_step: int, kill_at: int
) -> tuple[int, list[tuple[int, ...]]]:
    """How a life ended (a wait status), and what it told."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            live(kind, folder, write, first_step, kill_at)
        finally:
            os._exit(2)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    return os.waitpid(child, 0)[1], list(REPORT.iter_unpack(told))


def test_killed_at_every_statement_nothing_seen_is_lost_or_counted_again() -> None:
    """Whatever a scrape saw before the kill is there after it, and in the end everything counts once."""
    folders = Path("/dev/shm")
    endings: Counter[int] = Counter()
    for kill_at in range(1, 1000):
        with tempfile.TemporaryDirectory(dir=folders if folders.is_dir() else None) as name:
            status, before = one_life(Play, Path(name), 0, kill_at)
            endings[status] += 1
            step = before[-1][0]
            if status == 0:
                assert before[-1] == (STEPS, 3, 1, 6)
                break
            assert os.WIFSIGNALED(status), f"killed at {kill_at}: {status}"
            status, after = one_life(Play, Path(name), min(step, STEPS - 1), 0)
            assert status == 0
            told = [report[1:] for report in before + after]
            assert all(
                earlier <= later
                for one, two in pairwise(told)
                for earlier, later in zip(one, two, strict=True)
            ), f"killed at {kill_at}: {told}"
            assert told[-1] == (3, 1, 6), f"killed at {kill_at}"
    assert endings[0] == 1
    assert endings[signal.SIGKILL] > 30


def test_killed_at_every_statement_an_idle_job_is_dropped_whole_and_counted_once() -> None:
    """Totals and job go and come together, and what was dropped never comes back."""
    folders = Path("/dev/shm")
    endings: Counter[int] = Counter()
    for kill_at in range(1, 1000):
        with tempfile.TemporaryDirectory(dir=folders if folders.is_dir() else None) as name:
            status, before = one_life(IdlePlay, Path(name), 0, kill_at)
            endings[status] += 1
            told = before
            if status:
                assert os.WIFSIGNALED(status), f"killed at {kill_at}: {status}"
                status, after = one_life(IdlePlay, Path(name), min(before[-1][0], STEPS - 1), 0)
                told = before + after
        assert status == 0
        # Unknown, counted, dropped, back at 0 or unseen, counted again.
        reports = [report[1:] for report in told]
        assert set(reports) <= {(0, 0, 0), (1, 1, 1), (0, 1, 1)}, f"killed at {kill_at}: {told}"
        assert [runs for runs, _ in groupby(report[0] for report in reports)] in (
            [0, 1, 0, 1],
            [1, 0, 1],
        ), f"killed at {kill_at}: {told}"
        assert told[-1][1:] == (1, 1, 1), f"killed at {kill_at}: {told}"
        if endings[0]:
            break
    assert endings[signal.SIGKILL] > 30
