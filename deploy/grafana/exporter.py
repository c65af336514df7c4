"""Exporter: does it read the workspace in time, and what does that cost?"""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.models.common import BigValueTextMode

from deploy.grafana.colours import AMBER, GOOD_SHARE, GREEN, PLAIN, PLAINLY, RED
from deploy.grafana.panels import AnyPanel, Query, coloured, graph, heat, stacked, stat_panel
from deploy.grafana.queries import (
    STEP,
    WORKSPACES,
    buckets,
    gauge,
    increase,
    or_zero,
    per_hour,
    per_second,
    quantile,
    total,
)
from deploy.grafana.shared import freshness
from deploy.grafana.variables import assemble, data_source, filled, workspaces
from exporter.families import (
    API_DURATION,
    API_REQUESTS,
    API_RETRIES,
    BUILD_INFO,
    DECODE_ERRORS,
    LAST_POLL,
    LOST,
    POLL_DURATION,
    POLLS,
    RENDER_DURATION,
    SERIES,
    SETTLED,
    TRACKED,
)

# The process families have no workspace: the exporter's are those beside its build info.
_OURS = f"and on (instance, job) {BUILD_INFO.name}"
_POLL_COLOURS = {"success": GREEN, "error": RED}
_CODE_COLOURS = {"200": GREEN, "429": AMBER, "500": RED, "503": RED, "timeout": "purple", "error": RED}
_GOOD = 'result="success"'
_AGES = ((None, GREEN), (90, AMBER), (300, RED))


def build() -> dashboard.Dashboard:
    page = assemble(
        "exporter",
        "Databricks jobs / Exporter",
        "The exporter itself: is what it serves fresh and complete, and what does reading the API cost?",
        [data_source(), workspaces()],
    )
    return filled(
        page.time("now-6h", "now").refresh("30s"),
        [
            ("At a glance", _figures()),
            ("Polls", _polls()),
            ("Databricks API", _api()),
            ("What it serves", _served()),
            ("Process", _process()),
        ],
    )


def _figures() -> list[AnyPanel]:
    """A list of figures, long because it is a table."""
    return [
        freshness(),
        stat_panel(
            "Last good poll",
            "Age of the oldest workspace's last successful poll. The colours suit the default interval of "
            "30 s.",
            Query(f"time() - min({gauge(LAST_POLL, WORKSPACES)})"),
            "s",
            _AGES,
        ).decimals(0),
        stat_panel(
            "Poll success",
            "Share of the polls in the time range. A failed poll loses nothing: the next one reads the "
            "same again.",
            Query(f"{total(increase(POLLS, WORKSPACES, _GOOD))} / {total(increase(POLLS, WORKSPACES))}"),
            "percentunit",
            GOOD_SHARE,
        ).decimals(1),
        stat_panel(
            "Throttled",
            "Requests in the time range that the API refused with 429. They are repeated after the wait "
            "that it asks for. Many: lower api.rate or poll less often.",
            Query(or_zero(total(increase(API_REQUESTS, WORKSPACES, 'code="429"')))),
            "short",
            ((None, GREEN), (1, AMBER), (100, RED)),
        ).decimals(0),
        stat_panel(
            "Runs lost",
            "Runs in the time range that were seen active and were gone before they could be counted, as "
            "deleted runs are.",
            Query(total(increase(LOST, WORKSPACES))),
            "short",
            ((None, GREEN), (0.5, RED)),
        ).decimals(0),
        stat_panel(
            "Decode errors",
            "Runs in API answers that could not be understood in the time range. The log names each once.",
            Query(total(increase(DECODE_ERRORS, WORKSPACES))),
            "short",
            ((None, GREEN), (0.5, RED)),
        ).decimals(0),
        stat_panel(
            "Series",
            "Series of the job and task families that a scrape gets. Amber where Prometheus should be "
            "sized for it.",
            Query(f"sum({SERIES.name})"),
            "short",
            ((None, PLAIN), (500_000, AMBER), (1_000_000, RED)),
        ),
        stat_panel(
            "Version",
            "The exporter's version; several where several are running.",
            Query(f"count by (version) ({BUILD_INFO.name})", "{{version}}"),
            "short",
            PLAINLY,
        ).text_mode(BigValueTextMode.NAME),
    ]


