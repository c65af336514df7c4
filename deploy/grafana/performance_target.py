"""Performance target: is PERFORMANCE_OPTIMIZED worth its price, beside STANDARD?"""

from grafana_foundation_sdk.builders import dashboard

from deploy.grafana.colours import GOOD_SHARE, GREEN, PLAIN, RED, TARGET_COLOURS
from deploy.grafana.panels import AnyPanel, Query, coloured, dashed, graph, heat, stat_panel
from deploy.grafana.queries import (
    BY_JOB,
    GOOD,
    JUDGED,
    RUN_OF_JOBS,
    STEP,
    WORKSPACES,
    among,
    buckets,
    either,
    increase,
    named,
    quantile,
    total,
)
from deploy.grafana.shared import median_and_p95
from deploy.grafana.tables import Column, count, jobs_table, seconds, table_panel
from deploy.grafana.variables import assemble, data_source, filled, jobs, targets, workspaces
from exporter.families import (
    RUN_DURATION,
    RUN_EXECUTION,
    RUN_SETUP,
    RUNS,
    TASK_EXECUTION,
    TASK_SETUP,
    Family,
)

# Every run has task attempts, only some have phases of their own: across jobs, attempts are comparable.
# Where they are not collected, the runs of one task are all there is.
_MEASURES: dict[str, tuple[tuple[Family, Family], str]] = {
    "Start-up": ((TASK_SETUP, RUN_SETUP), "Time until a task attempt had its compute."),
    "Execution": ((TASK_EXECUTION, RUN_EXECUTION), "Time that a task attempt worked."),
    "Total": ((RUN_DURATION, RUN_DURATION), "Duration of runs, the queue included."),
}
_STANDARD, _FAST = "STANDARD", "PERFORMANCE_OPTIMIZED"
_SHORT = {_STANDARD: "standard", _FAST: "optimized"}
_TARGET = "effective_performance_target"
# A few per cent are chance, and the width of a bucket.
_SAVED = ((None, RED), (-0.05, PLAIN), (0.05, GREEN))


def build() -> dashboard.Dashboard:
    page = assemble(
        "performance-target",
        "Databricks jobs / Performance target",
        "STANDARD beside PERFORMANCE_OPTIMIZED: start-up, execution and total, over all jobs and for the "
        "same job both ways. Over all jobs the two run different work; compare the same job where you can.",
        [data_source(), workspaces(), jobs(), targets(f"{WORKSPACES}")],
    )
    rows = [("All jobs, by target", [_summary()]), ("The same job both ways", [*_gains(), _both_ways()])]
    rows += [(name, _measure(name)) for name in _MEASURES]
    return filled(page.time("now-7d", "now").refresh("5m"), rows)


def _vector(measure: str, *matchers: str, by: tuple[str, ...] = (), window: str = "$__range") -> str:
    families, _ = _MEASURES[measure]
    if families[0] is families[1]:
        return buckets(families[0], *matchers, by=by, window=window)
    return either(families, *matchers, by=by, window=window)


def _of(target: str) -> str:
    return f'{_TARGET}="{target}"'


def _runs(target: str) -> str:
    counted = increase(RUN_DURATION, RUN_OF_JOBS, _of(target), part="_count")
    return f"{total(counted, *BY_JOB)} > 0.5"


# Jobs with runs at both targets.
_BOTH = f"({_runs(_STANDARD)}) and on (workspace, job_id) ({_runs(_FAST)})"


def _fair_median(measure: str, target: str) -> str:
    """The median over the jobs that ran at both targets."""
    by_job = _vector(measure, RUN_OF_JOBS, _of(target), by=BY_JOB)
    return quantile(0.5, total(among(by_job, _BOTH), "le"))


