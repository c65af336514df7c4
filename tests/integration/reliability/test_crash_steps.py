"""The process is killed at every named step of a poll, a commit and a publication.

The steps are functions of the product, which knows nothing of this: a profile hook of the interpreter sees
them begin, and end or wait.
"""

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import pytest

from exporter.databricks.client import WorkspaceClient
from exporter.exposition.exposition import Exposition
from exporter.polling.lookback import Lookback
from exporter.polling.pending import PendingReader
from exporter.polling.poller import Poller
from exporter.polling.reader import Reader
from exporter.polling.recorder import Recorder
from exporter.runs.change_builder import ChangeBuilder
from exporter.runs.tracker import Tracker
from exporter.state.store import StateStore
from tests.integration.polling.lives import Arm, Play, folder_in_memory, kill, lived_on

NAMED: dict[str, Callable[..., Any]] = {
    "poll: it begins": Poller._poll,
    "poll: the lookback is cut": Poller._begin,
    "poll: a slice is read": Lookback._read_slice,
    "poll: the lists are read": Poller._read_lists,
    "poll: a list is read": Reader.list_runs,
    "pending: a run is read": PendingReader._read,
    "pending: an answer is handed over": PendingReader._hand_over,
    "pending: answers are committed": PendingReader._commit_answers,
    "poll: a request": WorkspaceClient._exchange,
    "poll: what is known": StateStore.settled,
    "poll: it is over": Poller._turn,
    "commit: it is handed in": Recorder.record,
    "commit: its turn": Recorder._commit,
    "commit: what changes": Recorder._settle,
    "commit: the change builder": ChangeBuilder.observe,
    "commit: the transaction": StateStore.commit,
    "commit: the rows": StateStore._write,
    "commit: into memory": Recorder._take_over,
    "commit: the tracker's memory": Tracker.apply,
    "publish: what moved": Recorder._publish,
    "publish: the bytes": Exposition.update,
}
# The first time that a step begins, with a fresh state; a later one that it ends or waits, with much to lose.
MOMENTS = (("call", 1), ("return", 4))


def at_step(code: CodeType, event: str, times: int) -> Arm:
    """Kill when a function begins ("call"), or ends or waits ("return"), for the so-many-th time."""

    def arm(play: Play) -> None:
        met = 0
        # Threads that are there already would not be watched.
        play.world._loop.set_default_executor(ThreadPoolExecutor())

        def watch(frame: FrameType, happened: str, _: object) -> None:
            nonlocal met
            if frame.f_code is code and happened == event:
                met += 1
                if met == times:
                    kill()

        threading.setprofile(watch)
        sys.setprofile(watch)

    return arm


@pytest.mark.parametrize("step", NAMED)
def test_killed_at_a_named_step_nothing_seen_is_lost_or_counted_again(step: str) -> None:
    """Whatever a scrape saw before the kill is there after it, and in the end everything counts once."""
    lives = 0
    for event, times in MOMENTS:
        with folder_in_memory() as folder:
            lives += not lived_on(Path(folder), at_step(NAMED[step].__code__, event, times))
    assert lives > 0, "the step is never met"
