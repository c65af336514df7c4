"""What is remembered between polls, in memory and in the state file. Values only; nothing here changes.

Times are milliseconds since the epoch. Each record is stored by the names of its fields: a field that a later
release adds needs a default, and a field that it drops is ignored.
"""

from array import array
from typing import Literal, NamedTuple

import msgspec

from exporter.runs.durations import Phases

# Why a run needs an answer of its own.
Reason = Literal["vanished", "large", "repaired"]


class Settled(NamedTuple):
    """A finished run as it was accounted: when it had ended, and the ids of its accounted task attempts."""

    end_ms: int
    task_run_ids: "array[int]"


class ActiveRun(msgspec.Struct, frozen=True, gc=False):
    """A run that has not finished: `job` is its label, `target` is None until the API gives it."""

    job: str
    target: str | None
    state: str
    start_ms: int
    queue_reason: str | None


class PendingRun(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """A run that needs an answer of its own (`runs/get`) before it can be settled.

    `since_ms`: when it became pending. `active`: its place in the active gauges, None where it has none.
    `seen_active`: whether a list showed it as active before: then it is counted whenever it ended.
    `doubts`: how many answers said that it does not exist, or that nothing about it is new; the first of
    these came at `doubted_ms`.
    """

    reason: Reason
    since_ms: int
    active: ActiveRun | None = None
    seen_active: bool = False
    doubts: int = 0
    doubted_ms: int = 0


class LastRun(msgspec.Struct, frozen=True, gc=False):
    """A finished run that executed, as it is remembered of a job's last one.

    `duration_ms` and `phases` are None where they are not known.
    """

    end_ms: int
    run_id: int
    target: str
    start_ms: int
    duration_ms: float | None
    queue_ms: float
    phases: Phases | None
    attempts: int
    success: bool


class LastSuccess(msgspec.Struct, frozen=True, gc=False):
    """A job's last successful run."""

    end_ms: int
    run_id: int
    target: str


class Job(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What is known of a job: `target` is its last known one, `name` from `jobs/list` or else a run."""

    target: str | None = None
    name: str | None = None
    named_by_list: bool = False
    last_run: LastRun | None = None
    last_success: LastSuccess | None = None


class Progress(msgspec.Struct, frozen=True, omit_defaults=True):
    """How far a workspace has been read.

    `counted_from_ms`: a run that ended earlier and was never seen active is never counted.
    `remembered_from_ms`: the same for the last-run gauges; earlier than the above with memory only.
    `first_poll_ms`, `last_good_poll_ms`, `last_sweep_ms`: when these began.
    `slices`: intervals of start times (from, to), both inclusive, that are still to be read.
    `newest_start_ms`: the latest start of a run that a good poll has listed, whatever the clocks say.
    """

    counted_from_ms: int
    remembered_from_ms: int
    first_poll_ms: int
    last_good_poll_ms: int
    last_sweep_ms: int | None = None
    slices: tuple[tuple[int, int], ...] = ()
    newest_start_ms: int | None = None

    @property
    def first_poll_done(self) -> bool:
        """Whether the whole lookback of the first poll has been read."""
        return not self.slices or self.last_good_poll_ms != self.first_poll_ms


class ActiveGauges(NamedTuple):
    """The active runs of a job: count and oldest start (0 where unknown) by state, count by queue reason."""

    states: dict[str, tuple[int, int]]
    queue_reasons: dict[str, int]
