"""Which proxy, if any, the environment names for the connection to the workspace.

`HTTPS_PROXY` and `NO_PROXY`, in small letters first, as curl and Go read them. `HTTP_PROXY` is for plain
`http://`, which is used for loopback addresses only, and those are never reached through a proxy.

The standard library decides which host names `NO_PROXY` excepts. It does not read networks (`10.0.0.0/8`)
and takes `3` for the end of the address `10.1.2.3`, so addresses are compared here. Its
`getproxies_environment` reads only the environment of the process and does not say which variable counts.

What must stay true: nothing else of the environment or the home folder is looked at (aiohttp's own reading
would send what `~/.netrc` says); and no error repeats a proxy's address, which may hold a password.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import unquote
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks it

from pydantic import SecretStr

from exporter.config.addresses import in_url, is_address, is_loopback, split_url
from exporter.config.characters import stray_in_word, trimmed

HTTPS_PROXY = "HTTPS_PROXY"
NO_PROXY = "NO_PROXY"

PROXY_VARIABLES = {
    HTTPS_PROXY: "the proxy to the workspace: http://[user:password@]host:port, or https://",
    NO_PROXY: "hosts, domains, addresses and networks to reach without it, with commas between them",
}

# A shorter text cannot be kept out of logs and pages: it is part of too many words.
SHORTEST_SECRET = 8

_DEFAULT_PORTS = {"http": 80, "https": 443}
_COMPLAINT = "is no proxy; write for example http://proxy.example.com:3128"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A proxy to tunnel through. `url`: scheme, host and port; `authorization`: a header's value or None."""

    url: str
    authorization: SecretStr | None = None
    password: SecretStr | None = None

    def secrets(self) -> tuple[str, ...]:
        """The password, or a user without one, and what HTTP Basic makes of it."""
        if self.authorization is None or self.password is None:
            return ()
        password = self.password.get_secret_value()
        basic = self.authorization.get_secret_value().removeprefix("Basic ")
        return (password, basic) if len(password) >= SHORTEST_SECRET else (basic,)


def proxy_for(host: str, port: int, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for `https://host:port`, None for a direct connection.

    Raises:
        ValueError: the value is no proxy; the message names the variable, never the value.
    """
    variable, written = _first(HTTPS_PROXY, environ)
    if not written or is_loopback(host) or _is_excepted(host, port, _first(NO_PROXY, environ)[1]):
        return None
    try:
        return _parse(written)
    except ValueError as error:
        raise ValueError(f"variable {variable}: {error}") from None


def _first(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that counts, and its value."""
    for variable in (name.lower(), name):
        if written := trimmed(environ.get(variable, "")):
            return variable, written
    return name, ""


def _parse(written: str) -> Proxy:
    if stray := stray_in_word(written):
        raise ValueError(f"{_COMPLAINT}; the value has {stray}")
    url = split_url(written, "http", _COMPLAINT)
    if url.scheme not in _DEFAULT_PORTS:
        raise ValueError("only http:// and https:// proxies are understood")
    if not url.hostname or url.path not in {"", "/"} or url.query or url.fragment:
        raise ValueError(_COMPLAINT)
    address = f"{url.scheme}://{in_url(url.hostname)}:{url.port or _DEFAULT_PORTS[url.scheme]}"
    if url.username is None and url.password is None:
        return Proxy(address)
    user, password = unquote(url.username or ""), unquote(url.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Proxy(address, SecretStr(f"Basic {basic}"), SecretStr(password or user))


def _is_excepted(host: str, port: int, written: str) -> bool:
    entries = [entry.strip().removeprefix("*.") for entry in written.split(",")]
    if "*" in entries:
        return True
    if is_address(host):
        return any(_covers(entry, host, port) for entry in entries)
    names = ",".join(entry for entry in entries if entry.strip("."))
    return bool(proxy_bypass_environment(f"{host}:{port}", {"no": names}))


def _covers(entry: str, host: str, port: int) -> bool:
    """Whether an entry is the address, or a network that holds it; `:port` narrows an entry."""
    name, colon, only = entry.rpartition(":")
    if colon and only == str(port) and (":" not in name or name.endswith("]")):
        entry = name
    try:
        return ip_address(host) in ip_network(entry.strip("[]"), strict=False)
    except ValueError:
        return False
