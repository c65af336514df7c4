"""The state file: what makes counting survive a restart. SQLite, one transaction per commit.

What must stay true: a commit holds the settled runs, the totals they changed, the active runs and how far
the workspace has been read, all or nothing; a file that can't be trusted is refused with the way out, never
replaced. Every call blocks: the caller keeps it off the event loop, one call at a time.
"""

import sqlite3
from array import array
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from exporter.accounting.records import ActiveRun, Changes, Job, LabelSet, Progress, Settled
from exporter.accounting.totals import ROW_LENGTH, Totals

SCHEMA_VERSION = 2
# Spells "DBJX": tells our file from any other SQLite database.
APPLICATION_ID = 0x44424A58
# The API forgets runs after 60 days; later they can't come back.
KEPT_MS = 70 * 24 * 3600 * 1000
# SQLite writes whole pages, and none are smaller; its header is at the beginning of the first.
SMALLEST_PAGE = 512
SQLITE_HEADER_BYTES = 100
# Pages of the file kept in memory: the totals of some thousand jobs are read and written again and again.
CACHE_KIB = 8 * 1024

_SCHEMA = """
CREATE TABLE workspace (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, progress BLOB);
CREATE TABLE settled (
    workspace INTEGER NOT NULL, run_id INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    settled_ms INTEGER NOT NULL, task_run_ids BLOB NOT NULL,
    PRIMARY KEY (workspace, run_id)) WITHOUT ROWID;
CREATE INDEX settled_by_time ON settled (workspace, settled_ms);
CREATE TABLE active (
    workspace INTEGER NOT NULL, run_id INTEGER NOT NULL, run BLOB NOT NULL,
    PRIMARY KEY (workspace, run_id)) WITHOUT ROWID;
CREATE TABLE job (
    workspace INTEGER NOT NULL, label TEXT NOT NULL, job BLOB NOT NULL,
    PRIMARY KEY (workspace, label)) WITHOUT ROWID;
CREATE TABLE totals (
    workspace INTEGER NOT NULL, label TEXT NOT NULL, target TEXT NOT NULL,
    row BLOB NOT NULL, terminations BLOB NOT NULL, last_ms INTEGER NOT NULL,
    PRIMARY KEY (workspace, label, target)) WITHOUT ROWID;
"""
# From the version that is the key to the next one. What has no time yet is as old as the newest settled run.
_UPGRADES = {
    1: """
ALTER TABLE totals ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0;
UPDATE totals SET last_ms = coalesce(
    (SELECT max(settled_ms) FROM settled WHERE settled.workspace = totals.workspace), 0)
"""
}

_encode = msgspec.msgpack.Encoder().encode
_decode_progress = msgspec.msgpack.Decoder(Progress).decode
_decode_active = msgspec.msgpack.Decoder(ActiveRun).decode
_decode_job = msgspec.msgpack.Decoder(Job).decode
_decode_found = msgspec.json.Decoder(list[tuple[int, int, str]]).decode
_decode_terminations = msgspec.msgpack.Decoder(list[tuple[str, str, int]]).decode


class StateError(Exception):
    """The state file can't be used; the text says why and what to do."""


class Remembered(NamedTuple):
    """Everything of a workspace that is held in memory; settled runs stay in the file."""

    progress: Progress | None
    active: dict[int, ActiveRun]
    jobs: dict[str, Job]
    totals: dict[LabelSet, Totals]
    last_ms: dict[LabelSet, int]
    settled_runs: int


