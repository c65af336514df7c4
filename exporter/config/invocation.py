"""From command line and environment to what is to be done: one call, all errors at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from exporter import __version__
from exporter.config.config_file import read_config_file
from exporter.config.credentials import WorkspaceAccess, workspace_access
from exporter.config.errors import SettingsError
from exporter.config.flags import Command, read_flags
from exporter.config.layers import Layer, Text
from exporter.config.model import CONFIG_FILE, Settings, all_settings
from exporter.config.usage import PROGRAM, help_text
from exporter.config.variables import read_variables


@dataclass(frozen=True, slots=True)
class Invocation:
    """What to run, and with what. `workspaces` is empty with `demo`, whose caller simulates one."""

    command: Command
    demo: bool
    settings: Settings
    workspaces: tuple[WorkspaceAccess, ...]


@dataclass(frozen=True, slots=True)
class Notice:
    """A text that was asked for instead of a run: print it to standard output, exit code 0."""

    text: str


def parse(argv: Sequence[str], environ: Mapping[str, str]) -> Invocation | Notice:
    """Reads `argv` (without the program's name), `environ` and the file of `--config.file`.

    A request for help or the version wins over any error.

    Raises:
        SettingsError: everything that is wrong in any of the three, or with the credentials.
    """
    line = read_flags(argv)
    if line.notice is not None:
        return Notice(help_text() if line.notice == "help" else f"{PROGRAM} {__version__}")
    layers = _written_layers(line.layer, read_variables(environ))
    errors = [problem for layer in layers for problem in (*layer.errors, *layer.complaints())]
    workspaces: tuple[WorkspaceAccess, ...] = ()
    if not line.demo:
        errors += _missing_state_path(layers)
        workspace, problems = workspace_access(environ)
        errors += problems
        workspaces = (workspace,) if workspace else ()
    if errors:
        raise SettingsError(errors)
    settings = Settings.from_layers(*(layer.tree() for layer in layers), _demo_layer() if line.demo else {})
    return Invocation(command=line.command, demo=line.demo, settings=settings, workspaces=workspaces)


def _written_layers(flags: Layer, variables: Layer) -> tuple[Layer, Layer, Layer]:
    """Flags, environment and file: the order in which one beats the next."""
    by_flag, by_variable = flags.pop(CONFIG_FILE), variables.pop(CONFIG_FILE)
    return flags, variables, read_config_file(by_flag or by_variable)


def _missing_state_path(layers: Sequence[Layer]) -> list[str]:
    """Totals must not land in whatever folder the process was started in."""
    state_path = next(setting for setting in all_settings() if setting.path == ("state", "path"))
    default = Settings().state.path
    if any(state_path.name in layer.texts for layer in layers) or (default and default.is_absolute()):
        return []
    complaint = "not set, and this user has no home folder for the default"
    return [f"flag {state_path.flag}: {complaint}; set it or {state_path.variable}; empty is memory only"]


def _demo_layer() -> dict[str, Any]:
    """The defaults that differ with `--demo`; anything written beats them."""
    layer = Layer()
    for setting in all_settings():
        if setting.demo_default_text is not None:
            layer.texts[setting.name] = Text(setting.name, setting.demo_default_text)
    return layer.tree()
