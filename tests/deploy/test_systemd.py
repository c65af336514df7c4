"""The unit: systemd understands it and finds it locked in, and the exporter agrees with what it sets."""

import re
import shlex
import subprocess
import sys
import time
import tomllib
from pathlib import Path

import pytest

from exporter.config import ClientCredentials, Invocation, PersonalToken, parse
from tests.deploy.tools import DEPLOY, ROOT
from tests.e2e.process import PATIENCE_SECONDS
from tests.programs import DEPLOY_TOOLS, program

UNIT = DEPLOY / "systemd" / "databricks-jobs-exporter.service"
CREDENTIALS = {"DATABRICKS_HOST": "adb-123.4.azuredatabricks.net", "DATABRICKS_TOKEN": "made-up-token"}
# On systemd's own scale, from 0 to 10. What is left is the network, which an exporter is for.
MOST_EXPOSED = 1.5
# prctl(2): from now on no memory is both writable and executable. From Linux 6.3 on.
SET_MDWE, REFUSE_EXEC_GAIN = 65, 1


def values(name: str) -> list[str]:
    """What a directive is set to, in the order of the file."""
    lines = UNIT.read_text().splitlines()
    return [line.partition("=")[2] for line in lines if line.startswith(f"{name}=")]


def one(name: str) -> str:
    [value] = values(name)
    return value


def environment() -> dict[str, str]:
    """As systemd would set it for a system service."""
    pairs = [word.split("=", 1) for line in values("Environment") for word in shlex.split(line)]
    return {name: value.replace("%S", "/var/lib") for name, value in pairs if "%d" not in value}


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """A copy that starts a program which exists: systemd looks for it."""
    text = UNIT.read_text().replace(f"ExecStart={one('ExecStart')}", f"ExecStart={sys.executable}")
    copy = tmp_path / UNIT.name
    copy.write_text(text)
    command = [
        program("systemd-analyze", "systemd", DEPLOY_TOOLS),
        "verify",
        "--man=no",
        "--recursive-errors=no",
        str(copy),
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (0, "")


def test_systemd_finds_the_unit_locked_in() -> None:
    command = [
        program("systemd-analyze", "systemd", DEPLOY_TOOLS),
        "security",
        "--offline=true",
        f"--threshold={MOST_EXPOSED * 10:.0f}",
        "--no-pager",
        str(UNIT),
    ]
    finished = subprocess.run(command, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stdout
    assert "Overall exposure level" in finished.stdout


def test_the_exporter_still_sees_when_the_machine_booted() -> None:
    """prometheus-client gives no process_* metrics without the boot time in /proc/stat."""
    assert values("ProcSubset") == []


def test_the_unit_starts_the_console_script_with_flags_that_the_exporter_knows() -> None:
    command, *arguments = shlex.split(one("ExecStart"))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert Path(command).name in scripts
    assert isinstance(parse(arguments, environment() | CREDENTIALS), Invocation)


def test_the_state_is_in_the_one_folder_that_may_be_written() -> None:
    invocation = parse([], environment() | CREDENTIALS)
    assert isinstance(invocation, Invocation)
    assert one("ProtectSystem") == "strict"
    assert not values("ReadWritePaths")
    assert invocation.settings.state.path is not None
    assert invocation.settings.state.path.parent == Path("/var/lib") / one("StateDirectory")


def test_the_token_comes_from_a_file_that_only_root_reads_and_is_not_in_the_environment() -> None:
    """The unit tells to make it so; the exporter gets the path of the copy that systemd makes."""
    name, _, file = one("LoadCredential").partition(":")
    assert f"install -m 0600 /dev/stdin {file}" in UNIT.read_text()
    secret = [line for line in values("Environment") if "TOKEN" in line or "SECRET" in line]
    assert secret == [f"DATABRICKS_TOKEN_FILE=%d/{name}"]


def test_no_core_file_holds_the_token() -> None:
    assert one("LimitCORE") == "0"


@pytest.mark.parametrize("login", ["token", "OAuth"])
def test_the_exporter_accepts_the_credentials_that_systemd_hands_over(login: str, tmp_path: Path) -> None:
    """As the unit has it, and with the drop-in for OAuth in the README: an empty value takes one back."""
    lines = UNIT.read_text().splitlines()
    if login == "OAuth":
        lines += (
            (DEPLOY / "README.md").read_text().split("With OAuth instead")[1].split("```")[1].splitlines()
        )
    environ = {"DATABRICKS_HOST": CREDENTIALS["DATABRICKS_HOST"]}
    for line in lines:
        name, _, value = line.partition("=")
        if name == "LoadCredential" and value:
            (tmp_path / value.partition(":")[0]).write_text("made-up-token\n")
        elif name == "Environment":
            variable, _, word = value.partition("=")
            environ[variable] = word.replace("%d", str(tmp_path)).replace("%S", "/var/lib")
    invocation = parse([], environ)
    assert isinstance(invocation, Invocation)
    [access] = invocation.workspaces
    assert isinstance(access.login, PersonalToken if login == "token" else ClientCredentials)
    assert "made-up-token" in access.secrets()


def test_the_example_of_credentials_can_be_filled_in_for_systemd_and_compose_alike() -> None:
    """Assignments and comments alone: the two differ in how they read quotes."""
    lines = (DEPLOY / "workspace.env.example").read_text().splitlines()
    assert all(re.fullmatch(r"(#.*)?|[A-Z_]+=[^\s\"'$]*", line) for line in lines)


def test_wrong_settings_are_not_tried_again_and_everything_else_is() -> None:
    wrong = subprocess.run(
        [sys.executable, "-m", "exporter", "--no-such-flag"], capture_output=True, check=False
    )
    assert one("RestartPreventExitStatus") == str(wrong.returncode)
    assert one("Restart") == "on-failure"
    assert one("StartLimitIntervalSec") == "0"


def test_the_exporter_works_without_memory_that_is_writable_and_executable(tmp_path: Path) -> None:
    """MemoryDenyWriteExecute=yes stops what compiles at run time; this asks the kernel for the same."""
    assert one("MemoryDenyWriteExecute") == "yes"
    arguments = ["--demo", f"--state.path={tmp_path / 'state.db'}", "--web.listen-address=127.0.0.1:0"]
    program_text = (
        "import ctypes, os, sys\n"
        f"if ctypes.CDLL(None).prctl({SET_MDWE}, {REFUSE_EXEC_GAIN}, 0, 0, 0): sys.exit('no MDWE')\n"
        f"os.execv(sys.executable, [sys.executable, '-m', 'exporter', *{arguments!r}])"
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", program_text], stderr=output)
    try:
        deadline = time.monotonic() + PATIENCE_SECONDS
        while "first poll done" not in log.read_text():
            if "no MDWE" in log.read_text():
                pytest.skip("this kernel is older than 6.3 and can't refuse, so this is NOT TESTED")
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
        process.terminate()
        assert process.wait(PATIENCE_SECONDS) == 0
    finally:
        process.kill()
        process.wait()
