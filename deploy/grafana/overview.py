"""Overview: is everything well, and if not, which jobs fail, take long or wait?"""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.colours import (
    AMBER,
    COUNTED,
    GREEN,
    NONE_IS_GOOD,
    PLAIN,
    QUEUED_SECONDS,
    RED,
    SECONDS_SINCE_SUCCESS,
)
from deploy.grafana.panels import AnyPanel, Query, bars, stat_panel
from deploy.grafana.queries import (
    BAD,
    BY_JOB,
    JUDGED,
    WORKSPACES,
    among,
    buckets,
    gauge,
    increase,
    mean,
    named,
    or_zero,
    quantile,
    total,
)
from deploy.grafana.shared import (
    active_by_state,
    active_now,
    failures,
    finished_by_result,
    finished_runs,
    freshness,
    success_ratio,
)
from deploy.grafana.tables import Column, count, jobs_table, run_column, seconds, share_bar
from deploy.grafana.variables import assemble, data_source, filled, workspaces
from exporter.families import (
    ACTIVE_RUNS,
    LAST_END,
    LAST_ID,
    LAST_SUCCESS,
    LAST_SUCCESS_TIME,
    OLDEST_ACTIVE,
    RUN_DURATION,
    RUN_QUEUE,
    RUNS,
    TERMINATIONS,
)

_QUEUED = 'state="QUEUED"'
# BLOCKED and WAITING wait for somebody else: for a dependency, for the next attempt.
_WAITING = 'state=~"QUEUED|PENDING|BLOCKED|WAITING"'
_AGES = ((None, PLAIN), (900, AMBER), (3600, RED))


def build() -> dashboard.Dashboard:
    overview = assemble(
        "overview",
        "Databricks jobs / Overview",
        "Success, load and waiting of all jobs of a workspace, and the jobs to look at first.",
        [data_source(), workspaces()],
    )
    return filled(
        overview.time("now-24h", "now").refresh("1m"),
        [
            ("At a glance", _figures()),
            ("How it goes", [finished_by_result(WORKSPACES), active_by_state(WORKSPACES)]),
            (
                "Which jobs",
                [
                    _failing_now(),
                    _most_failing(),
                    _slowest(),
                    _waiting_now(),
                    _longest_queues(),
                    _terminations(),
                ],
            ),
        ],
    )


def _figures() -> list[AnyPanel]:
    """A list of figures, long because it is a table."""
    return [
        freshness(" When it is not, everything else here is old."),
        success_ratio(WORKSPACES),
        finished_runs(WORKSPACES),
        failures(WORKSPACES),
        stat_panel(
            "Jobs failing now",
            "Jobs whose last run that executed was no success. The table below names them.",
            Query(or_zero(f"count({gauge(LAST_SUCCESS, WORKSPACES)} == 0)")),
            "short",
            NONE_IS_GOOD,
        ),
        active_now(WORKSPACES, "queued ones included"),
        stat_panel(
            "Queued now",
            "Runs in the queue at the last poll.",
            Query(or_zero(total(gauge(ACTIVE_RUNS, WORKSPACES, _QUEUED)))),
            "short",
            ((None, GREEN), (1, AMBER), (50, RED)),
        ),
        stat_panel(
            "Longest wait",
            "Age of the oldest run that is in the queue now.",
            Query(or_zero(f"max(time() - {gauge(OLDEST_ACTIVE, WORKSPACES, _QUEUED)})")),
            "s",
            QUEUED_SECONDS,
        ),
    ]


def _failing_now() -> AnyPanel:
    failing = f"{gauge(LAST_SUCCESS, WORKSPACES)} == 0"

    def of_failing(expression: str) -> str:
        return named(among(expression, failing))

    return jobs_table(
        "Failing now",
        "Jobs whose last run that executed was no success, the latest first. The run links to its page, the "
        "name to the job's dashboard. No last success: none since the exporter knows the job.",
        [
            seconds("Failed", of_failing(_age(LAST_END.name)), 100),
            run_column(of_failing(f"max by (workspace, job_id) ({gauge(LAST_ID, WORKSPACES)})")),
            seconds("Last success", of_failing(_age(LAST_SUCCESS_TIME.name)), 120, SECONDS_SINCE_SUCCESS),
        ],
        "Failed",
        descending=False,
    )


