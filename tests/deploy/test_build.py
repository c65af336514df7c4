"""The generator beside the kustomization."""

import pytest
import yaml

from deploy.kubernetes.build import dashboards, generated, main, prometheus_rule

RULES = {
    "b.yml": "groups: [{name: second, rules: [{alert: A, expr: up == 0, for: 5m}]}]",
    "a.yml": "groups: [{name: first, rules: [{record: a:b, expr: vector(1)}]}]",
}


def test_the_groups_of_all_files_are_joined_in_the_order_of_their_names() -> None:
    groups = prometheus_rule(RULES)["spec"]["groups"]
    assert [group["name"] for group in groups] == ["first", "second"]
    assert groups[1]["rules"] == [{"alert": "A", "expr": "up == 0", "for": "5m"}]


def test_every_dashboard_becomes_one_config_map_with_a_stable_name() -> None:
    kustomization = dashboards(["overview.json", "job.json"])
    assert kustomization["configMapGenerator"] == [
        {"name": "databricks-jobs-exporter-dashboard-job", "files": ["job.json"]},
        {"name": "databricks-jobs-exporter-dashboard-overview", "files": ["overview.json"]},
    ]
    assert kustomization["generatorOptions"]["disableNameSuffixHash"] is True


def test_what_is_written_reads_back_as_the_same_groups() -> None:
    [text] = [text for path, text in generated().items() if path.name == "prometheus-rule.yaml"]
    folder = main.__globals__["DEPLOY"] / "prometheus" / "rules"
    rule_files = {path.name: path.read_text() for path in folder.glob("*.yml")}
    assert yaml.safe_load(text) == prometheus_rule(rule_files)


def test_a_stale_file_is_named_and_left_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    [path] = [path for path in generated() if path.name == "prometheus-rule.yaml"]
    before = path.read_text()
    monkeypatch.setattr("deploy.kubernetes.build.generated", lambda: {path: "groups: []\n"})
    assert main(["--check"]) == 1
    assert f"{path.name} is out of date" in capsys.readouterr().err
    assert path.read_text() == before
