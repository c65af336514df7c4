"""Settings: flags, environment, YAML file and defaults become one frozen `Settings`.

    model.py        every setting once: type, unit, range, default, help
    names.py        how each is named as a flag, a variable and a key
    flags.py, variables.py, config_file.py   the three places where a setting is written, each read as text
    place.py        the texts of one place: a source of pydantic-settings, with errors that name their origin
    characters.py   white space, quotes and stray characters: one rule for every value
    durations.py, addresses.py, buckets.py   the text of a value -> the value
    credentials.py  which workspace, and the login for it
    proxies.py      the proxy between us and the workspace
    files.py        what is read from files that settings and credentials name
    usage.py        --help
    invocation.py   parse(): all of it in one call

What must stay true: no default and no name is written outside the model, and no error repeats a value.
"""

from exporter.config.addresses import HEALTHY_PATH, READY_PATH, ListenAddress
from exporter.config.credentials import (
    ClientCredentials,
    Credentials,
    CredentialSource,
    PersonalToken,
    WorkspaceAccess,
)
from exporter.config.durations import parse_duration
from exporter.config.errors import SettingsError
from exporter.config.files import trusting
from exporter.config.invocation import Invocation, Notice, parse
from exporter.config.model import ApiSettings, LogFormat, LogLevel, Settings
from exporter.config.names import Setting, all_settings
from exporter.config.proxies import Proxy

__all__ = [
    "HEALTHY_PATH",
    "READY_PATH",
    "ApiSettings",
    "ClientCredentials",
    "CredentialSource",
    "Credentials",
    "Invocation",
    "ListenAddress",
    "LogFormat",
    "LogLevel",
    "Notice",
    "PersonalToken",
    "Proxy",
    "Setting",
    "Settings",
    "SettingsError",
    "WorkspaceAccess",
    "all_settings",
    "parse",
    "parse_duration",
    "trusting",
]
