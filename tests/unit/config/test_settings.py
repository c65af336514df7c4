"""Settings: the three places they are written in, precedence, errors without values, credentials, help."""

from collections.abc import Sequence
from operator import attrgetter
from pathlib import Path
from typing import NoReturn

import pytest
import yaml

from exporter import __version__
from exporter.config import (
    ClientCredentials,
    Invocation,
    ListenAddress,
    Notice,
    PersonalToken,
    Setting,
    Settings,
    SettingsError,
    WorkspaceAccess,
    all_settings,
    model,
    parse,
    parse_duration,
)
from tests.certificates import make_ca

SECRET = "dapi0123456789abcdef-Planted"
CA = make_ca()
LOGIN = {"DATABRICKS_HOST": "adb-1.2.azuredatabricks.net", "DATABRICKS_TOKEN": SECRET}

# Per kind of value, one for the file, one for the variable, one for the flag.
SAMPLES = {
    "HOST:PORT": (":1", ":2", ":3"),
    "PATH": ("/one", "/two", "/three"),
    "FILE": ("one", "two", "three"),
    "DURATION": ("11h", "12h", "13h"),
    "COUNT": ("1100", "1200", "1300"),
    "NUMBER": ("1.5", "2.5", "3.5"),
    "LIST": ("1,60", "0.5,60,300", "300"),
    "true|false": ("false", "true", "false"),
    "debug|info|warning|error": ("debug", "warning", "error"),
    "logfmt|json": ("json", "logfmt", "json"),
}


def invoke(argv: Sequence[str] = (), environ: dict[str, str] | None = None) -> Invocation:
    result = parse(argv, LOGIN | (environ or {}))
    assert isinstance(result, Invocation)
    return result


