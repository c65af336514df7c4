"""Debian's Prometheus and Alertmanager, started with the stack's commands and asked by its health checks."""

import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.deploy.stack import LISTENS, SERVICES, flag
from tests.e2e.process import PATIENCE_SECONDS
from tests.programs import program


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def started(service: str, binary: str, folder: Path, config: str) -> Iterator[tuple[int, Path]]:
    """Debian's program with the service's command, on a free port, its paths in a folder; port and log."""
    port = free_port()
    (folder / "config.yml").write_text(config)
    there = {
        flag(service, "--config.file"): str(folder / "config.yml"),
        f"/{service}": str(folder / "data"),
        f"http://localhost:{LISTENS[service]}": f"http://localhost:{port}",
    }
    words = [word.split("=", 1) for word in SERVICES[service]["command"]]
    arguments = [f"{name}={there.get(value, value)}" for name, value in words]
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [program(binary), *arguments, f"--web.listen-address=127.0.0.1:{port}"],
            stdout=output,
            stderr=output,
        )
    try:
        yield port, log
    finally:
        process.kill()
        process.wait()


def until_healthy(service: str, port: int, log: Path) -> None:
    """Ask as the service's health check does, until it is content."""
    command = [
        word.replace(f":{LISTENS[service]}", f":{port}")
        for word in SERVICES[service]["healthcheck"]["test"][1:]
    ]
    binary = program(command[0])
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (asked := subprocess.run([binary, *command[1:]], capture_output=True, check=False)).returncode:
        assert time.monotonic() < deadline, asked.stderr.decode() + log.read_text()
        time.sleep(0.1)


def test_prometheus_starts_with_its_command_stores_exemplars_and_turns_healthy(tmp_path: Path) -> None:
    with started("prometheus", "prometheus", tmp_path, "scrape_configs: []\n") as (port, log):
        until_healthy("prometheus", port, log)
        assert "in-memory exemplar storage enabled" in log.read_text()


def test_alertmanager_starts_with_its_command_and_turns_healthy(tmp_path: Path) -> None:
    config = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"
    with started("alertmanager", "prometheus-alertmanager", tmp_path, config) as (port, log):
        until_healthy("alertmanager", port, log)


@pytest.mark.parametrize("service", ["prometheus", "alertmanager"])
def test_a_health_check_fails_when_nobody_listens(service: str) -> None:
    command = [
        word.replace(f":{LISTENS[service]}", f":{free_port()}")
        for word in SERVICES[service]["healthcheck"]["test"][1:]
    ]
    finished = subprocess.run([program(command[0]), *command[1:]], capture_output=True, check=False)
    assert finished.returncode != 0
