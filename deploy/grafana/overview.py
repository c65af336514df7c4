"""Overview: is everything well, and if not, which jobs fail, take long or wait?"""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.panels import (
    AMBER,
    GREEN,
    PLAIN,
    RED,
    RESULT_COLOURS,
    STATE_COLOURS,
    AnyPanel,
    Query,
    bars,
    coloured,
    graph,
    said,
    stacked,
    stat_panel,
)
from deploy.grafana.queries import (
    BAD,
    BY_JOB,
    GOOD,
    JUDGED,
    WORKSPACES,
    among,
    buckets,
    gauge,
    increase,
    mean,
    named,
    or_zero,
    per_hour,
    quantile,
    total,
)
from deploy.grafana.tables import JOB_ID, NAME, WORKSPACE, Column, run_column, table_panel
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
    UP,
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
            ("How it goes", _flows()),
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
    finished = total(increase(RUNS, WORKSPACES))
    bad = total(increase(RUNS, WORKSPACES, BAD))
    good = total(increase(RUNS, WORKSPACES, GOOD))
    judged = total(increase(RUNS, WORKSPACES, JUDGED))
    return [
        stat_panel(
            "Data",
            "Whether every workspace's last successful poll is younger than three poll intervals. When it is "
            "not, everything else here is old.",
            Query(f"min({gauge(UP, WORKSPACES)})"),
            "none",
            ((None, RED), (1, GREEN)),
        ).mappings(said(_0=("STALE", RED), _1=("FRESH", GREEN))),
        stat_panel(
            "Success ratio",
            "Share of the runs in the time range that succeeded. Skipped and cancelled runs don't count.",
            Query(f"{good} / {judged}"),
            "percentunit",
            ((None, RED), (0.9, AMBER), (0.99, GREEN)),
        ).decimals(1),
        stat_panel(
            "Finished runs",
            "Runs that finished in the time range, whatever the result.",
            Query(finished),
            "short",
            ((None, PLAIN),),
        ).decimals(0),
        stat_panel(
            "Failures",
            "Runs in the time range that failed or timed out.",
            Query(or_zero(bad)),
            "short",
            ((None, GREEN), (1, RED)),
        ).decimals(0),
        stat_panel(
            "Jobs failing now",
            "Jobs whose last run that executed was no success. The table below names them.",
            Query(or_zero(f"count({gauge(LAST_SUCCESS, WORKSPACES)} == 0)")),
            "short",
            ((None, GREEN), (1, RED)),
        ),
        stat_panel(
            "Active now",
            "Runs that had not finished at the last poll, queued ones included.",
            Query(or_zero(total(gauge(ACTIVE_RUNS, WORKSPACES)))),
            "short",
            ((None, "blue"),),
        ),
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
            ((None, GREEN), (900, AMBER), (3600, RED)),
        ),
    ]


def _flows() -> list[AnyPanel]:
    results = graph(
        "Finished runs per hour",
        "How many runs finish per hour, by result.",
        [Query(per_hour(RUNS, WORKSPACES, by="result"), "{{result}}")],
        "short",
    )
    active = graph(
        "Active runs",
        "Runs that have not finished, by the API's state.",
        [Query(total(gauge(ACTIVE_RUNS, WORKSPACES), "state"), "{{state}}")],
        "short",
    )
    return [
        coloured(stacked(results), RESULT_COLOURS),
        coloured(stacked(active), STATE_COLOURS),
    ]


def _failing_now() -> AnyPanel:
    failing = f"{gauge(LAST_SUCCESS, WORKSPACES)} == 0"

    def of_failing(expression: str) -> str:
        return named(among(expression, failing))

    return table_panel(
        "Failing now",
        "Jobs whose last run that executed was no success, the latest first. The run links to its page, the "
        "name to the job's dashboard. No last success: none since the exporter knows the job.",
        [
            NAME,
            Column("Failed", of_failing(_age(LAST_END.name)), unit="s", width=100),
            run_column(of_failing(f"max by (workspace, job_id) ({gauge(LAST_ID, WORKSPACES)})")),
            Column(
                "Last success", of_failing(_age(LAST_SUCCESS_TIME.name)), unit="s", width=120, steps=_SINCE
            ),
            JOB_ID,
            WORKSPACE,
        ],
        "Failed",
        descending=False,
    )


