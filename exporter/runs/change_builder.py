"""Which runs are new, active, pending, settled or reopened: what was read -> changes. Pure.

What must stay true: a finished run is counted once, whatever lists it is seen in, however often and in
whatever order; it is settled only from an answer that says it has finished, and with all its tasks.
"""

import math
from array import array
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby
from operator import attrgetter

import msgspec

from exporter.databricks.clock import Instant
from exporter.databricks.models import Run, Task
from exporter.runs import counting, durations, expiry, outcomes
from exporter.runs.changes import Changes, Expired, Observation
from exporter.runs.job_changes import JobChanges
from exporter.runs.open_sets import REASONS, STATES
from exporter.runs.records import ActiveRun, Job, PendingRun, Progress, Reason, Settled
from exporter.runs.series_keys import NO_TARGET
from exporter.runs.tracker import Tracker

# A run does not exist, or has nothing new, once so many answers over so long have said so.
DOUBTS = 3
DOUBTED_MS = 10 * 60 * 1000


def observe(
    tracker: Tracker,
    observation: Observation,
    known: Mapping[int, Settled],
    progress: Progress | None,
    now: Instant,
    room: float = math.inf,
) -> Changes:
    """What an observation changes; the tracker is only read.

    `known`: what is settled already of the observation's runs and of those that are overdue. `room`: how many
    series more there may be; new jobs that it is too small for count under OTHER.
    """
    builder = ChangeBuilder(tracker, known, progress, now, room)
    builder.observe(observation)
    builder.drop_overdue(tracker.overdue(now))
    return builder.changes()


