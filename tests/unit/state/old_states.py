"""State files of earlier schemas: as old releases wrote them, and made from one of today's."""

import re
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from exporter.families import TERMINATIONS
from exporter.state import codec
from exporter.state.checksums import COLUMNS

_SCRIPTS = {version: (Path(__file__).parent / f"state_v{version}.sql").read_text() for version in (1, 2, 3)}
_SCHEMA_2 = "".join(re.findall(r"^CREATE .*?;$", _SCRIPTS[2], re.MULTILINE | re.DOTALL))
# The columns that files of schema 2 have, and those of schema 1 but for one.
COLUMNS_2 = {name: columns for name, columns in COLUMNS.items() if name not in {"pending", "layout"}} | {
    "totals": "workspace, label, target, row, terminations, last_ms"
}


def write_old(path: Path, version: int) -> None:
    """Write the state file that a release of schema 1, 2 or 3 left."""
    with sqlite3.connect(path) as db:
        db.executescript(_SCRIPTS[version])
    db.close()


def make_older(path: Path, version: int) -> None:
    """Turn a state file that is closed into one of schema 1 or 2, with the same in it."""
    with sqlite3.connect(path) as db:
        for table in COLUMNS:
            db.execute(f"ALTER TABLE {table} RENAME TO today_{table}")
        db.executescript(_SCHEMA_2)
        for table in COLUMNS_2:
            rows = db.execute(f"SELECT {COLUMNS[table]} FROM today_{table}").fetchall()  # noqa: S608  names from above
            places = ", ".join("?" * len(COLUMNS[table].split(", ")))
            db.executemany(
                f"INSERT INTO {table} VALUES ({places})",  # noqa: S608
                _positional(table, rows),
            )
        for table in COLUMNS:
            db.execute(f"DROP TABLE today_{table}")
        db.execute("DROP TABLE tally")
        if version == 1:
            db.execute("ALTER TABLE totals DROP COLUMN last_ms")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()


def _positional(table: str, rows: Iterable[tuple[Any, ...]]) -> Iterable[tuple[Any, ...]]:
    """Rows with their records as lists of values, in the order that releases of that time had."""
    for row in rows:
        match table:
            case "workspace":
                progress = None if row[2] is None else codec.decode_progress(row[2])
                yield (*row[:2], None if progress is None else codec.encode(_values(progress)[:6]))
            case "active":
                yield (*row[:2], codec.encode(_values(codec.decode_active(row[2]))))
            case "job":
                job = codec.decode_job(row[2])
                records = [None if one is None else _values(one) for one in (job.last_run, job.last_success)]
                yield (
                    *row[:2],
                    codec.encode([job.target, job.name, job.named_by_list, *records]),
                )
            case "totals":
                words = codec.decode_words(row[4]).get(TERMINATIONS.name, {})
                ends = [[*ended, count] for ended, count in words.items()]
                yield (*row[:4], codec.encode(ends), row[5])
            case _:
                yield row


def _values(record: msgspec.Struct) -> list[Any]:
    return list(msgspec.structs.astuple(record))
