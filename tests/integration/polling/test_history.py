"""A workspace that starts, ends, repairs, hides and deletes runs, against polls, sweeps and restarts."""

import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from exporter.families import REPAIRS, RUNS, TASK_RUNS, Family
from exporter.runs.layout import SEEDED
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals
from exporter.simulator.runs import Run
from tests.faults import Fault, error, fault_of, html, plain
from tests.integration.polling.world import World

SHARED_MEMORY = Path("/dev/shm")
RESULT_OF = {
    "SUCCESS": "SUCCESS",
    "RUN_EXECUTION_ERROR": "FAILED",
    "TIMEDOUT": "TIMEDOUT",
    "USER_CANCELED": "CANCELED",
    "SUCCESS_WITH_FAILURES": "SUCCESS_WITH_FAILURES",
}
CODES = st.sampled_from(sorted(RESULT_OF))
TARGETS = st.sampled_from([None, "STANDARD", "PERFORMANCE_OPTIMIZED"])
# Not all of these are in `active_only`.
STATES = st.sampled_from(["QUEUED", "PENDING", "RUNNING", "BLOCKED", "WAITING", "TERMINATING"])
NAMES = ("nightly", "hourly", "daily", "weekly", "monthly")
JOBS = st.sampled_from(NAMES)
# What one run's `runs/get` may answer for ever.
ANSWERS = {
    "refused": error(403, "PERMISSION_DENIED", "no view"),
    "unauthenticated": error(401, "UNAUTHENTICATED", "Token is expired."),
    "missing": error(404, "RESOURCE_DOES_NOT_EXIST", "Run does not exist."),
    "broken": error(500, "INTERNAL_ERROR", "oops"),
    "a page": html(403, "of a gateway"),
    "no run": plain(200, "OK"),
}
DATES: tuple[str, ...] = ("date a year ahead", "date a year back")


@dataclass
class Life:
    """A run as the test knows it."""

    run: Run
    label: tuple[str, str]
    active: bool
    result: str = ""
    hidden: bool = False
    deleted: bool = False
    # A poll or sweep has been good since it finished, so the exporter may have counted it, or has for sure.
    maybe_counted: bool = False
    surely_counted: bool = False
    # The result it was counted with, and those of the repairs that ended after that.
    counted_result: str = ""
    repair_counts: bool = False
    repairs: list[str] = field(default_factory=list)


