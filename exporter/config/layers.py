"""What one source (flags, environment, file) says, as text, and where each value was written."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from exporter.config.model import Setting, Settings, all_settings

# pydantic's messages may quote the value; these never do. By pydantic's error type.
_COMPLAINTS = {
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge:g} or more",
    "finite_number": "must be a finite number",
    "float_parsing": "must be a number, for example 20",
    "int_parsing": "must be a whole number, for example 16",
    "int_parsing_size": "must be a smaller whole number",
    "literal_error": "must be one of {expected}",
    "bool_parsing": "must be true or false",
    "value_error": "{error}",
}


@dataclass(frozen=True, slots=True)
class Text:
    """A value as it was written. `origin` names the flag, variable or key, never the value."""

    origin: str
    value: str


@dataclass(frozen=True, slots=True)
class Layer:
    """The texts of one source by setting name, and what was wrong with reading it."""

    texts: dict[str, Text] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)

    def pop(self, setting: Setting) -> Text | None:
        return self.texts.pop(setting.name, None)

    def tree(self) -> dict[str, Any]:
        """The texts nested as the model is."""
        tree: dict[str, Any] = {}
        for setting in all_settings():
            if setting.name not in self.texts:
                continue
            branch = tree
            for attribute in setting.path[:-1]:
                branch = branch.setdefault(attribute, {})
            branch[setting.path[-1]] = self.texts[setting.name].value
        return tree

    def complaints(self) -> Iterator[str]:
        """One line for every value that does not fit, also where another layer would override it."""
        try:
            Settings.from_layers(self.tree())
        except ValidationError as error:
            for details in error.errors(include_url=False, include_input=False):
                yield self._complaint(details)

    def _complaint(self, details: ErrorDetails) -> str:
        where = ".".join(str(part) for part in details["loc"]).replace("_", "-")
        template = _COMPLAINTS.get(details["type"], "is not understood; see --help")
        return f"{self.texts[where].origin}: {template.format_map(details.get('ctx', {}))}"