class ChangeBuilder:
    """The changes of one observation while they are worked out."""

    def __init__(
        self,
        tracker: Tracker,
        known: Mapping[int, Settled],
        progress: Progress | None,
        now: Instant,
        room: float,
    ) -> None:
        """`known`: what is settled already of the runs in the observation. `room`: in series."""
        self._tracker = tracker
        self._known = known
        self._progress = progress
        self._bounds = progress or tracker.progress
        self._now = now
        self._settled: dict[int, Settled] = {}
        self._jobs = JobChanges(tracker, room)
        self._active: dict[int, ActiveRun] = {}
        self._pending: dict[int, PendingRun] = {}
        self._no_longer_pending: set[int] = set()
        self._lost: set[int] = set()
        self._newly_settled = 0
        self._runs_counted = 0
        self._is_whole_poll = False

    def observe(self, observation: Observation) -> None:
        """Take in everything that was read; the order of these steps decides between two answers."""
        if observation.names is not None:
            self._jobs.rename(observation.names)
        self._is_whole_poll = observation.is_whole_poll
        self._take_answers(observation.answers)
        for run in _latest(observation.finished):
            self._finish_from_list(run)
        for run in _latest(observation.swept):
            self._sweep(run)
        for run in observation.active:
            if run.run_id not in observation.settled_meanwhile:
                self._activate(run)
        for run_id in observation.followed:
            if run_id in self._tracker.active and not self._has_news(run_id):
                self._pend(run_id, "vanished")

    def drop_overdue(self, run_ids: Collection[int]) -> None:
        """Give up runs that have been pending for longer than the API keeps any run."""
        for run_id in run_ids:
            if run_id not in self._no_longer_pending:
                self._give_up(run_id)

    def changes(self) -> Changes:
        """The changes as a value."""
        tracker = self._tracker
        ended = {
            run_id
            for run_id in (*self._settled, *self._pending)
            if run_id in tracker.active and run_id not in self._active
        }
        jobs = {label: job for label, job in self._jobs.jobs.items() if tracker.jobs.get(label) != job}
        expired = self._expired(ended)
        return Changes(
            settled=self._settled,
            totals=self._jobs.totals,
            jobs=jobs,
            active={i: run for i, run in self._active.items() if tracker.active.get(i) != run},
            no_longer_active=frozenset(ended),
            pending=self._pending,
            no_longer_pending=frozenset(self._no_longer_pending),
            progress=self._progress,
            newly_settled=self._newly_settled,
            runs_counted=self._runs_counted,
            lost=frozenset(self._lost),
            now_ms=self._now.latest_ms,
            expired=expired,
            limited=frozenset(self._jobs.limited),
            limited_words=frozenset(self._jobs.words.limited),
            words={label: frozenset(words) for label, words in self._jobs.words.words.items() if words},
            series=tracker.rules.more_series(
                (tracker.totals, self._jobs.totals), (tracker.jobs, jobs), expired
            ),
            names=self._jobs.names,
            executed=frozenset(tracker.rules.executed(self._jobs.totals.items())),
        )

    # --- from answers to what they mean

    def _take_answers(self, answers: Mapping[int, Run | None]) -> None:
        for run_id, answer in answers.items():
            if answer is None:
                self._doubt(run_id)
            elif outcomes.is_finished(answer):
                self._finish_with_details(answer)
            else:
                self._activate(answer)

    def _finish_with_details(self, run: Run) -> None:
        """Settle a finished run that `runs/get` gave whole."""
        record = self._record(run.run_id)
        if record is None:
            self._settle(run)
        elif durations.ended_ms(run) > record.end_ms:
            self._settle_repair(run, record)
        elif run.run_id in self._tracker.pending:
            # Nothing new about a run that was seen to be repaired: this answer or an earlier one is old.
            self._doubt(run.run_id)

    def _finish_from_list(self, run: Run) -> None:
        """Settle a finished item of a list, or let it wait for what a list does not give."""
        record = self._record(run.run_id)
        if record is None:
            if run.has_more:
                self._pend_if_it_matters(run, "large")
            else:
                self._settle(run)
        elif durations.ended_ms(run) > record.end_ms:
            self._pend(run.run_id, "repaired")

    def _sweep(self, run: Run) -> None:
        """Let a finished item of a list without tasks wait for them, unless it is settled already."""
        record = self._record(run.run_id)
        if record is None:
            self._pend_if_it_matters(run, "vanished")
        elif durations.ended_ms(run) > record.end_ms:
            self._pend(run.run_id, "repaired")

    def _activate(self, run: Run) -> None:
        """Note an active run, unless this observation has settled it: then the finished answer wins."""
        if run.run_id in self._settled:
            return
        label = self._jobs.label(run)
        target = (
            self._jobs.target(run.effective_performance_target) if run.effective_performance_target else None
        )
        state = self._jobs.words.bounded(STATES, outcomes.active_state(run))
        reason = self._jobs.words.bounded(REASONS, outcomes.queue_reason(run)) if state == "QUEUED" else None
        self._active[run.run_id] = ActiveRun(
            label, target, state, int(max(run.start_time or 0, 0)), queue_reason=reason
        )
        self._end_pending(run.run_id)
        job = self._jobs.job(label, run)
        if job.target is not None:
            self._jobs.seed(label, job.target)
        if target is not None:
            self._jobs.seed(label, target)
        elif job.target is None:
            self._jobs.seed(label, NO_TARGET)
        if target not in {None, job.target}:
            self._jobs.jobs[label] = Job(target, job.name, job.named_by_list, job.last_run, job.last_success)

    # --- pending runs

    def _pend_if_it_matters(self, run: Run, reason: Reason) -> None:
        if self._tracker.matters(run, self._bounds):
            self._pend(run.run_id, reason)

    def _pend(self, run_id: int, reason: Reason) -> None:
        """Let a run wait for an answer of its own; what waits already goes on waiting."""
        if run_id in self._settled or run_id in self._pending or run_id in self._tracker.pending:
            return
        place = self._active.pop(run_id, None) or self._tracker.active.get(run_id)
        self._pending[run_id] = PendingRun(reason, self._now.latest_ms, place, seen_active=place is not None)

    def _doubt(self, run_id: int) -> None:
        """Note an answer that a pending run does not exist, or that nothing about it is new."""
        pending = self._tracker.pending.get(run_id)
        if pending is None:
            return
        self._note_sign_of_life(pending)
        doubts, doubted_ms = pending.doubts + 1, pending.doubted_ms or self._now.latest_ms
        if doubts >= DOUBTS and self._now.earliest_ms - doubted_ms >= DOUBTED_MS:
            self._give_up(run_id)
        else:
            self._pending[run_id] = msgspec.structs.replace(
                pending, active=None, doubts=doubts, doubted_ms=doubted_ms
            )

    def _give_up(self, run_id: int) -> None:
        self._note_sign_of_life(self._tracker.pending[run_id])
        self._end_pending(run_id)
        if self._record(run_id) is None:
            self._lost.add(run_id)

    def _note_sign_of_life(self, pending: PendingRun) -> None:
        """A run that leaves the active gauges kept its series alive until now."""
        if pending.active is not None:
            key = self._jobs.series_key(pending.active)
            if key in self._tracker.totals:
                self._jobs.of(*key)

    def _end_pending(self, run_id: int) -> None:
        self._pending.pop(run_id, None)
        if run_id in self._tracker.pending:
            self._no_longer_pending.add(run_id)

    def _has_news(self, run_id: int) -> bool:
        return run_id in self._settled or run_id in self._active or run_id in self._pending

    def _record(self, run_id: int) -> Settled | None:
        return self._settled.get(run_id) or self._known.get(run_id)

    # --- settling

    def _settle(self, run: Run) -> None:
        counted = True
        was_active = run.run_id in self._tracker.active or self._was_active_before(run.run_id)
        if self._bounds is not None and not was_active:
            if not self._tracker.matters(run, self._bounds):
                self._end_pending(run.run_id)
                return
            end_ms = durations.ended_ms(run)
            counted = not end_ms or end_ms >= self._bounds.counted_from_ms
        label, slot = self._jobs.label(run), outcomes.result_slot(run)
        target = self._jobs.target(run.effective_performance_target)
        executed = counting.executed(run, slot)
        finished = [task for task in run.tasks or () if outcomes.is_finished(task)]
        if counted:
            self._tracker.counting.count_run(
                self._jobs.of(label, target), run, executed=executed, bounded=self._jobs.words.of_family
            )
            self._count_tasks(label, finished)
            self._runs_counted += 1
        if executed:
            self._jobs.note_last_run(label, run, slot, target)
        else:
            self._jobs.job(label, run)
        self._settled[run.run_id] = Settled(durations.ended_ms(run), _task_run_ids(finished))
        self._active.pop(run.run_id, None)
        self._end_pending(run.run_id)
        self._newly_settled += 1

    def _settle_repair(self, run: Run, record: Settled) -> None:
        label, slot, end_ms = self._jobs.label(run), outcomes.result_slot(run), durations.ended_ms(run)
        target = self._jobs.target(run.effective_performance_target)
        if counting.executed(run, slot):
            self._jobs.note_last_run(label, run, slot, target)
        for item in run.repair_history or ():
            item_end_ms = int(item.end_time or 0)
            if item.type == "REPAIR" and item_end_ms > record.end_ms and outcomes.is_finished(item):
                self._tracker.counting.count_repair(self._jobs.of(label, target), item)
                end_ms = max(end_ms, item_end_ms)
        accounted = set(record.task_run_ids)
        new = [
            task
            for task in run.tasks or ()
            if task.run_id is not None and task.run_id not in accounted and outcomes.is_finished(task)
        ]
        self._count_tasks(label, new)
        self._settled[run.run_id] = Settled(end_ms, record.task_run_ids + _task_run_ids(new))
        self._active.pop(run.run_id, None)
        self._end_pending(run.run_id)

    def _was_active_before(self, run_id: int) -> bool:
        pending = self._tracker.pending.get(run_id)
        return pending is not None and pending.seen_active

    def _count_tasks(self, label: str, tasks: Iterable[Task]) -> None:
        if self._tracker.collect_tasks:
            for target, together in groupby(tasks, attrgetter("effective_performance_target")):
                totals = self._jobs.of(label, self._jobs.target(target))
                self._tracker.counting.count_tasks(totals, list(together))

    def _expired(self, ended: Collection[int]) -> Expired:
        """What is idle, once a whole poll has been read: before that, its last run may not have been."""
        tracker = self._tracker
        if not tracker.idle_ms or not self._is_whole_poll:
            return Expired()
        active = [run for run_id, run in (tracker.active | self._active).items() if run_id not in ended]
        pending = (tracker.pending | self._pending).items()
        active += [
            one.active for run_id, one in pending if one.active and run_id not in self._no_longer_pending
        ]
        return expiry.expired(
            self._now.earliest_ms - tracker.idle_ms,
            tracker.last_ms,
            tracker.jobs,
            (self._jobs.totals, self._jobs.jobs),
            ((run, self._jobs.series_key(run)) for run in active),
        )


def _latest(runs: Iterable[Run]) -> Iterable[Run]:
    """Each run once: of two answers the one that ended later, so that their order changes nothing."""
    latest: dict[int, Run] = {}
    for run in runs:
        other = latest.get(run.run_id)
        if other is None or durations.ended_ms(run) > durations.ended_ms(other):
            latest[run.run_id] = run
    return latest.values()


def _task_run_ids(tasks: Iterable[Task]) -> "array[int]":
    return array("q", [task.run_id for task in tasks if task.run_id is not None])
