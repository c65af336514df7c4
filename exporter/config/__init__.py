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

from exporter.config.addresses import HEALTHY_PATH, READY_PATH, ListenAddress
from exporter.config.credentials import (
    ClientCredentials,
    Credentials,
    CredentialSource,
    PersonalToken,
    WorkspaceAccess,
)
from exporter.config.durations import format_duration, parse_duration
from exporter.config.errors import SettingsError
from exporter.config.files import trusting
from exporter.config.invocation import Invocation, Notice, parse
from exporter.config.model import ApiSettings, LogFormat, LogLevel, Setting, Settings, all_settings
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
    "format_duration",
    "parse",
    "parse_duration",
    "trusting",
]
