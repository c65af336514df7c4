"""The sockets to listen on, and the address that a connection counts for."""

import asyncio
import errno
import socket
from contextlib import ExitStack
from ipaddress import IPv6Network

_BACKLOG = 1024  # the system lowers it to its own maximum
# A name may have addresses of a family that this machine does not support.
_NOT_OF_THIS_MACHINE = frozenset({errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL})


async def bound_sockets(host: str, port: int) -> list[socket.socket]:
    """Listening sockets on every address of a host, all with the same port. Raises OSError."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    bound: list[socket.socket] = []
    skipped: OSError | None = None
    with ExitStack() as stack:
        for family, address in dict.fromkeys((family, address) for family, _, _, _, address in found):
            target = (address[0], port, *address[2:])
            try:
                each = stack.enter_context(socket.create_server(target, family=family, backlog=_BACKLOG))
            except OSError as error:
                if error.errno not in _NOT_OF_THIS_MACHINE:
                    raise
                skipped = error
                continue
            each.setblocking(False)
            port = each.getsockname()[1]
            bound.append(each)
        if not bound:
            raise skipped or OSError(f"no address to listen on for {host}")
        stack.pop_all()
    return bound


def peer_of(host: str) -> str:
    """The address a connection counts for: IPv4, or an IPv6 /64, in which a host may pick any address."""
    return str(IPv6Network((host.partition("%")[0], 64), strict=False)) if ":" in host else host
