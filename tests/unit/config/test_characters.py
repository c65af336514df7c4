"""White space, quotes and stray characters: one rule for every setting, credential and secret file."""

from collections.abc import Callable
from operator import attrgetter
from pathlib import Path

import pytest
import yaml
from pydantic import SecretStr

from exporter.config import (
    ClientCredentials,
    Invocation,
    PersonalToken,
    Setting,
    WorkspaceAccess,
    all_settings,
    parse,
)
from tests.certificates import make_ca
from tests.unit.config.test_settings import SAMPLES, SECRET, errors_of, invoke, nested, value_of

CA = make_ca()
HOST = {"DATABRICKS_HOST": "adb-1.2.azuredatabricks.net"}
LOGIN = HOST | {"DATABRICKS_TOKEN": SECRET}
CLIENT = HOST | {"DATABRICKS_CLIENT_ID": "app", "DATABRICKS_CLIENT_SECRET": SECRET}
# What env files, YAML, Windows editors and copied text put around a value.
DECORATIONS: dict[str, Callable[[str], str]] = {
    "double quotes": '"{}"'.format,
    "single quotes": "'{}'".format,
    "typographic quotes": "“{}”".format,
    "CRLF": "{}\r".format,
    "quotes and CRLF": '"{}"\r\n'.format,
    "blanks in quotes": '" {} "'.format,
    "tabs": "\t{}\t".format,
    "no-break spaces": "\xa0{}\xa0".format,
    "byte order mark": "\ufeff{}".format,
    "zero-width space": "{}\u200b".format,
}
STRAYS = {
    "double quote": ('"{}', 'a double quote (")'),
    "single quote": ("{}'", "a single quote (')"),
    "zero byte": ("x\0{}", r"a zero byte (\x00)"),
    "carriage return": ("x\r{}", r"a carriage return (\r)"),
    "escape": ("x\x1b{}", r"an escape character (\x1b)"),
    "zero-width space": ("x\u200b{}", r"a zero width space (\u200b)"),
    "no-break space": ("x\xa0{}", r"a no-break space (\xa0)"),
    "Latin-1": ("x\udcfc{}", r"a byte that is not UTF-8 (\xfc)"),
}
decorated = pytest.mark.parametrize("decorate", DECORATIONS.values(), ids=DECORATIONS)
stray = pytest.mark.parametrize(("pattern", "shown"), STRAYS.values(), ids=STRAYS)
every_setting = pytest.mark.parametrize("setting", all_settings(), ids=attrgetter("name"))


@pytest.fixture(autouse=True)
def files_to_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The files of SAMPLES, in the folder that names begin from."""
    monkeypatch.chdir(tmp_path)
    for name in SAMPLES["FILE"]:
        (tmp_path / name).write_bytes(CA.certificate_pem)


# --- settings


@decorated
def test_what_stands_around_a_value_is_dropped_in_every_setting(
    decorate: Callable[[str], str], tmp_path: Path
) -> None:
    """In flags, variables and the file alike."""
    texts = {setting: SAMPLES[setting.kind][0] for setting in all_settings()}
    expected = invoke([f"{setting.flag}={text}" for setting, text in texts.items()]).settings
    document: dict[str, object] = {}
    for setting, text in texts.items():
        deep_update(document, yaml.safe_load(nested(setting, decorate(text))))
    (tmp_path / "config.yml").write_text(yaml.safe_dump(document))
    flags = [f"{setting.flag}={decorate(text)}" for setting, text in texts.items()]
    assert invoke(flags).settings == expected
    assert invoke([], {one.variable: decorate(text) for one, text in texts.items()}).settings == expected
    assert invoke(["--config.file=config.yml"]).settings == expected


def deep_update(document: dict[str, object], more: dict[str, object]) -> None:
    for key, value in more.items():
        inside = document.setdefault(key, value)
        if isinstance(inside, dict) and isinstance(value, dict):
            deep_update(inside, value)


@stray
def test_a_stray_character_is_named_in_every_setting(pattern: str, shown: str) -> None:
    """Flag and variable: one error each with the one character, and nothing else of the value."""
    text = pattern.format(SECRET)
    flags = [f"{setting.flag}={text}" for setting in all_settings()]
    assert errors_of(flags) == tuple(
        f"flag {setting.flag}: the value has {shown}; remove it" for setting in all_settings()
    )
    variables = {setting.variable: text for setting in all_settings()}
    assert errors_of([], LOGIN | variables) == tuple(
        f"variable {name}: the value has {shown}; remove it" for name in sorted(variables)
    )


def test_the_name_of_the_configuration_file_follows_the_rule(tmp_path: Path) -> None:
    """Quotes and a carriage return around it are dropped, a quote at one end is named."""
    (tmp_path / "config.yml").write_text("api: {rate: 5}")
    variable = "DATABRICKS_EXPORTER_CONFIG_FILE"
    assert invoke([], {variable: '"config.yml"\r'}).settings.api.rate == 5.0
    assert errors_of([], LOGIN | {variable: 'config.yml"'}) == (
        f'variable {variable}: the value has a double quote ("); remove it',
    )


@every_setting
def test_an_empty_variable_counts_as_not_set(setting: Setting, tmp_path: Path) -> None:
    """As compose files leave it: the file's value counts. Only an empty state.path says something."""
    (tmp_path / "config.yml").write_text(nested(setting, SAMPLES[setting.kind][0]))
    in_file = value_of(invoke(["--config.file=config.yml"]), setting)
    found = value_of(invoke(["--config.file=config.yml"], {setting.variable: ""}), setting)
    assert found == (None if setting.name == "state.path" else in_file)


