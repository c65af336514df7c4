"""The HTTP protocol of one connection: aiohttp's, with our limits and our answers to bad requests."""

import asyncio
from collections.abc import Callable, Mapping

import structlog
from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from exporter.server.connection import Limits

# The connection bounds a request as a whole. These bounds of its parts must never be reached before.
_MAX_PART_BYTES = Limits().request_bytes
_MAX_HEADER_LINES = _MAX_PART_BYTES // len("a:\r\n")
# The exporter reads no body, but waits for the end of one: a reset could discard the answer.
_BODY_SECONDS = 1.0
# The listener ends idle connections: it can tell one from a connection whose request has begun.
_AIOHTTP_SECONDS = 3600.0

_log = structlog.stdlib.get_logger(__name__)


class RequestHandler(web.RequestHandler):
    """Answers a bad request with a plain 400 and the usual headers.

    aiohttp would log a traceback for each, quote the request, and name its own version.
    """

    __slots__ = ("_current_headers",)

    def __init__(self, server: web.Server, headers: Callable[[], Mapping[str, str]]) -> None:
        """`headers` returns the headers of every answer."""
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # AppRunner passes None too
            keepalive_timeout=_AIOHTTP_SECONDS,
            lingering_time=_BODY_SECONDS,
            max_line_size=_MAX_PART_BYTES,
            max_field_size=_MAX_PART_BYTES,
            max_headers=_MAX_HEADER_LINES,
            auto_decompress=False,
        )
        self._current_headers = headers

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that failed. Raises ConnectionError where the client has gone."""
        if isinstance(exc, ConnectionError):
            raise ConnectionError("the connection was closed") from None
        if isinstance(exc, HttpProcessingError):
            # Only the name of the error: its message quotes the request.
            _log.warning("request refused: it is not valid HTTP/1.1", cause=type(exc).__name__)
            response: web.StreamResponse = web.Response(
                status=status, text="Bad Request: this is not valid HTTP/1.1\n"
            )
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        response.headers.update(self._current_headers())
        return response
