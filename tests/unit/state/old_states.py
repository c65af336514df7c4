"""State files of earlier schemas, made from one of today's."""

import re
import sqlite3
from pathlib import Path

from exporter.state.checksums import COLUMNS

_SCRIPT_2 = (Path(__file__).parent / "state_v2.sql").read_text()
_SCHEMA_2 = "".join(re.findall(r"^CREATE .*?;$", _SCRIPT_2, re.MULTILINE | re.DOTALL))


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
