"""The state file: what makes counting survive a restart. SQLite, one transaction per commit.

What must stay true: a commit holds the settled runs, the totals they changed, the active runs and how far
the workspace has been read, all or nothing; a file that can't be trusted is refused with the way out, never
replaced; every row that is written has its checksum and is in the tally of its table. Every call blocks, for
those of other threads too: a transaction is the connection's, and nobody may end or share another's.
"""

import sqlite3
import threading
from array import array
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from exporter.runs.records import ActiveRun, Changes, Job, Progress, SeriesKey, Settled
from exporter.runs.totals import ROW_LENGTH, Totals
from exporter.state.checksums import put, row_checksum
from exporter.state.errors import explained
from exporter.state.schema import check_or_create, refuse_stump

# The API forgets runs after 60 days; later they can't come back.
KEPT_MS = 70 * 24 * 3600 * 1000
# To find what is too old takes a look at every settled run; an index for that would cost each run more.
FORGET_EVERY_MS = 3600 * 1000
# The totals of a series key are about 1.3 kB. A page of 4 kB, the default, holds a part of them and sends the
# rest to a page of its own; here several share one. A file keeps the size it was made with.
PAGE_BYTES = 8 * 1024
# Pages of the file kept in memory: the totals of some thousand jobs are read and written again and again.
CACHE_KIB = 8 * 1024

_encode = msgspec.msgpack.Encoder().encode
_decode_progress = msgspec.msgpack.Decoder(Progress).decode
_decode_active = msgspec.msgpack.Decoder(ActiveRun).decode
_decode_job = msgspec.msgpack.Decoder(Job).decode
_decode_found = msgspec.json.Decoder(list[tuple[int, int, int, str, int]]).decode
_decode_terminations = msgspec.msgpack.Decoder(list[tuple[str, str, int]]).decode


class Remembered(NamedTuple):
    """Everything of a workspace that is held in memory; settled runs stay in the file."""

    progress: Progress | None
    active: dict[int, ActiveRun]
    jobs: dict[str, Job]
    totals: dict[SeriesKey, Totals]
    last_ms: dict[SeriesKey, int]
    settled_runs: int


