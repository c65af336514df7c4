"""Which proxy the way to the workspace leads through, by the environment.

`HTTPS_PROXY` and `NO_PROXY`, in small letters first, as curl and Go read them. `HTTP_PROXY` is for plain
`http://`, which is spoken to loopback addresses only, and those are never reached through a proxy.

What must stay true: nothing else of the environment or the home folder is looked at (aiohttp's own reading
would send what `~/.netrc` says); and no error repeats a proxy's address, which may hold a password.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address, ip_network
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr

HTTPS_PROXY = "HTTPS_PROXY"
NO_PROXY = "NO_PROXY"

PROXY_VARIABLES = {
    HTTPS_PROXY: "a proxy on the way to the workspace: http://[user:password@]host:port, or https://",
    NO_PROXY: "hosts, domains, addresses and networks to be reached without it, with commas",
}

_DEFAULT_PORTS = {"http": 80, "https": 443}


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
        return (
            self.password.get_secret_value(),
            self.authorization.get_secret_value().removeprefix("Basic "),
        )


def proxy_for(host: str, port: int, environ: Mapping[str, str]) -> Proxy | None:
    """The proxy for `https://host:port`, None where the way is direct.

    Raises:
        ValueError: what is written is no proxy; the message names the variable, never the value.
    """
    variable, written = _first(HTTPS_PROXY, environ)
    if not written or is_loopback(host) or _excepted(host, port, _first(NO_PROXY, environ)[1]):
        return None
    try:
        return _parse(written)
    except ValueError as error:
        raise ValueError(f"variable {variable}: {error}") from None


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: only then plain http:// is spoken."""
    return host == "localhost" or (_is_address(host) and ip_address(host).is_loopback)


def _first(name: str, environ: Mapping[str, str]) -> tuple[str, str]:
    """The variable that counts, and what is written there."""
    for variable in (name.lower(), name):
        if written := environ.get(variable, "").strip():
            return variable, written
    return name, ""


def _parse(written: str) -> Proxy:
    complaint = "is no proxy; write for example http://proxy.example.com:3128"
    url = _split(written if "://" in written else f"http://{written}", complaint)
    if url.scheme not in _DEFAULT_PORTS:
        raise ValueError("only http:// and https:// proxies are understood")
    if not url.hostname or url.path not in {"", "/"} or url.query or url.fragment or not _plain(written):
        raise ValueError(complaint)
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    address = f"{url.scheme}://{host}:{url.port or _DEFAULT_PORTS[url.scheme]}"
    if url.username is None and url.password is None:
        return Proxy(address)
    user, password = unquote(url.username or ""), unquote(url.password or "")
    basic = base64.b64encode(f"{user}:{password}".encode()).decode()
    return Proxy(address, SecretStr(f"Basic {basic}"), SecretStr(password or user))


def _split(written: str, complaint: str) -> SplitResult:
    try:
        url = urlsplit(written)
        _ = url.port
    except ValueError:  # its own message quotes what was written
        raise ValueError(complaint) from None
    return url


def _plain(written: str) -> bool:
    return written.isascii() and written.isprintable() and " " not in written


def _excepted(host: str, port: int, written: str) -> bool:
    return any(_excepts(entry.strip().lower(), host, port) for entry in written.split(","))


def _excepts(entry: str, host: str, port: int) -> bool:
    """`*`, `example.com` with all below it, `.example.com`, an address, a network; `:port` narrows it."""
    if entry == "*":
        return True
    name, colon, only = entry.rpartition(":")
    if colon and only.isdecimal() and (":" not in name or name.endswith("]")):
        if int(only) != port:
            return False
        entry = name
    entry = entry.removeprefix("*").strip("[]")
    if _is_address(host):
        return _in_network(host, entry)
    return bool(entry.strip(".")) and f".{host}".endswith(f".{entry.lstrip('.')}")


def _in_network(host: str, entry: str) -> bool:
    try:
        return ip_address(host) in ip_network(entry, strict=False)
    except ValueError:
        return False


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