def errors_of(argv: Sequence[str] = (), environ: dict[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(argv, LOGIN if environ is None else environ)
    assert str(caught.value) == "\n".join(caught.value.errors)
    return caught.value.errors


def config(folder: Path, text: str) -> str:
    file = folder / "config.yaml"
    file.write_text(text)
    return f"--config.file={file}"


def nested(setting: Setting, value: object) -> str:
    for key in reversed(setting.name.split(".")):
        value = {key: value}
    return yaml.safe_dump(value)


def value_of(invocation: Invocation, setting: Setting) -> object:
    return attrgetter(".".join(setting.path))(invocation.settings)


def value_by_flag(setting: Setting, text: str) -> object:
    return value_of(invoke([f"{setting.flag}={text}"]), setting)


# What is asked for


def test_no_argument_serves_the_workspace_of_the_environment() -> None:
    """Without arguments the command is serve, with one workspace and the defaults."""
    invocation = invoke()
    assert invocation.command == "serve"
    assert not invocation.demo
    assert invocation.settings == Settings()
    assert [workspace.name for workspace in invocation.workspaces] == ["adb-1.2.azuredatabricks.net"]


@pytest.mark.parametrize(
    "argv", [["check", "--api.rate=3"], ["--api.rate=3", "check"], ["--api.rate", "3", "check"]]
)
def test_check_may_stand_before_or_after_flags(argv: list[str]) -> None:
    """The command is found at any place, and is not taken for a flag's value."""
    assert invoke(argv).command == "check"
    assert invoke(argv).settings.api.rate == 3.0


def test_demo_needs_no_credentials() -> None:
    """A demo has no workspace of the environment."""
    result = parse(["--demo"], {})
    assert isinstance(result, Invocation)
    assert result.demo
    assert result.workspaces == ()


def test_demo_changes_only_what_help_says() -> None:
    """A demo polls more often and reads less of the past, faster; all other defaults stay."""
    expected = Settings(
        poll=model.PollSettings(interval=2.0, lookback=6 * 3600.0), api=model.ApiSettings(rate=1000.0)
    )
    assert invoke(["--demo"]).settings == expected


def test_what_is_written_beats_the_demos_default() -> None:
    """An interval in the environment holds in a demo too."""
    invocation = invoke(["--demo"], {"DATABRICKS_EXPORTER_POLL_INTERVAL": "7s"})
    assert invocation.settings.poll.interval == 7.0


def test_check_of_the_demo_is_allowed() -> None:
    """Both can be asked for at once."""
    invocation = invoke(["check", "--demo"])
    assert (invocation.command, invocation.demo) == ("check", True)


def test_version_is_a_notice() -> None:
    """The version is a text to print."""
    assert parse(["--version"], {}) == Notice(f"databricks-jobs-exporter {__version__}")


@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_wins_over_errors(flag: str) -> None:
    """A request for help wins over every error."""
    assert isinstance(parse(["--nonsense", "--api.rate=0", flag], {}), Notice)


# Where values come from


@pytest.fixture
def files_to_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of SAMPLES, for settings that are read at once, in the folder that names begin from."""
    monkeypatch.chdir(tmp_path)
    for name in SAMPLES["FILE"]:
        (tmp_path / name).write_bytes(CA.certificate_pem)


@pytest.mark.usefixtures("files_to_name")
@pytest.mark.parametrize("setting", all_settings(), ids=attrgetter("name"))
def test_flag_beats_environment_beats_file_beats_default(setting: Setting, tmp_path: Path) -> None:
    """Each place alone sets the value, and the stronger one wins, for every setting of the model."""
    in_file, in_environment, by_flag = SAMPLES[setting.kind]
    file = config(tmp_path, nested(setting, in_file))
    variable = {setting.variable: in_environment}
    flag = f"{setting.flag}={by_flag}"

    default = value_of(invoke(), setting)
    assert default == attrgetter(".".join(setting.path))(Settings())
    assert value_of(invoke([file]), setting) == value_by_flag(setting, in_file)
    assert value_of(invoke([file], variable), setting) == value_by_flag(setting, in_environment)
    assert value_of(invoke([file, flag], variable), setting) == value_by_flag(setting, by_flag)
    assert value_by_flag(setting, in_file) != default
    assert value_by_flag(setting, in_file) != value_by_flag(setting, in_environment)


@pytest.mark.usefixtures("files_to_name")
@pytest.mark.parametrize("setting", all_settings(), ids=attrgetter("name"))
def test_a_flags_value_may_be_the_next_argument(setting: Setting) -> None:
    """`--name value` is `--name=value`, for every setting of the model."""
    text = SAMPLES[setting.kind][0]
    assert value_of(invoke([setting.flag, text]), setting) == value_by_flag(setting, text)


def test_the_file_may_be_named_in_the_environment(tmp_path: Path) -> None:
    """The file's name comes from a flag or a variable, and the flag wins."""
    flag = config(tmp_path, "api: {rate: 5}")
    environ = {"DATABRICKS_EXPORTER_CONFIG_FILE": flag.partition("=")[2]}
    assert invoke([], environ).settings.api.rate == 5.0
    assert invoke([flag], {"DATABRICKS_EXPORTER_CONFIG_FILE": "/nowhere"}).settings.api.rate == 5.0


@pytest.mark.parametrize("text", ["", "# nothing\n", "---\n", "poll:\napi: {}\n", "\ufeffapi: {}\n"])
def test_empty_files_and_sections_say_nothing(text: str, tmp_path: Path) -> None:
    """A file or section in which all is commented out is valid."""
    assert invoke([config(tmp_path, text)]).settings == Settings()


def test_one_file_sets_several_sections(tmp_path: Path) -> None:
    """Keys are nested, with dashes; values are written as for flags."""
    web = "web:\n  listen-address: :8000\n  config: {file: tls.yml}\n"
    text = f"{web}poll: {{sweep-interval: 1h30m}}\ncollect: {{tasks: no}}"
    settings = invoke([config(tmp_path, text)]).settings
    assert settings.web.listen_address == ListenAddress("", 8000)
    assert settings.web.config.file == Path("tls.yml")
    assert settings.poll.sweep_interval == 5400.0
    assert not settings.collect.tasks


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (["--collect.tasks"], True),
        (["--collect.tasks=true"], True),
        (["--collect.tasks", "false"], False),
        (["--collect.tasks=false"], False),
        (["--no-collect.tasks"], False),
    ],
)
def test_switches_are_written_in_three_ways(argv: list[str], expected: bool) -> None:  # noqa: FBT001
    """A switch is on when it is named, off with a `no-` or `false`."""
    assert (
        invoke(argv, {"DATABRICKS_EXPORTER_COLLECT_TASKS": str(not expected)}).settings.collect.tasks
        is expected
    )