class StateStore:
    """An open state file; without a path, the same in memory."""

    def __init__(self, path: Path | None) -> None:
        self._path = "(in memory)" if path is None else str(path)
        self._one_at_a_time = threading.Lock()
        self._workspaces: dict[str, int] = {}
        # Per workspace: what was settled before this time has been forgotten.
        self._forgotten_ms: dict[int, int] = {}
        with explained(self._path):
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                refuse_stump(path)
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
        with self._one_at_a_time, explained(self._path):
            try:
                return self._load(self._workspace(name))
            except TypeError as error:
                raise ValueError(f"a value of the wrong kind: {error}") from None

    def settled(self, name: str, run_ids: Collection[int]) -> dict[int, Settled]:
        """The records of those of these runs that have been settled."""
        with self._one_at_a_time, explained(self._path):
            workspace = self._workspace(name)
            # One row for all: sqlite3 gives up the interpreter at every row, and a busy loop takes it.
            (found,) = self._db.execute(
                "SELECT json_group_array("
                "json_array(run_id, end_ms, settled_ms, hex(task_run_ids), checksum)) "
                "FROM settled WHERE workspace = ? AND run_id IN (SELECT value FROM json_each(?))",
                (workspace, msgspec.json.encode(list(run_ids)).decode()),
            ).fetchone()
            settled = {}
            for run_id, end_ms, settled_ms, in_hex, checksum in _decode_found(found):
                task_run_ids = bytes.fromhex(in_hex)
                if checksum != row_checksum(workspace, run_id, end_ms, settled_ms, task_run_ids):
                    raise ValueError(f"run {run_id} is not as it was written")
                settled[run_id] = Settled(end_ms, array("q", task_run_ids))
            return settled

    def commit(self, name: str, changes: Changes, now_ms: int, surely_ms: int | None = None) -> int:
        """Write changes in one transaction; the number of settled runs that were too old to keep.

        `now_ms` is kept with what is settled; what is forgotten, once an hour, is old by `surely_ms`, where
        that is given.
        """
        with self._one_at_a_time, explained(self._path):
            workspace = self._workspace(name)
            before_ms = (now_ms if surely_ms is None else surely_ms) - KEPT_MS
            forgets = abs(before_ms - self._forgotten_ms.get(workspace, 0)) >= FORGET_EVERY_MS
            forgotten = 0
            with self._transaction():
                self._write(workspace, name, changes, now_ms)
                if forgets:
                    forgotten = self._db.execute(
                        "DELETE FROM settled WHERE workspace = ? AND settled_ms < ?", (workspace, before_ms)
                    ).rowcount
            if forgets:
                self._forgotten_ms[workspace] = before_ms
        return forgotten

    def close(self) -> None:
        """Fold the write-ahead log into the file and release it, once whoever is at it has finished."""
        with self._one_at_a_time:
            self._db.close()

    def _open(self) -> None:
        # Held for the whole life, so a second exporter on this file is told so instead of counting twice.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        with self._transaction():
            check_or_create(self._db, self._path)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._db.execute("COMMIT")
        except BaseException:
            # A full disk has rolled back by itself.
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _workspace(self, name: str) -> int:
        """The number that stands for a workspace's name in every table."""
        if name not in self._workspaces:
            self._workspaces.update(self._db.execute("SELECT name, id FROM workspace"))
        if name not in self._workspaces:
            new = max(self._workspaces.values(), default=0) + 1
            with self._transaction():
                put(self._db, "workspace", [(new, name, None)])
            self._workspaces[name] = new
        return self._workspaces[name]

    def _load(self, workspace: int) -> Remembered:
        rows = self._rows
        (progress,) = next(rows("SELECT progress FROM workspace WHERE id = ?", workspace))
        (settled_runs,) = next(rows("SELECT count(*) FROM settled WHERE workspace = ?", workspace))
        active = rows("SELECT run_id, run FROM active WHERE workspace = ?", workspace)
        jobs = rows("SELECT label, job FROM job WHERE workspace = ?", workspace)
        totals: dict[SeriesKey, Totals] = {}
        last_ms: dict[SeriesKey, int] = {}
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

    def _write(self, workspace: int, name: str, changes: Changes, now_ms: int) -> None:
        put(
            self._db,
            "settled",
            (
                (workspace, run_id, settled.end_ms, now_ms, settled.task_run_ids.tobytes())
                # In the order of the table, so that neighbours share the pages they are written to.
                for run_id, settled in sorted(changes.settled.items())
            ),
        )
        put(
            self._db,
            "totals",
            (
                (
                    workspace,
                    *series_key,
                    totals.row.tobytes(),
                    _encode([(code, kind, n) for (code, kind), n in totals.terminations.items()]),
                    changes.now_ms,
                )
                for series_key, totals in changes.totals.items()
            ),
        )
        put(self._db, "job", ((workspace, label, _encode(job)) for label, job in changes.jobs.items()))
        many = self._db.executemany
        many(
            "DELETE FROM totals WHERE workspace = ? AND label = ? AND target = ?",
            ((workspace, *series_key) for series_key in changes.expired.series_keys),
        )
        many(
            "DELETE FROM job WHERE workspace = ? AND label = ?",
            ((workspace, label) for label in changes.expired.jobs),
        )
        many(
            "DELETE FROM active WHERE workspace = ? AND run_id = ?",
            ((workspace, run_id) for run_id in changes.no_longer_active),
        )
        put(self._db, "active", ((workspace, run_id, _encode(run)) for run_id, run in changes.active.items()))
        if changes.progress is not None:
            put(self._db, "workspace", [(workspace, name, _encode(changes.progress))])


def _totals(row: bytes, terminations: bytes) -> Totals:
    numbers = array("d")
    numbers.frombytes(row)
    if len(numbers) != ROW_LENGTH:
        raise ValueError(f"a row of {len(numbers)} numbers")
    return Totals(numbers, {(code, kind): n for code, kind, n in _decode_terminations(terminations)})
