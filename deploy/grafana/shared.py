"""Panels that several dashboards have. They differ in whose runs they are about: `matchers` choose them."""

from grafana_foundation_sdk.builders import stat, timeseries

from deploy.grafana.colours import (
    COUNTED,
    GOOD_SHARE,
    GREEN,
    NONE_IS_GOOD,
    ONE_IS_GOOD,
    PLAINLY,
    RED,
    RESULT_COLOURS,
    STATE_COLOURS,
)
from deploy.grafana.panels import Query, coloured, graph, said, stacked, stat_panel
from deploy.grafana.queries import (
    BAD,
    GOOD,
    JUDGED,
    WORKSPACES,
    gauge,
    increase,
    or_zero,
    per_hour,
    quantile,
    total,
)
from exporter.families import ACTIVE_RUNS, RUNS, UP


def freshness(remark: str = "") -> stat.Panel:
    return stat_panel(
        "Data",
        f"Whether every workspace's last successful poll is younger than three poll intervals.{remark}",
        Query(f"min({gauge(UP, WORKSPACES)})"),
        "none",
        ONE_IS_GOOD,
    ).mappings(said(_0=("STALE", RED), _1=("FRESH", GREEN)))


def success_ratio(matchers: str) -> stat.Panel:
    good, judged = total(increase(RUNS, matchers, GOOD)), total(increase(RUNS, matchers, JUDGED))
    return stat_panel(
        "Success ratio",
        "Share of the runs in the time range that succeeded. Skipped and cancelled runs don't count.",
        Query(f"{good} / {judged}"),
        "percentunit",
        GOOD_SHARE,
    ).decimals(1)


def finished_runs(matchers: str) -> stat.Panel:
    return stat_panel(
        "Finished runs",
        "Runs that finished in the time range, whatever the result.",
        Query(total(increase(RUNS, matchers))),
        "short",
        PLAINLY,
    ).decimals(0)


def failures(matchers: str) -> stat.Panel:
    return stat_panel(
        "Failures",
        "Runs in the time range that failed or timed out.",
        Query(or_zero(total(increase(RUNS, matchers, BAD)))),
        "short",
        NONE_IS_GOOD,
    ).decimals(0)


def active_now(matchers: str, remark: str) -> stat.Panel:
    return stat_panel(
        "Active now",
        f"Runs that had not finished at the last poll, {remark}.",
        Query(or_zero(total(gauge(ACTIVE_RUNS, matchers)))),
        "short",
        COUNTED,
    )


def finished_by_result(matchers: str) -> timeseries.Panel:
    panel = graph(
        "Finished runs per hour",
        "How many runs finish per hour, by result.",
        [Query(per_hour(RUNS, matchers, by="result"), "{{result}}")],
        "short",
    )
    return coloured(stacked(panel), RESULT_COLOURS)


def active_by_state(matchers: str, remark: str = "") -> timeseries.Panel:
    panel = graph(
        "Active runs",
        f"Runs that have not finished, by the API's state{remark}.",
        [Query(total(gauge(ACTIVE_RUNS, matchers), "state"), "{{state}}")],
        "short",
    )
    return coloured(stacked(panel), STATE_COLOURS)


def median_and_p95(vector: str, of: str = "", *, exemplars: bool = False) -> list[Query]:
    """Two lines from a histogram's buckets; `of` goes before their names."""
    return [
        Query(quantile(0.5, vector), f"{of}p50", exemplars=exemplars),
        Query(quantile(0.95, vector), f"{of}p95"),
    ]
