"""The committed dashboards: as their sources say, complete, readable, and asking only for what is served."""

import json
import re
import subprocess
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import build
from exporter.families import FAMILIES, RUN_DURATION, TASK_EXECUTION
from tests.deploy.dashboard_queries import (
    FOLDER,
    NAMES,
    PanelQuery,
    dashboard,
    filled,
    panels,
    queries,
    used,
    variables,
)
from tests.programs import program

PANELS = [
    pytest.param(name, panel, id=f"{name}: {panel['title']}") for name in NAMES for panel in panels(name)
]
QUERIES = [pytest.param(query, id=str(query)) for query in queries()]
PROVISIONING = FOLDER.parent / "provisioning"

MACROS = {"__range": "1d", "__rate_interval": "5m"}
VALUES = MACROS | {"workspace": ".*", "job": ".*", "target": ".*", "datasource": "prometheus"}

# What prometheus-client adds of the process; Prometheus itself adds `instance` and `job` to everything.
PROCESS = {
    "process_cpu_seconds_total",
    "process_resident_memory_bytes",
    "process_open_fds",
    "process_max_fds",
}
SERVED = {
    family.name + part: {*family.labels, *(("le",) if part == "_bucket" else ())}
    for family in FAMILIES
    for part in (("_bucket", "_count", "_sum") if family.kind == "histogram" else ("",))
} | {name: set[str]() for name in PROCESS}
SCRAPED = {"instance", "job"}

_WORD = re.compile(r"[a-zA-Z_]\w*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_SELECTOR = re.compile(r"([a-zA-Z_]\w*)\{([^}]*)\}")
_GROUPING = re.compile(r"\b(?:by|on|without|ignoring|group_left|group_right)\s*\(([^)]*)\)")
_LANGUAGE = re.compile(
    r"sum|min|max|count|group|topk|rate|increase|histogram_quantile|time|vector|label_replace|by|on|and|or|d|m"
)


def names_and_labels(expression: str) -> tuple[set[str], set[str]]:
    """The families of an expression, and the labels that it groups or joins by."""
    bare = _STRING.sub("", expression)
    grouped = {label for group in _GROUPING.findall(bare) for label in _WORD.findall(group)}
    rest = _GROUPING.sub("", _SELECTOR.sub(r"\1", bare))
    words = {word for word in _WORD.findall(rest) if not _LANGUAGE.fullmatch(word)}
    return words, grouped


@pytest.mark.parametrize("name", NAMES)
def test_the_json_is_what_the_sources_make(name: str) -> None:
    """Somebody who changes a source has to run `make dashboards`."""
    assert (FOLDER / f"{name}.json").read_text(encoding="utf-8") == build.text(name)


def test_there_is_one_file_per_source() -> None:
    """Nothing lies in the folder that Grafana loads but what the sources make, and what kustomize reads."""
    assert {path.name for path in FOLDER.iterdir()} - {"kustomization.yaml"} == {
        f"{name}.json" for name in build.BUILDERS
    }


def test_dashboards_keep_their_addresses() -> None:
    """Bookmarks and links from alerts live as long as the uids stay."""
    assert {name: dashboard(name)["uid"] for name in NAMES} == {
        "overview": "databricks-jobs-overview",
        "job": "databricks-jobs-job",
        "performance-target": "databricks-jobs-target",
        "exporter": "databricks-jobs-exporter",
    }


@pytest.mark.parametrize(("name", "panel"), PANELS)
def test_a_panel_says_what_it_shows_and_in_which_unit(name: str, panel: dict[str, Any]) -> None:
    """Every panel has a title, a sentence that explains it, and a unit; a table has one per column."""
    assert panel["title"]
    assert panel["description"].endswith("."), panel["description"]
    assert panel["fieldConfig"]["defaults"]["unit"]
    if panel["type"] == "table":
        for override in panel["fieldConfig"]["overrides"]:
            assert {"unit"} <= {one["id"] for one in override["properties"]}, override
    assert name in NAMES


@pytest.mark.parametrize(("name", "panel"), PANELS)
def test_figures_have_thresholds(name: str, panel: dict[str, Any]) -> None:
    """A single figure has the colour of a threshold; one that can be bad has more than one."""
    if panel["type"] not in {"stat", "bargauge"}:
        return
    steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
    neutral = {"text", "blue", "orange"}
    assert len(steps) > 1 or steps[0]["color"] in neutral, name


