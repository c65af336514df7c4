"""The kustomization as kubectl builds it, and what the exporter makes of it. No cluster is needed."""

import re
import subprocess
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from exporter.config import Invocation, parse
from tests.deploy.tools import DEPLOY, image_environment
from tests.programs import DEPLOY_TOOLS, program, untested

BASE = DEPLOY / "kubernetes" / "base"
EXAMPLE = DEPLOY / "kubernetes" / "overlays" / "example"
CREDENTIALS_SECRET = "databricks-jobs-exporter-credentials"
Resource = dict[str, Any]


@cache
def kubectl() -> str:
    """A kubectl whose kustomize knows components: from 1.21 on, so not the one of Debian 12."""
    path = program("kubectl", "kubernetes-client, from Debian 13 on", DEPLOY_TOOLS)
    told = subprocess.run([path, "version", "--client"], capture_output=True, text=True, check=True).stdout
    version = re.search(r"(?:Client Version: v|GitVersion:\"v)(\d+)\.(\d+)", told)
    assert version is not None, told
    if (int(version[1]), int(version[2])) < (1, 21):
        untested(f"kubectl {version[1]}.{version[2]} knows no kustomize components, 1.21 does", DEPLOY_TOOLS)
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
    assert volume("settings", folder)["configMap"] == {"name": settings["metadata"]["name"]}
    assert (BASE / name).read_text(encoding="utf-8") == text
    with TemporaryDirectory() as mounted:
        environ = with_credentials(config_map("databricks-jobs-exporter-workspace", folder)["data"], mounted)
        read = parse([f"--config.file={BASE / name}"], image_environment() | environ)
    assert isinstance(read, Invocation)
    return read


def with_credentials(environ: dict[str, str], mounted: str) -> dict[str, str]:
    """The variables, with a folder in place of the Secret's volume that has the keys which they name."""
    [mount] = [mount for mount in container()["volumeMounts"] if mount["name"] == "credentials"]
    changed = dict(environ)
    for name, path in environ.items():
        if name.endswith("_FILE") and path:
            assert path.startswith(f"{mount['mountPath']}/")
            changed[name] = f"{mounted}/{Path(path).name}"
            Path(changed[name]).write_text("made-up-token\n", encoding="utf-8")
    return changed


def volume(name: str, folder: Path = BASE) -> Any:
    [found] = [volume for volume in pod(folder)["volumes"] if volume["name"] == name]
    return found
