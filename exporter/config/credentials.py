"""Which workspace, and who we are there: Databricks' own variable names, without our prefix.

A new kind of login is one more frozen class with `secrets()` and one more branch in `_login`. A new
credential that a file may hold is one more name in `IN_FILES`.
"""

import base64
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, quote_plus, urlsplit

from pydantic import SecretStr

from exporter.config.addresses import in_url, is_address, is_loopback, split_url
from exporter.config.characters import stray_in_value, stray_in_word, trimmed
from exporter.config.errors import Problems
from exporter.config.files import SecretFile
from exporter.config.proxies import SHORTEST_SECRET, Proxy, proxy_for

HOST = "DATABRICKS_HOST"
TOKEN = "DATABRICKS_TOKEN"  # noqa: S105 -- the name of the variable
CLIENT_ID = "DATABRICKS_CLIENT_ID"
CLIENT_SECRET = "DATABRICKS_CLIENT_SECRET"  # noqa: S105 -- the name of the variable

IN_FILES = (TOKEN, CLIENT_ID, CLIENT_SECRET)
# `DATABRICKS_TOKEN_FILE` instead of `DATABRICKS_TOKEN`, and so on.
FILE_SUFFIX = "_FILE"

CREDENTIAL_VARIABLES = {
    HOST: "the workspace, for example https://adb-123.4.azuredatabricks.net; https:// may be left out",
    TOKEN: "a personal access token; or instead of it",
    CLIENT_ID: "the application id of a service principal, and",
    CLIENT_SECRET: "its OAuth secret (machine-to-machine login)",
    TOKEN + FILE_SUFFIX: "instead of the token: a file that holds it; it is read again when it changes",
    CLIENT_ID + FILE_SUFFIX: "the same for the application id",
    CLIENT_SECRET + FILE_SUFFIX: "the same for its OAuth secret",
}

_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
# The browser's address bar adds the workspace id: https://<host>/?o=123
_COPIED_QUERY = re.compile(r"(?:o=[0-9]*)?")
_EXAMPLE = "write for example https://adb-123.4.azuredatabricks.net"
_LOGIN_CHOICE = f"set {TOKEN}, or {CLIENT_ID} and {CLIENT_SECRET}, each also with {FILE_SUFFIX}"


@dataclass(frozen=True, slots=True)
class PersonalToken:
    """A personal access token, sent as it is."""

    token: SecretStr

    def secrets(self) -> tuple[str, ...]:
        return (self.token.get_secret_value(),)


@dataclass(frozen=True, slots=True)
class ClientCredentials:
    """A service principal's OAuth secret, exchanged at `<base_url>/oidc/v1/token`."""

    client_id: str
    client_secret: SecretStr

    def secrets(self) -> tuple[str, ...]:
        """The secret and what HTTP Basic makes of it, plain and form-encoded first (RFC 6749, 2.3.1)."""
        secret = self.client_secret.get_secret_value()
        pairs = {f"{self.client_id}:{secret}", f"{quote_plus(self.client_id)}:{quote_plus(secret)}"}
        return (secret, *(base64.b64encode(pair.encode()).decode() for pair in sorted(pairs)))


Credentials = PersonalToken | ClientCredentials


@dataclass(frozen=True, slots=True)
class CredentialSource:
    """Where a login is written: in variables, by name, and in files."""

    written: dict[str, str] = field(repr=False)
    files: dict[str, SecretFile] = field(default_factory=dict)

    def read(self) -> Credentials:
        """The login as it is now.

        Raises:
            ValueError: a file cannot be used; the message names the file and never repeats its content.
        """
        problems = Problems()
        login = _login(self, problems)
        if login is None:
            raise ValueError("; ".join(problems))
        return login


