"""Which workspace, and who we are there: Databricks' own variable names, without our prefix.

A further kind of login is one more frozen class with `secrets()` and one more branch in `_login`. What may
stand in a file is one more name in `IN_FILES`.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import SplitResult, quote_plus, urlsplit

from pydantic import SecretStr

from exporter.config.files import SecretFile
from exporter.config.proxies import Proxy, is_loopback, proxy_for

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

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
# The browser's address bar adds the workspace id: https://<host>/?o=123
_COPIED_QUERY = re.compile(r"(?:o=[0-9]*)?")
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
    """Where a login stands: what the environment says, by name, and files for the rest."""

    written: dict[str, str] = field(repr=False)
    files: dict[str, SecretFile] = field(default_factory=dict)

    def read(self) -> Credentials:
        """The login as it is now.

        Raises:
            ValueError: a file cannot be used; the message names it, and never repeats what stands in it.
        """
        errors: list[str] = []
        login = _login(self, errors)
        if login is None:
            raise ValueError("; ".join(errors))
        return login


@dataclass(frozen=True, slots=True)
class WorkspaceAccess:
    """One workspace, the login for it and the way to it.

    `base_url`: scheme and host, no trailing slash. `name`: the host in lower case, with the port where one
    is written; it is the `workspace` label of every metric. `source`: where the login was read, if any of it
    stands in a file. `proxy`: None where the way is direct.
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
    errors: list[str] = []
    address = _address(environ.get(HOST, "").strip(), errors)
    source = _source(environ, errors)
    login = _login(source, errors)
    proxy = _proxy(address, environ, errors)
    if address is None or login is None or errors:
        return None, errors
    scheme, name = address
    in_files = source if source.files else None
    return WorkspaceAccess(f"{scheme}://{name}", name, login, in_files, proxy), []


def _proxy(address: tuple[str, str] | None, environ: Mapping[str, str], errors: list[str]) -> Proxy | None:
    # Without an address any host does: what is wrong with the proxy is told all the same.
    url = urlsplit(f"//{address[1]}" if address else "//workspace.invalid")
    try:
        return proxy_for(url.hostname or "", url.port or 443, environ)
    except ValueError as error:
        errors.append(str(error))
        return None


def _source(environ: Mapping[str, str], errors: list[str]) -> CredentialSource:
    source = CredentialSource({name: environ.get(name, "").strip() for name in IN_FILES})
    for name in IN_FILES:
        variable = name + FILE_SUFFIX
        if path := environ.get(variable, ""):
            if source.written[name]:
                errors.append(f"variable {variable}: {name} is set too; keep one of them")
            source.files[name] = SecretFile(variable, Path(path))
    return source


def _address(written: str, errors: list[str]) -> tuple[str, str] | None:
    try:
        return _parse_host(written)
    except ValueError as error:
        errors.append(f"variable {HOST}: {error}")
        return None


def _parse_host(written: str) -> tuple[str, str]:
    """Scheme, and host with port where one is written, in lower case.

    Raises:
        ValueError: not a workspace's address; the message never repeats it.
    """
    if not written:
        raise ValueError("not set; write the workspace's address, or start with --demo to go without one")
    # Checked before urlsplit, which drops tabs and newlines in silence.
    if not _VISIBLE_ASCII.fullmatch(written):
        raise ValueError("has blanks, control or non-ASCII characters; copy the address again")
    url = _split(written if "://" in written else f"https://{written}")
    if "@" in url.netloc:
        raise ValueError(f"no user or password belongs in the address; {_LOGIN_CHOICE}")
    if url.scheme not in {"https", "http"}:
        raise ValueError("must be an https:// address")
    if url.path not in {"", "/"} or url.fragment or not _COPIED_QUERY.fullmatch(url.query):
        raise ValueError("must be the workspace's address alone, without a path")
    host = url.hostname or ""
    if not _is_host(host):
        raise ValueError("is no host name; write for example https://adb-123.4.azuredatabricks.net")
    if url.scheme == "http" and not is_loopback(host):
        raise ValueError("plain http:// would send the credentials unencrypted; write https://")
    # Put together again from what was checked, not cut out of what was written.
    name = f"[{host}]" if ":" in host else host
    return url.scheme, name if url.port is None else f"{name}:{url.port}"


def _split(written: str) -> SplitResult:
    complaint = "is no address; write for example https://adb-123.4.azuredatabricks.net"
    try:
        url = urlsplit(written)
        port = url.port
    except ValueError:  # its own message quotes what was written
        raise ValueError(complaint) from None
    if port == 0:
        raise ValueError(complaint)
    return url


def _is_host(host: str) -> bool:
    return _HOST_NAME.fullmatch(host) is not None or _is_ip(host)


def _is_ip(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return "%" not in host  # a zone id means something on one machine only


def _login(source: CredentialSource, errors: list[str]) -> Credentials | None:
    found = len(errors)
    words = source.written | {name: _read(file, errors) for name, file in source.files.items()}
    token, client_id, secret = words[TOKEN], words[CLIENT_ID], words[CLIENT_SECRET]
    errors.extend(
        f"variable {name}: has blanks, control or non-ASCII characters; copy it again"
        for name, word in source.written.items()
        if word and not _VISIBLE_ASCII.fullmatch(word)
    )
    if token and (client_id or secret):
        errors.append(f"variable {TOKEN}: two kinds of login are set, keep one; {_LOGIN_CHOICE}")
    elif not (token or client_id or secret):
        errors.append(f"variable {TOKEN}: no login is set; {_LOGIN_CHOICE}")
    elif not token and not (client_id and secret):
        missing, there = (CLIENT_SECRET, CLIENT_ID) if client_id else (CLIENT_ID, CLIENT_SECRET)
        errors.append(f"variable {missing}: not set or empty, but {there} is; set both, or {TOKEN} alone")
    if len(errors) > found:
        return None
    return PersonalToken(SecretStr(token)) if token else ClientCredentials(client_id, SecretStr(secret))


def _read(file: SecretFile, errors: list[str]) -> str:
    try:
        return file.read()
    except ValueError as error:
        errors.append(str(error))
        return "?"  # something is set, so that no second error says that nothing is
