"""The way in: the listening sockets, how many connections may be open, and how long each may take.

aiohttp has no such bounds: its own listener accepts everything, and a slow reader may take for ever.
"""

from exporter.server.connection import Connection, Limits
from exporter.server.listener import Listener

__all__ = ["Connection", "Limits", "Listener"]
