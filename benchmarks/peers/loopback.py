"""The floor: a body's bytes, ready in memory, copied through a loopback socket and nothing else."""

import socket
import sys
from pathlib import Path

from peers.processes import say

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"


def main() -> None:
    """Answer every connection with the bytes of a file."""
    body = Path(sys.argv[1]).read_bytes()
    with socket.create_server(("127.0.0.1", 0)) as server:
        say(address="{}:{}".format(*server.getsockname()))
        while True:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(_HEAD % len(body))
                connection.sendall(body)
