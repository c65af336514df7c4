"""The tables of the state file, how older ones become these, and what is checked before any is trusted.

No table has an index beside its own order: nothing is said twice, so nothing can contradict itself.
"""

import sqlite3
from pathlib import Path

from exporter.state.checksums import COLUMNS, begin_tally, first_damage, register
from exporter.state.errors import StateError, damaged

SCHEMA_VERSION = 3
# Spells "DBJX": tells our file from any other SQLite database.
APPLICATION_ID = 0x44424A58
# SQLite writes whole pages, and none are smaller; its header is at the beginning of the first.
SMALLEST_PAGE = 512
SQLITE_HEADER_BYTES = 100

_SUBTRACT = "UPDATE tally SET rows = rows - 1, checksum = checksum - old.checksum"
_SCHEMA = (
    """CREATE TABLE workspace (
    id INTEGER PRIMARY KEY, name TEXT NOT NULL, progress BLOB, checksum INTEGER NOT NULL)""",
    """CREATE TABLE settled (
    workspace INTEGER NOT NULL, run_id INTEGER NOT NULL, end_ms INTEGER NOT NULL,
    settled_ms INTEGER NOT NULL, task_run_ids BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, run_id)) WITHOUT ROWID""",
    """CREATE TABLE active (
    workspace INTEGER NOT NULL, run_id INTEGER NOT NULL, run BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, run_id)) WITHOUT ROWID""",
    """CREATE TABLE job (
    workspace INTEGER NOT NULL, label TEXT NOT NULL, job BLOB NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, label)) WITHOUT ROWID""",
    """CREATE TABLE totals (
    workspace INTEGER NOT NULL, label TEXT NOT NULL, target TEXT NOT NULL,
    row BLOB NOT NULL, terminations BLOB NOT NULL, last_ms INTEGER NOT NULL, checksum INTEGER NOT NULL,
    PRIMARY KEY (workspace, label, target)) WITHOUT ROWID""",
    """CREATE TABLE tally (
    name TEXT NOT NULL PRIMARY KEY, rows INTEGER NOT NULL, checksum INTEGER NOT NULL) WITHOUT ROWID""",
    *(
        f"CREATE TRIGGER {table}_{what} AFTER {what} ON {table} BEGIN {_SUBTRACT} WHERE name = '{table}'; END"
        for table in COLUMNS
        for what in ("delete", "update")
    ),
)
# From the version that is the key to the next one.
_UPGRADES = {
    # What has no time yet is as old as the newest settled run.
    1: (
        "ALTER TABLE totals ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0",
        """UPDATE totals SET last_ms = coalesce(
    (SELECT max(settled_ms) FROM settled WHERE settled.workspace = totals.workspace), 0)""",
    ),
    # Tables are made anew: a file that was upgraded has the same schema as one that was not.
    2: (
        *(f"ALTER TABLE {table} RENAME TO {table}_2" for table in COLUMNS),
        *_SCHEMA,
        *(
            f"INSERT INTO {table} SELECT {columns}, row_checksum({columns}) FROM {table}_2"  # noqa: S608  our words
            for table, columns in COLUMNS.items()
        ),
        *(f"DROP TABLE {table}_2" for table in COLUMNS),
    ),
}


def refuse_stump(path: Path) -> None:
    """SQLite takes a few bytes, and none with a log beside them, for a new file, and half a page for one."""
    size = path.stat().st_size if path.exists() else 0
    log = path.with_name(path.name + "-wal")
    logged = log.stat().st_size if log.exists() else 0
    # Only what is in the log too may be written in part.
    if (size % SMALLEST_PAGE and not logged) or 0 < size < SQLITE_HEADER_BYTES or (size == 0 and logged):
        raise StateError(damaged(str(path), f"cut off after {size} bytes"))


def check_or_create(db: sqlite3.Connection, path: str) -> None:
    """Within a transaction: make the tables, or make sure that they are ours and as they were written."""
    register(db)
    version = _pragma(db, "user_version")
    tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if tables == 0 and version == 0:
        _create(db)
        return
    if _pragma(db, "application_id") != APPLICATION_ID:
        raise StateError(f"{path} is an SQLite file of another program; point state.path somewhere else")
    if version > SCHEMA_VERSION:
        raise StateError(
            f"{path} was written by a newer version of this exporter (schema {version}, this one "
            f"knows {SCHEMA_VERSION}); run that version, or point state.path somewhere else"
        )
    if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise StateError(damaged(path, found))
    if version in _UPGRADES:
        _upgrade(db, version)
    elif version != SCHEMA_VERSION:
        raise StateError(damaged(path, f"schema {version}"))
    elif {statement for (statement,) in db.execute("SELECT sql FROM sqlite_master")} != set(_SCHEMA):
        raise StateError(damaged(path, "its tables are not those of this exporter"))
    elif (reason := first_damage(db)) is not None:
        raise StateError(damaged(path, reason))


def _create(db: sqlite3.Connection) -> None:
    for statement in _SCHEMA:
        db.execute(statement)
    begin_tally(db)
    db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _upgrade(db: sqlite3.Connection, version: int) -> None:
    for older in range(version, SCHEMA_VERSION):
        for statement in _UPGRADES[older]:
            db.execute(statement)
    begin_tally(db)
    db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")


def _pragma(db: sqlite3.Connection, name: str) -> int:
    return int(db.execute(f"PRAGMA {name}").fetchone()[0])
