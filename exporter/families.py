"""THE table: every metric family this exporter serves, and how each value is observed.

No other module names a metric. The layout of the totals, the count of series, the rendering, the README and
the tests follow from this table. A new histogram is one more field of `databricks/models.py` and one more row
here. Buckets are in seconds (attempts in attempts); the API's durations come in milliseconds.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from exporter.databricks.models import Run, Task
from exporter.runs import durations, outcomes
from exporter.runs.outcomes import RESULTS
from exporter.runs.records import LastRun

Kind = Literal["histogram", "counter", "gauge"]
# What one set of values belongs to: a job at one performance target, a job, or the exporter itself.
Scope = Literal["series_key", "job", "exporter"]
# What is counted or observed: a finished run, a repair that ended later, a finished task attempt.
Subject = Literal["run", "repair", "task"]

RUN_LABELS = ("workspace", "job_id", "effective_performance_target")
JOB_LABELS = ("workspace", "job_id")

DURATION_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
QUEUE_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 43200, 86400, 172800)
ATTEMPT_BUCKETS = (1, 2, 3, 4, 5, 10, 20)
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
POLL_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)
# Why a run waits for an answer of its own, in the order of the contract.
PENDING_REASONS = ("vanished", "large", "repaired", "refused", "failing")


# One of a kind each: compared and looked up by identity.
@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family: `name` as in a sample (counters end in `_total`), `labels` without `le`.

    `subject`: what a histogram or counter of runs takes in; a histogram only takes in what executed.
    `value`: of a histogram, what one subject observes, in milliseconds or attempts, None for nothing; of a
    gauge of last runs, its value. `slot`: of a counter by result, the index in `results` that one subject
    counts in, None for none. `words`: of a counter with open labels, their values for one subject.
    `seeded`: whether its most telling results exist at 0 as soon as a job is seen.
    `exemplars`: whether OpenMetrics shows with each bucket the newest run that fell into it.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    scope: Scope
    buckets: tuple[float, ...] = ()
    exemplars: bool = False
    subject: Subject | None = None
    value: Callable[[Any], float | None] | None = None
    slot: Callable[[Any], int | None] | None = None
    words: Callable[[Any], tuple[str, ...]] | None = None
    results: tuple[str, ...] = ()
    seeded: bool = False

    @property
    def openmetrics_name(self) -> str:
        """The family name of OpenMetrics 1.0, where only a counter's samples end in `_total`."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name

    @property
    def word_labels(self) -> tuple[str, ...]:
        """The labels of a counter whose values are open words of the API."""
        return self.labels[len(RUN_LABELS) :] if self.words is not None else ()

    @property
    def scale(self) -> int:
        """How many of the unit observed make one of the unit served."""
        return 1000 if self.name.endswith("_seconds") else 1


def _run_histogram(
    name: str,
    text: str,
    value: Callable[[Run], float | None],
    buckets: tuple[float, ...] = DURATION_BUCKETS,
    *,
    exemplars: bool = False,
) -> Family:
    return Family(
        name, "histogram", text, RUN_LABELS, "series_key", buckets, exemplars, subject="run", value=value
    )


def _task_histogram(
    name: str, text: str, value: Callable[[Task], float | None], *, exemplars: bool = False
) -> Family:
    return Family(
        name,
        "histogram",
        text,
        RUN_LABELS,
        "series_key",
        DURATION_BUCKETS,
        exemplars,
        subject="task",
        value=value,
    )


def _result_counter(name: str, subject: Subject, text: str, *, seeded: bool = False) -> Family:
    return Family(
        name,
        "counter",
        text,
        (*RUN_LABELS, "result"),
        "series_key",
        subject=subject,
        slot=outcomes.result_slot,
        results=RESULTS,
        seeded=seeded,
    )


def _last_run(name: str, text: str, value: Callable[[LastRun], float | None]) -> Family:
    return Family(name, "gauge", text, RUN_LABELS, "job", value=value)


