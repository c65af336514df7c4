"""The process is killed all over a poll, a commit and a publication: where any function begins or ends.

No step is named here, so that none is forgotten when the code changes: a profile hook of the interpreter
counts the calls and returns in the packages that read, commit and publish, in every thread.
"""

import sys
import tempfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from pathlib import Path
from types import FrameType

import pytest

import exporter
from tests.integration.polling.lives import Arm, Play, folder_in_memory, kill, lived_on

ROOT = Path(exporter.__file__).parent
WATCHED = tuple(str(ROOT / package) for package in ("polling", "runs", "state", "exposition"))
# How many kills, spread evenly over the steps of a life.
KILLS = 24


def at_step(met: Callable[[], None]) -> Arm:
    """Be called at every step of a life."""

    def arm(play: Play) -> None:
        # Threads that are there already would not be watched.
        play.world._loop.set_default_executor(ThreadPoolExecutor())

        def watch(frame: FrameType, event: str, _: object) -> None:
            if event in {"call", "return"} and frame.f_code.co_filename.startswith(WATCHED):
                met()

        threading.setprofile(watch)
        sys.setprofile(watch)

    return arm


def kill_at(step: int) -> Callable[[], None]:
    """Kill at the so-many-th step."""
    met = 0

    def count() -> None:
        nonlocal met
        met += 1
        if met == step:
            kill()

    return count


@cache
def steps_of_a_life() -> int:
    """How many steps a life has that nobody kills."""
    with tempfile.TemporaryFile(buffering=0) as counted, folder_in_memory() as folder:

        def count() -> None:
            counted.write(b".")

        assert lived_on(Path(folder), at_step(count))
        return counted.seek(0, 2)


@pytest.mark.parametrize("part", range(KILLS))
def test_killed_at_any_step_nothing_seen_is_lost_or_counted_again(part: int) -> None:
    """Whatever a scrape saw before the kill is there after it, and in the end everything counts once."""
    # Lives differ by how long they wait: the last third of the longest may be missing in another.
    step = max(steps_of_a_life() * part // (KILLS + KILLS // 2), 1)
    with folder_in_memory() as folder:
        assert not lived_on(Path(folder), at_step(kill_at(step))), "the step is never met"
