"""Which workspace, and who we are there: Databricks' own variable names, without our prefix.

A further kind of login is one more frozen class with `secrets()` and one more branch in `_login`.
"""

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import SplitResult, quote_plus, urlsplit

from pydantic import SecretStr

HOST = "DATABRICKS_HOST"
TOKEN = "DATABRICKS_TOKEN"  # noqa: S105 -- the name of the variable
CLIENT_ID = "DATABRICKS_CLIENT_ID"
CLIENT_SECRET = "DATABRICKS_CLIENT_SECRET"  # noqa: S105 -- the name of the variable

CREDENTIAL_VARIABLES = {
    HOST: "the workspace, for example https://adb-123.4.azuredatabricks.net; https:// may be left out",
    TOKEN: "a personal access token; or instead of it",
    CLIENT_ID: "the application id of a service principal, and",
    CLIENT_SECRET: "its OAuth secret (machine-to-machine login)",
}

_VISIBLE_ASCII = re.compile(r"[\x21-\x7e]+")
_HOST_NAME = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")
# The browser's address bar adds the workspace id: https://<host>/?o=123
_COPIED_QUERY = re.compile(r"(?:o=[0-9]*)?")
_LOGIN_CHOICE = f"set {TOKEN}, or {CLIENT_ID} and {CLIENT_SECRET}"


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


@dataclass(frozen=True, slots=True)
class WorkspaceAccess:
    """One workspace and the login for it.

    `base_url`: scheme and host, no trailing slash. `name`: the host in lower case, with the port where one
    is written; it is the `workspace` label of every metric.
    """

    base_url: str
    name: str
    login: PersonalToken | ClientCredentials

    def secrets(self) -> tuple[str, ...]:
        """Every text that must never be shown."""
        return self.login.secrets()


def workspace_access(environ: Mapping[str, str]) -> tuple[WorkspaceAccess | None, list[str]]:
    """The workspace that the environment names, or None and everything that is wrong with it."""
    errors: list[str] = []
    address = _address(environ.get(HOST, "").strip(), errors)
    login = _login({name: environ.get(name, "").strip() for name in CREDENTIAL_VARIABLES}, errors)
    if address is None or login is None:
        return None, errors
    scheme, name = address
    return WorkspaceAccess(base_url=f"{scheme}://{name}", name=name, login=login), []


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
    if url.scheme == "http" and not _is_loopback(host):
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


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_ip(host) and ip_address(host).is_loopback)


def _login(written: Mapping[str, str], errors: list[str]) -> PersonalToken | ClientCredentials | None:
    token, client_id, secret = written[TOKEN], written[CLIENT_ID], written[CLIENT_SECRET]
    found = len(errors)
    errors.extend(
        f"variable {name}: has blanks, control or non-ASCII characters; copy it again"
        for name in (TOKEN, CLIENT_ID, CLIENT_SECRET)
        if written[name] and not _VISIBLE_ASCII.fullmatch(written[name])
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