class Histories(RuleBasedStateMachine):
    """Every finished run once, whatever happens."""

    @initialize()
    def begin(self) -> None:
        # In memory where that can be: this is about counting, not about the disk.
        self.folder = tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None)
        self.world = self.make_world(Path(self.folder.name))
        self.jobs = {name: self.world.workspace.add_job(name) for name in NAMES}
        self.lives: list[Life] = []
        # The runs that can't be read now, and those that were once said not to exist.
        self.troubled: dict[int, Fault] = {}
        self.doubted: set[int] = set()
        self.seen: Counter[tuple[str, str, str]] = Counter()

    def make_world(self, folder: Path) -> World:
        return World(folder)

    def where(self, job: str, target: str) -> tuple[str, str]:
        """The series key that the recount goes by."""
        return job, target

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            self.compare()
        finally:
            self.world.close()
            self.folder.cleanup()

    @rule(seconds=st.integers(1, 3 * 3600))
    def time_passes(self, seconds: int) -> None:
        self.world.now += seconds

    @rule(job=JOBS, performance=TARGETS, tasks=st.sampled_from([1, 3]), state=STATES)
    def a_run_starts(self, job: str, performance: str | None, tasks: int, state: str) -> None:
        run = self.world.workspace.active_run(self.jobs[job], state=state, target=performance, tasks=tasks)
        self.lives.append(Life(run, (str(self.jobs[job]), performance or "NONE"), active=True))

    @rule(job=JOBS, performance=TARGETS, code=CODES, retries=st.integers(0, 2), ago=st.integers(0, 9 * 60))
    def a_run_comes_and_goes_unseen(
        self, job: str, performance: str | None, code: str, retries: int, ago: int
    ) -> None:
        run = self.world.workspace.finished_run(
            self.jobs[job],
            start=self.world.now - ago - 30,
            duration=30,
            target=performance,
            code=code,
            retries=retries,
        )
        label = (str(self.jobs[job]), performance or "NONE")
        self.lives.append(Life(run, label, active=False, result=RESULT_OF[code]))

    def pick(self, data: st.DataObject, lives: list[Life]) -> Life | None:
        return data.draw(st.sampled_from(lives)) if lives else None

    @rule(data=st.data(), code=CODES)
    def a_run_ends(self, data: st.DataObject, code: str) -> None:
        life = self.pick(data, [life for life in self.lives if life.active and not life.deleted])
        if life is not None:
            self._end(life, code)

    def _end(self, life: Life, code: str) -> None:
        self.world.now += 1
        if life.run.repairs:
            self.world.workspace.finish_repair(life.run, code)
            if life.repair_counts:
                life.repairs.append(RESULT_OF[code])
        else:
            self.world.workspace.move(life.run, "RUNNING")
            self.world.now += 1
            self.world.workspace.finish(life.run, code)
        life.active, life.result = False, RESULT_OF[code]

    @rule(data=st.data(), steps=st.permutations(["time", "poll", "restart", "end", "end"]), code=CODES)
    def a_counted_run_is_repaired(self, data: st.DataObject, steps: list[str], code: str) -> None:
        """The way to a repair that counts takes many rules; here it is one."""
        lives = [life for life in self.lives if not (life.hidden or life.deleted or life.active)]
        life = self.pick(data, [life for life in lives if life.run.run_id not in self.troubled])
        if life is None:
            return
        self.a_poll_and_a_sweep_are_good()
        self.world.now += 60
        self.world.workspace.repair(life.run)
        life.active, life.repair_counts = True, True
        for step in steps:
            if step == "time":
                self.world.now += 1000
            elif step == "poll":
                self.a_poll_is_good()
            elif step == "restart":
                self.world.restart()
            elif life.active:
                self._end(life, code)

    @rule(data=st.data())
    def a_run_is_repaired(self, data: st.DataObject) -> None:
        # Of a run that may or may not have been counted, nobody can say what its repair must count.
        life = self.pick(
            data,
            [
                life
                for life in self.lives
                if not life.active and not life.deleted and (life.surely_counted or not life.maybe_counted)
            ],
        )
        if life is None:
            return
        self.world.now += 1
        self.world.workspace.repair(life.run)
        life.active, life.repair_counts = True, life.surely_counted

    @rule(data=st.data())
    def a_run_is_listed_late(self, data: st.DataObject) -> None:
        life = self.pick(data, [life for life in self.lives if not life.deleted])
        if life is not None:
            (self.world.workspace.show if life.hidden else self.world.workspace.hide)(life.run.run_id)
            life.hidden = not life.hidden

    @rule(data=st.data())
    def a_run_is_deleted(self, data: st.DataObject) -> None:
        certain = [life for life in self.lives if life.active is not life.surely_counted and not life.deleted]
        life = self.pick(data, [life for life in certain if not life.run.repairs])
        if life is not None:
            self.world.workspace.delete(life.run.run_id)
            life.deleted = True

    @rule()
    def a_poll_is_good(self) -> None:
        assert self.world.poll() is None
        self._note_counted(surely=False)

    @rule()
    def a_poll_and_a_sweep_are_good(self) -> None:
        assert self.world.poll() is None
        self.world.sweep()
        self._note_counted(surely=True)

    @rule(endpoint=st.sampled_from(["runs/list", "runs/get"]), skip=st.integers(0, 2))
    def a_poll_meets_a_fault(self, endpoint: str, skip: int) -> None:
        self.world.server.faults.add(
            Fault(error(403, "PERMISSION_DENIED", "not now"), endpoint=endpoint, skip=skip, times=1)
        )
        failed = self.world.poll()
        self.the_faults_of_runs_end()
        if failed is None:
            self._note_counted(surely=False)
        else:
            # The lookback of a first poll, and what follows an absence, is committed slice by slice.
            for life in self.lives:
                life.maybe_counted |= not life.active

    @rule(data=st.data(), answer=st.sampled_from(sorted(ANSWERS)))
    def a_run_can_not_be_read(self, data: st.DataObject, answer: str) -> None:
        """From now on, until the faults of runs end; a 404 comes twice at most, as one that passes."""
        life = self.pick(data, [life for life in self.lives if not life.deleted])
        if life is None or life.run.run_id in self.troubled:
            return
        run_id = life.run.run_id
        fault = Fault(
            ANSWERS[answer],
            endpoint="runs/get",
            when=lambda query: query.get("run_id") == str(run_id),
            times=2 if answer == "missing" else None,
        )
        if answer == "missing" and run_id in self.doubted:
            return
        self.doubted |= {run_id} if answer == "missing" else set()
        self.troubled[run_id] = self.world.server.faults.add(fault)

    @rule()
    def the_faults_of_runs_end(self) -> None:
        self.world.server.faults.clear()
        self.troubled.clear()

    @rule(damage=st.sampled_from(DATES), endpoint=st.sampled_from(["runs/list", "runs/get"]))
    def a_poll_meets_a_wrong_clock(self, damage: str, endpoint: str) -> None:
        """One answer from another year: the poll is as good as any."""
        fault = self.world.server.faults.add(fault_of(damage, endpoint=endpoint, times=1))
        assert self.world.poll() is None
        self.world.server.faults.remove(fault)
        self._note_counted(surely=False)

    @rule()
    def a_poll_and_a_sweep_race(self) -> None:
        """They and the pending runs are read side by side."""
        assert self.world.poll() is None
        assert self.world.everything_at_once() is None
        self.world.read_pending()
        self._note_counted(surely=False)

    @rule()
    def the_exporter_is_restarted(self) -> None:
        self.world.restart()

    def _note_counted(self, *, surely: bool) -> None:
        self._check_followed()
        for life in self.lives:
            if life.active or life.deleted:
                continue
            life.maybe_counted = True
            if life.run.run_id in self.troubled:
                continue
            if surely and not life.hidden and not life.surely_counted:
                life.surely_counted, life.counted_result = True, life.result

    @invariant()
    def no_counter_ever_falls(self) -> None:
        if hasattr(self, "world"):
            counts = self.world.counts(RUNS) + self.world.counts(TASK_RUNS) + self.world.counts(REPAIRS)
            assert not self.seen - counts
            self.seen = counts

    def _check_followed(self) -> None:
        active = {life.run.run_id for life in self.lives if life.active and not life.deleted}
        hidden = {life.run.run_id for life in self.lives if life.hidden}
        tracker = self.world.recorder.tracker
        assert tracker.active.keys() <= active
        assert active - hidden - self.unlisted() <= tracker.active.keys() | tracker.pending.keys()

    def unlisted(self) -> set[int]:
        """What no list shows and no earlier poll can have seen."""
        return {life.run.run_id for life in self.lives if life.run.held_state in {"BLOCKED", "WAITING"}}

    def _counted(self, family: Family) -> Counter[tuple[str, str, str]]:
        counted: Counter[tuple[str, str, str]] = Counter()
        for (job, target, result), count in self.world.counts(family).items():
            counted[(*self.where(job, target), result)] += count
        return counted

    def compare(self) -> None:
        """The recount: every run, its repairs and its task attempts."""
        self.the_faults_of_runs_end()
        for life in self.lives:
            self.world.workspace.show(life.run.run_id)
            if life.active and life.run.repairs:
                # While a repair runs, one that ended unseen before it is not counted either.
                self._end(life, "SUCCESS")
        assert self.world.poll() is None
        self.world.sweep()
        self.world.now += 1
        assert self.world.poll() is None
        counted = [life for life in self.lives if life.surely_counted or not (life.active or life.deleted)]
        runs = Counter((*self.where(*life.label), life.counted_result or life.result) for life in counted)
        repairs = Counter((*self.where(*life.label), result) for life in counted for result in life.repairs)
        attempts = Counter(
            self.where(*life.label)
            for life in counted
            for attempt in life.run.attempts
            if not (life.active and attempt.end_ms is None)
        )
        assert self._counted(RUNS) == runs
        assert self._counted(REPAIRS) == repairs
        tasks: Counter[tuple[str, str]] = Counter()
        for (job, target, _), count in self.world.counts(TASK_RUNS).items():
            tasks[self.where(job, target)] += count
        assert tasks == attempts
        before = self._that_count()
        assert self.world.poll() is None
        self.world.sweep()
        assert self._that_count() == before

    def _that_count(self) -> dict[SeriesKey, Totals]:
        """Totals with anything in them: a job that finds room at last is seeded at 0 by any poll."""
        return {
            labels: totals for labels, totals in self.world.totals.items() if any(totals.row[SEEDED + 1 :])
        }


TestHistories = Histories.TestCase
TestHistories.settings = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestHistories = pytest.mark.timeout(600)(TestHistories)
