"""How the state file proves that it says what was written: SQLite checks its own structure only.

Each row ends with a checksum of its other values. The table `tally` has, per table, how many rows there are
and the sum of their checksums, written in the transaction that changes them: so a row that is lost is
noticed, and a page that is whole but an older one. What is put in is added here; triggers subtract what is
deleted and what a row was before it changed (see schema.py).
"""

import sqlite3
from collections.abc import Iterable, Mapping
from zlib import crc32

import msgspec

# Each table's columns but the last one, which is the checksum.
COLUMNS = {
    "workspace": "id, name, progress",
    "settled": "workspace, run_id, end_ms, settled_ms, task_run_ids",
    "active": "workspace, run_id, run",
    "pending": "workspace, run_id, run",
    "job": "workspace, label, job",
    "totals": "workspace, label, target, row, words, last_ms",
    "layout": "id, layout",
}
# How many of them, the first ones, are the table's key.
_KEY_LENGTHS = {"workspace": 1, "settled": 2, "active": 2, "pending": 2, "job": 2, "totals": 3, "layout": 1}


def _upsert(table: str) -> str:
    # "OR REPLACE" would delete the row and insert another, which costs twice as much.
    columns = [*COLUMNS[table].split(", "), "checksum"]
    key, others = columns[: _KEY_LENGTHS[table]], columns[_KEY_LENGTHS[table] :]
    changes = ", ".join(f"{column} = excluded.{column}" for column in others)
    places = ", ".join("?" * len(columns))
    return f"INSERT INTO {table} VALUES ({places}) ON CONFLICT ({', '.join(key)}) DO UPDATE SET {changes}"  # noqa: S608


# No word of these statements comes from outside of this file.
_PUT = {table: _upsert(table) for table in COLUMNS}
_TALLY = {
    table: f"INSERT INTO tally SELECT '{table}', count(*), coalesce(sum(checksum), 0) FROM {table}"  # noqa: S608
    for table in COLUMNS
}

# It tells 1 from '1'. What it makes of a row stands in every state file: another encoding is another schema.
_encode = msgspec.msgpack.Encoder().encode


def row_checksum(*values: object) -> int:
    """The checksum of a row with these values."""
    return crc32(_encode(values))


def register(db: sqlite3.Connection) -> None:
    """Let SQL call row_checksum."""
    db.create_function("row_checksum", -1, row_checksum, deterministic=True)


def put(db: sqlite3.Connection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    """Insert these rows, or change those with the same keys to them."""
    checksums = 0
    whole = []
    for row in rows:
        checksum = crc32(_encode(row))
        checksums += checksum
        whole.append((*row, checksum))
    if whole:
        db.executemany(_PUT[table], whole)
        db.execute(
            "UPDATE tally SET rows = rows + ?, checksum = checksum + ? WHERE name = ?",
            (len(whole), checksums, table),
        )


def begin_tally(db: sqlite3.Connection) -> None:
    """Fill the tally with what the tables have now."""
    for statement in _TALLY.values():
        db.execute(statement)


def first_damage(db: sqlite3.Connection, tables: Mapping[str, str]) -> str | None:
    """What is not as it was written, None where everything is. Reads every row: two seconds for a million.

    `tables`: each table's columns but the last one.
    """
    tally = {name: (rows, checksum) for name, rows, checksum in db.execute("SELECT * FROM tally")}
    for table, columns in tables.items():
        rows, checksum, wrong = db.execute(
            "SELECT count(*), coalesce(sum(checksum), 0), "  # noqa: S608
            f"coalesce(sum(checksum IS NOT row_checksum({columns})), 0) FROM {table}"
        ).fetchone()
        if wrong:
            return f"{wrong} of {rows} rows of {table} are not as they were written"
        if tally.get(table) != (rows, checksum):
            return f"the {rows} rows of {table} are not those that were written last"
    return None
