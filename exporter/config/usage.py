"""The text of `--help`, drawn from the model."""

import textwrap
from collections.abc import Iterable, Iterator

from exporter.config.credentials import CREDENTIAL_VARIABLES
from exporter.config.flags import CHECK, DEMO, HELP, VERSION
from exporter.config.names import CONFIG_FILE, Setting, all_settings
from exporter.config.proxies import PROXY_VARIABLES

PROGRAM = "databricks-jobs-exporter"
_WIDTH = 100
_INDENT = 2
_COLUMN = 38

_COMMANDS = {
    "(no command)": "poll the workspace that the environment names and serve its metrics",
    DEMO: "the same against a simulated workspace; needs no account",
    CHECK: "validate the settings, log in, list what would be exported; exit code 0 or 1",
}
_OTHER_FLAGS = {HELP: "show this text", VERSION: "show the version"}


def help_text() -> str:
    """Usage, commands, settings by section, naming rules and credentials; 100 columns at most."""
    example = next(setting for setting in all_settings() if "-" in setting.name)
    return "\n".join(
        [
            f"usage: {PROGRAM} [{DEMO}] [FLAGS]",
            f"       {PROGRAM} {CHECK} [{DEMO}] [FLAGS]",
            "",
            "Prometheus exporter for Databricks job runs: every finished run counted exactly once.",
            *_block("commands", _COMMANDS.items()),
            *_block("general", [*_OTHER_FLAGS.items(), _row(CONFIG_FILE)]),
            *_sections(),
            *_naming(example),
            *_block("credentials, from the environment only", CREDENTIAL_VARIABLES.items()),
            *_block(
                "proxy, from the environment only, in capitals or small letters", PROXY_VARIABLES.items()
            ),
        ]
    )


def _sections() -> Iterator[str]:
    sections = dict.fromkeys(setting.path[0] for setting in all_settings())
    for section in sections:
        yield from _block(
            section, (_row(setting) for setting in all_settings() if setting.path[0] == section)
        )


def _row(setting: Setting) -> tuple[str, str]:
    left = f"--[no-]{setting.name}" if setting.is_switch else f"{setting.flag} {setting.kind}"
    with_demo = f"; {setting.demo_default_text} with {DEMO}" if setting.demo_default_text else ""
    return left, f"{setting.help} [default {setting.default_text}{with_demo}]"


def _block(title: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield ""
    yield f"{title}:"
    for left, right in rows:
        lines = textwrap.wrap(right, _WIDTH - _INDENT - _COLUMN, break_on_hyphens=False)
        yield f"{'':{_INDENT}}{left:<{_COLUMN}}{lines[0]}"
        yield from (f"{'':{_INDENT + _COLUMN}}{line}" for line in lines[1:])


def _naming(example: Setting) -> Iterator[str]:
    only_empty = ", ".join(setting.variable for setting in all_settings() if setting.written.empty_says_none)
    yield from (
        "",
        "Flags are written --name=VALUE or --name VALUE. Every setting is also, here for",
        f"{example.name}:",
        f"  an environment variable   {example.variable}={example.default_text}",
        f"  a YAML key                {example.yaml}",
        "Flag beats environment beats file beats default. Durations need a unit: 500ms, 30s, 5m, 24h, 14d,",
        "1h30m. White space and one pair of quotes around a value are dropped. An empty variable counts as",
        f"not set, except {only_empty}. An unknown flag, variable or key is an error.",
    )
