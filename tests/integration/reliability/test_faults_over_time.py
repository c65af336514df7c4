"""What no single answer shows: clocks that jump, absences, storms, logins that end, lost names."""

import socket
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import pytest
from pydantic import SecretStr

from exporter.config import ClientCredentials
from exporter.families import REPAIRS, RUNS
from exporter.simulator.credentials import Credentials
from tests.faults import ANSWERS, Fault, error, fault_of, throttled
from tests.integration.reliability.scene import MINUTE, Scene

SHARED_MEMORY = Path("/dev/shm")
HOUR, DAY = 3600.0, 86400.0
DATES: tuple[str, ...] = ("date a year ahead", "date a year back")


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None) as folder:
        yield Path(folder)


@pytest.fixture
def scene(folder: Path) -> Iterator[Scene]:
    scene = Scene(folder)
    yield scene
    scene.close()


@pytest.mark.parametrize("jump", [HOUR, -HOUR])
@pytest.mark.parametrize("restart", [False, True])
def test_the_workspaces_clock_may_jump(scene: Scene, jump: float, restart: bool) -> None:  # noqa: FBT001
    """An hour there and back: what ended before, between and after is counted once."""
    for seconds in (jump, -jump):
        runs = [scene.workspace.active_run(scene.job, start=scene.now - 3 * HOUR) for _ in range(2)]
        scene.poll_well()
        scene.now += seconds
        if restart:
            scene.restart()
        for run in runs:
            scene.workspace.finish(run)
        for _ in range(2):
            scene.workspace.finished_run(scene.job, duration=1)
            scene.poll_well()
            scene.now += 1
    # What has a start in what is the future again is known to nobody until then.
    scene.now += 2 * HOUR
    scene.poll_well()
    scene.sweep()
    scene.assert_books_balance()


@pytest.mark.parametrize("jump", [HOUR, -HOUR, 400 * DAY, -400 * DAY])
def test_our_own_clock_may_jump(scene: Scene, jump: float) -> None:
    """Nothing that counts follows from it: what ended before, meanwhile and after is counted once."""
    for offset in (jump, 0.0):
        scene.clock_error = offset
        scene.end_runs(scene.begin_runs())
        scene.poll_well()
        scene.restart()
        scene.poll_well()
    scene.sweep()
    scene.assert_books_balance()


@pytest.mark.parametrize("kind", DATES)
@pytest.mark.parametrize("skip", range(4))
def test_no_single_answer_decides_what_time_it_is(scene: Scene, kind: str, skip: int) -> None:
    """Whatever its date and whichever answer it is: no total, no bound and no expiry follows from it."""
    totals = set(scene.totals)
    fault = scene.server.faults.add(fault_of(kind, times=1, skip=skip))
    for _ in range(2):
        scene.workspace.finished_run(scene.job)
        scene.poll_well()
        scene.sweep()
    assert fault.hits == 1
    progress = scene.recorder.tracker.progress
    assert progress is not None
    for at_ms in (progress.last_good_poll_ms, progress.last_sweep_ms or 0):
        assert abs(at_ms / 1000 - scene.now) < HOUR
    assert all(abs(ms / 1000 - scene.now) < HOUR for ms in scene.recorder.tracker.last_ms.values())
    assert totals <= set(scene.totals)
    scene.assert_books_balance()


@pytest.mark.parametrize("kind", DATES)
@pytest.mark.parametrize("skip", range(3))
def test_no_single_answer_decides_since_when_a_fresh_state_counts(folder: Path, kind: str, skip: int) -> None:
    """A first poll among whose answers one is from another year counts the lookback, and what follows."""
    scene = Scene(folder, first_poll=False)
    scene.workspace.finished_run(scene.job, start=scene.now - 2 * HOUR, duration=60)
    scene.workspace.finished_run(scene.job, start=scene.now - 40 * DAY, duration=60)
    fault = scene.server.faults.add(fault_of(kind, times=1, skip=skip))
    scene.poll_well()
    assert fault.hits == 1
    progress = scene.recorder.tracker.progress
    assert progress is not None
    assert abs(progress.counted_from_ms / 1000 - (scene.now - DAY)) < HOUR
    scene.workspace.finished_run(scene.job)
    scene.poll_well()
    assert scene.counts(RUNS).total() == 2 + 1  # and the one that every scene begins with
    scene.close()


