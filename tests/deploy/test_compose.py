"""The stack to try, as it is written. No container engine is needed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import exporter
from exporter.config import Invocation, parse
from tests.deploy.stack import LISTENS, SERVICES, STACK, WORKSPACE, bind_mounts, flag, mounted
from tests.deploy.tools import (
    DEPLOY,
    ROOT,
    image_entrypoint,
    image_environment,
    image_port,
    image_user,
    image_volume,
    load,
)

FILES = ["compose.yaml", "compose.workspace.yaml"]
CREDENTIALS = {"DATABRICKS_HOST": "adb-123.4.azuredatabricks.net", "DATABRICKS_TOKEN": "made-up-token"}


# --- what is written


@pytest.mark.parametrize("file", FILES)
def test_a_file_follows_the_compose_specification(file: str) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    finished = subprocess.run([*command, DEPLOY / file], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout + finished.stderr


def test_the_stack_is_the_exporter_and_what_draws_and_pages() -> None:
    assert SERVICES.keys() == LISTENS.keys()


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_pinned_to_one_version(service: str) -> None:
    _, _, tag = SERVICES[service]["image"].rpartition(":")
    assert re.fullmatch(r"v?\d+\.\d+\.\d+", tag)


def test_the_exporter_is_built_from_this_checkout_and_never_pulled() -> None:
    service = SERVICES["exporter"]
    assert (DEPLOY / service["build"] / "Dockerfile").is_file()
    assert service["image"] == f"databricks-jobs-exporter:{exporter.__version__}"
    assert service["pull_policy"] == "build"


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_runs_locked_down(service: str) -> None:
    """Nobody's root, no capability, and nothing to write to but volumes and memory."""
    settings = SERVICES[service]
    assert not settings["user"].startswith("0")
    assert settings["read_only"] is True
    assert settings["cap_drop"] == ["ALL"]
    assert settings["security_opt"] == ["no-new-privileges:true"]
    assert "cap_add" not in settings
    assert "privileged" not in settings


def test_the_exporter_runs_as_the_user_of_its_image() -> None:
    assert SERVICES["exporter"]["user"] == image_user()


@pytest.mark.parametrize("service", SERVICES)
def test_a_port_is_open_on_this_machine_only_and_told_in_the_documents(service: str) -> None:
    port = LISTENS[service]
    assert SERVICES[service]["ports"] == [f"127.0.0.1:{port}:{port}"]
    for document in ("compose.yaml", "README.md"):
        assert f"http://localhost:{port}" in (DEPLOY / document).read_text()


def test_every_mounted_path_exists_and_is_read_only() -> None:
    assert bind_mounts()
    missing = [str(here) for _, here, _, _ in bind_mounts() if not here.exists()]
    assert missing == []
    assert {mode for *_, mode in bind_mounts()} == {"ro"}


def test_every_named_volume_is_declared_and_every_declared_one_is_mounted() -> None:
    for services, declared in ((SERVICES, STACK["volumes"]), (WORKSPACE["services"], WORKSPACE["volumes"])):
        mounted = [volume for service in services.values() for volume in service.get("volumes", [])]
        assert {volume.split(":")[0] for volume in mounted if not volume.startswith(".")} == declared.keys()


def test_every_service_tells_its_health_and_waits_for_the_health_of_others() -> None:
    """The exporter's check is in its image, on the port that its command leaves alone."""
    assert [name for name, service in SERVICES.items() if "healthcheck" not in service] == ["exporter"]
    assert image_port() == LISTENS["exporter"]
    for service in SERVICES.values():
        for awaited, how in service.get("depends_on", {}).items():
            assert awaited in SERVICES
            assert how == {"condition": "service_healthy"}


@pytest.mark.parametrize("service", ["prometheus", "alertmanager", "grafana"])
def test_a_health_check_asks_the_port_that_its_service_listens_on(service: str) -> None:
    kind, *command = SERVICES[service]["healthcheck"]["test"]
    assert kind == "CMD"
    assert any(f"http://127.0.0.1:{LISTENS[service]}" in word for word in command)


def test_grafana_shows_without_a_login_and_lets_nobody_change_anything() -> None:
    environment = SERVICES["grafana"]["environment"]
    assert environment["GF_AUTH_ANONYMOUS_ENABLED"] == "true"
    assert environment["GF_AUTH_ANONYMOUS_ORG_ROLE"] == "Viewer"
    assert environment["GF_AUTH_BASIC_ENABLED"] == "false"
    assert environment["GF_AUTH_DISABLE_LOGIN_FORM"] == "true"
    assert environment["GF_SECURITY_DISABLE_INITIAL_ADMIN_CREATION"] == "true"


# --- what the files that are mounted say about each other


@pytest.mark.parametrize("service", ["prometheus", "alertmanager"])
def test_a_service_reads_the_configuration_that_is_mounted(service: str) -> None:
    assert mounted(service, flag(service, "--config.file")).suffix == ".yml"


