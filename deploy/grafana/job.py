"""Job: one job, picked by name: how it ends, how long it takes, and where the time goes."""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.colours import (
    COUNTED,
    GREEN,
    ONE_IS_GOOD,
    PHASE_COLOURS,
    PLAINLY,
    QUANTILE_COLOURS,
    QUEUED_SECONDS,
    RED,
    RESULT_COLOURS,
    SECONDS_SINCE_SUCCESS,
)
from deploy.grafana.panels import AnyPanel, Query, bars, coloured, graph, heat, said, stacked, stat_panel
from deploy.grafana.queries import (
    JOB,
    RUN_OF_JOB,
    STEP,
    buckets,
    either,
    gauge,
    increase,
    mean,
    mean_of_either,
    per_hour,
    total,
)
from deploy.grafana.shared import (
    active_by_state,
    active_now,
    failures,
    finished_by_result,
    finished_runs,
    median_and_p95,
    success_ratio,
)
from deploy.grafana.tables import JOB_ID, WORKSPACE, Column, run_column, seconds, table_panel
from deploy.grafana.variables import assemble, data_source, filled, one_job, one_workspace, targets
from exporter.families import (
    LAST_ATTEMPTS,
    LAST_CLEANUP,
    LAST_DURATION,
    LAST_END,
    LAST_EXECUTION,
    LAST_ID,
    LAST_QUEUE,
    LAST_SETUP,
    LAST_SUCCESS,
    LAST_SUCCESS_TIME,
    OLDEST_ACTIVE,
    REPAIRS,
    RUN_ATTEMPTS,
    RUN_CLEANUP,
    RUN_DURATION,
    RUN_EXECUTION,
    RUN_QUEUE,
    RUN_SETUP,
    TASK_CLEANUP,
    TASK_EXECUTION,
    TASK_RETRIES,
    TASK_RUNS,
    TASK_SETUP,
    TERMINATIONS,
    Family,
)

_PHASES = {
    "setup": (RUN_SETUP, TASK_SETUP),
    "execution": (RUN_EXECUTION, TASK_EXECUTION),
    "cleanup": (RUN_CLEANUP, TASK_CLEANUP),
}
_OR_TASKS = (
    "Of the run where the API reports it, which is for runs of one task; else of each task attempt "
    "of the run."
)
_EXACT = "Estimated from buckets; a point covers one step of the graph."


def build() -> dashboard.Dashboard:
    job = assemble(
        "job",
        "Databricks jobs / Job",
        "One job: its last run, its results, and where the time of its runs goes.",
        [data_source(), one_workspace(), one_job(), targets(JOB)],
    )
    rows: list[tuple[str, list[AnyPanel]]] = [
        ("Now", [*_figures(), _last_run()]),
        ("Results", _results()),
        ("Run duration", [_run_heat(), _run_quantiles(), _anatomy()]),
        ("Queue", _queue()),
    ]
    rows += [(name.capitalize(), _phase(name)) for name in _PHASES]
    return filled(job.time("now-7d", "now").refresh("1m"), rows)


def _figures() -> list[AnyPanel]:
    """A list of figures, long because it is a table."""
    return [
        stat_panel(
            "Last result",
            "Result of the last run that executed, or of its last repair.",
            Query(f"max({gauge(LAST_SUCCESS, JOB)})"),
            "none",
            ONE_IS_GOOD,
        ).mappings(said(_0=("NO SUCCESS", RED), _1=("SUCCESS", GREEN))),
        stat_panel(
            "Last run ended",
            "How long ago the last run that executed ended.",
            Query(f"time() - max({gauge(LAST_END, JOB)})"),
            "s",
            PLAINLY,
        ),
        stat_panel(
            "Last success",
            "How long ago the last successful run ended. Amber after a day, red after a week.",
            Query(f"time() - max({gauge(LAST_SUCCESS_TIME, JOB)})"),
            "s",
            SECONDS_SINCE_SUCCESS,
        ),
        success_ratio(RUN_OF_JOB),
        finished_runs(RUN_OF_JOB),
        failures(RUN_OF_JOB),
        active_now(JOB, "at any performance target"),
        stat_panel(
            "Oldest active",
            "Age of the oldest run that has not finished. Compare it with the run durations below.",
            Query(f"max(time() - {gauge(OLDEST_ACTIVE, JOB)})"),
            "s",
            PLAINLY,
        ).no_value("none"),
    ]


def _of_last(family: Family) -> str:
    """A last-run gauge without its name, so that all of them meet in one row."""
    return f"max by (workspace, job_id, effective_performance_target) ({gauge(family, JOB)})"


def _last_run() -> AnyPanel:
    columns = [
        run_column(_of_last(LAST_ID)),
        Column("Target", label="effective_performance_target"),
        Column("Ended", f"{_of_last(LAST_END)} * 1000", unit="dateTimeAsIso"),
        seconds("Duration", _of_last(LAST_DURATION)),
        seconds("Queue", _of_last(LAST_QUEUE)),
        seconds("Setup", _of_last(LAST_SETUP)),
        seconds("Execution", _of_last(LAST_EXECUTION)),
        seconds("Cleanup", _of_last(LAST_CLEANUP)),
        Column("Attempts", _of_last(LAST_ATTEMPTS), unit="short"),
        JOB_ID,
        WORKSPACE,
    ]
    panel = table_panel(
        "Last run",
        "The job's last run that executed; its id links to its page in Databricks. Setup, execution and "
        "cleanup stay empty for a run of several tasks: the API reports them per task only.",
        columns,
        "Ended",
    )
    return panel.height(3).span(24)


