"""What is remembered between polls, in memory and in the state file. Values only; nothing here changes.

Times are milliseconds since the epoch by the server's clock.
"""

from array import array
from typing import NamedTuple

import msgspec

from exporter.runs.durations import Phases
from exporter.runs.totals import Totals

# A job's label (`job_id`, or the run type of one-off runs) and the effective performance target.
SeriesKey = tuple[str, str]


class Settled(NamedTuple):
    """A finished run as it was accounted: when it had ended, and the ids of its accounted task attempts."""

    end_ms: int
    task_run_ids: "array[int]"


class ActiveRun(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A run that has not finished: `job` is its label, `target` is None until the API gives it."""

    job: str
    target: str | None
    state: str
    start_ms: int
    queue_reason: str | None


class LastRun(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A finished run that executed, as it is remembered of a job's last one.

    `duration_ms` and `phases` are None where not reported.
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


class LastSuccess(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A job's last successful run."""

    end_ms: int
    run_id: int
    target: str


class Job(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of a job: `target` is its last known one, `name` from `jobs/list` or else a run."""

    target: str | None = None
    name: str | None = None
    named_by_list: bool = False
    last_run: LastRun | None = None
    last_success: LastSuccess | None = None


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far a workspace has been read.

    `counted_from_ms`: a run that ended earlier and was never seen active is never counted.
    `remembered_from_ms`: the same for the last-run gauges; earlier than the above with memory only.
    `first_poll_ms`, `last_good_poll_ms`, `last_sweep_ms`: when these began.
    `slices`: intervals of start times (from, to), both inclusive, that are still to be read.
    """

    counted_from_ms: int
    remembered_from_ms: int
    first_poll_ms: int
    last_good_poll_ms: int
    last_sweep_ms: int | None = None
    slices: tuple[tuple[int, int], ...] = ()


class Expired(NamedTuple):
    """Label sets and jobs, by their labels, that have been idle for too long and are dropped."""

    series_keys: frozenset[SeriesKey] = frozenset()
    jobs: frozenset[str] = frozenset()


class Changes(NamedTuple):
    """What one observation changes. Applied to memory only after it has been committed.

    `now_ms`: when it was made; every series key in `totals` has had a run then.
    `limited`: ids of jobs that were counted under OTHER, because there was no room for series of their own.
    `series`: by how many there are more or fewer of them, without those of active runs.
    `executed`: labels that have their first run that executed, and with it most of their series.
    """

    settled: dict[int, Settled]
    totals: dict[SeriesKey, Totals]
    jobs: dict[str, Job]
    active: dict[int, ActiveRun]
    no_longer_active: frozenset[int]
    progress: Progress | None
    newly_settled: int
    runs_counted: int
    runs_lost: int
    now_ms: int = 0
    expired: Expired = Expired()
    limited: frozenset[str] = frozenset()
    series: int = 0
    executed: frozenset[str] = frozenset()

    def is_empty(self) -> bool:
        """Whether there is nothing to commit."""
        return self.progress is None and not (
            self.settled
            or self.totals
            or self.jobs
            or self.active
            or self.no_longer_active
            or self.expired.series_keys
            or self.expired.jobs
        )


class ActiveGauges(NamedTuple):
    """The active runs of a job: count and oldest start (0 where unknown) by state, count by queue reason."""

    states: dict[str, tuple[int, int]]
    queue_reasons: dict[str, int]