@pytest.mark.parametrize("place", ["flag", "variable", "null", "string"])
def test_an_empty_state_path_is_memory_only(place: str, tmp_path: Path) -> None:
    """An empty path says memory only, wherever it is written."""
    argv = {
        "flag": ["--state.path="],
        "variable": [],
        "null": [config(tmp_path, "state: {path: null}")],
        "string": [config(tmp_path, "state: {path: ''}")],
    }[place]
    environ = {"DATABRICKS_EXPORTER_STATE_PATH": ""} if place == "variable" else {}
    state = invoke(argv, environ).settings.state
    assert state.path is None
    assert not state.path_is_default


def test_the_default_state_path_is_in_the_users_state_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody wrote a path: it is in the XDG state folder, and known to be the default."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state = invoke().settings.state
    assert state.path == tmp_path / "databricks-jobs-exporter.db"
    assert state.path_is_default


def test_a_user_without_a_home_must_say_where_the_state_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    """No home, as in a container: a path is asked for, but not for a demo or where one is written."""

    def no_home() -> NoReturn:
        raise RuntimeError("no home")

    monkeypatch.setattr(model, "user_state_path", no_home)
    assert [error.partition(",")[0] for error in errors_of()] == ["flag --state.path: not set"]
    assert invoke(["--demo"]).settings.state.path_is_default
    assert invoke(["--state.path=/state/x.db"]).settings.state.path == Path("/state/x.db")
    assert invoke(["--state.path="]).settings.state.path is None