def _results() -> list[AnyPanel]:
    return [
        finished_by_result(RUN_OF_JOB).span(8),
        _task_results(),
        active_by_state(JOB, ", at any performance target").span(8),
        _terminations(),
        _attempts(),
        _again(),
    ]


def _attempts() -> AnyPanel:
    return bars(
        "Attempts",
        "Runs in the time range by the highest attempt that the run or any of its tasks reached. All of them "
        "at 1: nothing was retried.",
        Query(buckets(RUN_ATTEMPTS, RUN_OF_JOB), "{{le}}"),
        "short",
        COUNTED,
        by_bucket=True,
    ).span(8)


def _again() -> AnyPanel:
    panel = graph(
        "Retries and repairs per hour",
        "Task attempts that were not the first of their task, and finished repairs of runs.",
        [
            Query(f"{total(f'rate({TASK_RETRIES.name}{{{RUN_OF_JOB}}}[{STEP}])')} * 3600", "retries"),
            Query(per_hour(REPAIRS, RUN_OF_JOB, by="result"), "repairs: {{result}}"),
        ],
        "short",
    ).span(8)
    return coloured(stacked(panel), {"retries": "yellow", "repairs: SUCCESS": "green"})


def _task_results() -> AnyPanel:
    panel = graph(
        "Finished task attempts per hour",
        "Task attempts of the runs that finished, by result.",
        [Query(per_hour(TASK_RUNS, RUN_OF_JOB, by="result"), "{{result}}")],
        "short",
    ).span(8)
    return coloured(stacked(panel), RESULT_COLOURS)


def _terminations() -> AnyPanel:
    ended = total(increase(TERMINATIONS, RUN_OF_JOB), "code", "type")
    return bars(
        "Termination codes",
        "How the runs of the time range ended, in the API's words. CLIENT_ERROR is the job, "
        "INTERNAL_ERROR and CLOUD_FAILURE are the platform.",
        Query(f"topk(8, {ended} > 0.5)", "{{code}} ({{type}})"),
        "short",
        COUNTED,
    ).span(8)


def _run_heat() -> AnyPanel:
    return heat(
        "Run duration",
        "How many runs took how long. Dots are single runs; they link to the run's page.",
        Query(buckets(RUN_DURATION, RUN_OF_JOB, window=STEP), "{{le}}", exemplars=True),
        "s",
    )


def _run_quantiles() -> AnyPanel:
    vector = buckets(RUN_DURATION, RUN_OF_JOB, window=STEP)
    panel = graph(
        "Run duration, quantiles",
        f"Median, 95th percentile, and the last run as it was. {_EXACT}",
        [
            *median_and_p95(vector, exemplars=True),
            Query(f"max({gauge(LAST_DURATION, RUN_OF_JOB)})", "last run"),
        ],
        "s",
    )
    return coloured(panel, QUANTILE_COLOURS | {"last run": "#808080"})


def _anatomy() -> AnyPanel:
    queries = [Query(mean(RUN_QUEUE, RUN_OF_JOB, window=STEP), "queue")]
    queries += [Query(mean_of_either(families, RUN_OF_JOB), phase) for phase, families in _PHASES.items()]
    panel = graph(
        "Where the time goes",
        "Mean time in each phase, one on the other. For runs of several tasks setup, execution and cleanup "
        "are means of a task attempt, so the sum is not the run's duration.",
        queries,
        "s",
    )
    return coloured(stacked(panel), PHASE_COLOURS).span(24)


def _queue() -> list[AnyPanel]:
    vector = buckets(RUN_QUEUE, RUN_OF_JOB, window=STEP)
    quantiles = graph(
        "Queue time, quantiles",
        f"Time that finished runs spent in the queue. {_EXACT}",
        median_and_p95(vector),
        "s",
        QUEUED_SECONDS,
    )
    return [
        heat(
            "Queue time",
            "How many runs queued how long. The lowest row is those that hardly queued or not at all.",
            Query(vector, "{{le}}"),
            "s",
        ),
        coloured(quantiles, QUANTILE_COLOURS),
    ]


def _phase(name: str) -> list[AnyPanel]:
    vector = either(_PHASES[name], RUN_OF_JOB, window=STEP)
    exemplars = name == "execution"
    title = f"{name.capitalize()} time"
    quantiles = graph(
        f"{title}, quantiles",
        f"Median and 95th percentile. {_OR_TASKS} {_EXACT}",
        median_and_p95(vector, exemplars=exemplars),
        "s",
    )
    return [
        heat(
            title, f"How many took how long. {_OR_TASKS}", Query(vector, "{{le}}", exemplars=exemplars), "s"
        ),
        coloured(quantiles, QUANTILE_COLOURS),
    ]
