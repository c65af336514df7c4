"""One place where settings are written (flags, environment or file), as a source of pydantic-settings.

The library puts the places in order of priority, nests the dotted names and validates. It cannot read the
places itself, because its readers do not keep our promises:

* `CliSettingsSource` is argparse: it stops at the first error, and its errors quote values, perhaps a secret.
* `EnvSettingsSource` ignores unknown names. It splits all names at the same number of underscores, but
  `POLL_SWEEP_INTERVAL` must be split once and `WEB_CONFIG_FILE` twice.
* `YamlConfigSettingsSource` knows no lines, takes the last of two equal keys in silence, and gives a value a
  type before we see its text.
"""

from collections.abc import Iterator

from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import EnvSettingsSource

from exporter.config.characters import stray_in_value, trimmed
from exporter.config.model import Settings
from exporter.config.names import Setting

# The library's messages may quote the value; these never do. By the library's type of error.
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


class Place(EnvSettingsSource):
    """The texts of one place, the origin of each (flag, variable or line), and everything that is wrong."""

    def __init__(self) -> None:
        super().__init__(Settings, case_sensitive=True, env_prefix="", env_nested_delimiter=".")
        self.errors: list[str] = []
        self._origins: dict[str, str] = {}
        # The library reads the environment of the process. From here on it reads these texts in its place.
        self._texts: dict[str, str] = {}
        self.env_vars = self._texts

    def __contains__(self, setting: Setting) -> bool:
        return _key(setting) in self._origins

    def write(self, setting: Setting, origin: str, text: str) -> None:
        """Takes a text as it was written there, or notes what is wrong with its characters."""
        text = trimmed(text)
        self._origins[_key(setting)] = origin
        if stray := stray_in_value(text):
            self.errors.append(f"{origin}: the value has {stray}; remove it")
        else:
            self._texts[_key(setting)] = text

    def take(self, setting: Setting) -> tuple[str, str] | None:
        """Origin and text of a setting that is no part of the model; None where it is not written here."""
        text = self._texts.pop(_key(setting), None)
        return None if text is None else (self._origins[_key(setting)], text)

    def complaints(self) -> Iterator[str]:
        """One line for every value that does not fit, also where another place overrides it."""
        try:
            Settings.from_sources([self])
        except ValidationError as error:
            for details in error.errors(include_url=False, include_input=False):
                yield self._complaint(details)

    def _complaint(self, details: ErrorDetails) -> str:
        origin = self._origins[".".join(map(str, details["loc"]))]
        template = _COMPLAINTS.get(details["type"], "is not understood; see --help")
        return f"{origin}: {template.format_map(details.get('ctx', {}))}"


def _key(setting: Setting) -> str:
    return ".".join(setting.path)
