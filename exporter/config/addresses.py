"""Hosts, ports and paths: what is written -> what is used."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address, ip_address
from urllib.parse import SplitResult, urlsplit

HEALTHY_PATH = "/-/healthy"
READY_PATH = "/-/ready"

_ADDRESS = re.compile(r"(?:\[(?P<v6>[0-9A-Fa-f:.]+)\]|(?P<name>[A-Za-z0-9._-]*)):(?P<port>[0-9]{1,5})")
_PATH = re.compile(r"(?:/[A-Za-z0-9._~-]+)+")


@dataclass(frozen=True, slots=True)
class ListenAddress:
    """Host and port to bind: an empty host is every interface, port 0 picks a free one."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{in_url(self.host)}:{self.port}"


def parse_listen_address(text: str) -> ListenAddress:
    """Host and port of `:9977`, `127.0.0.1:0`, `localhost:9977` or `[::1]:9977`.

    Raises:
        ValueError: not an address; the message never repeats the text.
    """
    parts = _ADDRESS.fullmatch(text.strip())
    if parts is None:
        raise ValueError("not a host:port; write for example :9977, 127.0.0.1:9977 or [::1]:9977")
    port = int(parts["port"])
    if port > 65535:
        raise ValueError("the port must be from 0 to 65535; 0 picks a free one")
    if parts["v6"] is not None:
        try:
            IPv6Address(parts["v6"])
        except AddressValueError:
            raise ValueError("between [ and ] an IPv6 address is expected, for example [::1]:9977") from None
    return ListenAddress(parts["v6"] or parts["name"] or "", port)


def parse_telemetry_path(text: str) -> str:
    """The path of the metrics, which must not hide the exporter's other pages.

    Raises:
        ValueError: not usable; the message never repeats the text.
    """
    path = text.strip()
    if not path.startswith("/"):
        raise ValueError("must start with /, for example /metrics")
    if path in {"/", HEALTHY_PATH, READY_PATH}:
        raise ValueError(f"/, {HEALTHY_PATH} and {READY_PATH} are taken; write for example /metrics")
    # Clients resolve dot segments before they send the request: such a path could never be scraped.
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise ValueError("only letters, digits and - . _ ~ between slashes; write for example /metrics")
    return path


def split_url(written: str, scheme: str, complaint: str) -> SplitResult:
    """The parts of a URL, with `scheme` where none is written.

    Raises:
        ValueError: the complaint. The library's own message quotes what is written.
    """
    try:
        url = urlsplit(written if "://" in written else f"{scheme}://{written}")
        port = url.port
    except ValueError:
        port = 0
    if port == 0:
        raise ValueError(complaint)
    return url


def in_url(host: str) -> str:
    """A host as a URL writes it: an IPv6 address in brackets."""
    return f"[{host}]" if ":" in host else host


def is_loopback(host: str) -> bool:
    """Whether a host is this machine: only then plain http:// is used."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
