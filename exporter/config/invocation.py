"""From command line and environment to what is to be done: one call, all errors at once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter import __version__
from exporter.config.config_file import read_config_file
from exporter.config.credentials import WorkspaceAccess, workspace_access
from exporter.config.errors import SettingsError
from exporter.config.files import system_trust_errors
from exporter.config.flags import Command, read_flags
from exporter.config.model import Settings, StateSettings
from exporter.config.names import CONFIG_FILE, Setting, all_settings
from exporter.config.place import Place
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
    flags, variables = line.place, read_variables(environ)
    by_flag, by_variable = flags.take(CONFIG_FILE), variables.take(CONFIG_FILE)
    # The order in which one beats the next.
    places = (flags, variables, read_config_file(by_flag or by_variable))
    errors = [error for place in places for error in (*place.errors, *place.complaints())]
    workspaces: tuple[WorkspaceAccess, ...] = ()
    if not line.demo:
        errors += _missing_state_path(places)
        workspace, problems = workspace_access(environ)
        errors += problems
        if not _is_written("api.ca-file", places):
            errors += system_trust_errors(environ)
        workspaces = (workspace,) if workspace else ()
    if errors:
        raise SettingsError(errors)
    settings = Settings.from_sources((*places, _demo_defaults()) if line.demo else places)
    return Invocation(command=line.command, demo=line.demo, settings=settings, workspaces=workspaces)


def _setting(name: str) -> Setting:
    return next(setting for setting in all_settings() if setting.name == name)


def _is_written(name: str, places: Sequence[Place]) -> bool:
    return any(_setting(name) in place for place in places)


def _missing_state_path(places: Sequence[Place]) -> list[str]:
    """Totals must not land in whatever folder the process was started in."""
    default = StateSettings().path
    if _is_written("state.path", places) or (default and default.is_absolute()):
        return []
    setting = _setting("state.path")
    complaint = "not set, and this user has no home folder for the default"
    return [f"flag {setting.flag}: {complaint}; set it or {setting.variable}; empty is memory only"]


def _demo_defaults() -> Place:
    """The defaults that differ with `--demo`; anything written beats them."""
    place = Place()
    for setting in all_settings():
        if setting.demo_default_text is not None:
            place.write(setting, setting.name, setting.demo_default_text)
    return place