@pytest.mark.parametrize("name", NAMES)
def test_panels_lie_side_by_side(name: str) -> None:
    """No panel covers another, and none sticks out of the 24 columns."""
    places = [panel["gridPos"] for panel in dashboard(name)["panels"]]
    for place in places:
        assert 0 <= place["x"] <= 24 - place["w"]
    for one, other in combinations(places, 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


@pytest.mark.parametrize("name", NAMES)
def test_panels_are_numbered_and_titled_apart(name: str) -> None:
    """Ids are unique, so are titles: a link to a panel means one panel."""
    every = dashboard(name)["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    titles = [panel["title"] for panel in panels(name)]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", NAMES)
def test_every_query_goes_to_the_chosen_data_source(name: str) -> None:
    """No panel, query or variable has a data source of its own."""
    chosen = {"type": "prometheus", "uid": "${datasource}"}
    asking = [*panels(name), *(target for panel in panels(name) for target in panel["targets"])]
    asking += [variable for variable in variables(name) if variable["type"] == "query"]
    assert all(one["datasource"] == chosen for one in asking)


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_has_the_variables_that_it_uses(name: str) -> None:
    """Every variable in a query exists, every one that exists is used, and one comes after those it needs."""
    known: set[str] = set()
    for variable in variables(name):
        assert used(str(variable["query"])) <= known
        known.add(variable["name"])
    asked = {word for query in queries() if query.dashboard == name for word in used(query.expression)}
    assert asked - MACROS.keys() == known - {"datasource"}


@pytest.mark.parametrize("name", NAMES)
def test_time_and_refresh_suit_the_data(name: str) -> None:
    """A dashboard opens on a range and refreshes no faster than an exporter polls."""
    made = dashboard(name)
    assert made["time"]["to"] == "now"
    assert made["refresh"] in {"30s", "1m", "5m"}


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_asks_for_what_is_served(query: PanelQuery) -> None:
    """Every family is in the table, and every label is one of its family or of the families it meets."""
    names, grouped = names_and_labels(filled(query.expression, VALUES))
    assert names, query.expression
    assert names <= SERVED.keys(), names - SERVED.keys()
    labels = {label for name in names for label in SERVED[name]} | SCRAPED
    assert grouped <= labels, grouped - labels
    for name, matchers in _SELECTOR.findall(query.expression):
        matched = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", _STRING.sub("", matchers)))
        assert matched <= SERVED[name] | SCRAPED, (name, matched)


@pytest.mark.parametrize("query", QUERIES)
def test_windows_follow_the_reader(query: PanelQuery) -> None:
    """A graph's window fits its step, a table's or a figure's is the whole range; none is written in."""
    windows = set(re.findall(r"\[([^\]]*)\]", _STRING.sub("", query.expression)))
    assert windows <= ({"$__range"} if query.instant else {"$__rate_interval"})


def test_prometheus_understands_every_query(tmp_path: Path) -> None:
    """Prometheus' own checker takes all of them as rules."""
    promtool = program("promtool")
    rules = [
        {"record": f"query:{number}", "expr": filled(query.expression, VALUES)}
        for number, query in enumerate(queries())
    ]
    path = tmp_path / "queries.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboards", "rules": rules}]}))
    done = subprocess.run([promtool, "check", "rules", path], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"{len(rules)} rules found" in done.stdout


def test_single_runs_are_dots_where_the_exporter_marks_them() -> None:
    """Exemplars are asked for on the two families that have them, in graphs and in heatmaps."""
    marked = [
        target["expr"]
        for name in NAMES
        for panel in panels(name)
        for target in panel["targets"]
        if target.get("exemplar")
    ]
    assert len(marked) == 4
    having = (RUN_DURATION.name, TASK_EXECUTION.name)
    assert all(any(f"{name}_bucket" in expression for name in having) for expression in marked)


@pytest.mark.parametrize("name", ["overview", "performance-target"])
def test_a_job_in_a_table_links_to_its_dashboard(name: str) -> None:
    """From a job's name it is one click to its dashboard, with the data source, its workspace and its id."""
    tables = [panel for panel in panels(name) if panel["type"] == "table"]
    links = [
        one["value"][0]["url"]
        for panel in tables
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if override["matcher"]["options"] == "Job" and one["id"] == "links"
    ]
    assert links
    for link in links:
        assert link.startswith(f"/d/{dashboard('job')['uid']}?")
        assert "var-workspace=${__data.fields.workspace}" in link
        assert "var-job=${__data.fields.job_id}" in link


def test_a_job_is_picked_by_name_and_asked_for_by_id() -> None:
    """The variable's expression takes apart what Grafana makes of a series of databricks_job_info."""
    (variable,) = (one for one in variables("job") if one["name"] == "job")
    pattern = re.compile(variable["regex"].removeprefix("/").removesuffix("/g").replace("(?<", "(?P<"))
    shown = 'databricks_job_info{job_id="42",job_name="nightly load",workspace="w"} 1 1790000000000'
    found = [match.groupdict() for match in pattern.finditer(shown)]
    assert [one["text"] for one in found if one["text"]] == ["nightly load"]
    assert [one["value"] for one in found if one["value"]] == ["42"]


def test_the_provisioned_data_source_links_single_runs() -> None:
    """Grafana finds Prometheus beside it, and a dot's run id leads to the run."""
    text = (PROVISIONING / "datasources/prometheus.yml").read_text()
    (source,) = yaml.safe_load(text)["datasources"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    (link,) = source["jsonData"]["exemplarTraceIdDestinations"]
    assert link["name"] == "run_id"
    # Grafana would take a single $ for a variable of its environment.
    assert link["url"].endswith("/jobs/runs/$${__value.raw}")


def test_the_provisioned_folder_is_where_compose_puts_the_dashboards() -> None:
    """The provider reads the folder that the JSON is mounted to."""
    (provider,) = yaml.safe_load((PROVISIONING / "dashboards/databricks-jobs.yml").read_text())["providers"]
    assert provider["options"]["path"] == "/var/lib/grafana/dashboards"