def _job_gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name, "gauge", text, (*JOB_LABELS, *labels), "job")


def _own(name: str, kind: Kind, text: str, *labels: str, buckets: tuple[float, ...] = ()) -> Family:
    return Family(name, kind, text, labels, "exporter", buckets)


def _seconds(milliseconds: float | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def with_duration_buckets(families: Iterable[Family], buckets: Sequence[float]) -> tuple[Family, ...]:
    """The same families, with these buckets (seconds) in every histogram of durations."""
    return tuple(
        replace(family, buckets=tuple(buckets))
        if family.kind == "histogram" and family.name.endswith("_seconds")
        else family
        for family in families
    )


RUN_DURATION = _run_histogram(
    "databricks_job_run_duration_seconds",
    "Duration of finished job runs that executed: run_duration, without the idle time before a repair.",
    durations.run_duration_ms,
    exemplars=True,
)
RUN_QUEUE = _run_histogram(
    "databricks_job_run_queue_duration_seconds",
    "Time finished job runs that executed spent in the queue; 0 when never queued.",
    durations.queue_duration_ms,
    QUEUE_BUCKETS,
)
RUN_SETUP = _run_histogram(
    "databricks_job_run_setup_duration_seconds",
    "Cluster set-up time of finished job runs with job-level phases; see the task family for the others.",
    durations.of_job(durations.setup_ms),
)
RUN_EXECUTION = _run_histogram(
    "databricks_job_run_execution_duration_seconds",
    "Execution time of finished job runs with job-level phases; see the task family for the others.",
    durations.of_job(durations.execution_ms),
)
RUN_CLEANUP = _run_histogram(
    "databricks_job_run_cleanup_duration_seconds",
    "Clean-up time of finished job runs with job-level phases; see the task family for the others.",
    durations.of_job(durations.cleanup_ms),
)
RUN_ATTEMPTS = _run_histogram(
    "databricks_job_run_attempts",
    "Highest attempt that finished job runs reached, over the run and its tasks, counted from 1.",
    durations.attempts,
    ATTEMPT_BUCKETS,
)
RUNS = _result_counter(
    "databricks_job_runs_total", "run", "Finished job runs, each counted exactly once.", seeded=True
)
TERMINATIONS = Family(
    "databricks_job_run_terminations_total",
    "counter",
    "Finished job runs by the API's termination code and type.",
    (*RUN_LABELS, "code", "type"),
    "series_key",
    subject="run",
    words=outcomes.termination,
)
REPAIRS = _result_counter(
    "databricks_job_run_repairs_total",
    "repair",
    "Finished repairs that ended after their run was first counted, by the repair's result.",
)
TASK_SETUP = _task_histogram(
    "databricks_task_run_setup_duration_seconds",
    "Set-up time of finished task attempts that executed.",
    durations.setup_ms,
)
TASK_EXECUTION = _task_histogram(
    "databricks_task_run_execution_duration_seconds",
    "Execution time of finished task attempts that executed.",
    durations.execution_ms,
    exemplars=True,
)
TASK_CLEANUP = _task_histogram(
    "databricks_task_run_cleanup_duration_seconds",
    "Clean-up time of finished task attempts that executed.",
    durations.cleanup_ms,
)
TASK_RUNS = _result_counter("databricks_task_runs_total", "task", "Finished task attempts.")
TASK_RETRIES = Family(
    "databricks_task_run_retries_total",
    "counter",
    "Finished task attempts that were not the first of their task.",
    RUN_LABELS,
    "series_key",
    subject="task",
    slot=lambda task: 0 if task.attempt_number else None,
)

LAST_START = _last_run(
    "databricks_job_last_run_start_timestamp_seconds",
    "Start of the job's last finished run that executed, in seconds since the epoch.",
    lambda last: _seconds(last.start_ms or None),
)
LAST_END = _last_run(
    "databricks_job_last_run_end_timestamp_seconds",
    "End of the job's last finished run that executed, in seconds since the epoch.",
    lambda last: _seconds(last.end_ms or None),
)
LAST_DURATION = _last_run(
    "databricks_job_last_run_duration_seconds",
    "Duration of the job's last finished run that executed.",
    lambda last: _seconds(last.duration_ms),
)
LAST_QUEUE = _last_run(
    "databricks_job_last_run_queue_duration_seconds",
    "Queue time of the job's last finished run that executed; 0 when it never queued.",
    lambda last: _seconds(last.queue_ms),
)
LAST_SETUP = _last_run(
    "databricks_job_last_run_setup_duration_seconds",
    "Set-up time of the job's last finished run that executed; absent where the API reports no phases.",
    lambda last: _seconds(last.phases and last.phases.setup_ms),
)
LAST_EXECUTION = _last_run(
    "databricks_job_last_run_execution_duration_seconds",
    "Execution time of the job's last finished run that executed; absent where the API reports no phases.",
    lambda last: _seconds(last.phases and last.phases.execution_ms),
)
LAST_CLEANUP = _last_run(
    "databricks_job_last_run_cleanup_duration_seconds",
    "Clean-up time of the job's last finished run that executed; absent where the API reports no phases.",
    lambda last: _seconds(last.phases and last.phases.cleanup_ms),
)
LAST_ATTEMPTS = _last_run(
    "databricks_job_last_run_attempts",
    "Highest attempt of the job's last finished run that executed.",
    lambda last: last.attempts,
)
LAST_SUCCESS = _last_run(
    "databricks_job_last_run_success",
    "1 when the job's last finished run that executed ended in SUCCESS or SUCCESS_WITH_FAILURES, else 0.",
    lambda last: int(last.success),
)
LAST_ID = _last_run(
    "databricks_job_last_run_id",
    "Run id of the job's last finished run that executed, for links.",
    lambda last: last.run_id,
)
LAST_SUCCESS_TIME = Family(
    "databricks_job_last_success_timestamp_seconds",
    "gauge",
    "End of the job's last successful run, in seconds since the epoch.",
    RUN_LABELS,
    "job",
)

ACTIVE_RUNS = _job_gauge(
    "databricks_job_active_runs", "Runs that had not finished at the last poll, by API state.", "state"
)
OLDEST_ACTIVE = _job_gauge(
    "databricks_job_oldest_active_run_start_timestamp_seconds",
    "Start of the oldest run that had not finished at the last poll, by API state.",
    "state",
)
QUEUED_RUNS = _job_gauge(
    "databricks_job_queued_runs", "Queued runs at the last poll, by the API's reason.", "reason"
)
JOB_INFO = _job_gauge("databricks_job_info", "1; carries the job's name.", "job_name")

UP = _own(
    "databricks_up",
    "gauge",
    "1 while the last successful poll is younger than 3 poll intervals, else 0.",
    "workspace",
)
BUILD_INFO = _own(
    "databricks_exporter_build_info", "gauge", "1; version of the exporter.", "version", "python_version"
)
LAST_POLL = _own(
    "databricks_exporter_last_successful_poll_timestamp_seconds",
    "gauge",
    "When the last successful poll ended, in seconds since the epoch; 0 before the first.",
    "workspace",
)
POLL_DURATION = _own(
    "databricks_exporter_poll_duration_seconds",
    "histogram",
    "Duration of polls, failed ones included. Runs are read by these polls, not by scrapes.",
    "workspace",
    buckets=POLL_BUCKETS,
)
POLLS = _own("databricks_exporter_polls_total", "counter", "Polls by result.", "workspace", "result")
API_REQUESTS = _own(
    "databricks_exporter_api_requests_total",
    "counter",
    "Requests to the Databricks API; code is the HTTP status, timeout or error.",
    "workspace",
    "endpoint",
    "code",
)
API_DURATION = _own(
    "databricks_exporter_api_request_duration_seconds",
    "histogram",
    "Duration of requests to the Databricks API, from the first byte sent to the last one read.",
    "workspace",
    "endpoint",
    buckets=REQUEST_BUCKETS,
)
API_RETRIES = _own(
    "databricks_exporter_api_retries_total",
    "counter",
    "Requests to the Databricks API that were repeated.",
    "workspace",
    "endpoint",
)
SETTLED = _own(
    "databricks_exporter_runs_settled_total",
    "counter",
    "Finished runs counted since the exporter started.",
    "workspace",
)
LOST = _own(
    "databricks_exporter_runs_lost_total",
    "counter",
    "Runs that were gone before they could be counted.",
    "workspace",
)
DECODE_ERRORS = _own(
    "databricks_exporter_decode_errors_total",
    "counter",
    "Runs in API answers that could not be understood; the log names each once.",
    "workspace",
)
TRACKED = _own(
    "databricks_exporter_tracked_runs", "gauge", "Runs remembered: active and settled.", "workspace"
)
PENDING = _own(
    "databricks_exporter_pending_runs",
    "gauge",
    "Runs that wait for an answer of their own before they can be counted, by why they do.",
    "workspace",
    "reason",
)
OLDEST_PENDING = _own(
    "databricks_exporter_oldest_pending_run_timestamp_seconds",
    "gauge",
    "When the oldest of those became pending, in seconds since the epoch; absent while there is none.",
    "workspace",
)
FIRST_POLL_PROGRESS = _own(
    "databricks_exporter_first_poll_progress_ratio",
    "gauge",
    "How much of the first poll's lookback has been read, from 0 to 1; 1 afterwards.",
    "workspace",
)
LIMITED = _own(
    "databricks_exporter_limited_jobs",
    "gauge",
    "Jobs that are counted together as job_id OTHER, because limits.series leaves no room for each.",
    "workspace",
)
SERIES = _own("databricks_exporter_series", "gauge", "Series of the job and task families now served.")
RENDER_DURATION = _own(
    "databricks_exporter_render_duration_seconds", "gauge", "Duration of the last rendering of those series."
)

# In the order of the body. A family appears in it as soon as it has a series.
RUN_FAMILIES = (
    RUN_DURATION,
    RUN_QUEUE,
    RUN_SETUP,
    RUN_EXECUTION,
    RUN_CLEANUP,
    RUN_ATTEMPTS,
    RUNS,
    TERMINATIONS,
    REPAIRS,
    TASK_SETUP,
    TASK_EXECUTION,
    TASK_CLEANUP,
    TASK_RUNS,
    TASK_RETRIES,
)
LAST_RUN_FAMILIES = (
    LAST_START,
    LAST_END,
    LAST_DURATION,
    LAST_QUEUE,
    LAST_SETUP,
    LAST_EXECUTION,
    LAST_CLEANUP,
    LAST_ATTEMPTS,
    LAST_SUCCESS,
    LAST_ID,
)
JOB_FAMILIES = (
    *LAST_RUN_FAMILIES,
    LAST_SUCCESS_TIME,
    ACTIVE_RUNS,
    OLDEST_ACTIVE,
    QUEUED_RUNS,
    JOB_INFO,
)
OWN_FAMILIES = (
    UP,
    BUILD_INFO,
    LAST_POLL,
    POLL_DURATION,
    POLLS,
    API_REQUESTS,
    API_DURATION,
    API_RETRIES,
    SETTLED,
    LOST,
    DECODE_ERRORS,
    TRACKED,
    PENDING,
    OLDEST_PENDING,
    FIRST_POLL_PROGRESS,
    LIMITED,
    SERIES,
    RENDER_DURATION,
)
FAMILIES = RUN_FAMILIES + JOB_FAMILIES + OWN_FAMILIES
