"""How each setting of the model is named in every place where it can be written.

A value in the wrong place may be a secret (`--token=dapi…`, a token as a positional argument, a YAML file
that is one long line). So an error repeats only what looks like a name.
"""

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from exporter.config.credentials import CREDENTIAL_VARIABLES
from exporter.config.model import Settings, Written

ENVIRONMENT_PREFIX = "DATABRICKS_EXPORTER_"

# No setting has a digit in its name; nearly every generated secret does.
_NAME = re.compile(r"[A-Za-z]+(?:[._-][A-Za-z]+)*")
_LONGEST_NAME = 60


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting as people see it. `path`: attribute names from `Settings` down to the value."""

    path: tuple[str, ...]
    written: Written
    default_text: str
    help: str
    demo_default_text: str | None = None
    is_switch: bool = False

    @property
    def name(self) -> str:
        return ".".join(self.path).replace("_", "-")

    @property
    def flag(self) -> str:
        return f"--{self.name}"

    @property
    def variable(self) -> str:
        return ENVIRONMENT_PREFIX + "_".join(self.path).upper()

    @property
    def kind(self) -> str:
        return self.written.kind

    @property
    def yaml(self) -> str:
        """How the configuration file writes it, with its default or the kind of its value."""
        value = self.kind if self.kind == "FILE" else self.default_text
        written = f'"{value}"' if ":" in value else value
        return ": {".join(self.name.split(".")) + f": {written}" + "}" * self.name.count(".")

    def is_meant_by(self, name: str) -> bool:
        """Whether only case and punctuation, or the prefix of variables, tell a name from this one."""
        letters = re.sub(r"[^a-z]", "", name.lower())
        return letters.removeprefix("databricksexporter") == "".join(self.path).replace("_", "")


# Not in the model: a file cannot name the file it is read from.
CONFIG_FILE = Setting(
    path=("config", "file"),
    written=Written("FILE"),
    default_text="none",
    help="YAML file with any of the settings below",
)


@cache
def all_settings() -> tuple[Setting, ...]:
    """Every setting of the model, in its order."""
    return tuple(_settings_of(Settings, ()))


def _settings_of(model: type[BaseModel], above: tuple[str, ...]) -> Iterator[Setting]:
    for attribute, field in model.model_fields.items():
        path = (*above, attribute)
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from _settings_of(field.annotation, path)
        else:
            yield _setting(path, field)


def _setting(path: tuple[str, ...], field: FieldInfo) -> Setting:
    written = next((note for note in field.metadata if isinstance(note, Written)), None)
    notes = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    return Setting(
        path=path,
        written=written or Written("|".join(get_args(field.annotation))),
        default_text=str(notes.get("default") or field.default or "none"),
        help=field.description or "",
        demo_default_text=str(notes["demo"]) if "demo" in notes else None,
        is_switch=field.annotation is bool,
    )


def looks_like_a_name(text: str) -> bool:
    return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None


def suggestion(name: str, known: Mapping[str, Setting | None]) -> str:
    """`; did you mean …?` for an unknown name, or where credentials belong, or nothing."""
    words = re.findall(r"[a-z]+", name.lower())
    for variable in CREDENTIAL_VARIABLES:
        wanted = variable.lower().split("_")[1:]
        if words[-len(wanted) :] == wanted and set(words) <= {"databricks", "exporter", *wanted}:
            return f"; credentials come from the environment only: set {variable}"
    meant = (other for other, setting in known.items() if setting and setting.is_meant_by(name))
    close = next(meant, None) or next(iter(difflib.get_close_matches(name, known, n=1)), None)
    return f"; did you mean {close}?" if close else ""
