"""Addresses: those we listen on, and those that connections come from."""

import asyncio
import errno
import socket
from ipaddress import IPv6Address

_BACKLOG = 1024  # the system takes less where it is set to less


async def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of a host, all with the same port."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    problem: OSError | None = None
    for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
        try:
            there = (address[0], port, *address[2:])
            each = socket.create_server(there, family=family, backlog=_BACKLOG)
        except OSError as error:
            problem = error
            # A name may have addresses of a family that this machine does not speak.
            if error.errno in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                continue
            break
        each.setblocking(False)
        port = each.getsockname()[1]
        bound.append(each)
    else:
        problem = None if bound else problem
    if problem is not None or not bound:
        for each in bound:
            each.close()
        raise problem or OSError(f"no address to listen on for {host}")
    return bound


def peer_of(host: str) -> str:
    """Who a connection is counted with: an IPv4 address, or the /64 in which an IPv6 host picks addresses."""
    if ":" not in host:
        return host
    return IPv6Address(host.partition("%")[0]).packed[:8].hex()
