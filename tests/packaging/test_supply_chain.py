"""What is shipped is known: the bill of materials, and the question for known vulnerabilities."""

import http.server
import json
import os
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

import exporter
from deploy import sbom
from tests.packaging.test_packaging import ROOT, make, pins


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Made by the command of `make sbom`, to another place."""
    [command] = [line for line in make("--dry-run", "sbom").splitlines() if "deploy.sbom" in line]
    *arguments, written = shlex.split(command)[1:]
    assert written == "dist/sbom.cdx.json"
    path = tmp_path_factory.mktemp("dist") / "made" / "sbom.cdx.json"
    subprocess.run([sys.executable, *arguments, path], cwd=ROOT, check=True)
    return path.read_text()


@pytest.fixture(scope="module")
def bill(text: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(text)
    return document


def hashes_of(lock_file: str) -> dict[str, set[str]]:
    """The hashes of each pinned package."""
    found: dict[str, set[str]] = {}
    name = ""
    for line in (ROOT / lock_file).read_text().splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==", line):
            name = match[1]
            found[name] = set()
        found[name] |= set(re.findall(r"sha256:([0-9a-f]{64})", line))
    return found


def test_the_bill_is_valid_cyclonedx(text: str) -> None:
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None


def test_a_bill_that_is_not_valid_is_not_written(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    component = sbom._component
    monkeypatch.setattr(sbom, "_component", lambda made: component(made) | {"type": "no such type"})
    with pytest.raises(ValueError, match="not valid"):
        sbom.main(tmp_path / "sbom.json")
    assert list(tmp_path.iterdir()) == []


def test_the_bill_names_every_pinned_package_with_its_version_and_hashes(bill: dict[str, Any]) -> None:
    components = {component["name"]: component for component in bill["components"]}
    assert {name: component["version"] for name, component in components.items()} == pins("requirements.txt")
    for name, hashes in hashes_of("requirements.txt").items():
        component = components[name]
        [files] = component["externalReferences"]
        assert {each["content"] for each in files["hashes"] if each["alg"] == "SHA-256"} == hashes
        assert component["purl"] == f"pkg:pypi/{name}@{component['version']}"


def test_the_bill_is_of_this_version_of_the_exporter(bill: dict[str, Any]) -> None:
    """Our component has name, version and licence, and depends on everything."""
    ours = bill["metadata"]["component"]
    assert (ours["name"], ours["version"]) == ("databricks-jobs-exporter", exporter.__version__)
    assert [each["license"]["id"] for each in ours["licenses"]] == ["Apache-2.0"]
    [edges] = [each["dependsOn"] for each in bill["dependencies"] if each["ref"] == ours["bom-ref"]]
    assert sorted(edges) == sorted(component["bom-ref"] for component in bill["components"])


def test_the_bill_names_no_machine_and_no_index(text: str, bill: dict[str, Any]) -> None:
    """No host but that of the format, no path, no time: nothing that differs between machines."""
    without_schema = text.replace(bill["$schema"], "")
    assert re.findall(r"\w+://[^\"\s]+", without_schema) == []
    for word in (str(ROOT), str(Path.home()), sys.prefix, "/tmp/", "file:", "timestamp", "serialNumber"):
        assert word not in text, word


def test_the_bill_is_the_same_each_time_and_everywhere(
    text: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setenv("PIP_INDEX_URL", "https://mirror.example/simple")
    assert sbom.bill() == text


def audit(index: str) -> subprocess.CompletedProcess[str]:
    """`make audit` with a vulnerability service of our own."""
    [command] = [
        line for line in make("--dry-run", "audit").replace("\\\n", "").splitlines() if "pip_audit" in line
    ]
    arguments = shlex.split(command)[1:]
    environment = {**os.environ, "HTTPS_PROXY": index, "https_proxy": index, "NO_PROXY": "", "no_proxy": ""}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )


class Nobody(http.server.BaseHTTPRequestHandler):
    """A proxy that reaches nothing."""

    asked: list[str]

    def do_CONNECT(self) -> None:
        self.asked.append(self.path)
        self.send_error(502)

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def nowhere() -> Iterator[tuple[str, list[str]]]:
    asked: list[str] = []
    handler = type("Handler", (Nobody,), {"asked": asked})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()
        thread.join()


def test_an_audit_that_cannot_ask_is_not_clean(nowhere: tuple[str, list[str]]) -> None:
    """`make audit` understands its own options, asks a service, and fails where it gets no answer."""
    proxy, asked = nowhere
    finished = audit(proxy)
    assert finished.returncode != 0
    assert asked, finished.stderr
    assert "usage:" not in finished.stderr
    assert "No known vulnerabilities" not in finished.stdout + finished.stderr


def test_the_audit_covers_exactly_what_is_pinned_and_takes_no_doubt_for_clean() -> None:
    commands = make("--dry-run", "audit").replace("\\\n", "")
    assert "--strict --require-hashes --disable-pip" in commands
    assert "-r requirements.txt" in commands


def test_the_audit_says_what_it_does_not_cover() -> None:
    said = " ".join(line for line in make("--dry-run", "audit").splitlines() if line.startswith("echo"))
    for part in ("interpreter", "image's base", "requirements-build.txt", "requirements-dev.txt"):
        assert part in said.partition("does not cover")[2]
