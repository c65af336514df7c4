"""Reads the command line: `[check] [--demo] [--name=value | --name value]…`.

Not argparse: that quotes values in its errors, stops at the first one and guesses abbreviations.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from exporter.config.errors import looks_like_a_name, suggestion
from exporter.config.layers import Layer, Text
from exporter.config.model import CONFIG_FILE, Setting, all_settings

CHECK = "check"
DEMO = "--demo"
HELP = "--help"
VERSION = "--version"
_HELP_FLAGS = {HELP, "-h"}
_NEGATION = "--no-"
_SWITCH_WORDS = {"true", "false"}

Command = Literal["serve", "check"]


@dataclass(slots=True)
class CommandLine:
    """What was asked for. `layer` holds the settings, and everything that is wrong with the line."""

    command: Command = "serve"
    demo: bool = False
    notice: Literal["help", "version"] | None = None
    layer: Layer = field(default_factory=Layer)


def read_flags(argv: Sequence[str]) -> CommandLine:
    """The command line without the program's name. Never raises: errors are in `layer.errors`."""
    if _HELP_FLAGS.intersection(argv):
        return CommandLine(notice="help")
    if VERSION in argv:
        return CommandLine(notice="version")
    line = CommandLine()
    arguments = _Arguments(argv)
    for argument in arguments:
        if argument == CHECK:
            line.command = "check"
        elif argument == DEMO:
            line.demo = True
        elif argument.startswith("-"):
            _read_flag(argument, arguments, line.layer)
        else:
            hint = suggestion(argument, [CHECK])
            line.layer.errors.append(
                f"argument {arguments.position}: neither a flag nor a command (not shown here){hint}"
            )
    return line


class _Arguments:
    """The arguments one after the other, with a look at the next one. `position` counts from 1."""

    def __init__(self, argv: Sequence[str]) -> None:
        self._argv = argv
        self.position = 0

    def __iter__(self) -> Iterator[str]:
        while self.position < len(self._argv):
            self.position += 1
            yield self._argv[self.position - 1]

    def peek(self) -> str | None:
        return self._argv[self.position] if self.position < len(self._argv) else None

    def take_value(self) -> str | None:
        """The next argument, unless there is none or it is a flag."""
        following = self.peek()
        if following is None or following.startswith("--"):
            return None
        self.position += 1
        return following


def _read_flag(argument: str, arguments: _Arguments, layer: Layer) -> None:
    flag, has_value, value = argument.partition("=")
    attached = value if has_value else None
    settings = {setting.flag: setting for setting in (CONFIG_FILE, *all_settings())}
    negated = settings.get(flag.replace(_NEGATION, "--", 1)) if flag.startswith(_NEGATION) else None
    if flag in settings:
        setting = settings[flag]
        _keep(setting, flag, _value_of(setting, attached, arguments), layer)
    elif negated is not None and negated.is_switch:
        _keep(negated, flag, "false" if attached is None else None, layer)
    elif flag == DEMO:
        layer.errors.append(f"flag {DEMO}: takes no value")
    else:
        layer.errors.append(_unknown(flag, arguments.position, settings))
        if attached is None and arguments.peek() != CHECK:
            arguments.take_value()  # most likely this flag's: one mistake, one error


def _value_of(setting: Setting, attached: str | None, arguments: _Arguments) -> str | None:
    if attached is not None:
        return attached
    if not setting.is_switch:
        return arguments.take_value()
    return arguments.take_value() if arguments.peek() in _SWITCH_WORDS else "true"


def _keep(setting: Setting, flag: str, value: str | None, layer: Layer) -> None:
    if value is None:
        demand = "takes no value" if flag.startswith(_NEGATION) else f"needs a value: {flag}={setting.kind}"
        layer.errors.append(f"flag {flag}: {demand}")
    elif setting.name in layer.texts:
        layer.errors.append(f"flag {flag}: given twice; keep one")
    else:
        layer.texts[setting.name] = Text(f"flag {flag}", value)


def _unknown(flag: str, position: int, settings: dict[str, Setting]) -> str:
    name = flag.removeprefix("--")
    if name == flag or not looks_like_a_name(name):
        return f"argument {position}: unknown flag (not shown here); see {HELP}"
    hint = suggestion(flag, [*settings, DEMO, HELP, VERSION])
    return f"flag {flag}: unknown{hint or f'; see {HELP}'}"