def test_prometheus_scrapes_and_notifies_services_of_the_stack_at_their_ports() -> None:
    config = load(DEPLOY / "prometheus" / "prometheus.yml")
    jobs = [*config["scrape_configs"], *config["alerting"]["alertmanagers"]]
    targets = {target for job in jobs for group in job["static_configs"] for target in group["targets"]}
    known = {f"{name}:{port}" for name, port in LISTENS.items()} | {f"localhost:{LISTENS['prometheus']}"}
    assert {"exporter:9977", "alertmanager:9093"} <= targets <= known


def test_prometheus_finds_rules_where_they_are_mounted() -> None:
    config = load(DEPLOY / "prometheus" / "prometheus.yml")
    folder = Path("/etc/prometheus")
    for pattern in config["rule_files"]:
        path = folder / pattern
        here = mounted("prometheus", str(path.parent))
        assert list(here.glob(path.name)), f"{pattern} finds nothing in {here}"


def test_grafana_reads_data_from_the_prometheus_of_the_stack() -> None:
    files = (mounted("grafana", "/etc/grafana/provisioning") / "datasources").glob("*.y*ml")
    sources = [source for file in files for source in load(file)["datasources"]]
    assert f"http://prometheus:{LISTENS['prometheus']}" in [source.get("url") for source in sources]


def test_every_variable_in_grafanas_provisioning_is_in_its_environment() -> None:
    """Grafana fills in what it does not know with nothing; a $ of its own is written $$."""
    files = mounted("grafana", "/etc/grafana/provisioning").rglob("*.y*ml")
    lines = [line.lstrip() for file in files for line in file.read_text().splitlines()]
    text = "\n".join(line for line in lines if not line.startswith("#"))
    named = set(re.findall(r"(?<!\$)\$\{?([A-Z_]+)", text))
    assert named <= SERVICES["grafana"]["environment"].keys()


def test_grafana_reads_dashboards_from_where_they_are_mounted() -> None:
    files = (mounted("grafana", "/etc/grafana/provisioning") / "dashboards").glob("*.y*ml")
    paths = {provider["options"]["path"] for file in files for provider in load(file)["providers"]}
    assert [path for path in paths if list(mounted("grafana", path).rglob("*.json"))] == list(paths) != []


# --- the commands, understood by the programs


def test_the_exporter_understands_its_command() -> None:
    invocation = parse(SERVICES["exporter"]["command"], image_environment())
    assert isinstance(invocation, Invocation)
    assert invocation.demo
    assert invocation.settings.web.listen_address.port == LISTENS["exporter"]


def test_the_demo_keeps_its_state_in_memory_that_dies_with_the_container() -> None:
    invocation = parse(SERVICES["exporter"]["command"], image_environment())
    assert isinstance(invocation, Invocation)
    path = invocation.settings.state.path
    assert path is not None
    assert str(path.parent) in SERVICES["exporter"]["tmpfs"]


def test_on_a_real_workspace_the_exporter_keeps_its_state_in_a_volume() -> None:
    service = WORKSPACE["services"]["exporter"]
    invocation = parse(service["command"], image_environment() | CREDENTIALS)
    assert isinstance(invocation, Invocation)
    assert not invocation.demo
    path = invocation.settings.state.path
    assert path is not None
    [volume] = [volume for volume in service["volumes"] if volume.endswith(f":{path.parent}")]
    assert volume.partition(":")[0] in WORKSPACE["volumes"]
    assert str(path.parent) == image_volume()


def test_a_real_workspace_and_the_demo_share_no_data() -> None:
    """Compose puts the project's name before the name of a volume."""
    assert STACK["name"] != WORKSPACE["name"]


def test_the_example_of_credentials_names_every_variable_once_and_git_ignores_the_copy() -> None:
    example = (DEPLOY / "workspace.env.example").read_text()
    assignments = [line.split("=")[0] for line in example.splitlines() if line and not line.startswith("#")]
    passed_on = WORKSPACE["services"]["exporter"]["environment"]
    assert assignments == list(passed_on)
    for name, value in passed_on.items():
        assert re.fullmatch(rf"\${{{name}:[?-].*}}", value)
    ignored = ["git", "check-ignore", "--quiet", "deploy/workspace.env"]
    assert subprocess.run(ignored, cwd=ROOT, check=False).returncode == 0


def test_the_exporter_accepts_the_variables_of_the_example_with_one_kind_of_login_left_empty() -> None:
    lines = (DEPLOY / "workspace.env.example").read_text().splitlines()
    example = dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))
    invocation = parse([], image_environment() | example | {"DATABRICKS_TOKEN": "made-up-token"})
    assert isinstance(invocation, Invocation)
    assert [access.name for access in invocation.workspaces] == [example["DATABRICKS_HOST"]]


def test_only_the_exporter_gets_credentials() -> None:
    secret = {"DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"}
    services = [*SERVICES.items(), *WORKSPACE["services"].items()]
    assert {name for name, service in services if secret & service.get("environment", {}).keys()} == {
        "exporter"
    }
    assert not any("env_file" in service for _, service in services)


def test_the_entry_point_is_the_exporter_so_a_command_is_flags_alone() -> None:
    assert image_entrypoint() == ["databricks-jobs-exporter"]
    assert all(word.startswith("--") for word in SERVICES["exporter"]["command"])
