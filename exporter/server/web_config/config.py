"""The content of a `web.config.file`, as a value."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from ssl import SSLContext
from types import MappingProxyType

import yaml

from exporter.server.web_config.document import (
    Problems,
    WebConfigError,
    fields,
    flag,
    parse,
    read_file,
    text,
)
from exporter.server.web_config.tls_context import server_context
from exporter.server.web_config.tls_settings import TlsSettings, read_tls_settings

_SECTIONS = frozenset({"tls_server_config", "http_server_config", "basic_auth_users", "rate_limit"})

# The headers that the toolkit allows, and their values where the toolkit allows only some.
_HEADERS: Mapping[str, frozenset[str]] = {
    "Content-Security-Policy": frozenset(),
    "Strict-Transport-Security": frozenset(),
    "X-Content-Type-Options": frozenset({"nosniff"}),
    "X-Frame-Options": frozenset({"deny", "sameorigin"}),
    "X-XSS-Protection": frozenset(),
}
# Printable ASCII: after a line break the value could add headers of its own.
_HEADER_VALUE = re.compile(r"[\x20-\x7e]*")

# The 22nd character of the salt carries two bits, so it is one of four.
_BCRYPT = re.compile(r"\$2[abxy]\$(\d\d)\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}")
# bcrypt allows 31, which takes days. A check cannot be cancelled, and the process must stop within 5 seconds.
_COSTS = range(4, 16)


@dataclass(frozen=True, slots=True)
class WebConfig:
    """What the file says. Without `tls` it is plain HTTP, and without `users` there is no basic auth."""

    tls: TlsSettings | None = None
    tls_context: SSLContext | None = None
    users: Mapping[str, bytes] = field(default_factory=dict, repr=False)  # bcrypt hashes by name
    headers: Mapping[str, str] = field(default_factory=dict)
    files: tuple[Path, ...] = ()  # the file and those it names
    content: bytes = field(default=b"", repr=False)


def load(path: Path) -> WebConfig:
    """Read the file and those it names. Raises `WebConfigError` with every problem at once."""
    problems = Problems()
    content = _content(path, problems)
    root = None if problems else parse(content, problems)
    sections = fields(root, "the file", problems, _SECTIONS)
    tls_settings = read_tls_settings(sections.get("tls_server_config"), path.parent, problems)
    users = _users(sections.get("basic_auth_users"), problems)
    headers = _headers(sections.get("http_server_config"), problems)
    _check_rate_limit(sections.get("rate_limit"), problems)
    context = server_context(tls_settings, problems) if tls_settings else None
    files = (path, *(tls_settings.files() if tls_settings else ()))
    if problems:
        raise WebConfigError(tuple(problems), files)
    return WebConfig(
        tls_settings, context, MappingProxyType(users), MappingProxyType(headers), files, content
    )


def _content(path: Path, problems: Problems) -> bytes:
    try:
        return read_file(path)
    except OSError as error:
        problems.append(f"{path}: {error.strerror or 'cannot be read'}")
        return b""


def _users(node: yaml.Node | None, problems: Problems) -> dict[str, bytes]:
    name = "basic_auth_users"
    users: dict[str, bytes] = {}
    for user, value in fields(node, name, problems).items():
        hashed = text(value, name, problems)
        match = _BCRYPT.fullmatch(hashed)
        if match is None:
            problems.add(value, f'{name}: not a bcrypt hash; make one with: htpasswd -nBC 10 ""')
        elif int(match[1]) not in _COSTS:
            problems.add(value, f"{name}: the bcrypt cost must be {_COSTS[0]} to {_COSTS[-1]}")
        else:
            users[user] = hashed.encode()
    return users


def _headers(node: yaml.Node | None, problems: Problems) -> dict[str, str]:
    section = fields(node, "http_server_config", problems, {"http2", "headers"})
    flag(section.get("http2"), "http_server_config.http2", problems, default=True)
    name = "http_server_config.headers"
    headers: dict[str, str] = {}
    for header, value_node in fields(section.get("headers"), name, problems, _HEADERS).items():
        value, allowed = text(value_node, f"{name}.{header}", problems), _HEADERS[header]
        if not value:
            continue
        if allowed and value not in allowed:
            problems.add(value_node, f"{name}.{header}: must be {' or '.join(sorted(allowed))}")
        elif _HEADER_VALUE.fullmatch(value) is None:
            problems.add(value_node, f"{name}.{header}: must be printable ASCII on one line")
        else:
            headers[header] = value
    return headers


def _check_rate_limit(node: yaml.Node | None, problems: Problems) -> None:
    """The exporter has no rate limiter, because a scrape costs little. Only one that is off is accepted."""
    section = fields(node, "rate_limit", problems, {"interval", "burst"})
    text(section.get("burst"), "rate_limit.burst", problems)
    if text(section.get("interval"), "rate_limit.interval", problems) not in {"", "0", "0s"}:
        problems.add(node, "rate_limit: not supported; leave it out or set interval to 0")
