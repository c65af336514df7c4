"""The component for the Prometheus operator, in the example overlay that switches it on."""

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
import yaml

from deploy.kubernetes import build as generator
from tests.deploy.kustomized import EXAMPLE, built, invocation, one
from tests.deploy.operator_models import operator_resource
from tests.deploy.tools import DEPLOY, image_port
from tests.programs import program


def test_every_resource_of_the_operator_is_as_it_wants_them() -> None:
    own = [resource for resource in built(EXAMPLE) if "monitoring.coreos.com" in resource["apiVersion"]]
    assert {resource["kind"] for resource in own} == {"ServiceMonitor", "PrometheusRule"}
    for resource in own:
        operator_resource(resource)


@pytest.mark.parametrize("wrong", [{"endpoint": []}, {"endpoints": []}])
def test_the_operators_resources_are_refused_when_a_field_is_unknown_or_empty(
    wrong: Mapping[str, Any],
) -> None:
    resource = one("ServiceMonitor", EXAMPLE)
    with pytest.raises(msgspec.ValidationError):
        operator_resource(resource | {"spec": resource["spec"] | wrong})


def test_the_service_monitor_finds_the_service_and_its_port() -> None:
    spec = one("ServiceMonitor", EXAMPLE)["spec"]
    service = one("Service", EXAMPLE)
    assert spec["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    [endpoint] = spec["endpoints"]
    assert endpoint["port"] in {port["name"] for port in service["spec"]["ports"]}
    assert endpoint["path"] == invocation().settings.web.telemetry_path


def test_no_other_service_is_found_by_the_service_monitor() -> None:
    assert [resource["kind"] for resource in built(EXAMPLE)].count("Service") == 1


def test_both_ways_to_run_prometheus_give_the_scrape_job_one_name() -> None:
    """Rules and dashboards may name it."""
    [endpoint] = one("ServiceMonitor", EXAMPLE)["spec"]["endpoints"]
    [relabeling] = endpoint["relabelings"]
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [name] = [
        job["job_name"]
        for job in config["scrape_configs"]
        if f"exporter:{image_port()}" in str(job["static_configs"])
    ]
    assert (relabeling["targetLabel"], relabeling["replacement"]) == ("job", name)


def test_what_is_generated_is_up_to_date() -> None:
    """`python -m deploy.kubernetes.build` writes it."""
    assert generator.main(["--check"]) == 0


def test_promtool_accepts_the_rules_of_the_resource(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(one("PrometheusRule", EXAMPLE)["spec"]))
    command = [program("promtool"), "check", "rules", str(rules)]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_every_rule_of_every_file_is_in_the_resource() -> None:
    files = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    assert groups
    assert one("PrometheusRule", EXAMPLE)["spec"]["groups"] == groups


def test_every_dashboard_is_in_a_config_map_that_grafanas_sidecar_finds() -> None:
    files = {path.name: path.read_text() for path in (DEPLOY / "grafana" / "dashboards").glob("*.json")}
    assert files
    maps = [
        resource
        for resource in built(EXAMPLE)
        if resource["kind"] == "ConfigMap" and resource["metadata"]["labels"].get("grafana_dashboard") == "1"
    ]
    assert {name: text for found in maps for name, text in found["data"].items()} == files
    assert len(maps) == len(files)
