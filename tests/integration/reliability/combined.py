"""A day of runs under faults drawn from a seed, some of them at once; then calm, and the books.

    python -m tests.integration.reliability.combined 200

plays seeds 0 to 199 and says how much was survived. A seed that fails is named, and fails again.
"""

import random
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace
from tests.faults import FAULTS, Fault, earlier
from tests.integration.polling.world import DAY
from tests.integration.reliability.scene import MINUTE, Scene

SHARED_MEMORY = Path("/dev/shm")
STEPS = 40
CODES = ("SUCCESS", "RUN_EXECUTION_ERROR", "USER_CANCELED", "TIMEDOUT")
TARGETS = ("STANDARD", "PERFORMANCE_OPTIMIZED", None)
STATUS_FAULTS = [kind for kind in FAULTS if kind.startswith("status ")]
OTHER_FAULTS = [kind for kind in FAULTS if not kind.startswith("status ")]
DAYS_OFF = (-400, -20, 20, 400)
# They take a second each.
HEAVY = ("huge body", "gzip bomb")


@dataclass
class Play:
    """One seed: what has happened so far."""

    chance: random.Random
    scene: Scene
    active: list[Run] = field(default_factory=list)
    hidden: set[int] = field(default_factory=set)
    struck: Counter[str] = field(default_factory=Counter)
    polls: Counter[bool] = field(default_factory=Counter)
    # The ids of all runs so far, and the workspace as it was at the step before.
    seen: list[int] = field(default_factory=list)
    earlier: Workspace | None = None

    def step(self) -> None:
        """Time passes, runs come and go, and one poll meets up to three faults."""
        self.scene.now += self.chance.uniform(1, 40 * MINUTE)
        for _ in range(self.chance.randrange(6)):
            self._move_a_run()
        away = self.chance.random() < 0.1
        if away:
            self.scene.run(self.scene.server.stop())
        faults = {} if away else dict(self._fault() for _ in range(self.chance.randrange(4)))
        for fault in faults.values():
            self.scene.server.faults.add(fault)
        self.polls[self.scene.poll() is None] += 1
        self.scene.server.faults.clear()
        self.earlier = earlier(self.scene.workspace)
        self.struck += Counter({kind: fault.hits for kind, fault in faults.items()})
        if away:
            self.struck["away"] += 1
            self.scene.run(self.scene.server.start())
        if self.chance.random() < 0.1:
            self.scene.restart()

    def _fault(self) -> tuple[str, Fault]:
        if (odd := self.chance.random()) < 0.1:
            days = self.chance.choice(DAYS_OFF)
            return f"date {days} days off", Fault(
                clock_error=days * DAY, times=1, skip=self.chance.randrange(6)
            )
        if odd < 0.2 and self.earlier is not None:
            endpoint = self.chance.choice(["runs/list", "runs/get"])
            return f"stale {endpoint}", Fault(earlier=self.earlier, endpoint=endpoint, times=1)
        kind = self.chance.choice(STATUS_FAULTS if self.chance.random() < 0.2 else OTHER_FAULTS)
        if kind in HEAVY and self.chance.random() < 0.8:
            kind = "drip"
        fault = FAULTS[kind]()
        fault.endpoint = self.chance.choice([None, "runs/list", "runs/get"])
        if self.chance.random() < 0.3 and self.seen:
            fault.endpoint, fault.run_id = None, self.chance.choice(self.seen)
        fault.probability = self.chance.choice([0.2, 0.5, 1.0])
        fault.times = self.chance.choice([None, 1, 3])
        fault.skip = self.chance.randrange(3)
        return kind, fault

    def _move_a_run(self) -> None:
        workspace, chance = self.scene.workspace, self.chance
        target = chance.choice(TARGETS)
        if self.active and chance.random() < 0.4:
            run = self.active.pop(chance.randrange(len(self.active)))
            workspace.finish(run, chance.choice(CODES))
            self._hide_or_show(run)
        elif chance.random() < 0.6:
            tasks = chance.choice([1, 3, 120])
            self.active.append(workspace.active_run(self.scene.job, target=target, tasks=tasks))
            self.seen.append(self.active[-1].run_id)
        else:
            run = workspace.finished_run(
                self.scene.job, duration=chance.uniform(1, 600), target=target, code=chance.choice(CODES)
            )
            self._hide_or_show(run)

    def _hide_or_show(self, run: Run) -> None:
        """Some are listed late."""
        if self.chance.random() < 0.2:
            self.scene.workspace.hide(run.run_id)
            self.hidden.add(run.run_id)
        elif self.hidden and self.chance.random() < 0.3:
            self.scene.workspace.show(self.hidden.pop())

    def calm(self) -> None:
        """No fault any more: whatever is left ends and is listed; then the books must balance."""
        for run in self.active:
            self.scene.workspace.finish(run)
        for run_id in self.hidden:
            self.scene.workspace.show(run_id)
        self.scene.now += MINUTE
        self.scene.poll_well()
        self.scene.sweep()
        self.scene.assert_books_balance()


def play(seed: int) -> Play:
    """Play one seed to its end; AssertionError when a run is missing, counted twice or said to be lost."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        scene = Scene(Path(folder))
        try:
            played = Play(random.Random(seed), scene)
            for _ in range(STEPS):
                played.step()
            played.calm()
        finally:
            scene.close()
    return played


def main(seeds: int) -> int:
    structlog.configure(logger_factory=structlog.ReturnLoggerFactory())
    struck, polls, runs = Counter[str](), Counter[bool](), 0
    for seed in range(seeds):
        try:
            played = play(seed)
        except AssertionError as error:
            sys.stdout.write(f"seed {seed}: {error}\n")
            return 1
        struck += played.struck
        polls += played.polls
        runs += len(played.scene.workspace.truth())
    sys.stdout.write(
        f"{seeds} seeds: {struck.total():,} faults of {len(struck)} kinds injected, {polls[True]:,} good and "
        f"{polls[False]:,} failed polls, {runs:,} runs, each counted once\n"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
