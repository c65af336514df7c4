"""The kustomization as kubectl builds it, and what the exporter makes of it. No cluster is needed."""

import re
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from exporter.settings import Invocation, parse
from tests.deploy.tools import DEPLOY, image_environment, program, untested

BASE = DEPLOY / "kubernetes" / "base"
EXAMPLE = DEPLOY / "kubernetes" / "overlays" / "example"
CREDENTIALS = {"DATABRICKS_CLIENT_ID": "made-up", "DATABRICKS_CLIENT_SECRET": "made-up"}
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


def pod_labels(folder: Path = BASE) -> dict[str, str]:
    labels: dict[str, str] = one("StatefulSet", folder)["spec"]["template"]["metadata"]["labels"]
    return labels


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