@dataclass(frozen=True, slots=True)
class WorkspaceAccess:
    """One workspace, the login for it and the proxy to it.

    `base_url`: scheme and host, no trailing slash. `name`: the host in lower case, with the port where one
    is written; it is the `workspace` label of every metric. `source`: where the login was read, if any of it
    is in a file. `proxy`: None for a direct connection.
    """

    base_url: str
    name: str
    login: Credentials
    source: CredentialSource | None = None
    proxy: Proxy | None = None

    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be shown."""
        return (*self.login.secrets(), *(self.proxy.secrets() if self.proxy else ()))


def workspace_access(environ: Mapping[str, str]) -> tuple[WorkspaceAccess | None, list[str]]:
    """The workspace that the environment names, or None and everything that is wrong with it."""
    problems = Problems()
    address = problems.attempt(lambda: _parse_host(trimmed(environ.get(HOST, ""))), f"variable {HOST}: ")
    source = _source(environ, problems)
    login = _login(source, problems)
    # Without an address any host will do: the errors of the proxy are reported in any case.
    url = urlsplit("//workspace.invalid") if address is None else address
    proxy = problems.attempt(lambda: proxy_for(url.hostname or "", url.port or 443, environ))
    if address is None or login is None or problems:
        return None, problems
    in_files = source if source.files else None
    return WorkspaceAccess(address.geturl(), address.netloc, login, in_files, proxy), []


def _source(environ: Mapping[str, str], problems: Problems) -> CredentialSource:
    source = CredentialSource({name: trimmed(environ.get(name, "")) for name in IN_FILES})
    for name in IN_FILES:
        variable = name + FILE_SUFFIX
        path = trimmed(environ.get(variable, ""))
        if stray := stray_in_value(path):
            problems.append(f"variable {variable}: the value has {stray}; remove it")
        elif path:
            if source.written[name]:
                problems.append(f"variable {variable}: {name} is set too; keep one of them")
            source.files[name] = SecretFile(variable, Path(path))
    return source


def _parse_host(written: str) -> SplitResult:
    """The address of a workspace: scheme, and host with port where one is written, in lower case.

    Raises:
        ValueError: not a workspace's address; the message never repeats it.
    """
    if not written:
        raise ValueError("not set; write the workspace's address, or start with --demo to go without one")
    # Checked before the URL is split: that drops tabs and newlines in silence.
    if stray := stray_in_word(written):
        raise ValueError(f"the value has {stray}; remove it")
    url = split_url(written, "https", f"is no address; {_EXAMPLE}")
    if "@" in url.netloc:
        raise ValueError(f"no user or password belongs in the address; {_LOGIN_CHOICE}")
    if url.scheme not in {"https", "http"}:
        raise ValueError("must be an https:// address")
    if url.path not in {"", "/"} or url.fragment or not _COPIED_QUERY.fullmatch(url.query):
        raise ValueError("must be the workspace's address alone, without a path")
    host = url.hostname or ""
    # A zone id (%eth0) has a meaning on one machine only.
    if not (_HOST_NAME.fullmatch(host) or (is_address(host) and "%" not in host)):
        raise ValueError(f"is no host name; {_EXAMPLE}")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http:// would send the credentials unencrypted; write https://")
    # Put together again from what was checked, not cut out of what was written.
    port = "" if url.port is None else f":{url.port}"
    return SplitResult(url.scheme, in_url(host) + port, "", "", "")


def _login(source: CredentialSource, problems: Problems) -> Credentials | None:
    found = len(problems)
    words = {name: word for name, word in source.written.items() if word}
    for name, word in words.items():
        if stray := stray_in_word(word):
            problems.append(f"variable {name}: the value has {stray}; remove it")
    for name, file in source.files.items():
        # Also a file that cannot be read sets the word: no second error says that it is missing.
        words[name] = problems.attempt(file.read) or ""
    if len(problems) == found:
        problems.extend(_short_secrets(source, words))
    pair = words.keys() & {CLIENT_ID, CLIENT_SECRET}
    if TOKEN in words and pair:
        problems.append(f"variable {TOKEN}: two kinds of login are set, keep one; {_LOGIN_CHOICE}")
    elif not words:
        problems.append(f"variable {TOKEN}: no login is set; {_LOGIN_CHOICE}")
    elif len(pair) == 1:
        missing, there = (CLIENT_SECRET, CLIENT_ID) if CLIENT_ID in words else (CLIENT_ID, CLIENT_SECRET)
        problems.append(f"variable {missing}: not set or empty, but {there} is; set both, or {TOKEN} alone")
    if len(problems) > found:
        return None
    if TOKEN in words:
        return PersonalToken(SecretStr(words[TOKEN]))
    return ClientCredentials(words[CLIENT_ID], SecretStr(words[CLIENT_SECRET]))


def _short_secrets(source: CredentialSource, words: Mapping[str, str]) -> Iterator[str]:
    """A secret of few characters would be cut out of every log line and page that has these characters."""
    for name in (TOKEN, CLIENT_SECRET):
        if name in words and len(words[name]) < SHORTEST_SECRET:
            variable = source.files[name].variable if name in source.files else name
            yield f"variable {variable}: too short to be a secret: fewer than {SHORTEST_SECRET} characters"
