"""What is shipped: lock files, image, make targets and wheel. No container engine is needed."""

import fnmatch
import http.server
import json
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import threading
import tomllib
import zipfile
from collections.abc import Iterator
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import exporter
from deploy import sbom
from tests.certificates import make_ca, make_leaf

ROOT = Path(__file__).parents[2]
LOCK_FILES = ["requirements.txt", "requirements-build.txt", "requirements-dev.txt"]
PIN = re.compile(r"([a-z0-9][a-z0-9._-]*)==([0-9][A-Za-z0-9.+!]*)(?: ; ([^\\#]+?))? \\")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


def pyproject() -> dict[str, Any]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


def pins(lock_file: str) -> dict[str, str]:
    """Version by canonical name."""
    lines = (ROOT / lock_file).read_text().splitlines()
    return {canonicalize_name(match[1]): match[2] for line in lines if (match := PIN.fullmatch(line))}


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions and their arguments, continued lines joined as Docker joins them."""
    lines = [line for line in (ROOT / "Dockerfile").read_text().splitlines() if not line.startswith("#")]
    joined = "\n".join(lines).replace("\\\n", "")
    words = [line.split(maxsplit=1) for line in joined.splitlines() if line.strip()]
    return [(name, arguments) for name, arguments in words]


def arguments_of(name: str) -> list[str]:
    return [arguments for instruction, arguments in instructions() if instruction == name]


# --- lock files


@pytest.mark.parametrize("lock_file", LOCK_FILES)
def test_every_line_of_a_lock_file_is_a_pin_or_one_of_its_hashes(lock_file: str) -> None:
    """So no line can be an index, a path or a host."""
    lines = (ROOT / lock_file).read_text().splitlines()
    assert [line for line in lines if not PIN.fullmatch(line) and not HASH.fullmatch(line)] == []
    for line, following in zip(lines, [*lines[1:], ""], strict=True):
        assert line.endswith("\\") == bool(HASH.fullmatch(following)), f"{line} has no hash after it"


@pytest.mark.parametrize("lock_file", LOCK_FILES)
def test_a_lock_file_holds_more_than_the_file_for_this_platform(lock_file: str) -> None:
    text = (ROOT / lock_file).read_text()
    assert text.count("--hash=") >= 2 * len(pins(lock_file))


def test_every_dependency_is_locked_in_a_version_that_it_allows() -> None:
    project = pyproject()
    wanted = {
        "requirements.txt": project["project"]["dependencies"],
        "requirements-build.txt": [*project["build-system"]["requires"], "cyclonedx-bom"],
        "requirements-dev.txt": [
            *project["project"]["dependencies"],
            *project["build-system"]["requires"],
            *project["dependency-groups"]["dev"],
        ],
    }
    for lock_file, requirements in wanted.items():
        locked = pins(lock_file)
        for requirement in map(Requirement, requirements):
            version = locked.get(canonicalize_name(requirement.name))
            assert version is not None, f"{requirement} is not in {lock_file}: make lock"
            assert requirement.specifier.contains(version), f"{requirement} is {version} in {lock_file}"


def test_the_lock_files_agree_with_each_other() -> None:
    everything = pins("requirements-dev.txt")
    for smaller in ("requirements.txt", "requirements-build.txt"):
        assert pins(smaller).items() <= everything.items()


# --- one command each


def make(*arguments: str) -> str:
    finished = subprocess.run(["make", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    return finished.stdout


def test_make_lists_its_targets() -> None:
    listed = make("help")
    assert all(
        f"make {target}:" in listed for target in ("demo", "quick", "test", "lint", "bench", "lock", "clean")
    )


def test_make_test_runs_every_check() -> None:
    commands = make("--dry-run", "--always-make", "test")
    for command in ("-m ruff check", "-m ruff format --check", "-m mypy", "-m pytest"):
        assert command in commands
    assert commands.count("--require-hashes") == 1


def test_make_test_says_first_what_it_installs_and_how_long_it_takes() -> None:
    """Before it does anything: the places that packages come to, and minutes."""
    said, *_ = make("--dry-run", "--always-make", "test").partition("command -v")
    for word in (".venv", "apt-get", "minutes"):
        assert word in said
    assert "pip" not in said


def test_make_quick_runs_unit_tests_that_are_quick() -> None:
    assert '-m pytest tests/unit -m "not slow and not hypothesis"' in make("--dry-run", "quick")


def test_make_demo_installs_with_hashes_and_starts_from_the_checkout() -> None:
    commands = make("--dry-run", "--always-make", "demo", "ARGS=--poll.interval 1s")
    assert "install --require-hashes -r requirements.txt" in commands
    assert "-m exporter --demo --poll.interval 1s" in commands


def test_ci_runs_make_test_and_demands_every_program() -> None:
    script = ROOT / ".ci" / "run"
    lines = script.read_text().splitlines()
    demands = {"export REQUIRE_PROMETHEUS=1"}
    assert {"set -euo pipefail", "make test", *demands} <= set(lines)


@pytest.mark.parametrize("script", ["run", "apt-install"])
def test_the_scripts_are_executable_and_bash_understands_them(script: str) -> None:
    path = ROOT / ".ci" / script
    assert path.stat().st_mode & 0o111
    subprocess.run(["bash", "-n", path], check=True)


# --- image


def test_everything_copied_into_the_image_exists_and_reaches_the_build() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in ignore
    allowed = [line.removeprefix("!") for line in ignore if line.startswith("!")]
    for arguments in arguments_of("COPY"):
        if arguments.startswith("--from"):
            continue
        for source in shlex.split(arguments)[:-1]:
            assert (ROOT / source).exists(), source
            assert source in allowed, source


def test_no_local_state_or_secret_reaches_the_build() -> None:
    allowed = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    for name in (".git", ".env", ".venv", "web.yml", "databricks-jobs-exporter.db", "tests"):
        assert not any(fnmatch.fnmatch(name, pattern) for pattern in allowed)


def test_every_stage_starts_from_one_slim_python_of_a_patch_release() -> None:
    """It can be pinned by digest from outside, and it is a Python that this project is for."""
    assert {arguments.split(" AS ")[0] for arguments in arguments_of("FROM")} == {"${BASE}"}
    base = re.fullmatch(r"BASE=python:(3\.\d+)\.\d+-slim-[a-z]+", arguments_of("ARG")[0])
    assert base is not None
    assert instructions()[0][0] == "ARG", "before the first stage: FROM can see no other"
    assert f"Programming Language :: Python :: {base[1]}" in pyproject()["project"]["classifiers"]


def test_the_documents_pin_the_base_that_the_dockerfile_names() -> None:
    """The commands in deploy/README.md are about the same tag, and pass it to the argument there is."""
    commands = (ROOT / "deploy" / "README.md").read_text()
    tag = arguments_of("ARG")[0].removeprefix("BASE=")
    assert f"docker buildx imagetools inspect {tag} " in commands
    assert f"--build-arg BASE={tag}@sha256:" in commands


def test_everything_from_a_registry_is_installed_by_hash() -> None:
    installs = [
        command.strip()
        for run in arguments_of("RUN")
        for command in run.split("&&")
        if " install " in command and "pip" in command
    ]
    assert len(installs) == 3
    for command in installs:
        assert "--require-hashes -r requirements" in command or "--no-index --no-deps dist/" in command


def test_the_image_holds_the_bill_of_materials_that_its_build_makes(tmp_path: Path) -> None:
    """Made by the Dockerfile's own command from what it copies, under a name that scanners look for."""
    [command] = [
        shlex.split(command)
        for run in arguments_of("RUN")
        for command in run.split("&&")
        if "deploy.sbom" in command
    ]
    python, *arguments, made = command
    assert python == "python"
    assert made.endswith("/databricks-jobs-exporter.cdx.json")
    [(kept, place)] = [
        shlex.split(arguments)[1:] for arguments in arguments_of("COPY") if "--from=build" in arguments
    ][1:]
    assert Path(made).parent == Path(kept) == Path(place)
    copy_build_context(tmp_path)
    written = tmp_path / "made" / Path(made).name
    subprocess.run([sys.executable, *arguments, written], cwd=tmp_path, check=True)
    assert written.read_text() == sbom.bill()