def _polls() -> list[AnyPanel]:
    vector = buckets(POLL_DURATION, WORKSPACES, window=STEP)
    results = graph(
        "Polls per hour",
        "By result. At the default interval of 30 s there are 120 an hour.",
        [Query(per_hour(POLLS, WORKSPACES, by="result"), "{{result}}")],
        "short",
    ).span(8)
    age = graph(
        "Age of what is served",
        "Seconds since the last successful poll. It falls to the poll's own duration with each of them, and "
        "climbs while the API is away.",
        [Query(f"time() - max by (workspace) ({gauge(LAST_POLL, WORKSPACES)})", "{{workspace}}")],
        "s",
        _AGES,
    ).span(8)
    return [
        coloured(stacked(results), _POLL_COLOURS),
        age,
        heat(
            "Poll duration",
            "How long polls took, failed ones included. Above the interval, polls are late.",
            Query(vector, "{{le}}"),
            "s",
        ).span(8),
    ]


def _api() -> list[AnyPanel]:
    vector = total(per_second(API_DURATION, WORKSPACES, part="_bucket"), "le", "endpoint")
    codes = graph(
        "Requests by code",
        "Requests to the Databricks API per second by HTTP status; timeout and error had no answer. 429 is "
        "throttling.",
        [Query(total(per_second(API_REQUESTS, WORKSPACES), "code"), "{{code}}")],
        "reqps",
    ).span(8)
    endpoints = graph(
        "Requests and retries by endpoint",
        "Requests per second by endpoint, and those of them that repeated a failed one.",
        [
            Query(total(per_second(API_REQUESTS, WORKSPACES), "endpoint"), "{{endpoint}}"),
            Query(total(per_second(API_RETRIES, WORKSPACES), "endpoint"), "{{endpoint}}, retries"),
        ],
        "reqps",
    ).span(8)
    latency = graph(
        "Latency by endpoint",
        "95th percentile of the duration of a request, from the first byte sent to the last one read.",
        [Query(quantile(0.95, vector), "{{endpoint}}")],
        "s",
        ((None, GREEN), (10, AMBER), (30, RED)),
    ).span(8)
    return [coloured(stacked(codes), _CODE_COLOURS), endpoints, latency]


def _served() -> list[AnyPanel]:
    series = graph(
        "Series and runs remembered",
        "Series of the job and task families, which grow with jobs, never with runs; and runs kept in mind "
        "so that none is counted twice.",
        [
            Query(f"sum({SERIES.name})", "series"),
            Query(total(gauge(TRACKED, WORKSPACES)), "runs remembered"),
        ],
        "short",
    ).span(8)
    settled = graph(
        "Runs counted per hour",
        "Finished runs that were taken into the totals. A step up after an absence is what was missed "
        "meanwhile.",
        [Query(f"{total(per_second(SETTLED, WORKSPACES))} * 3600", "runs")],
        "short",
    ).span(8)
    render = graph(
        "Render time",
        "Duration of the last rendering of what a scrape gets. It happens after a poll, never in a scrape.",
        [Query(f"max by (instance) ({RENDER_DURATION.name})", "{{instance}}")],
        "s",
        ((None, GREEN), (1, AMBER)),
    ).span(8)
    return [coloured(series, {"series": "blue", "runs remembered": "purple"}), settled, render]


def _process() -> list[AnyPanel]:
    def ours(expression: str) -> str:
        return f"({expression}) {_OURS}"

    files = ours("process_open_fds / process_max_fds")
    return [
        graph(
            "CPU",
            "Share of one core that the exporter's process uses.",
            [Query(ours(f"rate(process_cpu_seconds_total[{STEP}])"), "{{instance}}")],
            "percentunit",
            ((None, GREEN), (0.8, AMBER)),
        ).span(8),
        graph(
            "Memory",
            "Resident memory of the exporter's process.",
            [Query(ours("process_resident_memory_bytes"), "{{instance}}")],
            "bytes",
        ).span(8),
        graph(
            "Open files",
            "Share of the file descriptors that the process may open.",
            [Query(files, "{{instance}}")],
            "percentunit",
            ((None, GREEN), (0.5, AMBER), (0.8, RED)),
        ).span(8),
    ]
