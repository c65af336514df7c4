"""The state file as the file system has it: one exporter at a time, and the same file all the time.

SQLite goes on with a file that was removed, renamed or replaced: what is committed then is lost with the next
restart. So each commit looks whether the file at the path is still the one that was opened.
"""

import fcntl
import os
from pathlib import Path

from exporter.state.errors import StateError

LOCK_SUFFIX = "-lock"
_LOG_SUFFIX = "-wal"


class StateFile:
    """Holds a state file's path for this process. Raises StateError where another process holds it."""

    def __init__(self, path: Path) -> None:
        self._path = path
        # A file of its own: the lock holds the path, whatever becomes of the state file.
        self._lock = os.open(
            path.with_name(path.name + LOCK_SUFFIX), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600
        )
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._lock)
            raise StateError(
                f"the state file {path} is in use by another process; each exporter needs its own"
            ) from None
        # By path: which file it is, the size that it has had at least, and when it was last written.
        self._seen: dict[Path, tuple[tuple[int, int], int, int]] = {}

    def note(self) -> None:
        """Remember the file and its log as they are now."""
        for suffix in ("", _LOG_SUFFIX, LOCK_SUFFIX):
            path = self._path.with_name(self._path.name + suffix)
            try:
                status = path.stat()
            except FileNotFoundError:
                continue
            self._seen[path] = ((status.st_dev, status.st_ino), status.st_size, status.st_mtime_ns)

    def check(self) -> None:
        """Raise StateError where the file is no longer what was noted."""
        for path, noted in self._seen.items():
            if (what := _difference(path, *noted)) is not None:
                raise StateError(
                    f"the state file {path} was {what} while the exporter runs; put it back, or restart the "
                    "exporter: what was counted since then is lost with a restart"
                )

    def close(self) -> None:
        """Let the path go. The lock's file stays: another process may be about to lock it."""
        os.close(self._lock)


def _difference(path: Path, identity: tuple[int, int], size: int, written_ns: int) -> str | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return "removed or renamed"
    if (status.st_dev, status.st_ino) != identity:
        return "replaced"
    if status.st_size < size:
        return "cut off"
    # Every write of ours is noted, so this one is by another program.
    return "written by another program" if status.st_mtime_ns != written_ns else None
