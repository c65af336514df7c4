"""Runs with words and times that can't be: each is counted, and spoils nothing of the others."""

import pytest

from exporter.simulator.runs import Run
from exporter.simulator.workspace import Workspace
from tests.e2e.long_runs import assert_all_is_well, counted, start
from tests.e2e.process import RUNS, Launcher, Samples, total
from tests.faults import SimulatorServer

LAST_END = "databricks_job_last_run_end_timestamp_seconds"
DURATION_SUM = "databricks_job_run_duration_seconds_sum"
UNEXPECTED = ("Traceback", "unexpected error", "job names can't be refreshed")
MANY = 10_000
DAY_MS = 86400 * 1000


def last_end(samples: Samples, job: int) -> list[float]:
    return [
        value
        for (name, labels), value in samples.items()
        if name == LAST_END and ("job_id", str(job)) in labels
    ]


@pytest.mark.parametrize(
    "word", ["²", "１２", "٣", "-", "--5", "-7", "7", "+5", "1e3", "OTHER", "NONE", "\u2028"]
)
async def test_a_strange_run_type_is_counted_and_names_go_on(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, word: str
) -> None:
    """A one-off run of any type is counted once, and the names of jobs are refreshed as ever."""
    job = workspace.add_job("before")
    workspace.finished_run(job)
    workspace.finished_run(71, run_type=word)
    exporter = await start(launch, server)
    assert total(await exporter.metrics(), RUNS) == 2
    assert await exporter.terminate() == 0
    # The names are read again with the strange type among the jobs.
    workspace.jobs.clear()
    workspace.add_job("after", job_id=job)
    again = await start(launch, server, "--poll.interval=1s")
    samples = await again.until(
        lambda seen: total(seen, "databricks_job_info", job_id=str(job), job_name="after"), "the new name"
    )
    assert_all_is_well(samples)
    assert total(samples, RUNS) == 2
    assert not any(text in exporter.log + again.log for text in UNEXPECTED)


def spoilt(run: Run, kind: str, now_ms: int) -> dict[str, object]:
    """Fields of a run's JSON, with times of this kind."""
    start_ms, end_ms = run.start_ms, run.end_ms or 0
    fields: dict[str, dict[str, object]] = {
        "end in microseconds": {"end_time": end_ms * 1000},
        "both in microseconds": {"start_time": start_ms * 1000, "end_time": end_ms * 1000},
        "both in seconds": {"start_time": start_ms // 1000, "end_time": end_ms // 1000},
        "end before 2015": {"end_time": 1_400_000_000_000},
        "end years ahead": {"end_time": now_ms + 800 * DAY_MS},
        "duration of a thousand years": {"run_duration": 365_000 * DAY_MS},
        "nothing but ids": {"start_time": None, "end_time": None, "run_duration": None},
    }
    return fields[kind]


KINDS = (
    "end in microseconds",
    "both in microseconds",
    "both in seconds",
    "end before 2015",
    "end years ahead",
    "duration of a thousand years",
    "nothing but ids",
)


@pytest.mark.parametrize("kind", KINDS)
async def test_a_run_with_times_that_cannot_be_is_counted_and_freezes_no_gauge(
    server: SimulatorServer, workspace: Workspace, launch: Launcher, kind: str
) -> None:
    """Such a run is counted once with one line in the log, and the next run of its job is the last one."""
    job = workspace.add_job("odd")
    exporter = await start(launch, server, "--poll.interval=1s")
    odd = workspace.finished_run(job, duration=50)
    fields = spoilt(odd, kind, workspace.read())
    workspace.override(odd.run_id, lambda run: run.update(fields))
    await exporter.until(lambda seen: counted(seen, odd) == 1, "the odd run is counted")
    good = workspace.finished_run(job, duration=5)
    await exporter.until(lambda seen: counted(seen, odd) == 2, "the good run is counted")
    samples = await exporter.polls()
    assert_all_is_well(samples)
    assert counted(samples, odd) == 2
    assert total(samples, DURATION_SUM) < 1000
    assert [round(end) for end in last_end(samples, job)] == [round((good.end_ms or 0) / 1000)]
    lines = [line for line in exporter.log.splitlines() if "times that can't be" in line]
    assert len(lines) <= 1
    assert bool(lines) == (kind != "nothing but ids")


async def test_an_end_that_is_still_to_come_freezes_no_gauge(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """A finished run that says it ends in some months is not the last one of its job for all that time."""
    job = workspace.add_job("odd")
    exporter = await start(launch, server, "--poll.interval=1s")
    odd = workspace.finished_run(job, duration=50)
    end_ms = workspace.read() + 200 * DAY_MS
    workspace.override(odd.run_id, lambda run: run.update(end_time=end_ms))
    await exporter.until(lambda seen: counted(seen, odd) == 1, "the odd run is counted")
    good = workspace.finished_run(job, duration=5)
    samples = await exporter.until(lambda seen: counted(seen, odd) == 2, "the good run is counted")
    assert [round(end) for end in last_end(samples, job)] == [round((good.end_ms or 0) / 1000)]


@pytest.mark.timeout(300)
async def test_ten_thousand_targets_and_run_types_are_bounded(
    server: SimulatorServer, workspace: Workspace, launch: Launcher
) -> None:
    """Whatever number of words comes, every run is counted and the exposition stays small."""
    job = workspace.add_job("many targets")
    begin = workspace.clock() - 20 * 3600
    for number in range(MANY):
        workspace.finished_run(job, start=begin + 5 * number, duration=4, target=f"TARGET_{number}")
        workspace.finished_run(number, start=begin + 5 * number, duration=4, run_type=f"TYPE_{number}")
    exporter = await start(launch, server, seconds=200)
    _, body = await exporter.get("/metrics")
    samples = await exporter.metrics()
    assert_all_is_well(samples)
    assert total(samples, RUNS) == 2 * MANY
    labels = [dict(labels) for name, labels in samples if name == RUNS]
    assert len({label["effective_performance_target"] for label in labels}) <= 52
    assert len({label["job_id"] for label in labels}) <= 53
    assert len(body) < 5_000_000
    lines = [line for line in exporter.log.splitlines() if "counted as OTHER" in line]
    assert len(lines) == 2
