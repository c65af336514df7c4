"""The state file: what makes counting survive a restart. SQLite, one transaction per commit.

What must stay true: a commit holds the settled runs, the totals they changed, the active runs and how far
the workspace has been read, all or nothing; a file that can't be trusted is refused with the way out, never
replaced; every row that is written has its checksum and is in the tally of its table. Every call blocks, for
those of other threads too: a transaction belongs to the connection, and no thread may end another one.
"""

import sqlite3
import threading
from array import array
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from exporter.databricks.clock import Instant
from exporter.runs.changes import Changes
from exporter.runs.layout import Layout
from exporter.runs.records import Settled
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals
from exporter.runs.tracker import Remembered
from exporter.state import codec
from exporter.state.checksums import put, row_checksum
from exporter.state.errors import explained
from exporter.state.file import StateFile
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

_decode_found = msgspec.json.Decoder(list[tuple[int, int, int, str, int]]).decode


class StateStore:
    """An open state file; without a path, the same in memory."""

    def __init__(self, path: Path | None, layout: Layout) -> None:
        """Open the file; `layout` is that of every row from now on, and rows of another are rewritten."""
        self._path = "(in memory)" if path is None else str(path)
        self._one_at_a_time = threading.Lock()
        self._workspaces: dict[str, int] = {}
        # Per workspace: what was settled before this time has been forgotten.
        self._forgotten_ms: dict[int, int] = {}
        self._layout = layout
        self._file: StateFile | None = None
        with explained(self._path), ExitStack() as opened:
            if path is not None:
                path.parent.mkdir(parents=True, exist_ok=True)
                # First: of a file that another process holds nothing else is said.
                self._file = StateFile(path)
                opened.callback(self._file.close)
                refuse_stump(path)
            # One thread at a time uses it, but not always the same one.
            self._db = sqlite3.connect(
                ":memory:" if path is None else path, timeout=0, isolation_level=None, check_same_thread=False
            )
            opened.callback(self._db.close)
            try:
                self._open()
            except TypeError as error:
                raise ValueError(f"a value of the wrong kind: {error}") from None
            opened.pop_all()

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

    def commit(self, name: str, changes: Changes, now: Instant) -> int:
        """Write changes in one transaction; the number of settled runs that were too old to keep.

        Settled runs are forgotten once an hour, those that are too old by the clock that forgets less.
        """
        with self._one_at_a_time, explained(self._path):
            self._check_file()
            workspace = self._workspace(name)
            before_ms = now.earliest_ms - KEPT_MS
            forgets = abs(before_ms - self._forgotten_ms.get(workspace, 0)) >= FORGET_EVERY_MS
            forgotten = 0
            with self._noted(), self._transaction():
                self._write(workspace, name, changes, now.latest_ms)
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
            if self._file is not None:
                self._file.close()
                self._file = None

    def _open(self) -> None:
        # Held for the whole life, so a second exporter on this file is told so instead of counting twice.
        self._db.execute("PRAGMA locking_mode = EXCLUSIVE")
        self._db.execute(f"PRAGMA page_size = {PAGE_BYTES}")
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        with self._noted(), self._transaction():
            self.remapped = check_or_create(self._db, self._path, self._layout.stored())

    def _check_file(self) -> None:
        if self._file is not None:
            self._file.check()

    @contextmanager
    def _noted(self) -> Iterator[None]:
        """Around every write of ours, also one that fails: what the file then is, it is because of us."""
        try:
            yield
        finally:
            if self._file is not None:
                self._file.note()

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
            with self._noted(), self._transaction():
                put(self._db, "workspace", [(new, name, None)])
            self._workspaces[name] = new
        return self._workspaces[name]

    def _load(self, workspace: int) -> Remembered:
        rows, length = self._rows, self._layout.length
        (progress,) = next(rows("SELECT progress FROM workspace WHERE id = ?", workspace))
        (settled_runs,) = next(rows("SELECT count(*) FROM settled WHERE workspace = ?", workspace))
        active = rows("SELECT run_id, run FROM active WHERE workspace = ?", workspace)
        pending = rows("SELECT run_id, run FROM pending WHERE workspace = ?", workspace)
        jobs = rows("SELECT label, job FROM job WHERE workspace = ?", workspace)
        totals: dict[SeriesKey, Totals] = {}
        last_ms: dict[SeriesKey, int] = {}
        for label, target, row, words, ms in rows(
            "SELECT label, target, row, words, last_ms FROM totals WHERE workspace = ?", workspace
        ):
            numbers = codec.decode_row(row, length)
            totals[label, target] = Totals(numbers, codec.decode_words(words), self._layout.no_exemplars())
            last_ms[label, target] = ms
        return Remembered(
            progress=None if progress is None else codec.decode_progress(progress),
            active={run_id: codec.decode_active(run) for run_id, run in active},
            pending={run_id: codec.decode_pending(run) for run_id, run in pending},
            jobs={label: codec.decode_job(job) for label, job in jobs},
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
                    codec.encode_words(totals.words),
                    changes.now_ms,
                )
                for series_key, totals in changes.totals.items()
            ),
        )
        encode = codec.encode
        put(self._db, "job", ((workspace, label, encode(job)) for label, job in changes.jobs.items()))
        self._delete("totals", ("label", "target"), workspace, changes.expired.series_keys)
        self._delete("job", ("label",), workspace, ((label,) for label in changes.expired.jobs))
        self._delete("active", ("run_id",), workspace, ((run_id,) for run_id in changes.no_longer_active))
        put(self._db, "active", ((workspace, run_id, encode(run)) for run_id, run in changes.active.items()))
        self._delete("pending", ("run_id",), workspace, ((run_id,) for run_id in changes.no_longer_pending))
        put(
            self._db, "pending", ((workspace, run_id, encode(run)) for run_id, run in changes.pending.items())
        )
        if changes.progress is not None:
            put(self._db, "workspace", [(workspace, name, encode(changes.progress))])

    def _delete(
        self, table: str, key: tuple[str, ...], workspace: int, rows: Iterable[tuple[object, ...]]
    ) -> None:
        """Delete the rows of a workspace with these keys."""
        where = " AND ".join(f"{column} = ?" for column in key)
        self._db.executemany(
            f"DELETE FROM {table} WHERE workspace = ? AND {where}",  # noqa: S608  our words
            ((workspace, *row) for row in rows),
        )
