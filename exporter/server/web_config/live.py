"""The `web.config.file` while the process runs: a good change is taken over, a bad one is refused and logged.

What must stay true: no change lets in what was kept out (`locks`). A file that is being written is not read:
a change counts when two looks, half a second apart, see the same file.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import structlog

from exporter.server.web_config.basic_auth import BasicAuth
from exporter.server.web_config.config import WebConfig, load
from exporter.server.web_config.document import WebConfigError
from exporter.server.web_config.locks import removed_locks

SETTLE_SECONDS = 0.5
# A reading that finds other files named, or files that changed meanwhile, is repeated.
_MAX_READINGS = 3
_REMEDY = "to open the pages on purpose, restart the exporter"

Stamp = tuple[int, int, int, int]
Stamps = Mapping[Path, Stamp | None]

_log = structlog.stdlib.get_logger(__name__)


class WebConfigFile:
    """The web config in force, and the error of the file where the file says something else.

    Owned by one event loop. `refresh` costs a stat per file while nothing changes.
    """

    def __init__(self, path: Path) -> None:
        """Raises `WebConfigError`."""
        self._path = path
        self._stamps: Stamps = {}
        self._stamps_in_force: Stamps = {}
        self.config = WebConfig()
        self.error: WebConfigError | None = None
        self.auth = BasicAuth({})
        self.reread()
        if self.error is not None:
            raise self.error
        if not self.config.tls and not self.config.users:
            _log.warning(
                "the web config file asks for neither TLS nor passwords: the pages are open", file=str(path)
            )

    async def refresh(self) -> None:
        """Take over a change of the files, once it has settled. Never raises."""
        seen = _stamps(self._stamps)
        if seen == self._stamps:
            return
        await asyncio.sleep(SETTLE_SECONDS)
        # Another request may have read it meanwhile.
        if seen != self._stamps and seen == _stamps(self._stamps):
            self.reread()

    def reread(self) -> None:
        """Read the files as they are, and take over or refuse what they say."""
        files: Sequence[Path] = tuple(self._stamps) or (self._path,)
        for _ in range(_MAX_READINGS):
            stamps = _stamps(files)
            found = _load(self._path)
            if set(found.files) == set(files) and stamps == _stamps(files):
                self._stamps = stamps
                self._judge(found, stamps)
                return
            files = found.files
        self.error = WebConfigError((f"{self._path}: the file changes while it is read",), (self._path,))

    def _judge(self, found: WebConfig | WebConfigError, stamps: Stamps) -> None:
        first = not self.config.files
        if isinstance(found, WebConfig) and (removed := removed_locks(self.config, found)):
            found = WebConfigError((*removed, _REMEDY), found.files)
        if isinstance(found, WebConfigError):
            self.error = found
            if not first:
                _log.error("web config file refused: the last good one stays in force", cause=str(found))
            return
        if found.tls == self.config.tls and all(
            stamps[file] == self._stamps_in_force[file] for file in found.files if file != self._path
        ):
            # With another context, every open connection would have to be made again.
            found = replace(found, tls_context=self.config.tls_context)
        self.config, self.error, self._stamps_in_force = found, None, stamps
        self.auth.replace(found.users)
        if not first:
            _log.info("web config file taken over", tls=found.tls is not None, users=len(found.users))


def _load(path: Path) -> WebConfig | WebConfigError:
    try:
        return load(path)
    except WebConfigError as error:
        return error


def _stamps(files: Stamps | Sequence[Path]) -> Stamps:
    return {file: _stamp(file) for file in files}


def _stamp(file: Path) -> Stamp | None:
    try:
        status = file.stat()  # follows links: Kubernetes replaces one to change a mounted secret
    except OSError:
        return None
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
