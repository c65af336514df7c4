"""A new histogram from a new field of the API is a change in two files; nothing else has to know it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import exporter
from exporter.exposition.snapshot import Format
from exporter.families import RUN_ATTEMPTS, RUN_DURATION, RUN_FAMILIES, RUNS
from exporter.runs.changes import Observation
from exporter.state.store import StateStore
from tests.unit.exposition import exposed, plain
from tests.unit.runs.runs import LAYOUT, Books, run
from tests.unit.state.test_store import NOW

PACKAGE = Path(exporter.__file__).parent
NAME = "databricks_job_run_warm_up_duration_seconds"
FIELD = "    queue_duration: Milliseconds = None\n"
TABLE = "\nRUN_FAMILIES = (\n"
ROW = f"""    _run_histogram(
        "{NAME}",
        "Warm-up time of finished job runs that executed; absent where the API gives none.",
        lambda run: run.warm_up_duration,
        (1, 60),
    ),
"""
# With the changed package: opens the state file, counts runs and prints what is served.
SCRIPT = """
import json, sys
from pathlib import Path
import exporter
from exporter.databricks.clock import Instant
from exporter.databricks.responses import decode_run
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Format
from exporter.own_metrics import OwnMetrics
from exporter.runs.change_builder import observe
from exporter.runs.changes import Observation
from exporter.runs.layout import Layout
from exporter.runs.tracker import Tracker
from exporter.state.store import StateStore

layout = Layout()
store = StateStore(Path(sys.argv[1]), layout)
tracker = Tracker(store.load("w"), layout)
now = Instant(1_790_000_000_000, 1_790_000_000_000)
observation = Observation(finished=[decode_run(body.encode()) for body in json.loads(sys.argv[2])])
changes = observe(tracker, observation, {}, None, now)
store.commit("w", changes, now)
tracker.apply(changes)
afresh, dropped = store.remapped.afresh, store.remapped.dropped
store.close()
store = StateStore(Path(sys.argv[1]), layout)
exposition = Exposition(OwnMetrics(), layout)
exposition.update("w", store.load("w").totals, {})
form = Format.TEXT
snapshot = exposition.ready(form) or exposition.prepare(form)
body = b"".join(snapshot.plain(form, b"").parts).decode()
charged = tracker.rules.totals_series(tracker.totals["10", "NONE"])
print(json.dumps([exporter.__file__, afresh, dropped, body, snapshot.series, charged]))
"""


def after(text: str, place: str, more: str) -> str:
    """The text with more after a place that it has once."""
    assert text.count(place) == 1
    return text.replace(place, place + more)


def changed_package(folder: Path) -> Path:
    """A copy of the package with a new field of a run, and a new row of the table, first of all."""
    copy = folder / "exporter"
    shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
    models, table = copy / "databricks" / "models.py", copy / "families.py"
    models.write_text(after(models.read_text(), FIELD, "    warm_up_duration: Milliseconds = None\n"))
    table.write_text(after(table.read_text(), TABLE, ROW))
    return copy


def body(run_id: int, **fields: Any) -> str:
    """A finished run as the API gives it."""
    status = {"state": "TERMINATED", "termination_details": {"code": "SUCCESS", "type": "SUCCESS"}}
    whole = {"run_id": run_id, "job_id": 10, "start_time": 1_000_000, "end_time": 1_100_000, "status": status}
    return json.dumps(whole | fields)


def samples(text: str) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {series: float(number) for series, _, number in lines}


def test_a_new_histogram_is_a_change_in_two_files(tmp_path: Path) -> None:
    """It is observed, stored, restored, counted in the budget and served; all that was counted goes on."""
    path = tmp_path / "state.db"
    books, store = Books(), StateStore(path, LAYOUT)
    store.commit("w", books.take(Observation(finished=[run(1), run(2, run_duration=5_000)])), NOW)
    store.close()
    before = samples(plain(exposed("w", {("10", "NONE"): books.totals()}), Format.TEXT).decode())
    changed_package(tmp_path)
    runs = [body(3, warm_up_duration=59_000), body(4, warm_up_duration=61_000), body(5)]
    result = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), json.dumps(runs)],
        cwd=tmp_path,
        check=True,
        capture_output=True,
        text=True,
    )
    used, afresh, dropped, text, series, charged = json.loads(result.stdout)
    assert Path(used).is_relative_to(tmp_path)
    assert (afresh, dropped) == ([NAME], [])
    now = samples(text)
    labels = 'workspace="w",job_id="10",effective_performance_target="NONE"'
    assert {series: value for series, value in now.items() if series.startswith(NAME)} == {
        f'{NAME}_bucket{{{labels},le="1.0"}}': 0,
        f'{NAME}_bucket{{{labels},le="60.0"}}': 1,
        f'{NAME}_bucket{{{labels},le="+Inf"}}': 2,
        f"{NAME}_count{{{labels}}}": 2,
        f"{NAME}_sum{{{labels}}}": 120,
    }
    assert now.keys() >= before.keys()
    assert all(now[series] >= value for series, value in before.items())
    assert now[f'{RUNS.name}{{{labels},result="SUCCESS"}}'] == 5
    assert now[f"{RUN_DURATION.name}_sum{{{labels}}}"] == 100 + 5 + 3 * 100
    assert now[f"{RUN_ATTEMPTS.name}_count{{{labels}}}"] == 5
    assert series == charged == len(now)


def test_only_two_files_are_changed(tmp_path: Path) -> None:
    """And the release before opens the file again: what it knows goes on, the rest it drops."""
    copy = changed_package(tmp_path)
    files = [file.relative_to(PACKAGE) for file in PACKAGE.rglob("*.py")]
    changed = [file for file in files if (copy / file).read_text() != (PACKAGE / file).read_text()]
    assert sorted(map(str, changed)) == ["databricks/models.py", "families.py"]
    path = tmp_path / "state.db"
    runs = json.dumps([body(1, warm_up_duration=5), body(2)])
    subprocess.run(
        [sys.executable, "-c", SCRIPT, str(path), runs], cwd=tmp_path, check=True, capture_output=True
    )
    store = StateStore(path, LAYOUT)
    assert (store.remapped.afresh, store.remapped.dropped) == ((), (NAME,))
    totals = store.load("w").totals
    store.close()
    found = samples(plain(exposed("w", dict(totals)), Format.TEXT).decode())
    assert sum(value for series, value in found.items() if series.startswith(RUNS.name)) == 2
    assert NAME not in {family.name for family in RUN_FAMILIES}
