"""What can go wrong with the state file, in words that say what to do."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec


class StateError(Exception):
    """The state file can't be used; the text says why and what to do."""


@contextmanager
def explained(path: str) -> Iterator[None]:
    """Turn what SQLite and the file system say into what the operator can do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(_explanation(path, error)) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise StateError(damaged(path, str(error))) from None
    except OSError as error:
        raise StateError(unusable(path, error.strerror or str(error))) from None


def unusable(path: str, reason: str) -> str:
    """What a StateError says of a file that can't be read or written."""
    return (
        f"the state file {path} can't be read or written ({reason}); check the folder, its permissions "
        "and the disk, or set state.path"
    )


def damaged(path: str, reason: str) -> str:
    """What a StateError says of a file that can't be trusted."""
    return (
        f"the state file {path} is damaged ({reason}); restore it from a backup, or move it away to start "
        "counting afresh: totals then begin with the runs of the last poll.lookback"
    )


def _explanation(path: str, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"the state file {path} is in use by another process; each exporter needs its own"
    if code.startswith("SQLITE_FULL"):
        return f"the disk of the state file {path} is full; free some space"
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_IOERR")):
        return unusable(path, str(error))
    return damaged(path, str(error))
