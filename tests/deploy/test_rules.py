"""The shipped rules, their tests, runbooks and the Alertmanager configuration, read by their own tools."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from exporter.families import FAMILIES
from tests.deploy.promql import LEVELS, PROMETHEUS, QUERY, RUNBOOKS, recorded, rules, unknown_words
from tests.programs import program

RULE_TESTS = sorted((PROMETHEUS / "tests").glob("*.yml"))
ALERTMANAGER = PROMETHEUS.parent / "alertmanager" / "alertmanager.yml"
ALERTS = {rule["alert"]: rule for rule in rules() if "alert" in rule}
RUNBOOK_BASE = "https://example.com/databricks-jobs-exporter/runbooks/"


def run(name: str, *arguments: str | Path) -> str:
    """The output of a program that must succeed."""
    command = [program(name), *map(str, arguments)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout


def checks() -> list[dict[str, Any]]:
    """Every check of an alert in the rule tests."""
    return [
        check
        for path in RULE_TESTS
        for case in yaml.safe_load(path.read_text())["tests"]
        for check in case.get("alert_rule_test", ())
    ]


# --- Prometheus


def test_prometheus_accepts_the_sample_configuration_and_every_rule() -> None:
    output = run("promtool", "check", "config", PROMETHEUS / "prometheus.yml")
    assert output.count("rules found") == len(list((PROMETHEUS / "rules").glob("*.yml")))


def test_prometheus_accepts_the_example_of_overrides() -> None:
    run("promtool", "check", "rules", PROMETHEUS / "overrides.example.yml")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("path", RULE_TESTS, ids=lambda path: path.stem)
def test_the_rules_do_what_their_tests_say(path: Path) -> None:
    run("promtool", "test", "rules", path)


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("alert") or rule["record"])
def test_a_rule_uses_metrics_and_labels_that_exist(rule: dict[str, Any]) -> None:
    assert unknown_words(rule["expr"]) == []


def test_a_wrong_metric_and_wrong_labels_are_found() -> None:
    query = 'sum by (jobid) (databricks_job_runs{result="X"}) / databricks_up{state="y"}'
    assert unknown_words(query) == ["databricks_job_runs", "databricks_up{state}", "jobid"]


def test_a_recording_rule_is_named_after_the_labels_it_leaves() -> None:
    names = {family.name for family in FAMILIES}
    for name in recorded():
        level, metric, operations = name.split(":")
        assert level in LEVELS
        assert metric
        assert operations
        assert name not in names


def test_an_override_names_an_alert_that_reads_it() -> None:
    text = "".join(rule["expr"] for rule in rules())
    groups = yaml.safe_load((PROMETHEUS / "overrides.example.yml").read_text())["groups"]
    named = {rule["labels"]["alert"] for group in groups for rule in group["rules"]}
    assert named
    assert all(f'alert="{name}"' in text for name in named)


# --- alerts


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_is_tested_where_it_fires_and_where_it_does_not(alert: str) -> None:
    fires = {bool(check["exp_alerts"]) for check in checks() if check["alertname"] == alert}
    assert fires == {True, False}


def test_no_check_names_an_alert_that_is_gone() -> None:
    assert {check["alertname"] for check in checks()} == ALERTS.keys()


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_says_what_it_is_how_bad_and_what_to_do(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in {"critical", "warning", "info"}
    assert rule["labels"]["scope"] in {"exporter", "workspace", "job"}
    assert {"summary", "description"} <= rule["annotations"].keys()
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK_BASE}{alert}.md"


@pytest.mark.parametrize("alert", ALERTS)
def test_an_alert_has_a_runbook_with_queries_that_work(alert: str) -> None:
    text = (RUNBOOKS / f"{alert}.md").read_text()
    assert text.startswith(f"# {alert}\n")
    for heading in ("## What it means", "## How to look", "## What to do"):
        assert heading in text
    for query in QUERY.findall(text):
        assert unknown_words(query) == []


def test_every_runbook_belongs_to_an_alert() -> None:
    assert {path.stem for path in RUNBOOKS.glob("*.md")} == ALERTS.keys()


def test_the_readme_lists_every_alert_with_its_severity() -> None:
    rows = re.findall(r"^\| \[`(\w+)`\]\(runbooks/(\w+)\.md\) \| (\w+) \|", _readme(), re.MULTILINE)
    assert {(name, severity) for name, _, severity in rows} == {
        (name, rule["labels"]["severity"]) for name, rule in ALERTS.items()
    }
    assert all(name == link for name, link, _ in rows)


def _readme() -> str:
    return (PROMETHEUS / "README.md").read_text()


# --- Alertmanager


def test_alertmanager_accepts_the_sample_configuration() -> None:
    run("amtool", "check-config", ALERTMANAGER)


@pytest.mark.parametrize(
    ("severity", "receiver"), [("critical", "pager"), ("warning", "chat"), ("info", "log"), ("new", "chat")]
)
def test_an_alert_goes_where_its_severity_says(severity: str, receiver: str) -> None:
    labels = [f"severity={severity}", "workspace=w.example", "job_id=1"]
    output = run("amtool", "config", "routes", "test", f"--config.file={ALERTMANAGER}", *labels)
    assert output.strip() == receiver


def test_alerts_are_grouped_by_workspace_and_job() -> None:
    assert yaml.safe_load(ALERTMANAGER.read_text())["route"]["group_by"] == ["workspace", "job_id"]


def test_the_inhibitions_name_alerts_that_exist() -> None:
    text = yaml.safe_dump(yaml.safe_load(ALERTMANAGER.read_text())["inhibit_rules"], width=1000)
    named = set(re.findall(r"Databricks\w+", text))
    assert named
    assert named <= ALERTS.keys()
