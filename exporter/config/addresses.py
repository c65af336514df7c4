"""Where the exporter listens and under which path: what is written -> what is used."""

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv6Address

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
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
