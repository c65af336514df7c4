"""Which requests a fault hits, and what they get."""

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace
from tests.faults.answers import Answer
from tests.faults.broken import Break


def _always(_query: Mapping[str, str]) -> bool:
    return True


@dataclass(slots=True, eq=False)
class Fault:
    """One thing that goes wrong. The first group says what a request gets, the second which requests.

    A request waits `delay` seconds. Then it gets `answer`, or a stale answer from `earlier` (see `stale`), or
    the real answer, which `broken` may break on its way. `clock_error` seconds are added to the Date of each.
    `pace` is the seconds between two bytes of a drip.

    The fault hits requests to `endpoint` (runs/list, runs/get, jobs/list, token; None: all of them) whose
    query satisfies `when`. With `run_id` it hits only runs/get of this run. The first `skip` of them pass.
    Then `times` of them are hit (None: no limit), each with `probability`, until the workspace's clock shows
    `until` (epoch seconds). `hits` counts them.
    """

    answer: Answer | None = None
    broken: Break | None = None
    earlier: Workspace | Run | None = None
    delay: float = 0.0
    clock_error: float = 0.0
    pace: float = 0.05

    endpoint: str | None = None
    run_id: int | None = None
    when: Callable[[Mapping[str, str]], bool] = _always
    skip: int = 0
    times: int | None = None
    probability: float = 1.0
    until: float = float("inf")

    hits: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)

    def concerns(self, endpoint: str, query: Mapping[str, str]) -> bool:
        """Whether the request is one of those that this fault is aimed at."""
        if self.run_id is not None and (endpoint, query.get("run_id")) != ("runs/get", str(self.run_id)):
            return False
        return self.endpoint in {None, endpoint} and self.when(query)


class Faults:
    """The faults that are on. The first one that hits a request decides what it gets."""

    def __init__(self, workspace: Workspace, seed: int = 0) -> None:
        self._workspace = workspace
        self._faults: list[Fault] = []
        self._random = random.Random(seed)

    def add(self, fault: Fault) -> Fault:
        fault.released.clear()
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Switch one off. Requests that hang because of it get their answer."""
        self._faults.remove(fault)
        fault.released.set()

    def clear(self) -> None:
        """Switch all off."""
        for fault in list(self._faults):
            self.remove(fault)

    def strike(self, endpoint: str, query: Mapping[str, str]) -> Fault | None:
        """The fault that hits this request. The hit is counted."""
        return next((fault for fault in self._faults if self._hits(fault, endpoint, query)), None)

    def _hits(self, fault: Fault, endpoint: str, query: Mapping[str, str]) -> bool:
        if not fault.concerns(endpoint, query) or self._workspace.clock() >= fault.until:
            return False
        if fault.times is not None and fault.hits >= fault.times:
            return False
        if fault.probability < 1 and self._random.random() >= fault.probability:
            return False
        if fault.skip > 0:
            fault.skip -= 1
            return False
        fault.hits += 1
        return True