def copy_build_context(to: Path) -> None:
    """What the Dockerfile copies of the checkout, where it copies it to."""
    for arguments in arguments_of("COPY"):
        *sources, place = shlex.split(arguments)
        for source in () if arguments.startswith("--from") else sources:
            if (ROOT / source).is_dir():
                ignored = shutil.ignore_patterns("__pycache__")
                shutil.copytree(ROOT / source, to / place, ignore=ignored)
            else:
                (to / place).mkdir(exist_ok=True)
                shutil.copy(ROOT / source, to / place)


def test_the_image_runs_as_a_number_and_writes_only_to_its_volume() -> None:
    volume = arguments_of("VOLUME")[0]
    environment = " ".join(arguments_of("ENV"))
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", arguments_of("USER")[0])
    assert f"DATABRICKS_EXPORTER_STATE_PATH={volume}/" in environment
    assert "PYTHONDONTWRITEBYTECODE=1" in environment
    owner = arguments_of("USER")[0].split(":")[0]
    assert any(f"-o {owner}" in run and volume in run for run in arguments_of("RUN"))


def test_signals_reach_the_exporter_and_the_port_is_its_own() -> None:
    command = json.loads(arguments_of("ENTRYPOINT")[0])
    assert command == list(pyproject()["project"]["scripts"])
    assert arguments_of("EXPOSE") == ["9977"]


