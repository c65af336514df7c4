"""State files of schemas 1 to 3 become ones of today's. What a file of schema 1 or 2 says is taken as right.

Those schemas stored records and totals by position; what stood where is written down here and never changes.
"""

import sqlite3
from typing import Any

import msgspec

from exporter.runs.durations import Phases
from exporter.runs.layout import StoredFamily, StoredLayout
from exporter.runs.records import ActiveRun, Job, LastRun, LastSuccess, Progress
from exporter.state.checksums import put
from exporter.state.codec import encode

_OLD_TABLES = ("workspace", "settled", "active", "job", "totals")
# What is without a time in schema 1 is as old as the newest settled run.
_ADD_LAST_MS = (
    "ALTER TABLE totals ADD COLUMN last_ms INTEGER NOT NULL DEFAULT 0",
    """UPDATE totals SET last_ms = coalesce(
    (SELECT max(settled_ms) FROM settled WHERE settled.workspace = totals.workspace), 0)""",
)
_TERMINATIONS = "databricks_job_run_terminations_total"


def upgrade(db: sqlite3.Connection, version: int, schema: tuple[str, ...]) -> None:
    """Within a transaction: make the tables anew with the same in them; a tally is not begun yet."""
    if version == 1:
        for statement in _ADD_LAST_MS:
            db.execute(statement)
    for (trigger,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
        db.execute(f"DROP TRIGGER {trigger}")
    if version == 3:
        db.execute("DROP TABLE tally")
    for table in _OLD_TABLES:
        db.execute(f"ALTER TABLE {table} RENAME TO old_{table}")
    for statement in schema:
        db.execute(statement)
    columns = "workspace, run_id, end_ms, settled_ms, task_run_ids"
    db.execute(f"INSERT INTO settled SELECT {columns}, row_checksum({columns}) FROM old_settled")  # noqa: S608  our words
    _convert(db)
    for table in _OLD_TABLES:
        db.execute(f"DROP TABLE old_{table}")


def _convert(db: sqlite3.Connection) -> None:
    """Copy the small tables, each record by the names of its fields."""
    rows = db.execute("SELECT id, name, progress FROM old_workspace").fetchall()
    put(
        db,
        "workspace",
        ((key, name, None if blob is None else encode(_progress(blob))) for key, name, blob in rows),
    )
    rows = db.execute("SELECT workspace, run_id, run FROM old_active").fetchall()
    put(db, "active", ((key, run_id, encode(_active(blob))) for key, run_id, blob in rows))
    rows = db.execute("SELECT workspace, label, job FROM old_job").fetchall()
    put(db, "job", ((key, label, encode(_job(blob))) for key, label, blob in rows))
    totals = db.execute("SELECT workspace, label, target, row, terminations, last_ms FROM old_totals")
    put(db, "totals", ((*key, row, _words(ends), ms) for *key, row, ends, ms in totals.fetchall()))
    put(db, "layout", [(1, encode(LAYOUT_3))])


def _list(blob: bytes) -> list[Any]:
    return msgspec.msgpack.decode(blob, type=list[Any])


def _progress(blob: bytes) -> Progress:
    counted, remembered, first, last, *rest = _list(blob)
    sweep, slices = [*rest, None, ()][:2] if len(rest) < 2 else rest[:2]
    return msgspec.convert(
        {
            "counted_from_ms": counted,
            "remembered_from_ms": remembered,
            "first_poll_ms": first,
            "last_good_poll_ms": last,
            "last_sweep_ms": sweep,
            "slices": slices,
        },
        Progress,
    )


def _active(blob: bytes) -> ActiveRun:
    return msgspec.convert(dict(zip(ActiveRun.__struct_fields__, _list(blob), strict=True)), ActiveRun)


def _job(blob: bytes) -> Job:
    target, name, named_by_list, *rest = [*_list(blob), None, None][:5]
    last, success = rest
    if last is not None:
        last = dict(zip(LastRun.__struct_fields__, last, strict=True))
        last["phases"] = None if last["phases"] is None else Phases(*last["phases"])
    return Job(
        target,
        name,
        bool(named_by_list),
        None if last is None else msgspec.convert(last, LastRun),
        None if success is None else LastSuccess(*success),
    )


def _words(terminations: bytes) -> bytes:
    counts = [((code, kind), count) for code, kind, count in _list(terminations)]
    return encode({_TERMINATIONS: counts} if counts else {})


def _layout_3() -> StoredLayout:
    durations = (1, 5, 15, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14400, 28800, 86400)
    queue = (1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600, 14400, 43200, 86400, 172800)
    attempts = (1, 2, 3, 4, 5, 10, 20)
    results = ("SUCCESS", "SUCCESS_WITH_FAILURES", "FAILED", "TIMEDOUT", "CANCELED", "SKIPPED", "UNKNOWN")
    in_ms = {bounds: tuple(bound * 1000.0 for bound in bounds) for bounds in (durations, queue)}
    families: tuple[tuple[str, tuple[float, ...] | None, tuple[str, ...]], ...] = (
        ("databricks_job_run_duration_seconds", in_ms[durations], ()),
        ("databricks_job_run_queue_duration_seconds", in_ms[queue], ()),
        ("databricks_job_run_setup_duration_seconds", in_ms[durations], ()),
        ("databricks_job_run_execution_duration_seconds", in_ms[durations], ()),
        ("databricks_job_run_cleanup_duration_seconds", in_ms[durations], ()),
        ("databricks_job_run_attempts", attempts, ()),
        ("databricks_job_runs_total", None, results),
        ("databricks_job_run_repairs_total", None, results),
        ("databricks_task_run_setup_duration_seconds", in_ms[durations], ()),
        ("databricks_task_run_execution_duration_seconds", in_ms[durations], ()),
        ("databricks_task_run_cleanup_duration_seconds", in_ms[durations], ()),
        ("databricks_task_runs_total", None, results),
        ("databricks_task_run_retries_total", None, ()),
    )
    slot, stored = 1, []
    for name, bounds, of in families:
        stored.append(StoredFamily(name, slot, bounds, of))
        slot += stored[-1].length
    stored.append(StoredFamily(_TERMINATIONS, 0, words=("code", "type")))
    return StoredLayout(slot, tuple(stored))


# The layout of every row of schemas 1 to 3, in the names of that time: it stays when the table changes.
LAYOUT_3 = _layout_3()
