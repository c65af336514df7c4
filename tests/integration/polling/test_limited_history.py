"""The same histories with little room for series and little patience with idle jobs."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, event, settings
from hypothesis.stateful import initialize, invariant, rule
from prometheus_client.parser import text_string_to_metric_families

from exporter.exposition.snapshot import Format
from exporter.families import JOB_INFO, REPAIRS, RUNS, TASK_RUNS
from exporter.runs.changes import Changes
from exporter.runs.series_count import SeriesRules
from exporter.runs.series_keys import OTHER, SeriesKey
from tests.integration.polling.test_history import NAMES, Histories, Life
from tests.integration.polling.world import LAYOUT, World
from tests.unit.exposition import plain

HOUR = 3600.0
# Time moves by whole seconds, and within one by itself: nothing is idle by a hair.
IDLE = 6 * HOUR - 0.5
# For two jobs and OTHER, and a third where the two have few series.
SERIES = int(3.2 * SeriesRules(LAYOUT).whole_job(collect_tasks=True))


class LimitedWorld(World):
    """Knows by itself when each series key last changed."""

    def __init__(self, folder: Path) -> None:
        self.changed: dict[SeriesKey, float] = {}
        super().__init__(folder, series=SERIES, idle=IDLE)

    def apply(self, changes: Changes) -> None:
        for series_key in changes.expired.series_keys:
            assert self.now - self.changed[series_key] > IDLE, f"{series_key} was not idle"
        self.changed.update(dict.fromkeys(changes.totals, self.now))
        super().apply(changes)


class LimitedHistories(Histories):
    """Every finished run once, under its job or under OTHER, also when what counted it has been dropped."""

    world: LimitedWorld

    @initialize()
    def begin(self) -> None:
        super().begin()
        self.every_job_runs()
        # From here on every run counts, however late it is read.
        self.a_poll_is_good()

    def make_world(self, folder: Path) -> World:
        return LimitedWorld(folder)

    def where(self, job: str, target: str) -> tuple[str, str]:
        """A run may be counted under its job or under OTHER: only the sum over both is certain."""
        del job
        return "any", target

    @rule()
    def hours_pass(self) -> None:
        self.world.now += 6 * HOUR

    @rule()
    def every_job_runs(self) -> None:
        for name in NAMES:
            run = self.world.workspace.finished_run(self.jobs[name], duration=30)
            series_key = (str(self.jobs[name]), "NONE")
            self.lives.append(Life(run, series_key, active=False, result="SUCCESS"))

    @invariant()
    def only_what_is_idle_disappears(self) -> None:
        if hasattr(self, "world"):
            dropped = {series_key for series_key, _ in self.world.dropped}
            assert self.world.changed.keys() <= self.world.totals.keys() | dropped

    @invariant()
    def budget_is_kept(self) -> None:
        if not hasattr(self, "world"):
            return
        own = self.world.recorder.tracker.jobs.keys() - {OTHER}
        assert len(own) < len(NAMES), "there is no room for all"
        event("a job is limited" if self.world.recorder.tracker.limited else "no job is limited")
        event("something was dropped" if self.world.dropped else "nothing was dropped")

    def compare(self) -> None:
        super().compare()
        body = plain(self.world.exposition, Format.TEXT).decode()
        served: dict[str, set[str]] = {}
        for family in text_string_to_metric_families(body):
            for sample in family.samples:
                served.setdefault(sample.name, set()).add(sample.labels["job_id"])
        counted = set().union(*(served.get(family.name, ()) for family in (RUNS, REPAIRS, TASK_RUNS)))
        assert counted == {label for label, _ in self.world.totals}
        assert served.get(JOB_INFO.name, set()) == self.world.recorder.tracker.jobs.keys() - {OTHER}


TestLimitedHistories = LimitedHistories.TestCase
TestLimitedHistories.settings = settings(
    max_examples=15,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLimitedHistories = pytest.mark.timeout(600)(TestLimitedHistories)
