"""The kustomization, built by kubectl and checked against the schemas of Kubernetes. No cluster is needed."""

import re
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import kubernetes_validate
import msgspec
import pytest
import yaml

import exporter
from deploy.kubernetes import build as generator
from exporter.settings import HEALTHY_PATH, READY_PATH, Invocation, all_settings, parse
from tests.deploy.operator_models import operator_resource
from tests.deploy.tools import (
    DEPLOY,
    image_environment,
    image_port,
    image_user,
    image_volume,
    program,
    untested,
)
from tests.e2e.conftest import program as prometheus_program

BASE = DEPLOY / "kubernetes" / "base"
EXAMPLE = DEPLOY / "kubernetes" / "overlays" / "example"
# The oldest with a restricted pod security standard that is final, and the newest whose schema is installed.
VERSIONS = ["1.25", kubernetes_validate.latest_version()]
CREDENTIALS = {"DATABRICKS_CLIENT_ID": "made-up", "DATABRICKS_CLIENT_SECRET": "made-up"}
CREDENTIALS_SECRET = "databricks-jobs-exporter-credentials"
Resource = dict[str, Any]


@cache
def kubectl() -> str:
    """A kubectl whose kustomize knows components: from 1.21 on, so not the one of Debian 12."""
    path = program("kubectl", "kubernetes-client, from Debian 13 on")
    told = subprocess.run([path, "version", "--client"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(?:Client Version: v|GitVersion:\"v)(\d+)\.(\d+)", told)
    assert version is not None, told
    if (int(version[1]), int(version[2])) < (1, 21):
        untested(f"kubectl {version[1]}.{version[2]} knows no kustomize components, 1.21 does")
    return path


@cache
def built(folder: Path) -> tuple[Resource, ...]:
    """Every resource that `kubectl apply -k` would send."""
    finished = subprocess.run([kubectl(), "kustomize", folder], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    return tuple(yaml.safe_load_all(finished.stdout))


def one(kind: str, folder: Path = BASE) -> Any:
    [resource] = [resource for resource in built(folder) if resource["kind"] == kind]
    return resource


def pod(folder: Path = BASE) -> Any:
    return one("StatefulSet", folder)["spec"]["template"]["spec"]


def container(folder: Path = BASE) -> Any:
    [only] = pod(folder)["containers"]
    return only


def config_map(prefix: str, folder: Path = BASE) -> Any:
    [found] = [
        resource
        for resource in built(folder)
        if resource["kind"] == "ConfigMap" and resource["metadata"]["name"].startswith(prefix)
    ]
    return found


# --- valid for Kubernetes


@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "example"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_of_kubernetes_follows_its_schema(folder: Path, version: str) -> None:
    for resource in built(folder):
        if "monitoring.coreos.com" not in resource["apiVersion"]:
            kubernetes_validate.validate(resource, version, strict=True)


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


def test_no_resource_is_too_large_for_a_plain_apply() -> None:
    """`kubectl apply` writes the whole resource into an annotation, which may hold 256 KiB."""
    for resource in built(EXAMPLE):
        size = len(msgspec.json.encode(resource))
        assert size < 250 * 1024, f"{resource['metadata']['name']} has {size} bytes"


def test_no_two_resources_share_a_name() -> None:
    names = [(resource["kind"], resource["metadata"]["name"]) for resource in built(EXAMPLE)]
    assert len(set(names)) == len(names)


# --- one exporter, one state


def test_there_is_one_exporter_and_never_a_second_beside_it() -> None:
    """A StatefulSet starts a pod only when the one before it is gone."""
    assert one("StatefulSet")["spec"]["replicas"] == 1
    assert "updateStrategy" not in one("StatefulSet")["spec"]


def test_the_state_is_in_a_volume_that_outlives_the_pod_and_the_set() -> None:
    [claim] = one("StatefulSet")["spec"]["volumeClaimTemplates"]
    assert "persistentVolumeClaimRetentionPolicy" not in one("StatefulSet")["spec"]
    [mount] = [mount for mount in container()["volumeMounts"] if mount["name"] == claim["metadata"]["name"]]
    assert mount["mountPath"] == image_volume()
    assert "readOnly" not in mount
    path = Path(image_environment()["DATABRICKS_EXPORTER_STATE_PATH"])
    assert str(path.parent) == mount["mountPath"]


# --- locked down


def test_the_pod_runs_as_the_user_of_the_image_and_never_as_root() -> None:
    context = pod()["securityContext"]
    assert context["runAsNonRoot"] is True
    assert f"{context['runAsUser']}:{context['runAsGroup']}" == image_user()
    assert context["fsGroup"] == context["runAsGroup"]
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod().keys()


def test_the_container_can_write_nothing_but_its_volume_and_gain_no_privilege() -> None:
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "privileged": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert [mount["name"] for mount in container()["volumeMounts"] if not mount.get("readOnly")] == ["state"]


def test_the_namespace_of_the_example_demands_what_the_pod_keeps() -> None:
    labels = one("Namespace", EXAMPLE)["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_pod_gets_no_token_and_no_variables_of_services() -> None:
    """DATABRICKS_EXPORTER_* variables that Kubernetes sets would be unknown settings."""
    assert pod()["automountServiceAccountToken"] is False
    assert one("ServiceAccount")["automountServiceAccountToken"] is False
    assert pod()["serviceAccountName"] == one("ServiceAccount")["metadata"]["name"]
    assert pod()["enableServiceLinks"] is False


def test_memory_has_room_for_the_peak_of_a_first_poll_and_an_end() -> None:
    """186 MB is what the README measures."""
    resources = container()["resources"]
    assert resources["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert mebibytes(resources["limits"]["memory"]) >= 2 * 186
    assert mebibytes(resources["requests"]["memory"]) >= 186


def mebibytes(quantity: str) -> int:
    assert quantity.endswith("Mi")
    return int(quantity.removesuffix("Mi"))


def test_scrapes_may_come_in_and_only_dns_and_https_go_out() -> None:
    spec = one("NetworkPolicy")["spec"]
    assert spec["podSelector"]["matchLabels"] == pod_labels()
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    [coming] = spec["ingress"]
    assert coming["from"] == [
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}
    ]
    assert [port["port"] for port in coming["ports"]] == ["metrics"]
    leaving = {(port["protocol"], port["port"]) for rule in spec["egress"] for port in rule["ports"]}
    assert leaving == {("UDP", 53), ("TCP", 53), ("TCP", 443)}


# --- wired to each other and to the exporter


def pod_labels(folder: Path = BASE) -> dict[str, str]:
    labels: dict[str, str] = one("StatefulSet", folder)["spec"]["template"]["metadata"]["labels"]
    return labels


@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "example"])
def test_every_selector_selects_the_pod_and_the_service_governs_it(folder: Path) -> None:
    stateful_set, service = one("StatefulSet", folder), one("Service", folder)
    assert stateful_set["spec"]["selector"]["matchLabels"] == pod_labels(folder)
    assert service["spec"]["selector"] == pod_labels(folder)
    assert stateful_set["spec"]["serviceName"] == service["metadata"]["name"]


def test_the_named_port_is_the_one_the_exporter_listens_on() -> None:
    [port] = container()["ports"]
    [service_port] = one("Service")["spec"]["ports"]
    assert port == {"name": "metrics", "containerPort": image_port()}
    assert service_port == {"name": "metrics", "port": image_port(), "targetPort": "metrics"}
    assert invocation().settings.web.listen_address.port == image_port()


def test_the_probes_ask_the_real_paths() -> None:
    asked = {name: probe["httpGet"] for name, probe in container().items() if name.endswith("Probe")}
    assert asked == {
        "startupProbe": {"path": HEALTHY_PATH, "port": "metrics"},
        "livenessProbe": {"path": HEALTHY_PATH, "port": "metrics"},
        "readinessProbe": {"path": READY_PATH, "port": "metrics"},
    }


def test_a_pod_that_is_not_ready_yet_is_scraped() -> None:
    assert one("Service")["spec"]["publishNotReadyAddresses"] is True


def test_the_image_is_of_this_version() -> None:
    assert container()["image"] == f"databricks-jobs-exporter:{exporter.__version__}"
    assert container(EXAMPLE)["image"].endswith(f"/databricks-jobs-exporter:{exporter.__version__}")


def invocation(folder: Path = BASE) -> Invocation:
    """What the exporter makes of the container's arguments, variables and settings file."""
    settings = config_map("databricks-jobs-exporter-settings", folder)
    [mount] = [mount for mount in container(folder)["volumeMounts"] if mount["name"] == "settings"]
    [argument] = container(folder)["args"]
    [(name, text)] = settings["data"].items()
    assert argument == f"--config.file={mount['mountPath']}/{name}"
    assert pod(folder)["volumes"] == [
        {"name": "settings", "configMap": {"name": settings["metadata"]["name"]}}
    ]
    assert (BASE / name).read_text(encoding="utf-8") == text
    workspace = config_map("databricks-jobs-exporter-workspace", folder)["data"]
    read = parse([f"--config.file={BASE / name}"], image_environment() | CREDENTIALS | workspace)
    assert isinstance(read, Invocation)
    return read


def test_the_exporter_accepts_the_settings_file() -> None:
    assert invocation().settings.log.format == "json"


def test_no_key_of_the_settings_file_is_overridden_by_the_image() -> None:
    """An environment variable beats the file: the key would be without effect."""
    written = yaml.safe_load(config_map("databricks-jobs-exporter-settings")["data"]["config.yaml"])
    keys = {f"{section}.{key}" for section, pairs in written.items() for key in pairs}
    overridden = {setting.name for setting in all_settings() if setting.variable in image_environment()}
    assert overridden == {"state.path"}
    assert not keys & overridden


def test_the_workspace_comes_from_the_overlay_and_the_login_from_a_secret_that_is_in_no_file() -> None:
    workspace = config_map("databricks-jobs-exporter-workspace", EXAMPLE)
    assert container(EXAMPLE)["envFrom"] == [
        {"configMapRef": {"name": workspace["metadata"]["name"]}},
        {"secretRef": {"name": CREDENTIALS_SECRET}},
    ]
    assert "Secret" not in {resource["kind"] for resource in built(EXAMPLE)}
    [access] = invocation(EXAMPLE).workspaces
    assert access.name == "adb-123.4.azuredatabricks.net"
    assert f"create secret generic {CREDENTIALS_SECRET}" in (DEPLOY / "README.md").read_text()


def test_a_base_applied_by_itself_can_reach_no_workspace() -> None:
    """`.invalid` is reserved: RFC 2606."""
    [access] = invocation().workspaces
    assert access.name.endswith(".invalid")


def test_the_example_puts_everything_into_its_namespace_and_chooses_a_storage_class() -> None:
    namespace = one("Namespace", EXAMPLE)["metadata"]["name"]
    others = [resource for resource in built(EXAMPLE) if resource["kind"] != "Namespace"]
    assert {resource["metadata"]["namespace"] for resource in others} == {namespace}
    assert namespace in (DEPLOY / "README.md").read_text()
    [claim] = one("StatefulSet", EXAMPLE)["spec"]["volumeClaimTemplates"]
    assert claim["spec"]["storageClassName"]


# --- the component for the operator


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
    command = [prometheus_program("promtool"), "check", "rules", str(rules)]
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