class StateStore:
    """An open state file; without a path, the same in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = "(in memory)" if path is None else str(path)
        self._workspaces: dict[str, int] = {}
        with _explained(self._path):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                _refuse_stump(path)
            # One thread at a time uses it, but not always the same one.
            self._db = sqlite3.connect(
                ":memory:" if path is None else path, timeout=0, isolation_level=None, check_same_thread=False
            )
            try:
                self._open()
            except BaseException:
                self._db.close()
                raise

    def load(self, name: str) -> Remembered:
        """What is remembered of the workspace called `name`; nothing of one that is new."""
        with _explained(self._path):
            return self._load(self._workspace(name))

    def settled(self, name: str, run_ids: Collection[int]) -> dict[int, Settled]:
        """The records of those of these runs that have been settled."""
        with _explained(self._path):
            # One row for all: sqlite3 gives up the interpreter at every row, and a busy loop takes it.
            (found,) = self._db.execute(
                "SELECT json_group_array(json_array(run_id, end_ms, hex(task_run_ids))) FROM settled "
                "WHERE workspace = ? AND run_id IN (SELECT value FROM json_each(?))",
                (self._workspace(name), msgspec.json.encode(list(run_ids)).decode()),
            ).fetchone()
            return {
                run_id: Settled(end_ms, array("q", bytes.fromhex(task_run_ids)))
                for run_id, end_ms, task_run_ids in _decode_found(found)
            }

    def commit(self, name: str, changes: Changes, now_ms: int, surely_ms: int | None = None) -> int:
        """Write changes in one transaction; the number of settled runs that were too old to keep.

        `now_ms` is kept with what is settled; what is forgotten is old by `surely_ms`, where that is given.
        """
        with _explained(self._path):
            workspace = self._workspace(name)
            self._db.execute("BEGIN IMMEDIATE")
            try:
                self._write(workspace, changes, now_ms)
                forgotten = self._db.execute(
                    "DELETE FROM settled WHERE workspace = ? AND settled_ms < ?",
                    (workspace, (now_ms if surely_ms is None else surely_ms) - KEPT_MS),
                ).rowcount
                self._db.execute("COMMIT")
            except BaseException:
                # A full disk has rolled back by itself.
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise
        return forgotten

    def close(self) -> None:
        """Fold the write-ahead log into the file and release it."""
        self._db.close()

    def _open(self) -> None:
        # Held for the whole life, so a second exporter on this file is told so instead of counting twice.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._check_or_create()
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _check_or_create(self) -> None:
        application_id = self._pragma("application_id")
        version = self._pragma("user_version")
        tables = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if tables == 0 and version == 0:
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)
            self._db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        elif application_id != APPLICATION_ID:
            raise StateError(
                f"{self._path} is an SQLite file of another program; point state.path somewhere else"
            )
        elif version > SCHEMA_VERSION:
            raise StateError(
                f"{self._path} was written by a newer version of this exporter (schema {version}, this one "
                f"knows {SCHEMA_VERSION}); run that version, or point state.path somewhere else"
            )
        elif (found := self._db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            raise StateError(_damaged(self._path, found))
        elif version < SCHEMA_VERSION:
            for older in range(version, SCHEMA_VERSION):
                for statement in _UPGRADES[older].split(";"):
                    self._db.execute(statement)
            self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")

    def _pragma(self, name: str) -> int:
        return int(self._db.execute(f"PRAGMA {name}").fetchone()[0])

    def _workspace(self, name: str) -> int:
        """The number that stands for a workspace's name in every table."""
        if name not in self._workspaces:
            self._db.execute("INSERT OR IGNORE INTO workspace (name) VALUES (?)", (name,))
            self._workspaces.update(self._db.execute("SELECT name, id FROM workspace"))
        return self._workspaces[name]

    def _load(self, workspace: int) -> Remembered:
        rows = self._rows
        (progress,) = next(rows("SELECT progress FROM workspace WHERE id = ?", workspace))
        (settled_runs,) = next(rows("SELECT count(*) FROM settled WHERE workspace = ?", workspace))
        active = rows("SELECT run_id, run FROM active WHERE workspace = ?", workspace)
        jobs = rows("SELECT label, job FROM job WHERE workspace = ?", workspace)
        totals: dict[LabelSet, Totals] = {}
        last_ms: dict[LabelSet, int] = {}
        for label, target, row, terminations, ms in rows(
            "SELECT label, target, row, terminations, last_ms FROM totals WHERE workspace = ?", workspace
        ):
            totals[label, target] = _totals(row, terminations)
            last_ms[label, target] = ms
        return Remembered(
            progress=None if progress is None else _decode_progress(progress),
            active={run_id: _decode_active(run) for run_id, run in active},
            jobs={label: _decode_job(job) for label, job in jobs},
            totals=totals,
            last_ms=last_ms,
            settled_runs=settled_runs,
        )

    def _rows(self, sql: str, workspace: int) -> Iterator[tuple[Any, ...]]:
        return iter(self._db.execute(sql, (workspace,)))

    def _write(self, workspace: int, changes: Changes, now_ms: int) -> None:
        many = self._db.executemany
        many(
            "INSERT OR REPLACE INTO settled VALUES (?, ?, ?, ?, ?)",
            (
                (workspace, run_id, settled.end_ms, now_ms, settled.task_run_ids.tobytes())
                # In the order of the table, so that neighbours share the pages they are written to.
                for run_id, settled in sorted(changes.settled.items())
            ),
        )
        many(
            "INSERT OR REPLACE INTO totals VALUES (?, ?, ?, ?, ?, ?)",
            (
                (
                    workspace,
                    *label_set,
                    totals.row.tobytes(),
                    _encode([(code, kind, n) for (code, kind), n in totals.terminations.items()]),
                    changes.now_ms,
                )
                for label_set, totals in changes.totals.items()
            ),
        )
        many(
            "INSERT OR REPLACE INTO job VALUES (?, ?, ?)",
            ((workspace, label, _encode(job)) for label, job in changes.jobs.items()),
        )
        many(
            "DELETE FROM totals WHERE workspace = ? AND label = ? AND target = ?",
            ((workspace, *label_set) for label_set in changes.gone.label_sets),
        )
        many(
            "DELETE FROM job WHERE workspace = ? AND label = ?",
            ((workspace, label) for label in changes.gone.jobs),
        )
        many(
            "DELETE FROM active WHERE workspace = ? AND run_id = ?",
            ((workspace, run_id) for run_id in changes.no_longer_active),
        )
        many(
            "INSERT OR REPLACE INTO active VALUES (?, ?, ?)",
            ((workspace, run_id, _encode(run)) for run_id, run in changes.active.items()),
        )
        if changes.progress is not None:
            self._db.execute(
                "UPDATE workspace SET progress = ? WHERE id = ?", (_encode(changes.progress), workspace)
            )