def test_a_quote_inside_a_path_is_part_of_it() -> None:
    """Only the ends of a value are looked at for quotes."""
    assert invoke(["--state.path=/data/bob's folder/x.db"]).settings.state.path == Path(
        "/data/bob's folder/x.db"
    )


# --- credentials


@decorated
def test_what_stands_around_a_credential_is_dropped(decorate: Callable[[str], str], tmp_path: Path) -> None:
    """In every variable of the login and the proxy, in names of files, and in the files."""
    [access] = workspaces({name: decorate(word) for name, word in LOGIN.items()})
    assert access.login == PersonalToken(SecretStr(SECRET))
    assert access.base_url == f"https://{HOST['DATABRICKS_HOST']}"
    [access] = workspaces({name: decorate(word) for name, word in CLIENT.items()})
    assert access.login == ClientCredentials("app", SecretStr(SECRET))
    [access] = workspaces(LOGIN | {"HTTPS_PROXY": decorate("http://proxy:3128")})
    assert access.proxy is not None
    assert access.proxy.url == "http://proxy:3128"
    without = {"HTTPS_PROXY": "http://proxy:3128", "NO_PROXY": decorate("azuredatabricks.net")}
    assert workspaces(LOGIN | without)[0].proxy is None
    (tmp_path / "secret").write_text(decorate(SECRET), encoding="utf-8")
    [access] = workspaces(HOST | {"DATABRICKS_TOKEN_FILE": decorate("secret")})
    assert access.secrets() == (SECRET,)


@stray
@pytest.mark.parametrize("name", [*CLIENT, "DATABRICKS_TOKEN"])
def test_a_stray_character_in_a_credential_is_named(name: str, pattern: str, shown: str) -> None:
    """One error with the variable and the one character."""
    environ = (LOGIN if name == "DATABRICKS_TOKEN" else CLIENT) | {name: pattern.format(SECRET)}
    assert errors_of([], environ) == (f"variable {name}: the value has {shown}; remove it",)


@stray
def test_a_stray_character_in_the_name_of_a_secret_file_is_named(pattern: str, shown: str) -> None:
    """Instead of a file that is missing."""
    name = "DATABRICKS_TOKEN_FILE"
    errors = errors_of([], HOST | {name: pattern.format(SECRET)})
    assert errors[0] == f"variable {name}: the value has {shown}; remove it"


def test_a_short_proxy_password_is_no_reason_to_redact_words() -> None:
    """What HTTP Basic makes of it is a secret; the password alone is part of too many words."""
    [access] = workspaces(LOGIN | {"HTTPS_PROXY": "http://me:pass@proxy:3128"})
    assert access.secrets() == (SECRET, "bWU6cGFzcw==")


@pytest.mark.parametrize("length", [1, 7])
def test_a_short_secret_in_a_file_is_refused_with_the_variable_of_the_file(
    length: int, tmp_path: Path
) -> None:
    """A secret of one letter would be cut out of every line that has this letter."""
    (tmp_path / "secret").write_text("e" * length)
    assert errors_of([], HOST | {"DATABRICKS_TOKEN_FILE": "secret"}) == (
        "variable DATABRICKS_TOKEN_FILE: too short to be a secret: fewer than 8 characters",
    )


def workspaces(environ: dict[str, str]) -> tuple[WorkspaceAccess, ...]:
    invocation = parse([], environ)
    assert isinstance(invocation, Invocation)
    return invocation.workspaces


# --- the command line


@pytest.mark.parametrize("dash", ["–", "—", "−"])
def test_a_flag_that_a_word_processor_has_changed_is_shown_as_such(dash: str) -> None:
    """The dash that looks like two is named, the rest is not."""
    [error] = errors_of([f"{dash}poll.interval={SECRET}"])
    assert error.startswith("argument 1: neither a flag nor a command (not shown here); it begins with a")
    assert error.endswith(f"({dash}); write --")


def test_a_script_with_crlf_is_understood() -> None:
    """Its last argument ends in a carriage return."""
    assert invoke(["--api.rate=3", "check\r"]).command == "check"
    assert invoke(["--demo\r"]).demo
