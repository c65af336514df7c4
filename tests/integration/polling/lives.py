"""Lives of an exporter in processes of their own, killed wherever a test says, and what they told."""

import os
import signal
import struct
import tempfile
from collections.abc import Callable
from contextlib import AbstractContextManager
from itertools import pairwise
from pathlib import Path
from typing import NoReturn

from exporter.families import REPAIRS, RUNS, TASK_RUNS
from tests.integration.polling.world import DAY, World

STEPS = 4
HOUR = 3600.0
# What a life tells: the step it is in, and how many runs, repairs and task attempts a scrape can see.
REPORT = struct.Struct("<4q")
# What there is in the end.
RUNS_REPAIRS_TASKS = (3, 1, 6)


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


# Sees to it that a life is killed at the right moment, before its first poll.
Arm = Callable[[Play], None]


def never(_: Play) -> None:
    """Let a life go on to its end."""


def kill() -> None:
    """End this process without a word."""
    os.kill(os.getpid(), signal.SIGKILL)


def folder_in_memory() -> AbstractContextManager[str]:
    """A new folder, where that can be in memory: this is about processes that die, not about disks."""
    shared = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=shared if shared.is_dir() else None)


def live(kind: type[Play], folder: Path, pipe: int, first_step: int, arm: Arm) -> NoReturn:
    """A life in a process of its own, from a step on."""
    play = kind(folder)
    for step in range(1, first_step + 1):
        play.go_to(step)
    step = first_step
    update = play.world.exposition.update

    def tell(*args: object) -> None:
        update(*args)  # type: ignore[arg-type]
        os.write(pipe, REPORT.pack(step, *play.counts()))

    play.world.exposition.update = tell  # type: ignore[method-assign, assignment]
    os.write(pipe, REPORT.pack(step, *play.counts()))
    arm(play)
    for step in range(first_step, STEPS):
        if step > first_step:
            play.go_to(step)
        if play.world.poll() is not None:
            os._exit(1)
    os.write(pipe, REPORT.pack(STEPS, *play.counts()))
    os._exit(0)


def one_life(kind: type[Play], folder: Path, first_step: int, arm: Arm) -> tuple[int, list[tuple[int, ...]]]:
    """How a life ended (a wait status), and what it told."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        try:
            live(kind, folder, write, first_step, arm)
        finally:
            os._exit(2)
    os.close(write)
    with os.fdopen(read, "rb") as pipe:
        told = pipe.read()
    return os.waitpid(child, 0)[1], list(REPORT.iter_unpack(told))


def lived_on(folder: Path, arm: Arm) -> bool:
    """Whether an armed life got to its end; one that was killed is followed by another, and both agree.

    Whatever a scrape saw before the kill is there after it, and in the end everything is counted once.
    """
    status, before = one_life(Play, folder, 0, arm)
    if status == 0:
        assert before[-1] == (STEPS, *RUNS_REPAIRS_TASKS)
        return True
    assert os.WIFSIGNALED(status), f"ended with {status}"
    status, after = one_life(Play, folder, min(before[-1][0], STEPS - 1), never)
    assert status == 0
    told = [report[1:] for report in before + after]
    assert all(
        earlier <= later for one, two in pairwise(told) for earlier, later in zip(one, two, strict=True)
    ), f"went down: {told}"
    assert told[-1] == RUNS_REPAIRS_TASKS, told
    return False
