"""The `web.config.file` as it is now: a change is taken up without a restart, a broken one is not."""

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from exporter.server.web_config.basic_auth import BasicAuth
from exporter.server.web_config.config import WebConfig, load
from exporter.server.web_config.document import WebConfigError

Stamp = tuple[int, int, int, int]

_TLS_IS_FIXED = "tls_server_config cannot be added or removed while the listener is open: restart"
# A reading that names new files is repeated, to have their stamps from before it; more than this and
# somebody is writing faster than we read, which the next refresh sees.
_MAX_READINGS = 3


class WebConfigFile:
    """The last good reading of the file, of its certificate, key and CA; and what is wrong with a newer one.

    Not thread-safe: call it from the event loop. `refresh` costs a stat per file, and some milliseconds of
    reading when something changed.
    """

    def __init__(self, path: Path) -> None:
        """Raises `WebConfigError` where the first reading is not good."""
        self._path = path
        self._stamps: Mapping[Path, Stamp | None] = {}
        self.config: WebConfig = WebConfig()
        self.error: WebConfigError | None = None
        self._read((path,))
        if self.error is not None:
            raise self.error
        self.auth = BasicAuth(self.config.users)
        self.listener_context: ListenerContext | None = (
            ListenerContext(self) if self.config.ssl_context else None
        )

    def refresh(self) -> bool:
        """Reads again if a file changed; True where `config` or `error` may be new. Never raises."""
        if _stamps(tuple(self._stamps)) == self._stamps:
            return False
        self._read(tuple(self._stamps))
        self.auth.replace(self.config.users)
        return True

    def _read(self, files: tuple[Path, ...]) -> None:
        for _ in range(_MAX_READINGS):
            # Before reading: a change while we read is then one that the next refresh sees.
            self._stamps = _stamps(files)
            try:
                config = load(self._path)
            except WebConfigError as error:
                self.error, named = error, error.files
            else:
                named = config.files
                self._take(config)
            if set(named) <= set(files):
                break
            files = named

    def _take(self, config: WebConfig) -> None:
        first = not self.config.files
        if not first and (config.ssl_context is None) is not (self.config.ssl_context is None):
            self.error = WebConfigError((_TLS_IS_FIXED,), config.files)
            return
        self.config, self.error = config, None


class ListenerContext(ssl.SSLContext):
    """What a listener is given once. Each new connection is wrapped by the context of the file as it is then.

    Loading a new certificate into a context that is in use cannot take a CA out of it again, and a context
    swapped in by `sni_callback` brings no versions, ciphers or verify mode; so the whole context is
    exchanged, in the one call by which asyncio turns it into a connection. Sessions of an old context are
    not resumed. Not for blocking sockets: `wrap_socket` knows no certificate.
    """

    _file: WebConfigFile

    def __new__(cls, file: WebConfigFile) -> Self:
        context = super().__new__(cls, ssl.PROTOCOL_TLS_SERVER)
        context._file = file
        return context

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,  # noqa: FBT001, FBT002  # the signature of ssl.SSLContext
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        self._file.refresh()
        context = self._file.config.ssl_context
        if context is None:
            raise ssl.SSLError("no TLS configuration")
        return context.wrap_bio(incoming, outgoing, server_side, server_hostname, session)


def _stamps(files: tuple[Path, ...]) -> Mapping[Path, Stamp | None]:
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()  # through links: Kubernetes swaps one to change a mounted secret
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
