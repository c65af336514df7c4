"""A workspace that knows Jobs API 2.1 only, against the truth, and the day it learns 2.2."""

import time

from exporter.simulator.server import SimulatorServer
from tests.e2e import recount
from tests.e2e.process import RUNS, Exporter, Launcher, Samples, total

NOT_UNDERSTOOD = "databricks_exporter_decode_errors_total"
SAID = "doesn't know Jobs API 2.2"


def fill(server: SimulatorServer) -> int:
    """Three pages of runs of every ending; the job."""
    workspace = server.workspace
    job = workspace.add_job("nightly")
    now = time.time()
    for number in range(60):
        code = ("SUCCESS", "RUN_EXECUTION_ERROR", "USER_CANCELED", "MAX_CONCURRENT_RUNS_EXCEEDED")[number % 4]
        target = ("STANDARD", None)[number % 2]
        workspace.finished_run(
            job, start=now - 3600 - number, duration=30.0, code=code, target=target, tasks=1 + number % 3
        )
    return job


def assert_true(samples: Samples, server: SimulatorServer) -> None:
    truth = server.workspace.truth()
    assert recount.counted_runs(samples) == recount.runs(truth)
    assert recount.counted_attempts(samples) == recount.attempts(truth)
    assert recount.counted_ms(samples) == recount.durations_ms(truth)


async def test_totals_are_exact_with_the_old_version_and_go_on_with_the_new(
    server: SimulatorServer, launch: Launcher
) -> None:
    """Counted once over lists of several pages, a run that lasts, and an upgrade between two processes."""
    workspace = server.workspace
    workspace.api_versions = {"2.1"}
    job = fill(server)
    first_live, second_live = (workspace.active_run(job, start=time.time() - 900) for _ in range(2))
    first = await launch.start(server)
    await first.until_ready()
    workspace.finish(first_live)
    samples = await first.until(lambda seen: total(seen, RUNS) == 61, "the live one is counted")
    assert_true(samples, server)
    assert total(samples, NOT_UNDERSTOOD) == 0
    assert first.log.count(SAID) == 1
    assert await first.terminate() == 0
    assert {version(path) for path, status in asked(server) if status == 200} == {"2.1"}
    workspace.api_versions = {"2.1", "2.2"}
    before = len(server.requests)
    workspace.finish(second_live, "RUN_EXECUTION_ERROR")
    second = await launch.start(server)
    await second.until(lambda seen: total(seen, RUNS) == 62, "the other one is counted")
    assert_true(await second.polls(), server)
    assert SAID not in second.log
    assert {version(path) for path, _ in asked(server)[before:]} == {"2.2"}


async def test_a_run_whose_tasks_are_withheld_is_counted_and_told(
    server: SimulatorServer, launch: Launcher
) -> None:
    """2.1 gives no tasks of a run of more than a hundred: the run counts, and the log says what is not."""
    workspace = server.workspace
    workspace.api_versions = {"2.1"}
    wide = workspace.finished_run(workspace.add_job("wide"), tasks=120, code="RUN_EXECUTION_ERROR")
    exporter = await launch.start(server)
    await exporter.until_ready()
    samples = await exporter.polls()
    assert recount.counted_runs(samples) == recount.runs(workspace.truth())
    assert recount.counted_ms(samples) == recount.durations_ms(workspace.truth())
    assert recount.counted_attempts(samples) == {}
    assert total(samples, NOT_UNDERSTOOD) == 1
    assert told(exporter, wide.run_id) == 1


async def test_the_new_version_withholds_nothing(server: SimulatorServer, launch: Launcher) -> None:
    """The same run by 2.2 has all its task attempts, and nothing is told."""
    workspace = server.workspace
    wide = workspace.finished_run(workspace.add_job("wide"), tasks=120)
    exporter = await launch.start(server)
    await exporter.until_ready()
    assert_true(await exporter.polls(), server)
    bare = workspace.finished_run(workspace.add_job("bare"))
    workspace.override(bare.run_id, lambda body: body.update(tasks=[]))
    samples = await exporter.until(lambda seen: total(seen, RUNS) == 2, "the run without tasks is counted")
    assert total(samples, NOT_UNDERSTOOD) == 0
    assert (told(exporter, wide.run_id), told(exporter, bare.run_id)) == (0, 0)


def asked(server: SimulatorServer) -> list[tuple[str, int | None]]:
    return [(request.path, request.status) for request in server.requests]


def version(path: str) -> str:
    return path.split("/")[2]


def told(exporter: Exporter, run_id: int) -> int:
    """The lines that tell of a run without its tasks."""
    lines = exporter.log.splitlines()
    return sum("counted without its task attempts" in line and f"run={run_id} " in line for line in lines)
