"""Reads the command line: `[check] [--demo] [--name=value | --name value]…`."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from exporter.config.characters import described, trimmed
from exporter.config.names import CONFIG_FILE, Setting, all_settings, looks_like_a_name, suggestion
from exporter.config.place import Place

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
    """What was asked for. `place` holds the settings, and everything that is wrong with the line."""

    command: Command = "serve"
    demo: bool = False
    notice: Literal["help", "version"] | None = None
    place: Place = field(default_factory=Place)


def read_flags(argv: Sequence[str]) -> CommandLine:
    """The command line without the program's name. Never raises: errors are in `place.errors`."""
    if _HELP_FLAGS.intersection(argv):
        return CommandLine(notice="help")
    if VERSION in argv:
        return CommandLine(notice="version")
    line = CommandLine()
    waiting = deque(enumerate(argv, start=1))
    while waiting:
        position, argument = waiting.popleft()
        word = trimmed(argument)
        if word == CHECK:
            line.command = "check"
        elif word == DEMO:
            line.demo = True
        elif argument.startswith("-"):
            _read_flag(position, argument, waiting, line.place)
        else:
            line.place.errors.append(
                f"argument {position}: neither a flag nor a command (not shown here){_hint(word)}"
            )
    return line


def _hint(word: str) -> str:
    if word[:1] in {"‐", "‑", "–", "—", "−"}:  # what word processors make of --
        return f"; it begins with {described(word[0])}; write --"
    return suggestion(word, {CHECK: None})


def _read_flag(position: int, argument: str, waiting: deque[tuple[int, str]], place: Place) -> None:
    flag, attached, value = argument.partition("=")
    settings: dict[str, Setting | None] = {
        setting.flag: setting for setting in (CONFIG_FILE, *all_settings())
    }
    is_negated = flag.startswith(_NEGATION)
    setting = settings.get(flag.replace(_NEGATION, "--", 1) if is_negated else flag)
    following = waiting[0][1] if waiting else None
    if setting is None or (is_negated and not setting.is_switch):
        place.errors.append(_unknown(flag, position, settings))
        if not attached and following not in {None, CHECK} and not str(following).startswith("--"):
            waiting.popleft()  # most likely the value of this flag: one mistake, one error
        return
    text: str | None = value
    if is_negated:
        text = None if attached else "false"
    elif not attached and setting.is_switch:
        text = waiting.popleft()[1] if following in _SWITCH_WORDS else "true"
    elif not attached:
        text = None if following is None or following.startswith("--") else waiting.popleft()[1]
    if text is None:
        demand = "takes no value" if is_negated else f"needs a value: {flag}={setting.kind}"
        place.errors.append(f"flag {flag}: {demand}")
    elif setting in place:
        place.errors.append(f"flag {flag}: given twice; keep one")
    else:
        place.write(setting, f"flag {flag}", text)


def _unknown(flag: str, position: int, settings: dict[str, Setting | None]) -> str:
    name = flag.removeprefix("--")
    if name == flag or not looks_like_a_name(name):
        return f"argument {position}: unknown flag (not shown here); see {HELP}"
    if flag in {DEMO, HELP, VERSION}:
        return f"flag {flag}: takes no value"
    hint = suggestion(flag, settings | dict.fromkeys((DEMO, HELP, VERSION)))
    return f"flag {flag}: unknown{hint or f'; see {HELP}'}"
