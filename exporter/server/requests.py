"""aiohttp's protocol of one connection, with limits to what a request may be, and quiet about bad ones."""

import asyncio
from collections.abc import Callable, Mapping

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

# The head of a request, line by line. A scrape has some ten lines of a hundred bytes.
_MAX_LINE_BYTES = 4096
_MAX_HEADER_LINES = 64
# We read no body. One that comes all the same is waited for: a reset could take the answer with it.
_BODY_SECONDS = 1.0

# The listener looks after time: it knows a request that has begun from a connection that is idle.
_AIOHTTP_SECONDS = 3600.0


class RequestHandler(web.RequestHandler):
    """Answers what is no good request with the headers of every other answer, and without a line in the log.

    aiohttp would log a traceback for each, and tell the sender its version.
    """

    __slots__ = ("_headers_now",)

    def __init__(self, server: web.Server, headers: Callable[[], Mapping[str, str]]) -> None:
        """`headers` gives those of every answer."""
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=None,  # type: ignore[arg-type]  # as AppRunner has it
            keepalive_timeout=_AIOHTTP_SECONDS,
            lingering_time=_BODY_SECONDS,
            max_line_size=_MAX_LINE_BYTES,
            max_field_size=_MAX_LINE_BYTES,
            max_headers=_MAX_HEADER_LINES,
            auto_decompress=False,
        )
        self._headers_now = headers

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to a request that failed. Raises ConnectionError where there can be none."""
        if isinstance(exc, ConnectionError):
            raise ConnectionError("the client went away") from None
        if isinstance(exc, HttpProcessingError):
            response: web.StreamResponse = web.Response(status=status, text="Bad Request\n")
            response.force_close()
        else:
            response = super().handle_error(request, status, exc, message)
        response.headers.update(self._headers_now())
        return response
