"""The runs of a workspace and the JSON of each, ready to be served.

Law: the encoded bytes kept here are those of a run that nothing planned can change any more; whoever changes
a run must call `changed`. Instants come in as `now_ms` (epoch milliseconds).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import msgspec

from exporter.simulator.index import NEWEST, Key, RunIndex, key_of
from exporter.simulator.payload import run_json
from exporter.simulator.runs import Run

TASKS_PER_PAGE = 100

Mutation = Callable[[dict[str, Any]], object]


@dataclass(frozen=True, slots=True)
class RunFilter:
    """The filters of runs/list; instants in epoch milliseconds, both inclusive."""

    active_only: bool = False
    completed_only: bool = False
    job_id: int | None = None
    run_type: str | None = None
    start_from_ms: int = 0
    start_to_ms: int | None = None


class RunStore:
    """`encoded_limit` bounds how many encoded runs are kept, the oldest entries going first."""

    def __init__(self, encoded_limit: int) -> None:
        # BLOCKED and WAITING are not in the documented definition of active_only.
        self.listed_as_active = {"QUEUED", "PENDING", "RUNNING", "TERMINATING"}
        self._runs: dict[int, Run] = {}
        self._index = RunIndex()
        self._open: set[int] = set()
        self._hidden: set[int] = set()
        self._mutations: dict[int, Mutation] = {}
        self._encoded: dict[tuple[int, bool], bytes] = {}
        self._encoded_limit = encoded_limit

    def __iter__(self) -> Iterator[Run]:
        return iter(self._runs.values())

    def __len__(self) -> int:
        return len(self._runs)

    def add(self, run: Run) -> None:
        self._runs[run.run_id] = run
        self._index.add(run)
        self.changed(run.run_id)

    def replace(self, run: Run) -> Run:
        """Put the run in the place of the one with its id and start, and return that one."""
        before, self._runs[run.run_id] = self._runs[run.run_id], run
        self.changed(run.run_id)
        return before

    def remove(self, run_id: int) -> None:
        self._index.remove(self._runs.pop(run_id))
        self._forget_encoded(run_id)
        self._open.discard(run_id)
        self._hidden.discard(run_id)
        self._mutations.pop(run_id, None)

    def forget(self, start_ms: int, now_ms: int) -> None:
        """Drop what started before `start_ms`, unless it is active."""
        self._settle(now_ms)
        for run_id in self._index.started_before(start_ms):
            if run_id not in self._open:
                self.remove(run_id)

    def changed(self, run_id: int) -> None:
        self._open.add(run_id)
        self._forget_encoded(run_id)

    def _forget_encoded(self, run_id: int) -> None:
        self._encoded.pop((run_id, True), None)
        self._encoded.pop((run_id, False), None)

    def hide(self, run_id: int) -> None:
        self._hidden.add(run_id)

    def show(self, run_id: int) -> None:
        self._hidden.discard(run_id)

    def override(self, run_id: int, mutate: Mutation | None) -> None:
        if mutate is None:
            self._mutations.pop(run_id, None)
        else:
            self._mutations[run_id] = mutate
        self._forget_encoded(run_id)

    def get(self, run_id: int, now_ms: int) -> Run | None:
        run = self._runs.get(run_id)
        return run if run is not None and run.start_ms <= now_ms else None

    def page(
        self, wanted: RunFilter, now_ms: int, *, limit: int, before: Key = NEWEST
    ) -> tuple[list[Run], Key | None]:
        """Up to `limit` matching runs older than `before`, newest first; the key to go on from, or None."""
        start_to_ms = now_ms if wanted.start_to_ms is None else min(wanted.start_to_ms, now_ms)
        before = min(before, (start_to_ms + 1, -1))
        matching = self._active(wanted, before) if wanted.active_only else self._any(wanted, before)
        found = list(islice((run for run in matching if self._listed(run, wanted, now_ms)), limit + 1))
        if len(found) <= limit:
            return found, None
        return found[:limit], key_of(found[limit - 1])

    def _any(self, wanted: RunFilter, before: Key) -> Iterator[Run]:
        group = wanted.run_type if wanted.job_id is None else wanted.job_id
        for run_id in self._index.newest_first(group, before, wanted.start_from_ms):
            yield self._runs[run_id]

    def _active(self, wanted: RunFilter, before: Key) -> Iterator[Run]:
        candidates = (self._runs[run_id] for run_id in self._open)
        runs = (run for run in candidates if key_of(run) < before and run.start_ms >= wanted.start_from_ms)
        return iter(sorted(runs, key=key_of, reverse=True))

    def _listed(self, run: Run, wanted: RunFilter, now_ms: int) -> bool:
        if run.run_id in self._hidden:
            return False
        if wanted.job_id is not None and run.job_id != wanted.job_id:
            return False
        if wanted.run_type is not None and run.run_type != wanted.run_type:
            return False
        if wanted.active_only:
            return run.active_at(now_ms) and run.state_at(now_ms) in self.listed_as_active
        return not (wanted.completed_only and run.run_id in self._open and run.active_at(now_ms))

    def _settle(self, now_ms: int) -> None:
        """Take out of the open runs those that have no future."""
        over = [run_id for run_id in self._open if _is_over(self._runs[run_id], now_ms)]
        self._open.difference_update(over)

    def listed_bytes(self, run: Run, now_ms: int, *, tasks: bool, cut: bool = True) -> bytes:
        """The run as an item of runs/list, with its first hundred tasks or none.

        Where they are not `cut`, as by API 2.1, a run that has more comes without any and does not say so.
        """
        known = self._encoded.get((run.run_id, tasks)) if cut else None
        if known is not None:
            return known
        body = run_json(run, now_ms, tasks=tasks)
        if not cut:
            if len(body.get("tasks", ())) > TASKS_PER_PAGE:
                del body["tasks"]
            return msgspec.json.encode(self.altered(run.run_id, body))
        if len(body.get("tasks", ())) > TASKS_PER_PAGE:
            body["tasks"] = body["tasks"][:TASKS_PER_PAGE]
            body["has_more"] = True
        encoded = msgspec.json.encode(self.altered(run.run_id, body))
        if _is_over(run, now_ms) and run.run_id not in self._mutations:
            self._keep(run.run_id, encoded, tasks=tasks)
        return encoded

    def _keep(self, run_id: int, encoded: bytes, *, tasks: bool) -> None:
        self._encoded[run_id, tasks] = encoded
        if len(self._encoded) > self._encoded_limit:
            del self._encoded[next(iter(self._encoded))]

    def altered(self, run_id: int, body: dict[str, Any]) -> object:
        """The body as a test wants it to look: changed in place, or replaced by anything that is returned."""
        mutate = self._mutations.get(run_id)
        if mutate is None:
            return body
        replaced = mutate(body)
        return body if replaced is None else replaced


def _is_over(run: Run, now_ms: int) -> bool:
    end_ms = run.final_end_ms
    return run.held_state is None and end_ms is not None and end_ms <= now_ms