_SINCE = ((None, GREEN), (86400, AMBER), (7 * 86400, RED))


def _age(name: str) -> str:
    return f"time() - max by (workspace, job_id) ({name}{{{WORKSPACES}}})"


def _most_failing() -> AnyPanel:
    bad = total(increase(RUNS, WORKSPACES, BAD), *BY_JOB)
    judged = total(increase(RUNS, WORKSPACES, JUDGED), *BY_JOB)
    top = f"topk(10, {bad} > 0.5)"
    return table_panel(
        "Most failing",
        "The ten jobs with the most failed and timed-out runs in the time range.",
        [
            NAME,
            Column("Failures", named(top), unit="short", decimals=0, width=90),
            Column("Runs", named(among(judged, top)), unit="short", decimals=0, width=80),
            Column(
                "Failure ratio",
                named(among(f"{bad} / {judged}", top)),
                unit="percentunit",
                decimals=0,
                width=180,
                steps=((None, GREEN), (0.05, AMBER), (0.25, RED)),
                gauge=True,
            ),
            JOB_ID,
            WORKSPACE,
        ],
        "Failures",
    )


def _slowest() -> AnyPanel:
    vector = buckets(RUN_DURATION, WORKSPACES, by=BY_JOB)
    top = f"topk(10, {quantile(0.95, vector)} > 0)"
    return table_panel(
        "Slowest",
        "The ten jobs with the longest runs in the time range, by the 95th percentile of the run duration "
        "(estimated from buckets). Total is the time of all their runs together.",
        [
            NAME,
            Column("p95", named(top), unit="s", width=100),
            Column("Median", named(among(quantile(0.5, vector), top)), unit="s", width=100),
            Column("Runs", named(among(_count(), top)), unit="short", decimals=0, width=80),
            Column("Total", named(among(_time_spent(), top)), unit="s", width=100),
            JOB_ID,
            WORKSPACE,
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
    return table_panel(
        "Longest waiting now",
        "Jobs with runs that have begun and do not work: in the queue, waiting for compute, for another run "
        "or for the next attempt. Age is that of the oldest such run.",
        [
            NAME,
            Column("State", label="state", width=110),
            Column("Age", named(f"topk(10, {oldest})"), unit="s", width=100, steps=_AGES),
            Column("Runs", named(f"{runs} and topk(10, {oldest})"), unit="short", decimals=0, width=80),
            JOB_ID,
            WORKSPACE,
        ],
        "Age",
    )


def _longest_queues() -> AnyPanel:
    vector = buckets(RUN_QUEUE, WORKSPACES, by=BY_JOB)
    counted = total(increase(RUN_QUEUE, WORKSPACES, part="_count"), *BY_JOB)
    at_once = total(increase(RUN_QUEUE, WORKSPACES, 'le=~"1|1.0"', part="_bucket"), *BY_JOB)
    top = f"topk(10, {mean(RUN_QUEUE, WORKSPACES, by=BY_JOB)} > 0)"
    return table_panel(
        "Longest queue times",
        "The ten jobs whose finished runs queued longest on average in the time range. Queued: the share of "
        "runs that waited more than a second.",
        [
            NAME,
            Column("Mean", named(top), unit="s", width=100),
            Column("p95", named(among(quantile(0.95, vector), top)), unit="s", width=100),
            Column(
                "Queued",
                named(among(f"1 - {at_once} / {counted}", top)),
                unit="percentunit",
                decimals=0,
                width=180,
                steps=((None, "blue"),),
                gauge=True,
            ),
            JOB_ID,
            WORKSPACE,
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
