"""Which runs become pending, wait on, or are given up. Pure."""

import msgspec

from exporter.databricks.clock import Instant
from exporter.runs.job_changes import JobChanges
from exporter.runs.records import ActiveRun, PendingRun, Reason
from exporter.runs.tracker import Tracker

# A run does not exist, or has nothing new, once so many answers over so long have said so.
DOUBTS = 3
DOUBTED_MS = 10 * 60 * 1000


class PendingChanges:
    """The pending runs that change; the tracker is only read."""

    def __init__(self, tracker: Tracker, jobs: JobChanges, now: Instant) -> None:
        self._tracker = tracker
        self._jobs = jobs
        self._now = now
        self.pending: dict[int, PendingRun] = {}
        self.no_longer_pending: set[int] = set()

    def add(self, run_id: int, reason: Reason, place: ActiveRun | None) -> None:
        """Let a run wait for an answer of its own; `place`: its place in the active gauges, if it has one."""
        self.pending[run_id] = PendingRun(reason, self._now.latest_ms, place, seen_active=place is not None)

    def has(self, run_id: int) -> bool:
        """Whether a run waits already."""
        return run_id in self.pending or run_id in self._tracker.pending

    def was_active(self, run_id: int) -> bool:
        """Whether a run that waits was seen active before."""
        pending = self._tracker.pending.get(run_id)
        return pending is not None and pending.seen_active

    def doubt(self, run_id: int) -> bool:
        """Note an answer that a run does not exist, or that nothing about it is new.

        Returns whether it is given up for that.
        """
        pending = self._tracker.pending.get(run_id)
        if pending is None:
            return False
        doubts, doubted_ms = pending.doubts + 1, pending.doubted_ms or self._now.latest_ms
        if doubts >= DOUBTS and self._now.earliest_ms - doubted_ms >= DOUBTED_MS:
            self.give_up(run_id)
            return True
        self._note_sign_of_life(pending)
        self.pending[run_id] = msgspec.structs.replace(
            pending, active=None, doubts=doubts, doubted_ms=doubted_ms
        )
        return False

    def give_up(self, run_id: int) -> None:
        """Wait no longer for a run."""
        self._note_sign_of_life(self._tracker.pending[run_id])
        self.end(run_id)

    def end(self, run_id: int) -> None:
        """A run waits no longer, if it did."""
        self.pending.pop(run_id, None)
        if run_id in self._tracker.pending:
            self.no_longer_pending.add(run_id)

    def places(self) -> list[ActiveRun]:
        """The places in the active gauges of the runs that wait after this change."""
        waiting = (self._tracker.pending | self.pending).items()
        return [one.active for run_id, one in waiting if one.active and run_id not in self.no_longer_pending]

    def _note_sign_of_life(self, pending: PendingRun) -> None:
        """A run that leaves the active gauges kept its series alive until now."""
        if pending.active is not None:
            key = self._jobs.series_key(pending.active)
            if key in self._tracker.totals:
                self._jobs.of(*key)