def test_settings_read_nothing_from_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the mapping that is passed counts as environment."""
    monkeypatch.setenv("DATABRICKS_EXPORTER_API_RATE", "3")
    monkeypatch.setenv("API", '{"rate": 3}')
    monkeypatch.setenv("DATABRICKS_EXPORTER_NONSENSE", "3")
    assert invoke().settings.api.rate == 20.0


# Values


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500ms", 0.5),
        ("30s", 30.0),
        ("5m", 300.0),
        ("24h", 86400.0),
        ("14d", 1209600.0),
        ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("0s", 0.0),
        (" 1m ", 60.0),
    ],
)
def test_durations_are_seconds(text: str, seconds: float) -> None:
    """Every unit, compound and decimal numbers."""
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "30", "1.5", "-5s", "s", "5x", "5M", "30m1h", "1h 30m", "1,5h", "0.5ms", "9999d", "٣s", "1e3s"],
)
def test_other_durations_are_refused(text: str) -> None:
    """No unit, an unknown one, the wrong order, too fine or too long."""
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":9977", "", 9977),
        ("127.0.0.1:0", "127.0.0.1", 0),
        ("[::1]:9977", "::1", 9977),
        ("[::]:1", "::", 1),
        ("localhost:9977", "localhost", 9977),
    ],
)
def test_listen_addresses(text: str, host: str, port: int) -> None:
    """Host and port, with IPv6 in brackets, are read and shown the same."""
    address = invoke(["--web.listen-address", text]).settings.web.listen_address
    assert address == ListenAddress(host, port)
    assert str(address) == text


# Errors

BAD_ARGUMENTS: list[tuple[list[str], str]] = [
    (["--poll.interval=30"], "flag --poll.interval: a duration needs a unit"),
    (["--poll.interval=0s"], "flag --poll.interval: must be more than 0"),
    (["--poll.interval", "-5s"], "flag --poll.interval: a duration cannot be negative"),
    (["--poll.interval="], "flag --poll.interval: not a duration"),
    (["--poll.interval"], "flag --poll.interval: needs a value: --poll.interval=DURATION"),
    (["--poll.interval", "--demo"], "flag --poll.interval: needs a value"),
    (["--poll.interval=1s", "--poll.interval=2s"], "flag --poll.interval: given twice"),
    (["--poll.lookback=-1h"], "flag --poll.lookback: a duration cannot be negative"),
    (["--poll.sweep-interval=0s"], "flag --poll.sweep-interval: must be more than 0"),
    (["--poll.sweep-window=0ms"], "flag --poll.sweep-window: must be more than 0"),
    (["--api.timeout=0s"], "flag --api.timeout: must be more than 0"),
    (["--api.concurrency=0"], "flag --api.concurrency: must be 1 or more"),
    (["--api.concurrency=1.5"], "flag --api.concurrency: must be a whole number"),
    (["--api.concurrency=" + "9" * 5000], "flag --api.concurrency: must be a smaller whole number"),
    (["--api.rate=0"], "flag --api.rate: must be more than 0"),
    (["--api.rate=nan"], "flag --api.rate: must be a finite number"),
    (["--api.rate=inf"], "flag --api.rate: must be a finite number"),
    ([f"--api.rate={SECRET}"], "flag --api.rate: must be a number"),
    ([f"--log.level={SECRET}"], "flag --log.level: must be one of 'debug', 'info', 'warning' or 'error'"),
    ([f"--log.format={SECRET}"], "flag --log.format: must be one of 'logfmt' or 'json'"),
    ([f"--collect.tasks={SECRET}"], "flag --collect.tasks: must be true or false"),
    (["--no-collect.tasks=false"], "flag --no-collect.tasks: takes no value"),
    (["--limits.series=999"], "flag --limits.series: must be 0 or at least 1000"),
    (["--limits.series=-1"], "flag --limits.series: must be 0 or more"),
    (["--limits.idle=59m"], "flag --limits.idle: must be 0s or at least 1h"),
    (["--no-api.rate"], "flag --no-api.rate: unknown"),
    (["--demo=yes"], "flag --demo: takes no value"),
    (["--state.path=:memory:"], "flag --state.path: SQLite's name for memory is not used here"),
    ([f"--web.listen-address={SECRET}"], "flag --web.listen-address: not a host:port"),
    (["--web.listen-address=9977"], "flag --web.listen-address: not a host:port"),
    (["--web.listen-address=::1:9977"], "flag --web.listen-address: not a host:port"),
    (["--web.listen-address=:65536"], "flag --web.listen-address: the port must be from 0 to 65535"),
    (["--web.listen-address=[1.2]:1"], "flag --web.listen-address: between [ and ] an IPv6 address"),
    (["--web.telemetry-path=metrics"], "flag --web.telemetry-path: must start with /"),
    (["--web.telemetry-path=/"], "flag --web.telemetry-path: /, /-/healthy and /-/ready are taken"),
    (["--web.telemetry-path=/-/healthy"], "flag --web.telemetry-path: /, /-/healthy and /-/ready are taken"),
    (["--web.telemetry-path=/-/ready"], "flag --web.telemetry-path: /, /-/healthy and /-/ready are taken"),
    (["--web.telemetry-path=/a/../b"], "flag --web.telemetry-path: only letters"),
    (["--web.telemetry-path=/{x}"], "flag --web.telemetry-path: only letters"),
    (["--poll.intervall=1s"], "flag --poll.intervall: unknown; did you mean --poll.interval?"),
    (["--poll.int=1s"], "flag --poll.int: unknown"),
    (["--poll_interval", "1s"], "flag --poll_interval: unknown; did you mean --poll.interval?"),
    (
        [f"--token={SECRET}"],
        "flag --token: unknown; credentials come from the environment only: set DATABRICKS_TOKEN",
    ),
    (
        ["--client-secret", SECRET],
        "flag --client-secret: unknown; credentials come from the environment only",
    ),
    ([f"--{SECRET}"], "argument 1: unknown flag"),
    ([f"-t{SECRET}"], "argument 1: unknown flag"),
    (["--demo", SECRET], "argument 2: neither a flag nor a command"),
    ([f"DATABRICKS_TOKEN={SECRET}"], "argument 1: neither a flag nor a command"),
    (["chek"], "argument 1: neither a flag nor a command (not shown here); did you mean check?"),
    ([""], "argument 1: neither a flag nor a command"),
    ([f"--config.file={SECRET}"], "flag --config.file: the file cannot be read: No such file or directory"),
    (["--config.file=/"], "flag --config.file: the file cannot be read: Is a directory"),
]


@pytest.mark.parametrize(("argv", "expected"), BAD_ARGUMENTS)
def test_a_bad_argument_is_one_error_without_its_value(argv: list[str], expected: str) -> None:
    """The error names the flag and what to do, and never what was written."""
    errors = errors_of(argv)
    assert len(errors) == 1
    assert errors[0].startswith(expected)
    assert SECRET not in errors[0]


BAD_VARIABLES: list[tuple[dict[str, str], str]] = [
    ({"DATABRICKS_EXPORTER_API_RATE": SECRET}, "variable DATABRICKS_EXPORTER_API_RATE: must be a number"),
    (
        {"DATABRICKS_EXPORTER_POLL_INTERVALL": SECRET},
        "variable DATABRICKS_EXPORTER_POLL_INTERVALL: no such setting; did you mean DATABRICKS_EXPORTER_POLL",
    ),
    (
        {"DATABRICKS_EXPORTER_TOKEN": SECRET},
        "variable DATABRICKS_EXPORTER_TOKEN: no such setting; credentials come from the environment only",
    ),
    ({"DATABRICKS_EXPORTER_POLL": "{}"}, "variable DATABRICKS_EXPORTER_POLL: no such setting"),
    (
        {"DATABRICKS_EXPORTER_PORT_9977_TCP_ADDR": "10.0.0.1"},
        "variable DATABRICKS_EXPORTER_PORT_9977_TCP_ADDR: no such setting; if Kubernetes set it",
    ),
    (
        {"DATABRICKS_EXPORTER_CONFIG_FILE": "a\0b"},
        r"variable DATABRICKS_EXPORTER_CONFIG_FILE: the value has a zero byte (\x00); remove it",
    ),
    ({"DATABRICKS_HOST": ""}, "variable DATABRICKS_HOST: not set"),
    (
        {"DATABRICKS_HOST": f"https://x/{SECRET}"},
        "variable DATABRICKS_HOST: must be the workspace's address alone",
    ),
    (
        {"DATABRICKS_HOST": f"https://x/?o={SECRET}"},
        "variable DATABRICKS_HOST: must be the workspace's address",
    ),
    ({"DATABRICKS_HOST": f"https://me:{SECRET}@x"}, "variable DATABRICKS_HOST: no user or password"),
    ({"DATABRICKS_HOST": f"ftp://{SECRET}"}, "variable DATABRICKS_HOST: must be an https:// address"),
    ({"DATABRICKS_HOST": f"http://{SECRET}"}, "variable DATABRICKS_HOST: plain http://"),
    ({"DATABRICKS_HOST": "http://127.0.0.1.example.com"}, "variable DATABRICKS_HOST: plain http://"),
    ({"DATABRICKS_HOST": "https://x_y"}, "variable DATABRICKS_HOST: is no host name"),
    ({"DATABRICKS_HOST": f"https://x:{SECRET}"}, "variable DATABRICKS_HOST: is no address"),
    ({"DATABRICKS_HOST": f"https://[{SECRET}"}, "variable DATABRICKS_HOST: is no address"),
    ({"DATABRICKS_HOST": "a\nb"}, r"variable DATABRICKS_HOST: the value has a line break (\n); remove it"),
    ({"DATABRICKS_TOKEN": ""}, "variable DATABRICKS_TOKEN: no login is set"),
    ({"DATABRICKS_TOKEN": " \n"}, "variable DATABRICKS_TOKEN: no login is set"),
    (
        {"DATABRICKS_TOKEN": f"{SECRET}\n{SECRET}"},
        r"variable DATABRICKS_TOKEN: the value has a line break (\n); remove it",
    ),
    (
        {"DATABRICKS_TOKEN": f"{SECRET}ü"},
        "variable DATABRICKS_TOKEN: the value has a latin small letter u with diaeresis (ü); remove it",
    ),
    ({"DATABRICKS_TOKEN": "seven77"}, "variable DATABRICKS_TOKEN: too short to be a secret: fewer than 8"),
    (
        {"DATABRICKS_TOKEN": "", "DATABRICKS_CLIENT_ID": "app", "DATABRICKS_CLIENT_SECRET": "s"},
        "variable DATABRICKS_CLIENT_SECRET: too short to be a secret: fewer than 8 characters",
    ),
    (
        {"DATABRICKS_CLIENT_ID": "app", "DATABRICKS_CLIENT_SECRET": SECRET},
        "variable DATABRICKS_TOKEN: two kinds of login are set",
    ),
    ({"DATABRICKS_CLIENT_ID": "app"}, "variable DATABRICKS_TOKEN: two kinds of login are set"),
    (
        {"DATABRICKS_TOKEN": "", "DATABRICKS_CLIENT_ID": "app"},
        "variable DATABRICKS_CLIENT_SECRET: not set or empty, but DATABRICKS_CLIENT_ID is",
    ),
    (
        {"DATABRICKS_TOKEN": "", "DATABRICKS_CLIENT_ID": "", "DATABRICKS_CLIENT_SECRET": SECRET},
        "variable DATABRICKS_CLIENT_ID: not set or empty, but DATABRICKS_CLIENT_SECRET is",
    ),
]


@pytest.mark.parametrize(("environ", "expected"), BAD_VARIABLES)
def test_a_bad_variable_is_one_error_without_its_value(environ: dict[str, str], expected: str) -> None:
    """The error names the variable and what to do, and never what was written."""
    errors = errors_of([], LOGIN | environ)
    assert len(errors) == 1
    assert errors[0].startswith(expected)
    assert SECRET not in errors[0]


BAD_FILES: list[tuple[str, str]] = [
    ("poll: {interval: 30}", "configuration file, line 1, key poll.interval: a duration needs a unit"),
    ("poll:\n  interval: null", "configuration file, line 2, key poll.interval: not a duration"),
    (
        "poll: {interval: [30s]}",
        "configuration file, line 1, key poll.interval: must be a single plain value",
    ),
    (
        "poll: {interval: !vault 30s}",
        "configuration file, line 1, key poll.interval: must be a single plain value",
    ),
    ("poll: 30s", "configuration file, line 1, key poll: must be a mapping"),
    (SECRET, "configuration file, line 1: must be a mapping"),
    (f"[{SECRET}]", "configuration file, line 1: must be a mapping"),
    ("api:\n  rate: 1\n  rate: 2", "configuration file, line 3, key api.rate: written twice"),
    ("api: {rate: 1}\napi: {timeout: 1s}", "configuration file, line 2, key api: written twice"),
    (
        "poll: {sweep_interval: 1s}",
        "configuration file, line 1, key poll.sweep_interval: unknown key; did you mean poll.sweep-interval?",
    ),
    ("pol: {interval: 1s}", "configuration file, line 1, key pol: unknown key; did you mean poll?"),
    ("poll.interval: 1s", "configuration file, line 1, key poll.interval: unknown key"),
    (
        f"token: {SECRET}",
        "configuration file, line 1, key token: unknown key; credentials come from the environment",
    ),
    (f"{SECRET}: 1", "configuration file, line 1: unknown key"),
    ("config: {file: other.yml}", "configuration file, line 1, key config: unknown key"),
    ("base: &b {rate: 1}", "configuration file, line 1, key base: unknown key"),
    ("api: {<<: {rate: 1}}", "configuration file, line 1: unknown key"),
    ("? [a]\n: 1", "configuration file, line 1: unknown key"),
    ("poll: &loop {x: *loop}", "configuration file, line 1, key poll.x: unknown key"),
    (f"api: [{SECRET}: }}", "configuration file, line 1, column"),
    (f"a: 1\n{SECRET}", "configuration file, line"),
    (f"x: '{SECRET}", "configuration file, line"),
    (f"x: {SECRET}\x07", "configuration file: not valid YAML"),
    ("--- {}\n--- {}", "configuration file, line 2, column 1: not valid YAML"),
    ("[" * 1000, "configuration file: not valid YAML"),
]


@pytest.mark.parametrize(("text", "expected"), BAD_FILES)
def test_a_bad_file_is_one_error_without_its_text(text: str, expected: str, tmp_path: Path) -> None:
    """The error names line and key, and never what was written there."""
    errors = errors_of([config(tmp_path, text)])
    assert len(errors) == 1
    assert errors[0].startswith(expected)
    assert SECRET not in errors[0]


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    """Bytes that are no UTF-8 are an error of the flag that names the file."""
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    errors = errors_of([f"--config.file={tmp_path / 'binary'}"])
    assert errors == ("flag --config.file: names no file of UTF-8 text",)


def test_all_errors_of_all_places_are_reported_at_once(tmp_path: Path) -> None:
    """Flags, variables, file and credentials, in this order, in one go."""
    argv = ["--nonsense", "--api.rate=0", config(tmp_path, "api: {rate: 0, concurrency: x}\nextra: 1")]
    environ = {"DATABRICKS_EXPORTER_EXTRA": "1", "DATABRICKS_EXPORTER_API_TIMEOUT": "1"}
    origins = [error.partition(":")[0] for error in errors_of(argv, environ)]
    assert origins == [
        "flag --nonsense",
        "flag --api.rate",
        "variable DATABRICKS_EXPORTER_EXTRA",
        "variable DATABRICKS_EXPORTER_API_TIMEOUT",
        "configuration file, line 2, key extra",
        "configuration file, line 1, key api.concurrency",
        "configuration file, line 1, key api.rate",
        "variable DATABRICKS_HOST",
        "variable DATABRICKS_TOKEN",
    ]


def test_a_bad_value_is_an_error_also_where_another_place_overrides_it() -> None:
    """A broken variable does not wait for the day on which the flag is removed."""
    errors = errors_of(["--api.rate=3"], LOGIN | {"DATABRICKS_EXPORTER_API_RATE": "x"})
    assert len(errors) == 1


# Credentials


@pytest.mark.parametrize(
    ("host", "base_url", "name"),
    [
        ("adb-1.2.azuredatabricks.net", "https://adb-1.2.azuredatabricks.net", "adb-1.2.azuredatabricks.net"),
        (
            " https://ADB-1.Cloud.Databricks.com/ ",
            "https://adb-1.cloud.databricks.com",
            "adb-1.cloud.databricks.com",
        ),
        ("HTTPS://x.example.com/?o=123", "https://x.example.com", "x.example.com"),
        ("x.example.com?o=123", "https://x.example.com", "x.example.com"),
        ("x.example.com:8443", "https://x.example.com:8443", "x.example.com:8443"),
        ("http://127.8.9.1:80/", "http://127.8.9.1:80", "127.8.9.1:80"),
        ("http://localhost:1234", "http://localhost:1234", "localhost:1234"),
        ("http://[::1]:1234", "http://[::1]:1234", "[::1]:1234"),
    ],
)
def test_a_host_is_written_in_many_ways(host: str, base_url: str, name: str) -> None:
    """With and without scheme, trailing slash and what a browser adds."""
    (workspace,) = invoke([], {"DATABRICKS_HOST": host}).workspaces
    assert (workspace.base_url, workspace.name) == (base_url, name)


def test_a_personal_token_is_stripped() -> None:
    """White space around a token, as secret files have it, is no part of it."""
    (workspace,) = invoke([], {"DATABRICKS_TOKEN": f" {SECRET}\n"}).workspaces
    assert isinstance(workspace.login, PersonalToken)
    assert workspace.login.token.get_secret_value() == SECRET


def test_a_client_id_and_secret_are_a_login() -> None:
    """OAuth machine-to-machine takes both variables; what Basic makes of them is secret too."""
    environ = {"DATABRICKS_TOKEN": "", "DATABRICKS_CLIENT_ID": "app", "DATABRICKS_CLIENT_SECRET": "sec/ret/s"}
    (workspace,) = invoke([], environ).workspaces
    assert isinstance(workspace.login, ClientCredentials)
    assert workspace.login.client_id == "app"
    # base64 of app:sec%2Fret%2Fs and of app:sec/ret/s
    assert workspace.secrets() == ("sec/ret/s", "YXBwOnNlYyUyRnJldCUyRnM=", "YXBwOnNlYy9yZXQvcw==")


def test_credentials_do_not_show_in_a_repr() -> None:
    """An invocation in a traceback or a log shows no secret."""
    invocation = invoke()
    assert isinstance(invocation.workspaces[0], WorkspaceAccess)
    assert SECRET not in repr(invocation)
    assert SECRET not in str(invocation)


# Limits


def test_zero_lifts_a_limit() -> None:
    """As in Prometheus: no budget, and series that stay for ever."""
    limits = invoke(["--limits.series=0", "--limits.idle=0s"]).settings.limits
    assert (limits.series, limits.idle) == (0, 0)


# Help


def help_lines() -> list[str]:
    result = parse(["--help"], {})
    assert isinstance(result, Notice)
    return result.text.splitlines()


@pytest.mark.parametrize("setting", all_settings(), ids=attrgetter("name"))
def test_help_lists_every_setting_with_kind_help_and_default(setting: Setting) -> None:
    """One entry per setting of the model."""
    text = " ".join(" ".join(help_lines()).split())
    flag = f"--[no-]{setting.name}" if setting.is_switch else f"{setting.flag} {setting.kind}"
    assert setting.help
    assert f"{flag} {setting.help} [default {setting.default_text}" in text


def test_help_fits_a_terminal() -> None:
    """No line is longer than 100 columns or ends in a blank."""
    assert max(map(len, help_lines())) <= 100
    assert [line for line in help_lines() if line != line.rstrip()] == []


def test_help_names_commands_and_credentials() -> None:
    """Beside the settings: the commands, the file, the demo's default and Databricks' own variables."""
    text = "\n".join(help_lines())
    words = ["--demo", "check", "--version", "--config.file FILE", "2s with --demo", *LOGIN]
    assert [word for word in words if word not in text] == []


def test_the_documented_defaults() -> None:
    """The defaults that dashboards and the README rely on."""
    assert {setting.name: setting.default_text for setting in all_settings()} == {
        "web.listen-address": ":9977",
        "web.telemetry-path": "/metrics",
        "web.config.file": "none",
        "poll.interval": "30s",
        "poll.lookback": "24h",
        "poll.sweep-interval": "1h",
        "poll.sweep-window": "24h",
        "api.concurrency": "16",
        "api.rate": "20",
        "api.timeout": "30s",
        "api.ca-file": "none",
        "state.path": "databricks-jobs-exporter.db in the user's state folder (XDG)",
        "limits.series": "2500000",
        "limits.idle": "14d",
        "collect.tasks": "true",
        "histograms.buckets": "duration",
        "log.level": "info",
        "log.format": "logfmt",
    }
