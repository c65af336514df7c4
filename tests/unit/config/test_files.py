"""Files that settings and credentials name, and the proxy: errors name the mistake and show no secret."""

import os
from pathlib import Path

import pytest

from exporter.config import ClientCredentials, Invocation, PersonalToken, SettingsError, parse
from exporter.config.config_file import MAX_CONFIG_BYTES
from exporter.config.files import MAX_SECRET_BYTES
from tests.certificates import make_ca

TOKEN = "dapi-made-up"
SECRET = "dapi0123456789abcdef-Planted"
HOST = {"DATABRICKS_HOST": "adb-1.2.azuredatabricks.net"}
CA = make_ca()


def errors_of(environ: dict[str, str], *argv: str) -> tuple[str, ...]:
    with pytest.raises(SettingsError) as caught:
        parse(argv, HOST | environ)
    assert SECRET not in str(caught.value)
    return caught.value.errors


def invoke(environ: dict[str, str], *argv: str) -> Invocation:
    result = parse(argv, HOST | environ)
    assert isinstance(result, Invocation)
    return result


def file(folder: Path, content: str | bytes, name: str = "secret") -> str:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return str(path)


# --- credentials


@pytest.mark.parametrize(
    "content",
    [SECRET, f"{SECRET}\n", f"{SECRET}\r\n", f" {SECRET}\n\n", f"\ufeff{SECRET}\r\n", f'"{SECRET}"\n'],
)
def test_a_token_is_read_from_a_file_without_the_line_break_at_its_end(content: str, tmp_path: Path) -> None:
    """The token of the file is the login and a secret like any other; editors may add a byte order mark."""
    [access] = invoke({"DATABRICKS_TOKEN_FILE": file(tmp_path, content)}).workspaces
    assert isinstance(access.login, PersonalToken)
    assert access.login.token.get_secret_value() == SECRET
    assert access.secrets() == (SECRET,)
    assert SECRET not in repr(access)


def test_id_and_secret_may_stand_in_files_or_in_variables(tmp_path: Path) -> None:
    """Each by itself."""
    environ = {"DATABRICKS_CLIENT_ID": "app", "DATABRICKS_CLIENT_SECRET_FILE": file(tmp_path, SECRET)}
    [access] = invoke(environ).workspaces
    assert isinstance(access.login, ClientCredentials)
    assert (access.login.client_id, access.login.client_secret.get_secret_value()) == ("app", SECRET)
    environ = {
        "DATABRICKS_CLIENT_ID_FILE": file(tmp_path, "app", "id"),
        "DATABRICKS_CLIENT_SECRET": SECRET,
    }
    assert invoke(environ).workspaces[0].login == access.login


def test_an_empty_variable_beside_a_file_is_none(tmp_path: Path) -> None:
    """As compose files leave them."""
    environ = {
        "DATABRICKS_TOKEN": "",
        "DATABRICKS_TOKEN_FILE": file(tmp_path, SECRET),
        "DATABRICKS_CLIENT_ID": "",
    }
    assert invoke(environ).workspaces[0].secrets() == (SECRET,)
    assert invoke({"DATABRICKS_TOKEN": SECRET, "DATABRICKS_TOKEN_FILE": ""}).workspaces[0].source is None


@pytest.mark.parametrize("name", ["DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"])
def test_a_variable_and_its_file_are_one_too_many(name: str, tmp_path: Path) -> None:
    """Which of the two counts is not guessed."""
    others = (
        {}
        if name == "DATABRICKS_TOKEN"
        else {
            "DATABRICKS_CLIENT_ID": "app",
            "DATABRICKS_CLIENT_SECRET": SECRET,
        }
    )
    environ = others | {name: SECRET, f"{name}_FILE": file(tmp_path, SECRET)}
    assert errors_of(environ) == (f"variable {name}_FILE: {name} is set too; keep one of them",)


