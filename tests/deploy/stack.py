"""The compose files as data."""

from pathlib import Path
from typing import Any

from tests.deploy.tools import DEPLOY, load

STACK: dict[str, Any] = load(DEPLOY / "compose.yaml")
SERVICES: dict[str, dict[str, Any]] = STACK["services"]
WORKSPACE: dict[str, Any] = load(DEPLOY / "compose.workspace.yaml")
# What one service calls another, and at which port that one listens.
LISTENS = {"exporter": 9977, "prometheus": 9090, "alertmanager": 9093, "grafana": 3000}


def bind_mounts() -> list[tuple[str, Path, str, str]]:
    """Service, path here, path there and mode of every mounted file or folder."""
    found = []
    for name, service in SERVICES.items():
        for volume in service.get("volumes", []):
            here, there, *mode = volume.split(":")
            if here.startswith("."):
                found.append((name, DEPLOY / here, there, "".join(mode)))
    return found


def mounted(service: str, there: str) -> Path:
    [found] = [here for name, here, path, _ in bind_mounts() if (name, path) == (service, there)]
    return found


def flag(service: str, name: str) -> str:
    [value] = [
        word.removeprefix(f"{name}=") for word in SERVICES[service]["command"] if word.startswith(f"{name}=")
    ]
    return str(value)