def _refuse_stump(path: Path) -> None:
    """SQLite takes a few bytes, and none with a log beside them, for a new file, and half a page for one."""
    size = path.stat().st_size if path.exists() else 0
    log = path.with_name(path.name + "-wal")
    logged = log.stat().st_size if log.exists() else 0
    # Only what is in the log too may be written in part.
    if (size % SMALLEST_PAGE and not logged) or 0 < size < SQLITE_HEADER_BYTES or (size == 0 and logged):
        raise StateError(_damaged(str(path), f"cut off after {size} bytes"))


def _totals(row: bytes, terminations: bytes) -> Totals:
    numbers = array("d")
    numbers.frombytes(row)
    if len(numbers) != ROW_LENGTH:
        raise ValueError(f"a row of {len(numbers)} numbers")
    return Totals(numbers, {(code, kind): n for code, kind, n in _decode_terminations(terminations)})


@contextmanager
def _explained(path: str) -> Iterator[None]:
    """Turn what SQLite and the file system say into what the operator can do."""
    try:
        yield
    except sqlite3.Error as error:
        raise StateError(_explanation(path, error)) from None
    except (msgspec.MsgspecError, ValueError) as error:
        raise StateError(_damaged(path, str(error))) from None
    except OSError as error:
        raise StateError(f"the state file {path} can't be made ({error.strerror}); set state.path") from None


def _explanation(path: str, error: sqlite3.Error) -> str:
    code = getattr(error, "sqlite_errorname", "")
    if code.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return f"the state file {path} is in use by another process; each exporter needs its own"
    if code.startswith("SQLITE_FULL"):
        return f"the disk of the state file {path} is full; free some space"
    if code.startswith(("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_IOERR")):
        return (
            f"the state file {path} can't be read or written ({error}); check the folder, its permissions "
            "and the disk, or set state.path"
        )
    return _damaged(path, str(error))


def _damaged(path: str, reason: str) -> str:
    return (
        f"the state file {path} is damaged ({reason}); restore it from a backup, or move it away to start "
        "counting afresh: totals then begin with the runs of the last poll.lookback"
    )