def test_two_kinds_of_login_are_one_too_many_in_files_too(tmp_path: Path) -> None:
    """A token's file beside a client id."""
    [error] = errors_of({"DATABRICKS_TOKEN_FILE": file(tmp_path, SECRET), "DATABRICKS_CLIENT_ID": "app"})
    assert error.startswith("variable DATABRICKS_TOKEN: two kinds of login are set")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "the file is empty"),
        (" \n\n", "the file is empty"),
        (f"{SECRET} {SECRET}", "the file has a blank; it must hold the secret alone"),
        (f"{SECRET}\n{SECRET}", r"the file has a line break (\n); it must hold the secret alone"),
        (
            f"{SECRET}ü",
            "the file has a latin small letter u with diaeresis (ü); it must hold the secret alone",
        ),
        (f"{SECRET}'", "the file has a single quote ('); it must hold the secret alone"),
        (SECRET.encode("utf-16"), "the file is not UTF-8 text"),
        ("x" * (MAX_SECRET_BYTES + 1), f"the file is larger than {MAX_SECRET_BYTES} bytes"),
    ],
)
def test_a_file_that_holds_no_credential_is_named(content: str, complaint: str, tmp_path: Path) -> None:
    """One error with variable and path, and nothing of the content."""
    path = file(tmp_path, content)
    assert errors_of({"DATABRICKS_TOKEN_FILE": path}) == (
        f"variable DATABRICKS_TOKEN_FILE, {path}: {complaint}",
    )


def test_a_file_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    """Missing in a folder that exists, a folder, a pipe without a writer: none is waited for."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, cause in (
        (tmp_path / "missing", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (pipe, "it is not a regular file"),
    ):
        assert errors_of({"DATABRICKS_TOKEN_FILE": str(path)}) == (
            f"variable DATABRICKS_TOKEN_FILE, {path}: the file cannot be read: {cause}",
        )


@pytest.mark.parametrize("written", [SECRET, f"/{SECRET}", f"{SECRET}/x/y", SECRET * 200])
def test_a_secret_in_place_of_a_path_is_not_repeated(written: str) -> None:
    """Who writes the token itself into the variable of its file does not find it in the log."""
    [error] = errors_of({"DATABRICKS_TOKEN_FILE": written})
    assert error.startswith("variable DATABRICKS_TOKEN_FILE: the file cannot be read: ")


def test_a_bad_file_is_reported_with_all_other_errors(tmp_path: Path) -> None:
    """Of flags, credentials and proxy, in one go."""
    environ = {
        "DATABRICKS_CLIENT_ID_FILE": file(tmp_path, ""),
        "DATABRICKS_CLIENT_SECRET_FILE": str(tmp_path / "missing"),
        "HTTPS_PROXY": f"socks5://me:{SECRET}@proxy:1080",
    }
    errors = errors_of(environ, f"--api.ca-file={tmp_path / 'missing.pem'}", "--api.rate=0")
    assert [error.partition(":")[0].partition(",")[0] for error in errors] == [
        "flag --api.rate",
        "flag --api.ca-file",
        "variable DATABRICKS_CLIENT_ID_FILE",
        "variable DATABRICKS_CLIENT_SECRET_FILE",
        "variable HTTPS_PROXY",
    ]


# --- the configuration file


def test_a_configuration_file_that_cannot_be_read_is_an_error_of_its_flag(tmp_path: Path) -> None:
    """Missing, a folder, a pipe without a writer, far too large: none is waited for or read whole."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, cause in (
        (str(tmp_path / "missing"), "the file cannot be read: No such file or directory"),
        (str(tmp_path), "the file cannot be read: Is a directory"),
        (str(pipe), "the file cannot be read: it is not a regular file"),
        ("/dev/zero", "the file cannot be read: it is not a regular file"),
        (file(tmp_path, "#" * (MAX_CONFIG_BYTES + 1)), f"the file is larger than {MAX_CONFIG_BYTES} bytes"),
    ):
        assert errors_of({"DATABRICKS_TOKEN": TOKEN}, f"--config.file={path}") == (
            f"flag --config.file: {cause}",
        )


