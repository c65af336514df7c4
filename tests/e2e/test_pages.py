"""What the pages say, over TCP."""

import asyncio
import subprocess

from prometheus_client.openmetrics.parser import text_string_to_metric_families

from tests.e2e.process import BRISK, RUNS, Launcher, access, parse, total, wait_for
from tests.faults import Fault, SimulatorServer, error, fault_of
from tests.programs import program

OPENMETRICS = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"


async def curl(url: str, *arguments: str) -> str:
    """What curl prints."""
    done = await asyncio.to_thread(
        subprocess.run, [program("curl"), "-sS", "--fail", *arguments, url], capture_output=True, check=True
    )
    return done.stdout.decode()


def of_jobs(body: str) -> list[str]:
    """The lines of a body that a scrape does not change."""
    return [line for line in body.splitlines() if line.startswith(("databricks_job_", "databricks_task_"))]


async def test_it_is_ready_after_the_first_good_poll_and_healthy_before(
    server: SimulatorServer, launch: Launcher
) -> None:
    """/-/ready is 503 until a poll succeeded; /-/healthy and /metrics answer 200 all the time."""
    server.workspace.finished_run(server.workspace.add_job("nightly"))
    refusal = server.faults.add(Fault(error(403, "PERMISSION_DENIED", "not yet")))
    exporter = await launch.start(server)

    async def refused() -> bool:
        return refusal.hits > 0

    await wait_for(refused, "a poll was refused")
    assert (await exporter.get("/-/ready"))[0] == 503
    assert (await exporter.get("/-/healthy"))[0] == 200
    samples = await exporter.metrics()
    assert (total(samples, "databricks_up"), total(samples, RUNS)) == (0, 0)
    server.faults.clear()
    samples = await exporter.until_ready()
    assert (total(samples, "databricks_up"), total(samples, RUNS)) == (1, 1)
    status, page = await exporter.get("/")
    assert status == 200
    assert 'href="metrics"' in page


async def test_every_format_and_encoding_says_the_same(server: SimulatorServer, launch: Launcher) -> None:
    """Compressed or not, text or OpenMetrics: the samples of the jobs are the same."""
    workspace = server.workspace
    for number in range(20):
        workspace.finished_run(workspace.add_job(f"job {number}"), duration=100 + number, tasks=2)
    exporter = await launch.start(server)
    await exporter.until_ready()
    await exporter.until(lambda seen: total(seen, "databricks_job_info") == 20, "all names")
    url = f"{exporter.url}/metrics"
    plain, packed = await curl(url), await curl(url, "--compressed")
    assert of_jobs(plain)
    assert of_jobs(packed) == of_jobs(plain)
    for compressed in ((), ("--compressed",)):
        body = await curl(url, "--header", f"Accept: {OPENMETRICS}", *compressed)
        families = text_string_to_metric_families(body)  # type: ignore[no-untyped-call]
        samples = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith(("databricks_job_", "databricks_task_"))
        }
        assert samples == {
            key: value
            for key, value in parse(plain).items()
            if key[0].startswith(("databricks_job_", "databricks_task_"))
        }


async def test_check_lists_what_would_be_exported(server: SimulatorServer, launch: Launcher) -> None:
    """`check` logs in, names the jobs and ends with 0; it writes nothing."""
    server.workspace.active_run(server.workspace.add_job("nightly"))
    check = launch.spawn("check", *BRISK, env=access(server))
    assert await check.exit_code() == 0
    assert "1 jobs, 1 active runs" in check.output
    assert "nightly  (1 active)" in check.output
    assert not launch.state.exists()


async def test_check_reports_a_login_that_is_refused(server: SimulatorServer, launch: Launcher) -> None:
    """`check` ends with 1 and the reason where the workspace refuses the token, which it does not show."""
    check = launch.spawn("check", *BRISK, env=access(server, "dapi-mistyped"))
    assert await check.exit_code() == 1
    assert "Invalid access token" in check.output
    assert "dapi-mistyped" not in check.output + check.log


async def test_check_does_not_wait_as_long_as_a_poll_for_a_workspace_that_is_away(
    server: SimulatorServer, launch: Launcher
) -> None:
    """A request may take ten minutes, and none is answered: `check` ends by itself."""
    server.faults.add(fault_of("hang"))
    check = launch.spawn("check", "--api.timeout=10m", env=access(server))
    assert await check.exit_code() == 1
    assert "the workspace answers too slowly" in check.output


async def test_failing_requests_are_logged_before_the_poll_is_given_up(
    server: SimulatorServer, launch: Launcher
) -> None:
    """At the usual log level, with the cause: a first poll may go on for an hour."""
    server.faults.add(Fault(error(500, "INTERNAL_ERROR", "oops")))
    exporter = launch.spawn("--poll.interval=1h", env=access(server))

    async def logged() -> bool:
        return "request will be repeated" in exporter.log and "INTERNAL_ERROR: oops" in exporter.log

    await wait_for(logged, "the log names the cause")


async def test_the_demo_serves_runs(launch: Launcher) -> None:
    """`--demo` needs no account, and serves a whole workspace's runs by its first poll."""
    exporter = await launch.spawn("--demo", "--api.rate=1000", env={}).listening()
    samples = await exporter.until_ready()
    assert total(samples, RUNS) > 1000
    assert await exporter.terminate() == 0
