"""THE table: every metric family this exporter serves, and nothing else anywhere names one.

The accounting takes its buckets and the layout of its totals from here, the exposition its names, types
and help texts, the README and the tests everything. Buckets are in seconds (attempts in attempts).
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["histogram", "counter", "gauge"]
# What one set of values belongs to: a job at one performance target, a job, or the exporter itself.
Scope = Literal["series_key", "job", "exporter"]

RUN_LABELS = ("workspace", "job_id", "effective_performance_target")
JOB_LABELS = ("workspace", "job_id")

DURATION_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
QUEUE_BUCKETS = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 43200, 86400, 172800)
ATTEMPT_BUCKETS = (1, 2, 3, 4, 5, 10, 20)
REQUEST_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
POLL_BUCKETS = (0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900)

# The closed set of `result` values, in the order of the slots that count them.
RESULTS = ("SUCCESS", "SUCCESS_WITH_FAILURES", "FAILED", "TIMEDOUT", "CANCELED", "SKIPPED", "UNKNOWN")
# These exist at 0 as soon as a job is seen, so that increase() sees its first failure.
SEEDED_RESULTS = ("SUCCESS", "FAILED", "TIMEDOUT", "CANCELED")


# One of a kind each: compared and looked up by identity.
@dataclass(frozen=True, slots=True, eq=False)
class Family:
    """One metric family: `name` as in a sample (counters end in `_total`), `labels` without `le`.

    `exemplars`: whether OpenMetrics shows with each bucket the newest run that fell into it.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]
    scope: Scope
    buckets: tuple[float, ...] = ()
    exemplars: bool = False

    @property
    def openmetrics_name(self) -> str:
        """The family name of OpenMetrics 1.0, where only a counter's samples end in `_total`."""
        return self.name.removesuffix("_total") if self.kind == "counter" else self.name


def _run_histogram(
    name: str, text: str, buckets: tuple[float, ...] = DURATION_BUCKETS, *, exemplars: bool = False
) -> Family:
    return Family(name, "histogram", text, RUN_LABELS, "series_key", buckets, exemplars)


def _run_counter(name: str, text: str, *labels: str) -> Family:
    return Family(name, "counter", text, (*RUN_LABELS, *labels), "series_key")


def _last_run(name: str, text: str) -> Family:
    return Family(name, "gauge", text, RUN_LABELS, "job")


def _job_gauge(name: str, text: str, *labels: str) -> Family:
    return Family(name, "gauge", text, (*JOB_LABELS, *labels), "job")


def _own(name: str, kind: Kind, text: str, *labels: str, buckets: tuple[float, ...] = ()) -> Family:
    return Family(name, kind, text, labels, "exporter", buckets)


RUN_DURATION = _run_histogram(
    "databricks_job_run_duration_seconds",
    "Duration of finished job runs that executed: run_duration, without the idle time before a repair.",
    exemplars=True,
)
RUN_QUEUE = _run_histogram(
    "databricks_job_run_queue_duration_seconds",
    "Time finished job runs that executed spent in the queue; 0 when never queued.",
    QUEUE_BUCKETS,
)
RUN_SETUP = _run_histogram(
    "databricks_job_run_setup_duration_seconds",
    "Cluster set-up time of finished job runs with job-level phases; see the task family for the others.",
)
RUN_EXECUTION = _run_histogram(
    "databricks_job_run_execution_duration_seconds",
    "Execution time of finished job runs with job-level phases; see the task family for the others.",
)
RUN_CLEANUP = _run_histogram(
    "databricks_job_run_cleanup_duration_seconds",
    "Clean-up time of finished job runs with job-level phases; see the task family for the others.",
)
RUN_ATTEMPTS = _run_histogram(
    "databricks_job_run_attempts",
    "Highest attempt that finished job runs reached, over the run and its tasks, counted from 1.",
    ATTEMPT_BUCKETS,
)
RUNS = _run_counter("databricks_job_runs_total", "Finished job runs, each counted exactly once.", "result")
TERMINATIONS = _run_counter(
    "databricks_job_run_terminations_total",
    "Finished job runs by the API's termination code and type.",
    "code",
    "type",
)
REPAIRS = _run_counter(
    "databricks_job_run_repairs_total",
    "Finished repairs that ended after their run was first counted, by the repair's result.",
    "result",
)
TASK_SETUP = _run_histogram(
    "databricks_task_run_setup_duration_seconds",
    "Set-up time of finished task attempts that executed.",
)
TASK_EXECUTION = _run_histogram(
    "databricks_task_run_execution_duration_seconds",
    "Execution time of finished task attempts that executed.",
    exemplars=True,
)
TASK_CLEANUP = _run_histogram(
    "databricks_task_run_cleanup_duration_seconds",
    "Clean-up time of finished task attempts that executed.",
)
TASK_RUNS = _run_counter("databricks_task_runs_total", "Finished task attempts.", "result")
TASK_RETRIES = _run_counter(
    "databricks_task_run_retries_total", "Finished task attempts that were not the first of their task."
)

LAST_START = _last_run(
    "databricks_job_last_run_start_timestamp_seconds",
    "Start of the job's last finished run that executed, in seconds since the epoch.",
)
LAST_END = _last_run(
    "databricks_job_last_run_end_timestamp_seconds",
    "End of the job's last finished run that executed, in seconds since the epoch.",
)
LAST_DURATION = _last_run(
    "databricks_job_last_run_duration_seconds", "Duration of the job's last finished run that executed."
)
LAST_QUEUE = _last_run(
    "databricks_job_last_run_queue_duration_seconds",
    "Queue time of the job's last finished run that executed; 0 when it never queued.",
)
LAST_SETUP = _last_run(
    "databricks_job_last_run_setup_duration_seconds",
    "Set-up time of the job's last finished run that executed; absent where the API reports no phases.",
)
LAST_EXECUTION = _last_run(
    "databricks_job_last_run_execution_duration_seconds",
    "Execution time of the job's last finished run that executed; absent where the API reports no phases.",
)
LAST_CLEANUP = _last_run(
    "databricks_job_last_run_cleanup_duration_seconds",
    "Clean-up time of the job's last finished run that executed; absent where the API reports no phases.",
)
LAST_ATTEMPTS = _last_run(
    "databricks_job_last_run_attempts", "Highest attempt of the job's last finished run that executed."
)
LAST_SUCCESS = _last_run(
    "databricks_job_last_run_success",
    "1 when the job's last finished run that executed ended in SUCCESS or SUCCESS_WITH_FAILURES, else 0.",
)
LAST_ID = _last_run(
    "databricks_job_last_run_id", "Run id of the job's last finished run that executed, for links."
)
LAST_SUCCESS_TIME = _last_run(
    "databricks_job_last_success_timestamp_seconds",
    "End of the job's last successful run, in seconds since the epoch.",
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
    "Runs that were seen active and were gone before they could be counted.",
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
JOB_FAMILIES = (
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
    LIMITED,
    SERIES,
    RENDER_DURATION,
)
FAMILIES = RUN_FAMILIES + JOB_FAMILIES + OWN_FAMILIES
