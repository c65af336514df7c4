"""What was read of a workspace, and what that changes. Values only.

The way of a run: an answer of a list or of `runs/get` is part of an `Observation`; the change builder turns
it into `Changes`; these are committed, applied to the tracker and published.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from exporter.databricks.models import Run
from exporter.runs.records import ActiveRun, Job, PendingRun, Progress, Settled
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals


class Observation(NamedTuple):
    """What was read of a workspace.

    `finished`: items of a list that have ended, with their first 100 tasks. `swept`: the same without tasks.
    `active`: items of a list that have not ended. `followed`: the runs that were active when a poll began to
    read; those that it shows neither as active nor as newly ended need an answer of their own.
    `settled_meanwhile`: runs that others settled while it read: that one is active may be an older answer.
    `answers`: what `runs/get` said, by run id: the whole run, or None where it does not exist.
    `names`: of all jobs, by id, where `jobs/list` was read. `is_whole_poll`: whether this is both lists of a
    poll; only then is it known what is idle.
    """

    finished: Collection[Run] = ()
    swept: Collection[Run] = ()
    active: Collection[Run] = ()
    followed: Collection[int] = ()
    settled_meanwhile: Collection[int] = ()
    answers: Mapping[int, Run | None] = {}
    names: Mapping[int, str] | None = None
    is_whole_poll: bool = False

    def run_ids(self) -> set[int]:
        """The runs that it has to be known of whether they are settled."""
        listed = (run.run_id for runs in (self.finished, self.swept) for run in runs)
        return {*listed, *self.answers}


def merged(observations: Sequence[Observation]) -> Observation:
    """Several observations as one."""
    if len(observations) == 1:
        return observations[0]
    return Observation(
        finished=[run for each in observations for run in each.finished],
        swept=[run for each in observations for run in each.swept],
        active=[run for each in observations for run in each.active],
        followed={run_id for each in observations for run_id in each.followed},
        settled_meanwhile={run_id for each in observations for run_id in each.settled_meanwhile},
        answers={run_id: answer for each in observations for run_id, answer in each.answers.items()},
        names=next((each.names for each in reversed(observations) if each.names is not None), None),
        is_whole_poll=any(each.is_whole_poll for each in observations),
    )


class Expired(NamedTuple):
    """Series keys and jobs, by their labels, that have been idle for too long and are dropped."""

    series_keys: frozenset[SeriesKey] = frozenset()
    jobs: frozenset[str] = frozenset()


class Changes(NamedTuple):
    """What one observation changes. Applied to memory only after it has been committed.

    `now_ms`: when it was made; every series key in `totals` has had a run then.
    `lost`: runs that do not exist any more and were never accounted.
    `limited`: ids of jobs that were counted under OTHER, because there was no room for series of their own.
    `limited_words`: the open sets of words that were full. `words`: the words that are new in each.
    `series`: by how many there are more or fewer of them, without those of active runs.
    `executed`: labels that have their first run that executed, and with it most of their series.
    """

    settled: dict[int, Settled]
    totals: dict[SeriesKey, Totals]
    jobs: dict[str, Job]
    active: dict[int, ActiveRun]
    no_longer_active: frozenset[int]
    pending: dict[int, PendingRun]
    no_longer_pending: frozenset[int]
    progress: Progress | None
    newly_settled: int
    runs_counted: int
    lost: frozenset[int] = frozenset()
    now_ms: int = 0
    expired: Expired = Expired()
    limited: frozenset[str] = frozenset()
    limited_words: frozenset[str] = frozenset()
    words: Mapping[str, frozenset[str]] = {}
    names: Mapping[int, str] = {}
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
            or self.pending
            or self.no_longer_pending
            or self.expired.series_keys
            or self.expired.jobs
        )
