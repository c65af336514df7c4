"""A workspace where runs of every kind finish while something goes wrong, and the books that must balance."""

import asyncio
from collections import Counter
from pathlib import Path

from exporter.config import ClientCredentials
from exporter.families import RUNS, TASK_RUNS
from exporter.simulator.credentials import Credentials
from exporter.simulator.runs import Run
from tests.e2e import recount
from tests.faults import Fault
from tests.integration.polling.world import World

# Seconds: what hangs must end within a test. A poll may take twice as long.
PATIENCE = 0.2
MINUTE = 60.0
# A wait that the server asked for (429 with Retry-After) takes that many failed polls at most.
AT_MOST_POLLS, BETWEEN_POLLS = 100, 0.05


class Scene(World):
    """A world with a job, and acts in which its runs finish."""

    def __init__(
        self,
        folder: Path,
        *,
        login: ClientCredentials | None = None,
        credentials: Credentials | None = None,
        first_poll: bool = True,
    ) -> None:
        super().__init__(folder, patience=PATIENCE, login=login, credentials=credentials)
        self.job = self.workspace.add_job("nightly")
        self.workspace.finished_run(self.job, tasks=120)
        if first_poll:
            self.poll_well()

    def begin_runs(self) -> list[Run]:
        """Two runs that a poll sees active."""
        runs = [self.workspace.active_run(self.job), self.workspace.active_run(self.job, target="STANDARD")]
        self.poll_well()
        return runs

    def end_runs(self, runs: list[Run]) -> None:
        """Both finish, the second in no list, so it has to be asked for; so does one that was skipped."""
        self.now += MINUTE
        listed, hidden = runs
        self.workspace.finish(listed, "RUN_EXECUTION_ERROR")
        self.workspace.finish(hidden)
        self.workspace.hide(hidden.run_id)
        self.workspace.finished_run(self.job, code="MAX_CONCURRENT_RUNS_EXCEEDED")

    def poll_under(self, fault: Fault, endpoint: str | None = None) -> str | None:
        """One poll while a fault is on; why it failed."""
        fault.endpoint = endpoint
        self.server.faults.add(fault)
        try:
            return self.poll()
        finally:
            self.server.faults.clear()

    def poll_well(self) -> None:
        """Poll until one is good: a wait that the server asked for is kept."""
        for _ in range(AT_MOST_POLLS):
            if self.poll() is None:
                return
            self.run(asyncio.sleep(BETWEEN_POLLS))
        raise AssertionError(f"no poll is good any more: {self.own_metrics.last_error}")

    def assert_books_balance(self, *, lost: int = 0) -> None:
        """Every run that really finished is counted once, with its result, and so is every task attempt."""
        truth = self.workspace.truth()
        assert self.counts(RUNS) == recount.runs(truth)
        attempts: Counter[tuple[str, str]] = Counter()
        for (job, target, _), count in self.counts(TASK_RUNS).items():
            attempts[job, target] += count
        assert attempts == recount.attempts(truth)
        assert self.lost == lost

    @property
    def lost(self) -> int:
        """What databricks_exporter_runs_lost_total says."""
        return int(self.own_metrics.runs_lost._value.get())
