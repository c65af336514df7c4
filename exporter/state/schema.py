"""The tables of the state file, and what is checked before any of it is trusted.

No table has an index beside its own order: nothing is said twice, so nothing can contradict itself. The one
row of `layout` says where each family stands in the rows of `totals`.
"""

import sqlite3
from pathlib import Path

from exporter.runs.layout import Remap, StoredLayout, remap
from exporter.state.checksums import COLUMNS, begin_tally, first_damage, put, register
from exporter.state.codec import decode_layout, decode_row, decode_words, encode, encode_words
from exporter.state.errors import StateError, damaged
from exporter.state.upgrade import upgrade

SCHEMA_VERSION = 4
# Spells "DBJX": tells our file from any other SQLite database.
APPLICATION_ID = 0x44424A58
# SQLite writes whole pages, and none are smaller; its header is at the beginning of the first.
SMALLEST_PAGE = 512
SQLITE_HEADER_BYTES = 100

_SUBTRACT = "UPDATE tally SET rows = rows - 1, checksum = checksum - old.checksum"


def _of_runs(table: str) -> str:
    return f"""CREATE TABLE {table} (
    workspace INTEGER NOT NULL, run_id INTEGER NOT NULL, run BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, run_id)) WITHOUT ROWID"""


_SETTLED = """CREATE TABLE settled (
    workspace INTEGER NOT NULL, run_id INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    settled_ms INTEGER NOT NULL, task_run_ids BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, run_id)) WITHOUT ROWID"""
_TALLY = """CREATE TABLE tally (
    name TEXT NOT NULL PRIMARY KEY, rows INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID"""


def _triggers(tables: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(
        f"CREATE TRIGGER {table}_{what} AFTER {what} ON {table} BEGIN {_SUBTRACT} WHERE name = '{table}'; END"
        for table in tables
        for what in ("delete", "update")
    )


_SCHEMA = (
    """CREATE TABLE workspace (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, progress BLOB, checksum INTEGER NOT NULL)""",
    _SETTLED,
    _of_runs("active"),
    _of_runs("pending"),
    """CREATE TABLE job (
    workspace INTEGER NOT NULL, label TEXT NOT NULL, job BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, label)) WITHOUT ROWID""",
    """CREATE TABLE totals (
    workspace INTEGER NOT NULL, label TEXT NOT NULL, target TEXT NOT NULL,
    row BLOB NOT NULL, words BLOB NOT NULL, last_ms INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, label, target)) WITHOUT ROWID""",
    """CREATE TABLE layout (
    id INTEGER PRIMARY KEY, layout BLOB NOT NULL, checksum INTEGER NOT NULL)""",
    _TALLY,
    *_triggers(tuple(COLUMNS)),
)
# What a file of schema 3 consists of: checked, like one of today, before it is upgraded.
_COLUMNS_3 = {name: columns for name, columns in COLUMNS.items() if name not in {"pending", "layout"}} | {
    "totals": "workspace, label, target, row, terminations, last_ms"
}
_SCHEMA_3 = (
    *(statement.replace("words BLOB", "terminations BLOB") for statement in _SCHEMA[:3] + _SCHEMA[4:6]),
    _TALLY,
    *_triggers(tuple(_COLUMNS_3)),
)


def refuse_stump(path: Path) -> None:
    """SQLite takes a few bytes, and none with a log beside them, for a new file, and half a page for one."""
    size = path.stat().st_size if path.exists() else 0
    log = path.with_name(path.name + "-wal")
    logged = log.stat().st_size if log.exists() else 0
    # Only what is in the log too may be written in part.
    if (size % SMALLEST_PAGE and not logged) or 0 < size < SQLITE_HEADER_BYTES or (size == 0 and logged):
        raise StateError(damaged(str(path), f"cut off after {size} bytes"))


def check_or_create(db: sqlite3.Connection, path: str, layout: StoredLayout) -> Remap:
    """Within a transaction: make the tables, or make sure that they are ours and as they were written.

    Returns what became of the totals: rows of another layout have been rewritten to this one.
    """
    register(db)
    version = _pragma(db, "user_version")
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables == 0 and version == 0:
        _create(db, layout)
    else:
        _check(db, path, version)
        if version < SCHEMA_VERSION:
            upgrade(db, version, _SCHEMA)
            begin_tally(db)
            db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
    return _to_layout(db, layout)


def _check(db: sqlite3.Connection, path: str, version: int) -> None:
    """Raise StateError for a file that can't be trusted, or is not ours."""
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise StateError(f"{path} is an SQLite file of another program; point state.path somewhere else")
    if version > SCHEMA_VERSION:
        raise StateError(
            f"{path} was written by a newer version of this exporter (schema {version}, this one "
            f"knows {SCHEMA_VERSION}); run that version, or point state.path somewhere else"
        )
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise StateError(damaged(path, found))
    if version < 1:
        raise StateError(damaged(path, f"schema {version}"))
    if version < 3:
        return  # those had no checksums
    schema, columns = (_SCHEMA_3, _COLUMNS_3) if version == 3 else (_SCHEMA, COLUMNS)
    if {statement for (statement,) in db.execute("SELECT sql FROM sqlite_master")} != set(schema):
        raise StateError(damaged(path, "its tables are not those of this exporter"))
    if (reason := first_damage(db, columns)) is not None:
        raise StateError(damaged(path, reason))


def _create(db: sqlite3.Connection, layout: StoredLayout) -> None:
    for statement in _SCHEMA:
        db.execute(statement)
    begin_tally(db)
    put(db, "layout", [(1, encode(layout))])
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _to_layout(db: sqlite3.Connection, layout: StoredLayout) -> Remap:
    """Rewrite the rows of totals where they have another layout than this one."""
    (blob,) = db.execute("SELECT layout FROM layout").fetchone()
    stored = decode_layout(blob)
    how = remap(stored, layout)
    if stored != layout:
        rows = db.execute("SELECT workspace, label, target, row, words, last_ms FROM totals").fetchall()
        put(
            db,
            "totals",
            (
                (*key, how.row(decode_row(row, stored.length)).tobytes(), _kept(words, how), last_ms)
                for *key, row, words, last_ms in rows
            ),
        )
        put(db, "layout", [(1, encode(layout))])
    return how


def _kept(words: bytes, how: Remap) -> bytes:
    """The counts of open words that still mean the same."""
    counts = decode_words(words)
    return encode_words({name: counts[name] for name in counts if name in how.words})


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
