"""The exporter's own metrics: what the table says, nothing else, and true at the moment of the scrape."""

import platform
import time

import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from exporter import __version__
from exporter.families import OWN_FAMILIES
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics

INTERVAL = 30.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def own_metrics() -> OwnMetrics:
    return OwnMetrics()


@pytest.fixture
def workspace(own_metrics: OwnMetrics, clock: Clock) -> WorkspaceMetrics:
    return WorkspaceMetrics(own_metrics, "adb-1.2.test", INTERVAL, clock)


def parsed(own_metrics: OwnMetrics) -> list[Metric]:
    return list(parse_text(own_metrics.text().decode()))


def value(own_metrics: OwnMetrics, name: str, **labels: str) -> float | None:
    """The value of the one sample with these labels, None where there is none."""
    found = [
        sample.value
        for metric in parsed(own_metrics)
        for sample in metric.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    assert len(found) <= 1
    return found[0] if found else None


def test_what_is_registered_is_what_the_table_says(
    own_metrics: OwnMetrics, workspace: WorkspaceMetrics
) -> None:
    """Names, types, help and labels of the served families are those of the table, no more and no less."""
    workspace.request_ended("runs/list", "200", 0.1)
    workspace.request_repeated("runs/list")
    workspace.note_pending({"large": 1}, 1.0)
    served = {
        metric.name: (
            metric.type,
            metric.documentation,
            {frozenset(sample.labels) - {"le"} for sample in metric.samples},
        )
        for metric in parsed(own_metrics)
        if not metric.name.startswith(("process_", "python_"))
    }
    assert served == {
        family.openmetrics_name: (family.kind, family.help, {frozenset(family.labels)})
        for family in OWN_FAMILIES
    }


def test_the_buckets_are_those_of_the_table(own_metrics: OwnMetrics, workspace: WorkspaceMetrics) -> None:
    """Each histogram has the bounds that the table gives it, and +Inf."""
    workspace.request_ended("runs/list", "200", 0.1)
    bounds = {
        metric.name: {float(sample.labels["le"]) for sample in metric.samples if "le" in sample.labels}
        for metric in parsed(own_metrics)
        if metric.type == "histogram"
    }
    assert bounds == {
        family.name: {*family.buckets, float("inf")} for family in OWN_FAMILIES if family.kind == "histogram"
    }


def test_both_formats_say_the_same(own_metrics: OwnMetrics, workspace: WorkspaceMetrics) -> None:
    """The OpenMetrics text is legal, ends in its end mark and has the same families and counts."""
    workspace.poll_ended(1.0, None)
    text = own_metrics.openmetrics().decode()
    assert text.endswith("\n# EOF\n")
    families = list(parse_openmetrics(text))  # type: ignore[no-untyped-call]
    assert {family.name for family in families} == {metric.name for metric in parsed(own_metrics)}
    polls = next(family for family in families if family.name == "databricks_exporter_polls")
    assert sorted(sample.value for sample in polls.samples) == [0.0, 1.0]


def test_no_series_says_when_a_counter_was_created(
    own_metrics: OwnMetrics, workspace: WorkspaceMetrics
) -> None:
    """`_created` samples, which double every counter, are switched off."""
    workspace.poll_ended(1.0, None)
    assert b"_created" not in own_metrics.text() + own_metrics.openmetrics()


def test_the_process_and_the_interpreter_are_measured(own_metrics: OwnMetrics) -> None:
    """`process_*` and `python_*` come from prometheus-client."""
    names = {metric.name for metric in parsed(own_metrics)}
    assert {
        "process_cpu_seconds",
        "process_resident_memory_bytes",
        "python_info",
        "python_gc_collections",
    } <= names


def test_the_build_is_named(own_metrics: OwnMetrics) -> None:
    """The exporter's version and Python's are labels of a 1."""
    labels = {"version": __version__, "python_version": platform.python_version()}
    assert value(own_metrics, "databricks_exporter_build_info", **labels) == 1


@pytest.mark.usefixtures("workspace")
def test_everything_of_a_workspace_starts_at_zero(own_metrics: OwnMetrics) -> None:
    """Before anything happened, counters that alerts look at exist at 0, and the workspace is not up."""
    zeros = (
        "databricks_up",
        "databricks_exporter_runs_settled_total",
        "databricks_exporter_runs_lost_total",
        "databricks_exporter_decode_errors_total",
        "databricks_exporter_tracked_runs",
        "databricks_exporter_last_successful_poll_timestamp_seconds",
        "databricks_exporter_poll_duration_seconds_count",
    )
    for name in zeros:
        assert value(own_metrics, name, workspace="adb-1.2.test") == 0, name
    for result in ("success", "error"):
        assert value(own_metrics, "databricks_exporter_polls_total", result=result) == 0


def test_up_is_worked_out_at_the_scrape(
    own_metrics: OwnMetrics, workspace: WorkspaceMetrics, clock: Clock
) -> None:
    """Up from a successful poll until 3 intervals later, with nothing else moving but the clock."""
    assert not workspace.is_up()
    workspace.poll_ended(1.0, None)
    assert value(own_metrics, "databricks_up") == 1
    clock.now += 3 * INTERVAL - 0.001
    assert (value(own_metrics, "databricks_up"), workspace.is_up()) == (1, True)
    clock.now += 0.001
    assert (value(own_metrics, "databricks_up"), workspace.is_up()) == (0, False)
    workspace.poll_ended(1.0, None)
    assert value(own_metrics, "databricks_up") == 1


def test_a_failed_poll_makes_nothing_up(
    own_metrics: OwnMetrics, workspace: WorkspaceMetrics, clock: Clock
) -> None:
    """Failures count, keep their reason, and leave the last success where it was."""
    workspace.poll_ended(2.0, "away")
    assert value(own_metrics, "databricks_up") == 0
    assert (workspace.age_seconds(), workspace.last_success_time) == (None, None)
    before = time.time()
    workspace.poll_ended(3.0, None)
    succeeded = workspace.last_success_time
    assert succeeded is not None
    assert before <= succeeded <= time.time()
    clock.now += 7
    workspace.poll_ended(4.0, "away again")
    assert workspace.age_seconds() == 7
    assert (workspace.failed_polls, workspace.last_error) == (2, "away again")
    last_poll = value(own_metrics, "databricks_exporter_last_successful_poll_timestamp_seconds")
    assert last_poll == workspace.last_success_time == succeeded
    assert value(own_metrics, "databricks_exporter_polls_total", result="error") == 2
    assert value(own_metrics, "databricks_exporter_polls_total", result="success") == 1
    assert value(own_metrics, "databricks_exporter_poll_duration_seconds_sum") == 9


def test_a_success_clears_the_last_error(workspace: WorkspaceMetrics) -> None:
    """What is shown as the last error is over once a poll succeeded."""
    workspace.poll_ended(1.0, "away")
    workspace.poll_ended(1.0, None)
    assert workspace.last_error is None


def test_workspaces_are_counted_apart(own_metrics: OwnMetrics, workspace: WorkspaceMetrics) -> None:
    """Requests and retries of one workspace are not the other's."""
    other = WorkspaceMetrics(own_metrics, "other", INTERVAL)
    workspace.request_ended("runs/list", "200", 0.1)
    workspace.request_ended("runs/list", "timeout", 30.0)
    other.request_ended("runs/list", "200", 0.1)
    other.request_repeated("runs/list")
    counts = {
        (sample.labels["workspace"], sample.labels["code"]): sample.value
        for metric in parsed(own_metrics)
        for sample in metric.samples
        if sample.name == "databricks_exporter_api_requests_total"
    }
    assert counts == {
        ("adb-1.2.test", "200"): 1,
        ("adb-1.2.test", "timeout"): 1,
        ("other", "200"): 1,
    }
    assert value(own_metrics, "databricks_exporter_api_retries_total", workspace="other") == 1
    assert value(own_metrics, "databricks_exporter_api_retries_total", workspace="adb-1.2.test") is None


def test_two_registries_do_not_meet() -> None:
    """Every instance has a registry of its own: none is global."""
    first, second = OwnMetrics(), OwnMetrics()
    first.series.set(5)
    assert value(second, "databricks_exporter_series") == 0