def _gains() -> list[AnyPanel]:
    """How much of the median PERFORMANCE_OPTIMIZED saves."""
    return [
        stat_panel(
            f"{measure} saved",
            "How much shorter the median of PERFORMANCE_OPTIMIZED is than that of STANDARD, "
            f"over the jobs that ran at both. {text} Negative: it is longer.",
            Query(f"1 - {_fair_median(measure, _FAST)} / {_fair_median(measure, _STANDARD)}"),
            "percentunit",
            _SAVED,
        )
        .decimals(0)
        .no_value("no such job")
        .span(8)
        for measure, (_, text) in _MEASURES.items()
    ]


def _summary() -> AnyPanel:
    by = (_TARGET,)
    good, judged = (total(increase(RUNS, RUN_OF_JOBS, what), *by) for what in (GOOD, JUDGED))
    columns = [
        Column("Target", label=_TARGET),
        count("Runs", total(increase(RUNS, RUN_OF_JOBS), *by)),
        Column(
            "Success",
            f"{good} / {judged}",
            unit="percentunit",
            decimals=1,
            steps=GOOD_SHARE,
        ),
    ]
    for measure in _MEASURES:
        vector = _vector(measure, RUN_OF_JOBS, by=by)
        columns += [
            seconds(f"{measure} p50", quantile(0.5, vector)),
            seconds(f"{measure} p95", quantile(0.95, vector)),
        ]
    panel = table_panel(
        "By target",
        "Runs, success ratio (without skipped and cancelled runs), median and 95th percentile of the time "
        "range. Start-up and execution are of task attempts, total is of runs.",
        columns,
        "Runs",
    )
    return panel.height(5).span(24)


def _measure(name: str) -> list[AnyPanel]:
    _, text = _MEASURES[name]
    serverless = f'{_TARGET}!="NONE"'
    over_time = _vector(name, RUN_OF_JOBS, serverless, by=(_TARGET,), window=STEP)
    quantiles = graph(
        f"{name}, quantiles",
        f"{text} Median, and dashed the 95th percentile, by target; estimated from buckets.",
        median_and_p95(over_time, "{{effective_performance_target}} "),
        "s",
    ).span(8)
    for share in ("p50", "p95"):
        colours = {f"{target} {share}": TARGET_COLOURS[target] for target in (_STANDARD, _FAST)}
        quantiles = coloured(quantiles, colours)
    quantiles = dashed(quantiles, [f"{target} p95" for target in (_STANDARD, _FAST)])
    distributions: list[AnyPanel] = [
        heat(
            f"{name}, {target}",
            f"{text} How many took how long, at this target.",
            Query(_vector(name, RUN_OF_JOBS, _of(target), window=STEP), "{{le}}"),
            "s",
        ).span(8)
        for target in (_STANDARD, _FAST)
    ]
    return [*distributions, quantiles]


def _both_ways() -> AnyPanel:
    """Medians of the jobs that ran at both targets."""

    def median(measure: str, target: str) -> str:
        return quantile(0.5, _vector(measure, RUN_OF_JOBS, _of(target), by=BY_JOB))

    columns = []
    for target in (_STANDARD, _FAST):
        runs_of = named(among(_runs(target), _BOTH))
        columns.append(count(f"Runs, {_SHORT[target]}", runs_of))
    for measure in _MEASURES:
        for target in (_STANDARD, _FAST):
            column = named(among(median(measure, target), _BOTH))
            columns.append(seconds(f"{measure}, {_SHORT[target]}", column))
    saved = f"1 - {median('Total', _FAST)} / {median('Total', _STANDARD)}"
    columns.append(
        Column(
            "Total saved",
            named(among(saved, _BOTH)),
            unit="percentunit",
            decimals=0,
            steps=_SAVED,
        )
    )
    panel = jobs_table(
        "Medians of jobs that ran at both targets",
        "Jobs with runs at STANDARD and at PERFORMANCE_OPTIMIZED in the time range: the fair comparison. "
        "To fill it, switch a job to the other target for some days.",
        columns,
        "Total saved",
    )
    return panel.span(24).height(5)
