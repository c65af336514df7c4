"""Settings: flags, environment, YAML file and defaults become one frozen `Settings`.

    model.py        every setting once: name, type, unit, range, default, help
    flags.py, variables.py, config_file.py   the three places where a setting is written, each read as text
    layers.py       the texts of one place: checked against the model, errors that name their origin
    credentials.py  which workspace, and the login for it
    proxies.py      the proxy on the way there
    files.py        what is read from files that settings and credentials name
    usage.py        --help
    invocation.py   parse(): all of it in one call

What must stay true: no default and no name is written outside the model, and no error repeats a value.
"""

from exporter.settings.addresses import HEALTHY_PATH, READY_PATH, ListenAddress
from exporter.settings.credentials import (
    ClientCredentials,
    Credentials,
    CredentialSource,
    PersonalToken,
    WorkspaceAccess,
)
from exporter.settings.durations import format_duration, parse_duration
from exporter.settings.errors import SettingsError
from exporter.settings.files import trusting
from exporter.settings.invocation import Invocation, Notice, parse
from exporter.settings.model import ApiSettings, LogFormat, LogLevel, Setting, Settings, all_settings
from exporter.settings.proxies import Proxy

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
    "format_duration",
    "parse",
    "parse_duration",
    "trusting",
]
