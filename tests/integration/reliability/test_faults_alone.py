"""Every kind of fault by itself: what it costs is time, never a run, and its cause is told."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from exporter.families import RUNS
from tests.faults import FAULTS, STATUSES
from tests.integration.reliability.scene import Scene

SHARED_MEMORY = Path("/dev/shm")
# Under these a poll is as good as without.
HARMLESS = {
    "wrong content type",
    "page out of order",
    "page twice",
    "date a year ahead",
    "date a year back",
    "slow",
}
OTHERS = [kind for kind in FAULTS if not kind.startswith("status ")]
# Statuses that mean something to us, and one that does not of each hundred.
SPECIAL = (204, 301, 302, 304, 400, 401, 403, 404, 408, 409, 418, 425, 429, 500, 501, 502, 503, 504, 529, 599)


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    """One scene for all: the books go on from fault to fault, and must balance after each."""
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        scene = Scene(Path(folder))
        yield scene
        scene.close()


@pytest.mark.parametrize("kind", [*OTHERS, *(f"status {status}" for status in SPECIAL)])
def test_a_fault_of_the_lists_costs_no_run(scene: Scene, kind: str) -> None:
    """A poll that meets it fails whole, or is good; the cause is told; the next good one has every run."""
    scene.end_runs(scene.begin_runs())
    fault = FAULTS[kind]()
    cause = scene.poll_under(fault, "runs/list")
    assert fault.hits > 0
    if kind not in HARMLESS:
        assert cause, "the poll was good"
        assert "runs/list" in cause or "too slowly" in cause
    scene.poll_well()
    scene.assert_books_balance()


@pytest.mark.parametrize("kind", [*OTHERS, *(f"status {status}" for status in SPECIAL)])
def test_a_fault_of_one_run_is_that_runs_alone(
    scene: Scene, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Polls stay good, other runs are counted, the run is named once, and counted when the fault ends."""
    runs = scene.begin_runs()
    hidden = runs[1].run_id
    scene.end_runs(runs)
    before = scene.counts(RUNS).total()
    fault = FAULTS[kind]()
    fault.when = lambda query: query.get("run_id") == str(hidden)
    assert scene.poll_under(fault, "runs/get") is None
    assert fault.hits > 0
    others = scene.counts(RUNS).total() - before
    assert others >= 2, "what was listed and what was skipped"
    if kind not in HARMLESS:
        assert set(scene.recorder.tracker.pending) == {hidden}
        assert others == 2
        assert scene.poll_under(fault, "runs/get") is None
        assert capsys.readouterr().out.count(f"run={hidden}") == 1
    scene.poll_well()
    scene.assert_books_balance()


@pytest.mark.parametrize("hundred", [200, 300, 400, 500])
def test_a_status_costs_no_run(scene: Scene, hundred: int) -> None:
    """Each of the hundred statuses fails the poll and is named; the next good poll has every run."""
    for status in (status for status in STATUSES if hundred <= status < hundred + 100):
        scene.now += 1
        scene.workspace.finished_run(scene.job, duration=1)
        cause = scene.poll_under(FAULTS[f"status {status}"](), "runs/list")
        assert cause is not None
        assert cause.startswith(f"runs/list: HTTP {status}: ")
    scene.poll_well()
    scene.assert_books_balance()