def test_the_image_needs_no_shell_to_run() -> None:
    """Entry point and health check are lists of words, and the last stage starts nothing but its folder."""
    assert json.loads(arguments_of("ENTRYPOINT")[0])
    assert json.loads(arguments_of("HEALTHCHECK")[0].partition("CMD ")[2])[0] == "python"
    assert not arguments_of("SHELL")
    assert not arguments_of("CMD")
    last_stage = instructions()[max(i for i, (name, _) in enumerate(instructions()) if name == "FROM") :]
    assert [arguments.split()[0] for name, arguments in last_stage if name == "RUN"] == ["install"]


def test_the_security_policy_says_how_to_report() -> None:
    """Privately, and without an address that nobody reads."""
    policy = " ".join((ROOT / "SECURITY.md").read_text().split())
    assert "Report privately through the repository's security advisories page" in policy
    assert "@" not in policy
    for heading in ("Supported versions", "How to report", "What is promised", "What is not promised"):
        assert f"## {heading}" in policy


class Healthy(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status if self.path == "/-/healthy" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keeps the test's output clean."""


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Healthy) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def health_check(**environment: str) -> int:
    """The exit code of the image's HEALTHCHECK, run by this Python."""
    _, _, command = arguments_of("HEALTHCHECK")[0].partition("CMD ")
    python, *arguments = json.loads(command)
    assert python == "python"
    compile(arguments[-1], "HEALTHCHECK", "exec")
    unusable_proxy = {"http_proxy": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1"}
    finished = subprocess.run(
        [sys.executable, *arguments],
        env=environment | unusable_proxy,
        capture_output=True,
        timeout=30,
        check=False,
    )
    return finished.returncode


@pytest.mark.parametrize("host", ["", "127.0.0.1", "0.0.0.0"])  # noqa: S104  # what a listener may be told
def test_the_health_check_asks_the_listen_address(server: http.server.HTTPServer, host: str) -> None:
    address = f"{host}:{server.server_port}"
    assert health_check(DATABRICKS_EXPORTER_WEB_LISTEN_ADDRESS=address) == 0


def test_the_health_check_fails_when_the_exporter_is_not_healthy(
    server: http.server.HTTPServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Healthy, "status", 503)
    assert health_check(DATABRICKS_EXPORTER_WEB_LISTEN_ADDRESS=f":{server.server_port}") == 1


def test_the_health_check_fails_when_nobody_listens(server: http.server.HTTPServer) -> None:
    port = server.server_port
    server.socket.close()
    assert health_check(DATABRICKS_EXPORTER_WEB_LISTEN_ADDRESS=f":{port}") == 1


def test_the_health_check_speaks_tls_where_the_web_config_does(
    server: http.server.HTTPServer, tmp_path: Path
) -> None:
    certificate, key = make_leaf(make_ca()).write(tmp_path, "server")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    web_config = tmp_path / "web.yml"
    web_config.write_text(f"tls_server_config:\n  cert_file: {certificate}\n  key_file: {key}\n")
    status = health_check(
        DATABRICKS_EXPORTER_WEB_LISTEN_ADDRESS=f":{server.server_port}",
        DATABRICKS_EXPORTER_WEB_CONFIG_FILE=str(web_config),
    )
    assert status == 0


# --- wheel


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built as the Dockerfile builds it, from a copy: nothing of the checkout changes."""
    source = tmp_path_factory.mktemp("source")
    copy_build_context(source)
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel"],
        cwd=source,
        check=True,
        capture_output=True,
    )
    [built] = (source / "dist").iterdir()
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_whole_package_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / "exporter").rglob("*.py")}
    assert modules <= inside
    assert "exporter/py.typed" in inside
    assert all(name.startswith("exporter/") for name in inside)


def test_the_wheel_says_what_it_is(wheel: zipfile.ZipFile) -> None:
    folder = f"databricks_jobs_exporter-{exporter.__version__}.dist-info"
    metadata = message_from_bytes(wheel.read(f"{folder}/METADATA"))
    assert metadata["Name"] == "databricks-jobs-exporter"
    assert metadata["Version"] == exporter.__version__
    assert metadata["Requires-Python"] == ">=3.11"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert sorted(metadata.get_all("Requires-Dist") or []) == sorted(pyproject()["project"]["dependencies"])
    assert f"{folder}/licenses/LICENSE" in wheel.namelist()
    entry_points = wheel.read(f"{folder}/entry_points.txt").decode()
    assert "databricks-jobs-exporter = exporter.__main__:run" in entry_points


def test_the_license_is_complete() -> None:
    text = (ROOT / "LICENSE").read_text()
    assert "Version 2.0, January 2004" in text
    assert "END OF TERMS AND CONDITIONS" in text


def test_the_changelog_knows_this_version() -> None:
    headings = re.findall(r"^## \[(.+?)\]", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert exporter.__version__ in headings
