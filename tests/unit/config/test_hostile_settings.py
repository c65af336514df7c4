"""Arguments, variables and files of any kind: settings, or errors that are told without a secret."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from exporter.config import Invocation, Notice, SettingsError, all_settings, parse
from exporter.server.web_config import WebConfig, WebConfigError, load

SECRET = "dapi0123456789abcdef-Planted"
LOGIN = {"DATABRICKS_HOST": "adb-1.2.azuredatabricks.net", "DATABRICKS_TOKEN": SECRET}
HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=150, suppress_health_check=list(HealthCheck))
# A value may be anything that an argument can hold, and a secret may slip into any.
text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)
values = st.one_of(
    text,
    st.sampled_from(
        ["5m", "1", "-1", "1e999", "nan", "9" * 400, "true", ":9977", "[::1]:1", "/x", "", SECRET]
    ),
    st.builds("{}{}".format, text, st.just(SECRET)),
)
flags = st.sampled_from([setting.flag for setting in all_settings()])
arguments = st.one_of(
    values,
    flags,
    st.builds("{}={}".format, flags, values),
    st.builds("--{}={}".format, text, values),
    st.sampled_from(
        ["check", "--demo", "--config.file", "--", "-", "--=", "--no-collect.tasks", "--no-demo"]
    ),
)
variables = st.dictionaries(
    st.sampled_from([setting.variable for setting in all_settings()])
    | st.sampled_from(
        ["DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CLIENT_ID", "DATABRICKS_CLIENT_SECRET"]
    )
    | st.builds("DATABRICKS_EXPORTER_{}".format, text),
    values,
    max_size=4,
)
# What YAML is made of, so that some of it is a document.
scalars = values | st.sampled_from(
    ["~", "!!int x", "*a", "&a b", "'", '"', "|", "- ", "? ", "{", "]", "%YAML 2"]
)
keys = (
    st.sampled_from(sorted({part for setting in all_settings() for part in setting.name.split(".")}))
    | scalars
)
lines = st.builds("{}{}: {}\n".format, st.sampled_from(["", "  ", "    ", "\t", "- "]), keys, scalars)
documents = st.lists(lines | scalars, max_size=8).map("".join)
web_keys = st.sampled_from(
    [
        *("tls_server_config", "cert_file", "key_file", "cert", "key", "client_ca", "client_auth_type"),
        *("min_version", "cipher_suites", "curve_preferences", "http_server_config", "headers", "http2"),
        *("X-Frame-Options", "basic_auth_users", "rate_limit", "interval"),
    ]
)
web_values = scalars | st.sampled_from(
    [HASH, "deny", "TLS13", "NoClientCert", "[TLS_AES_128_GCM_SHA256]", "\n"]
)
web_lines = st.builds("{}{}: {}\n".format, st.sampled_from(["", "  ", "    "]), web_keys, web_values)
web_documents = st.lists(web_lines | scalars, max_size=8).map("".join)


@pytest.fixture(scope="module")
def file() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder) / "file.yml"


def try_settings(argv: list[str], environ: dict[str, str]) -> None:
    """They are read, or what is wrong is told without the secret."""
    wrong: tuple[str, ...] = ("nothing",)
    try:
        assert isinstance(parse(argv, environ), Invocation | Notice)
    except SettingsError as error:
        wrong = error.errors
    assert wrong
    assert SECRET not in "".join(wrong)
    assert all(line.isprintable() for line in wrong)


@unhurried
@given(st.lists(arguments, max_size=5))
@example([f"--{SECRET}"])
@example(["--poll.interval", SECRET])
def test_any_arguments_are_settings_or_an_error_without_a_secret(argv: list[str]) -> None:
    """Whatever stands on the command line."""
    try_settings(argv, LOGIN)


@unhurried
@given(variables)
@example({f"DATABRICKS_EXPORTER_{SECRET}": "1"})
def test_any_variables_are_settings_or_an_error_without_a_secret(environ: dict[str, str]) -> None:
    """Whatever stands in the environment, the login included; but names of variables may be told."""
    named = any(SECRET in name for name in environ)
    try_settings([], LOGIN | ({} if named else environ))


@unhurried
@given(documents | st.text(max_size=60))
def test_any_file_is_settings_or_an_error_without_a_secret(file: Path, document: str) -> None:
    """Whatever stands in the file."""
    file.write_text(document, errors="replace")
    try_settings([f"--config.file={file}"], LOGIN)


@unhurried
@given(st.binary(max_size=200))
def test_any_bytes_are_settings_or_an_error(file: Path, content: bytes) -> None:
    """Also where the file is no text."""
    file.write_bytes(content)
    try_settings([f"--config.file={file}"], LOGIN)


@unhurried
@given(web_documents.map(str.encode) | st.binary(max_size=200))
def test_any_web_config_is_taken_or_an_error_without_a_secret(file: Path, content: bytes) -> None:
    """Whatever stands in the web.config.file: a configuration, or errors without hash and secret."""
    file.write_bytes(content)
    wrong: tuple[str, ...] = ("nothing",)
    try:
        assert isinstance(load(file), WebConfig)
    except WebConfigError as error:
        wrong = error.errors
    assert wrong
    assert SECRET not in "".join(wrong)
    assert HASH not in "".join(wrong)