def test_a_configuration_file_of_windows_is_read(tmp_path: Path) -> None:
    """Byte order mark and CRLF are no part of keys and values."""
    path = file(tmp_path, "\ufeffpoll:\r\n  interval: 5m\r\nlog: {level: debug}\r\n")
    settings = invoke({"DATABRICKS_TOKEN": TOKEN}, f"--config.file={path}").settings
    assert (settings.poll.interval, settings.log.level) == (300.0, "debug")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("poll.interval: 1s", "key poll.interval: unknown key; write poll: {interval: 30s}"),
        ("poll_sweep_interval: 1s", "key poll_sweep_interval: unknown key; write poll: {sweep-interval: 1h}"),
        ("pollInterval: 1s", "key pollInterval: unknown key; write poll: {interval: 30s}"),
        ("web: {config.file: x}", "key web.config.file: unknown key; write web: {config: {file: FILE}}"),
        (
            "DATABRICKS_EXPORTER_LOG_LEVEL: info",
            "key DATABRICKS_EXPORTER_LOG_LEVEL: unknown key; write log: {level: info}",
        ),
        ("poll: {sweepInterval: 1s}", "unknown key; did you mean poll.sweep-interval?"),
        ("poll:\n \xa0interval: 1s", r"unknown key (not shown here); it has a no-break space (\xa0)"),
    ],
)
def test_a_setting_under_another_of_its_names_is_shown_as_a_key(
    text: str, shown: str, tmp_path: Path
) -> None:
    """Dotted, in one word, as a variable or in Go's style."""
    [error] = errors_of({"DATABRICKS_TOKEN": TOKEN}, f"--config.file={file(tmp_path, text)}")
    assert error.startswith("configuration file, line ")
    assert error.endswith(shown)


# --- CAs


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "the file cannot be read: No such file or directory"),
        (b"", "is no file of CA certificates in PEM"),
        (b"\xff\xfe", "is no file of CA certificates in PEM"),
        (
            b"-----BEGIN CERTIFICATE-----\nbm9uZQ==\n-----END CERTIFICATE-----\n",
            "is no file of CA certificates",
        ),
        (CA.key_pem(), "is no file of CA certificates in PEM"),
        (CA.certificate_pem[:-100], "is no file of CA certificates in PEM"),
    ],
    ids=["missing", "empty", "binary", "no certificate", "a key", "cut off"],
)
@pytest.mark.parametrize("place", ["flag", "variable", "file"])
def test_a_ca_file_that_is_none_is_an_error_of_its_setting(
    content: bytes | None, complaint: str, place: str, tmp_path: Path
) -> None:
    """Wherever it is named, and before anything starts; an empty file is not the system's trust."""
    path = tmp_path / "ca.pem" if content is None else Path(file(tmp_path, content, "ca.pem"))
    config = file(tmp_path, f"api: {{ca-file: '{path}'}}", "config.yml")
    argv = {"flag": [f"--api.ca-file={path}"], "variable": [], "file": [f"--config.file={config}"]}[place]
    environ = {"DATABRICKS_EXPORTER_API_CA_FILE": str(path)} if place == "variable" else {}
    [error] = errors_of({"DATABRICKS_TOKEN": SECRET} | environ, *argv)
    assert complaint in error
    assert error.startswith(
        {
            "flag": "flag --api.ca-file: ",
            "variable": "variable DATABRICKS_EXPORTER_API_CA_FILE: ",
            "file": "configuration file, line 1, key api.ca-file: ",
        }[place]
    )


def test_a_ca_file_may_hold_comments_and_several_certificates(tmp_path: Path) -> None:
    """As distributions write them; an empty value is the system's trust."""
    bundle = file(tmp_path, "# Ünser\n".encode() + CA.certificate_pem + make_ca("other").certificate_pem)
    login = {"DATABRICKS_TOKEN": SECRET}
    assert invoke(login, f"--api.ca-file={bundle}").settings.api.ca_file == Path(bundle)
    assert invoke(login, "--api.ca-file=").settings.api.ca_file is None


