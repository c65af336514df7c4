"""The base and the example overlay: checked against the schemas of Kubernetes, the image and the exporter."""

import re
from pathlib import Path

import kubernetes_validate
import msgspec
import pytest
import yaml

import exporter
from exporter.config import (
    HEALTHY_PATH,
    READY_PATH,
    ClientCredentials,
    Invocation,
    PersonalToken,
    all_settings,
    parse,
)
from tests.deploy.kustomized import (
    BASE,
    CREDENTIALS_SECRET,
    EXAMPLE,
    built,
    config_map,
    container,
    invocation,
    one,
    pod,
    pod_labels,
    volume,
    with_credentials,
)
from tests.deploy.tools import DEPLOY, ROOT, image_environment, image_port, image_user, image_volume

# The oldest with a restricted pod security standard that is final, and the newest whose schema is installed.
VERSIONS = ["1.25", kubernetes_validate.latest_version()]


# --- valid for Kubernetes


@pytest.mark.parametrize("folder", [BASE, EXAMPLE], ids=["base", "example"])
@pytest.mark.parametrize("version", VERSIONS)
def test_every_resource_of_kubernetes_follows_its_schema(folder: Path, version: str) -> None:
    for resource in built(folder):
        if "monitoring.coreos.com" not in resource["apiVersion"]:
            kubernetes_validate.validate(resource, version, strict=True)


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


def test_memory_has_room_for_the_measured_peaks_and_an_end() -> None:
    """Of a first poll and of a million series, as the README has them: twice as much is the limit."""
    peaks = re.findall(
        r"^\| peak memory \| (\d+) MB(?:; (\d+) MB)?", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    assert len(peaks) == 2
    most = max(int(peak) for row in peaks for peak in row if peak)
    resources = container()["resources"]
    assert resources["limits"].keys() == {"cpu", "memory", "ephemeral-storage"}
    assert mebibytes(resources["limits"]["memory"]) >= 2 * most
    assert mebibytes(resources["requests"]["memory"]) >= most


def test_the_log_that_the_kubelet_keeps_evicts_nobody() -> None:
    """It counts as ephemeral storage: 5 files of 10 Mi by default, and clusters choose more."""
    resources = container()["resources"]
    assert mebibytes(resources["requests"]["ephemeral-storage"]) >= 50
    assert mebibytes(resources["limits"]["ephemeral-storage"]) >= 5 * 50


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
    assert container(EXAMPLE)["envFrom"] == [{"configMapRef": {"name": workspace["metadata"]["name"]}}]
    assert "env" not in container(EXAMPLE)
    assert volume("credentials", EXAMPLE)["secret"]["secretName"] == CREDENTIALS_SECRET
    assert "Secret" not in {resource["kind"] for resource in built(EXAMPLE)}
    [access] = invocation(EXAMPLE).workspaces
    assert access.name == "adb-123.4.azuredatabricks.net"
    assert isinstance(access.login, PersonalToken)
    assert f"create secret generic {CREDENTIALS_SECRET}" in (DEPLOY / "README.md").read_text()


def test_the_secrets_files_are_for_the_exporters_group_and_follow_the_secret() -> None:
    """Without subPath, which would keep what the Secret held when the pod started."""
    [mount] = [mount for mount in container()["volumeMounts"] if mount["name"] == "credentials"]
    assert mount.keys() == {"name", "mountPath", "readOnly"}
    assert volume("credentials")["secret"]["defaultMode"] == 0o440


def test_the_overlay_says_how_to_log_in_with_oauth(tmp_path: Path) -> None:
    """Its lines in a comment are what the exporter takes, with the keys that the README names."""
    text = (EXAMPLE / "kustomization.yaml").read_text()
    lines = text.partition("With OAuth")[2].partition("\n")[2].splitlines()[:3]
    pairs = dict(line.strip().removeprefix("# - ").split("=") for line in lines)
    environ = config_map("databricks-jobs-exporter-workspace", EXAMPLE)["data"] | pairs
    read = parse([], image_environment() | with_credentials(environ, str(tmp_path)))
    assert isinstance(read, Invocation)
    assert isinstance(read.workspaces[0].login, ClientCredentials)
    readme = (DEPLOY / "README.md").read_text()
    assert all(f"`{path.name}`" in readme for path in tmp_path.iterdir())


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
