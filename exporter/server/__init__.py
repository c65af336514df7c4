"""The HTTP server: the listener and its limits, the pages, TLS and basic auth (`web_config`).

The listener is our own: aiohttp accepts every connection, and lets a client read as slowly as it likes.
"""

from exporter.server.connection import Connection, Limits
from exporter.server.listener import Listener

__all__ = ["Connection", "Limits", "Listener"]