@pytest.mark.parametrize("kind", DATES)
def test_a_clock_that_is_wrong_for_long_loses_no_run(
    scene: Scene, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """While every answer of the workspace says another year: what is kept, is kept by both clocks."""
    scene.server.faults.add(fault_of(kind))
    for _ in range(3):
        scene.end_runs(scene.begin_runs())
        scene.poll_well()
    assert "the workspace's clock and ours disagree" in capsys.readouterr().out
    scene.server.faults.clear()
    for _ in range(3):
        scene.workspace.finished_run(scene.job)
        scene.poll_well()
    scene.sweep()
    scene.assert_books_balance()


@pytest.mark.parametrize("restart", [False, True])
def test_a_workspace_may_be_away_for_two_days(scene: Scene, restart: bool) -> None:  # noqa: FBT001
    """Everything that ended meanwhile is counted when it is back, whether we lived through it or not."""
    runs = scene.begin_runs()
    scene.run(scene.server.stop())
    for hour in range(48):
        scene.now += HOUR
        scene.workspace.finished_run(scene.job, duration=600)
        if hour % 12 == 0:
            assert scene.poll() is not None
    scene.end_runs(runs)
    scene.run(scene.server.start())
    if restart:
        scene.restart()
    scene.poll_well()
    scene.assert_books_balance()


def test_a_storm_of_throttling_may_last_an_hour(scene: Scene) -> None:
    """Of sixty minutes of 429 nothing remains; requests went on as slowly as they were asked to."""
    runs = scene.begin_runs()
    storm = scene.server.faults.add(Fault(throttled(1)))
    for minute in range(60):
        scene.now += MINUTE
        scene.workspace.finished_run(scene.job, duration=30)
        assert (cause := scene.poll()) is not None
        assert "HTTP 429" in cause or "asked for no requests" in cause, f"minute {minute}"
    assert storm.hits < 20
    scene.end_runs(runs)
    scene.server.faults.clear()
    scene.poll_well()
    scene.assert_books_balance()


def test_runs_may_appear_late_come_twice_and_vanish(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """A late one counts once it is listed; one that was deleted is lost after a while; none counts twice."""
    late, deleted, _ = (scene.workspace.active_run(scene.job) for _ in range(3))
    scene.workspace.hide(late.run_id)
    scene.poll_well()
    scene.workspace.finish(late)
    scene.workspace.delete(deleted.run_id)
    for _ in range(3):
        assert scene.lost == 0, "one answer may be wrong"
        scene.now += 6 * MINUTE
        scene.poll_well()
    told = capsys.readouterr().out
    assert "runs do not exist any more" in told
    assert str(deleted.run_id) in told
    scene.workspace.show(late.run_id)
    assert scene.poll_under(fault_of("page twice")) is None
    scene.sweep()
    scene.assert_books_balance(lost=1)


def test_a_passing_404_loses_no_run(scene: Scene) -> None:
    """Two answers that a run does not exist, whenever they come, and then it is there again."""
    run = scene.workspace.active_run(scene.job)
    scene.poll_well()
    scene.workspace.hide(run.run_id)
    scene.workspace.finish(run)
    scene.server.faults.add(
        Fault(error(404, "RESOURCE_DOES_NOT_EXIST", "Run does not exist."), endpoint="runs/get", times=2)
    )
    for _ in range(3):
        scene.now += HOUR
        scene.poll_well()
    scene.assert_books_balance()


def test_a_job_may_be_taken_out_of_sight(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    """Its active run waits, however long, and polls stay good; given back, it is counted after all."""
    run = scene.workspace.active_run(scene.job)
    scene.poll_well()
    scene.workspace.hide(run.run_id)
    scene.workspace.finish(run)
    scene.server.faults.add(Fault(error(403, "PERMISSION_DENIED", "no view"), endpoint="runs/get"))
    for _ in range(10):
        scene.now += 6 * HOUR
        assert scene.poll() is None
    assert capsys.readouterr().out.count(f"run={run.run_id}") == 1, "named once"
    assert scene.lost == 0
    scene.server.faults.clear()
    scene.poll_well()
    scene.assert_books_balance()


def test_the_right_to_view_many_jobs_may_be_withdrawn(scene: Scene) -> None:
    """Sixty active runs are refused from one moment to the next, and every poll counts what others do."""
    runs = [scene.workspace.active_run(scene.job) for _ in range(60)]
    scene.poll_well()
    scene.server.faults.add(Fault(error(403, "PERMISSION_DENIED", "no view"), endpoint="runs/get"))
    for run in runs:
        scene.workspace.hide(run.run_id)
        scene.workspace.finish(run)
    for counted in range(1, 4):
        scene.workspace.finished_run(scene.job)
        assert scene.poll() is None
        assert scene.counts(RUNS).total() == 1 + counted
    scene.server.faults.clear()
    scene.poll_well()
    scene.assert_books_balance()


def test_a_repair_and_a_sweep_may_settle_at_the_same_time(scene: Scene) -> None:
    """A repair that ends between the list of a sweep and that of a poll is counted once, with its tasks."""
    run = scene.workspace.finished_run(scene.job, code="RUN_EXECUTION_ERROR", duration=30)
    scene.poll_well()
    for _ in range(2):
        scene.now += MINUTE
        scene.workspace.repair(run)
        scene.poll_lists()
        scene.now += MINUTE
        scene.workspace.finish_repair(run, "RUN_EXECUTION_ERROR")
        scene.sweep_lists()
        scene.poll_lists()
        scene.read_pending()
    assert scene.counts(REPAIRS).total() == 2
    scene.assert_books_balance()


def test_page_tokens_may_expire_in_the_middle(scene: Scene) -> None:
    """A listing that breaks off on its second page is begun again by the next poll."""
    for _ in range(60):
        scene.workspace.finished_run(scene.job, duration=30)
    fault = Fault(ANSWERS["bad page token"](), when=lambda query: "page_token" in query)
    cause = scene.poll_under(fault, "runs/list")
    assert cause is not None
    assert "Invalid page token" in cause
    scene.poll_well()
    scene.assert_books_balance()


def with_oauth(folder: Path, expires_in: float) -> Scene:
    login = ClientCredentials("client", SecretStr("secret"))
    return Scene(
        folder, login=login, credentials=Credentials(clients={"client": "secret"}, expires_in=expires_in)
    )


def test_a_token_may_end_in_the_middle_of_a_poll(folder: Path) -> None:
    """Between two pages of a listing: a new one is fetched, and the poll is good."""
    scene = with_oauth(folder, expires_in=3600)
    for _ in range(60):
        scene.workspace.finished_run(scene.job, duration=30)

    def revoked(query: Mapping[str, str]) -> bool:
        if "page_token" in query and scene.server.credentials.issued == fetched:
            scene.server.credentials.revoke_issued()
        return False

    fetched = scene.server.credentials.issued
    assert scene.poll_under(Fault(when=revoked), "runs/list") is None
    assert scene.server.credentials.issued == fetched + 1
    scene.assert_books_balance()
    scene.close()


def test_credentials_may_be_rotated(folder: Path) -> None:
    """While the secret is wrong polls fail and say what to check; once it is right again all is counted."""
    scene = with_oauth(folder, expires_in=3600)
    runs = scene.begin_runs()
    scene.server.credentials.clients["client"] = "another"
    scene.server.credentials.revoke_issued()
    scene.end_runs(runs)
    assert "check DATABRICKS_CLIENT_ID and DATABRICKS_CLIENT_SECRET" in (scene.poll() or "")
    scene.server.credentials.clients["client"] = "secret"
    scene.poll_well()
    scene.assert_books_balance()
    scene.close()


class Named(Scene):
    """A scene whose workspace is looked up by its name."""

    @property
    def url(self) -> str:
        return self.server.url.replace("127.0.0.1", "localhost")


def test_the_name_may_be_lost(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an answer from the resolver polls fail and name the host; afterwards all is counted."""
    scene = Named(folder)
    scene.end_runs(scene.begin_runs())
    scene.stop()

    def lost(*_: Any, **__: Any) -> NoReturn:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    with monkeypatch.context() as patched:
        patched.setattr(socket, "getaddrinfo", lost)
        scene.start()
        cause = scene.poll()
    assert cause is not None
    assert "can't connect to localhost" in cause
    assert "DNS" in cause
    scene.poll_well()
    scene.assert_books_balance()
    scene.close()