def _age(name: str) -> str:
    return f"time() - max by (workspace, job_id) ({name}{{{WORKSPACES}}})"


def _most_failing() -> AnyPanel:
    bad = total(increase(RUNS, WORKSPACES, BAD), *BY_JOB)
    judged = total(increase(RUNS, WORKSPACES, JUDGED), *BY_JOB)
    top = f"topk(10, {bad} > 0.5)"
    return jobs_table(
        "Most failing",
        "The ten jobs with the most failed and timed-out runs in the time range.",
        [
            count("Failures", named(top), 90),
            count("Runs", named(among(judged, top)), 80),
            share_bar(
                "Failure ratio",
                named(among(f"{bad} / {judged}", top)),
                ((None, GREEN), (0.05, AMBER), (0.25, RED)),
            ),
        ],
        "Failures",
    )


def _slowest() -> AnyPanel:
    vector = buckets(RUN_DURATION, WORKSPACES, by=BY_JOB)
    top = f"topk(10, {quantile(0.95, vector)} > 0)"
    return jobs_table(
        "Slowest",
        "The ten jobs with the longest runs in the time range, by the 95th percentile of the run duration "
        "(estimated from buckets). Total is the time of all their runs together.",
        [
            seconds("p95", named(top), 100),
            seconds("Median", named(among(quantile(0.5, vector), top)), 100),
            count("Runs", named(among(_count(), top)), 80),
            seconds("Total", named(among(_time_spent(), top)), 100),
        ],
        "p95",
    )


def _count() -> str:
    return total(increase(RUN_DURATION, WORKSPACES, part="_count"), *BY_JOB)


def _time_spent() -> str:
    return total(increase(RUN_DURATION, WORKSPACES, part="_sum"), *BY_JOB)


def _waiting_now() -> AnyPanel:
    by = (*BY_JOB, "state")
    oldest = f"max by ({', '.join(by)}) (time() - {gauge(OLDEST_ACTIVE, WORKSPACES, _WAITING)})"
    runs = total(gauge(ACTIVE_RUNS, WORKSPACES, _WAITING), *by)
    return jobs_table(
        "Longest waiting now",
        "Jobs with runs that have begun and do not work: in the queue, waiting for compute, for another run "
        "or for the next attempt. Age is that of the oldest such run.",
        [
            Column("State", label="state", width=110),
            seconds("Age", named(f"topk(10, {oldest})"), 100, _AGES),
            count("Runs", named(f"{runs} and topk(10, {oldest})"), 80),
        ],
        "Age",
    )


def _longest_queues() -> AnyPanel:
    vector = buckets(RUN_QUEUE, WORKSPACES, by=BY_JOB)
    counted = total(increase(RUN_QUEUE, WORKSPACES, part="_count"), *BY_JOB)
    at_once = total(increase(RUN_QUEUE, WORKSPACES, 'le=~"1|1.0"', part="_bucket"), *BY_JOB)
    top = f"topk(10, {mean(RUN_QUEUE, WORKSPACES, by=BY_JOB)} > 0)"
    return jobs_table(
        "Longest queue times",
        "The ten jobs whose finished runs queued longest on average in the time range. Queued: the share of "
        "runs that waited more than a second.",
        [
            seconds("Mean", named(top), 100),
            seconds("p95", named(among(quantile(0.95, vector), top)), 100),
            share_bar("Queued", named(among(f"1 - {at_once} / {counted}", top)), COUNTED),
        ],
        "Mean",
    )


def _terminations() -> AnyPanel:
    ended = total(increase(TERMINATIONS, WORKSPACES, 'type!="SUCCESS"'), "code", "type")
    panel = bars(
        "Termination codes",
        "The API's words for runs that ended otherwise than well in the time range, with who is to blame: "
        "CLIENT_ERROR is the job, INTERNAL_ERROR and CLOUD_FAILURE are the platform.",
        Query(f"topk(12, {ended} > 0.5)", "{{code}} ({{type}})"),
        "short",
        ((None, AMBER),),
    )
    return panel.height(9)