@pytest.mark.parametrize(
    ("variable", "value", "complaint"),
    [
        ("SSL_CERT_FILE", "/nowhere/ca.pem", "the file cannot be read: No such file or directory"),
        ("SSL_CERT_FILE", "/", "the file cannot be read: Is a directory"),
        (
            "SSL_CERT_FILE",
            "/dev/null\r",
            r"the value has a carriage return (\r); the file cannot be read: No such file or directory",
        ),
        ("SSL_CERT_DIR", "/nowhere:/neither", "names no directory"),
        ("SSL_CERT_DIR", '"/etc"', 'the value has a double quote ("); names no directory'),
    ],
)
def test_a_variable_of_the_systems_cas_that_names_nothing_is_an_error(
    variable: str, value: str, complaint: str, tmp_path: Path
) -> None:
    """Said at the start, because the library is silent; not where api.ca-file replaces the system's CAs."""
    environ = {"DATABRICKS_TOKEN": TOKEN, variable: value}
    assert errors_of(environ) == (f"variable {variable}: {complaint}; unset it, or set api.ca-file",)
    invoke(environ, f"--api.ca-file={file(tmp_path, CA.certificate_pem)}")
    invoke(environ, "--demo")


def test_variables_of_the_systems_cas_that_name_something_are_taken(tmp_path: Path) -> None:
    """A file, and one directory that exists among several."""
    environ = {
        "DATABRICKS_TOKEN": TOKEN,
        "SSL_CERT_FILE": file(tmp_path, CA.certificate_pem),
        "SSL_CERT_DIR": f"/nowhere:{tmp_path}",
    }
    assert invoke(environ).settings.api.ca_file is None


# --- the proxy


@pytest.mark.parametrize(
    ("written", "complaint"),
    [
        (f"socks5://me:{SECRET}@proxy:1080", "only http:// and https:// proxies are understood"),
        (f"http://me:{SECRET}@proxy:3128/path", "is no proxy; write for example"),
        (f"http://me:{SECRET}@proxy:port", "is no proxy; write for example"),
        (f"http://me:{SECRET}@", "is no proxy; write for example"),
        (f"http://[{SECRET}", "is no proxy; write for example"),
        (f"http://me:{SECRET}@pro xy:1", "is no proxy; write for example"),
    ],
)
def test_a_proxy_that_is_none_is_an_error_without_its_password(written: str, complaint: str) -> None:
    """It names the variable as it is written there."""
    for variable in ("HTTPS_PROXY", "https_proxy"):
        [error] = errors_of({"DATABRICKS_TOKEN": TOKEN, variable: written})
        assert error.startswith(f"variable {variable}: {complaint}")


def test_the_password_of_the_proxy_is_a_secret() -> None:
    """Itself, and what HTTP Basic makes of user and password; neither is in a repr."""
    environ = {"DATABRICKS_TOKEN": TOKEN, "HTTPS_PROXY": f"http://me:{SECRET}%40@proxy:3128"}
    [access] = invoke(environ).workspaces
    assert access.proxy is not None
    assert access.proxy.url == "http://proxy:3128"
    assert access.secrets() == (TOKEN, f"{SECRET}@", "bWU6ZGFwaTAxMjM0NTY3ODlhYmNkZWYtUGxhbnRlZEA=")
    assert SECRET not in repr(access)


def test_a_workspace_on_this_machine_is_reached_without_a_proxy() -> None:
    """Whatever the environment says."""
    environ = {
        "DATABRICKS_HOST": "http://127.0.0.1:1",
        "DATABRICKS_TOKEN": TOKEN,
        "HTTPS_PROXY": "http://p:1",
    }
    assert invoke(environ).workspaces[0].proxy is None
