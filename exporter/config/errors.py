"""What is wrong with the settings, all of it at once, without repeating what was written.

A value in the wrong place may be a secret (`--token=dapi…`, a token as a positional argument, a YAML file
that is one long line). So an error names the flag, variable or key, and only where that looks like a name.
"""

import difflib
import re
from collections.abc import Iterable

from exporter.config.credentials import CREDENTIAL_VARIABLES

# No setting has a digit in its name; nearly every generated secret does.
_NAME = re.compile(r"[A-Za-z]+(?:[._-][A-Za-z]+)*")
_LONGEST_NAME = 60


class SettingsError(Exception):
    """The settings cannot be used. `errors`: one line each, ready for standard error."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        super().__init__("\n".join(self.errors))


def looks_like_a_name(text: str) -> bool:
    return len(text) <= _LONGEST_NAME and _NAME.fullmatch(text) is not None


def suggestion(name: str, candidates: Iterable[str]) -> str:
    """`; did you mean …?` for an unknown name, or where credentials belong, or nothing."""
    words = re.findall(r"[a-z]+", name.lower())
    for variable in CREDENTIAL_VARIABLES:
        wanted = variable.lower().split("_")[1:]
        if words[-len(wanted) :] == wanted and set(words) <= {"databricks", "exporter", *wanted}:
            return f"; credentials come from the environment only: set {variable}"
    close = difflib.get_close_matches(name, candidates, n=1)
    return f"; did you mean {close[0]}?" if close else ""
