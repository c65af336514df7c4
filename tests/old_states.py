"""State files of earlier schemas, made from one of today's."""

import sqlite3
from pathlib import Path

from exporter.state.checksums import COLUMNS

_SCHEMA_2 = """
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


def make_older(path: Path, version: int) -> None:
    """Let a state file that nobody has open be one of schema 1 or 2, with the same in it."""
    with sqlite3.connect(path) as db:
        for table in COLUMNS:
            db.execute(f"ALTER TABLE {table} RENAME TO today_{table}")
        db.executescript(_SCHEMA_2)
        for table, columns in COLUMNS.items():
            db.execute(f"INSERT INTO {table} SELECT {columns} FROM today_{table}")  # noqa: S608  names from above
            db.execute(f"DROP TABLE today_{table}")
        db.execute("DROP TABLE tally")
        if version == 1:
            db.execute("ALTER TABLE totals DROP COLUMN last_ms")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
