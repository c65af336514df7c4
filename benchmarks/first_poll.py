#!/usr/bin/env python3
"""What a first poll costs: the exporter counts a day of runs, beside the official SDK only reading them.

Four kinds of process, so that nobody's work is on another's bill: the simulated workspace, the exporter as it
is shipped (settled, committed, rendered, ready), its client alone, which shows what of that is fetching and
decoding, and a program that lists the same runs with `databricks-sdk` and does nothing with them. CPU time
and peak memory are of whole processes, imports included.
"""

import argparse
import json
import logging
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import IO, TYPE_CHECKING, Any, NamedTuple

from processes import cpu_seconds, exporting, peak_mb, verdict

if TYPE_CHECKING:
    from exporter.simulator.workspace import Workspace

HOUR_SECONDS = 3600
LOOKBACK_SECONDS = 24 * HOUR_SECONDS
# An hour less than the lookback, so that no run falls out of it while the rounds go on.
SPREAD_SECONDS = LOOKBACK_SECONDS - HOUR_SECONDS
LONGEST_RUN_SECONDS = 15 * 60
TARGETS = ("STANDARD", "PERFORMANCE_OPTIMIZED", None)
MOST_TASKS = 19  # 10 on average
READY_EVERY_SECONDS = 0.5

TARGET_RATIO = 10
TARGET_MB = 300

Child = subprocess.Popen[str]


class Cost(NamedTuple):
    """What one process took to get through all runs; CPU seconds are user and system time."""

    seconds: float
    cpu_seconds: float
    start_up_cpu_seconds: float
    peak_mb: float


# --- the simulated workspace, in its own process


def serve_workspace(runs: int, jobs: int, seed: int) -> None:
    """Serve a day of finished runs until standard input ends; the address goes to standard output."""
    import asyncio  # noqa: PLC0415  each kind of process pays for its own imports only

    from exporter.simulator.server import SimulatorServer  # noqa: PLC0415
    from exporter.simulator.workspace import Workspace  # noqa: PLC0415

    workspace = Workspace(encoded_runs=2 * runs)
    tasks = _fill(workspace, runs, jobs, random.Random(seed))
    now_ms = workspace.read()
    for run in workspace.runs:  # the warm-up: from here on the bytes of every run are ready
        workspace.runs.listed_bytes(run, now_ms, tasks=True)

    async def serve() -> None:
        async with SimulatorServer(workspace) as server:
            _say(url=server.url, tasks=tasks)
            await asyncio.to_thread(sys.stdin.read)

    asyncio.run(serve())


def _fill(workspace: "Workspace", runs: int, jobs: int, chance: random.Random) -> int:
    job_ids = [workspace.add_job(f"job {number}") for number in range(jobs)]
    now = time.time()
    tasks = 0
    for _ in range(runs):
        duration = chance.uniform(20, LONGEST_RUN_SECONDS)
        many = chance.randint(1, MOST_TASKS)
        tasks += many
        workspace.finished_run(
            chance.choice(job_ids),
            start=now - duration - chance.uniform(1, SPREAD_SECONDS - LONGEST_RUN_SECONDS),
            duration=duration,
            queue=chance.choice((None, None, chance.uniform(0, 10))),
            target=chance.choice(TARGETS),
            tasks=many,
            setup=5,
            code="SUCCESS" if chance.random() < 0.95 else "RUN_EXECUTION_ERROR",
        )
    return tasks


# --- the SDK, in its own process


def read_with_sdk(url: str, start_time_from: int) -> None:
    """List every run with its tasks, look at each, keep nothing."""
    from databricks.sdk import WorkspaceClient  # noqa: PLC0415

    from exporter.simulator.credentials import DEFAULT_TOKEN  # noqa: PLC0415

    # It warns that the simulator has no metadata document, and goes on without.
    logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
    client = WorkspaceClient(host=url, token=DEFAULT_TOKEN)
    start_up = cpu_seconds(os.getpid())
    runs = client.jobs.list_runs(
        completed_only=True, expand_tasks=True, limit=25, start_time_from=start_time_from
    )
    count = sum(1 for _ in runs)
    _say(runs=count, cpu=cpu_seconds(os.getpid()), start_up=start_up, peak=peak_mb(os.getpid()))
    sys.stdin.read()


# --- the exporter's own client, in its own process


def read_with_client(url: str, start_time_from: int) -> None:
    """List every run with its tasks in slices of time, as a first poll does, and keep nothing."""
    import asyncio  # noqa: PLC0415

    from pydantic import SecretStr  # noqa: PLC0415

    from exporter.config import ApiSettings, PersonalToken, WorkspaceAccess  # noqa: PLC0415
    from exporter.databricks.client import WorkspaceClient  # noqa: PLC0415
    from exporter.databricks.context import Priority, RequestContext  # noqa: PLC0415
    from exporter.own_metrics import OwnMetrics, WorkspaceMetrics  # noqa: PLC0415
    from exporter.polling.lookback import cut  # noqa: PLC0415
    from exporter.simulator.credentials import DEFAULT_TOKEN  # noqa: PLC0415

    api = ApiSettings(rate=1e6)
    access = WorkspaceAccess(url, "benchmark", PersonalToken(SecretStr(DEFAULT_TOKEN)))
    own_metrics = WorkspaceMetrics(OwnMetrics(), access.name, HOUR_SECONDS)
    start_up = cpu_seconds(os.getpid())

    async def read() -> set[int]:
        async with WorkspaceClient(access, api, own_metrics, str) as client:
            context = RequestContext(Priority.LISTS)

            async def read_slice(from_ms: int, to_ms: int) -> set[int]:
                pages = client.list_runs(
                    context,
                    completed_only="true",
                    expand_tasks="true",
                    start_time_from=from_ms,
                    start_time_to=to_ms,
                )
                return {run.run_id async for page in pages for run in page.runs}

            now_ms = round(time.time() * 1000)
            slices = cut(start_time_from, now_ms, api.concurrency)
            return set().union(*await asyncio.gather(*(read_slice(*each) for each in slices)))

    count = len(asyncio.run(read()))
    _say(runs=count, cpu=cpu_seconds(os.getpid()), start_up=start_up, peak=peak_mb(os.getpid()))
    sys.stdin.read()


# --- the measuring process


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


@contextmanager
def _child(*command: str) -> Iterator[Child]:
    """A process that is told to stop, and waited for, when the context ends."""
    process = subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.terminate()


def _said(stream: IO[str] | None, key: str) -> dict[str, Any]:
    """The first JSON line that has `key`."""
    assert stream is not None
    for line in stream:
        facts: dict[str, Any] = json.loads(line)
        if key in facts:
            return facts
    raise SystemExit("a process of the benchmark ended before its time")


def _measure_reader(kind: str, url: str, runs: int) -> Cost:
    began = time.perf_counter()
    from_ms = round((time.time() - LOOKBACK_SECONDS) * 1000)
    with _child(__file__, kind, url, str(from_ms)) as process:
        told = _said(process.stdout, "runs")
        seconds = time.perf_counter() - began
    assert told["runs"] == runs, f"the {kind} read {told['runs']} of {runs} runs"
    return Cost(seconds, told["cpu"], told["start_up"], told["peak"])


def _measure_exporter(url: str, runs: int) -> Cost:
    flags = (f"--poll.lookback={LOOKBACK_SECONDS}s", "--poll.interval=1h", "--api.rate=1000000")
    began = time.perf_counter()
    with exporting(url, *flags) as exporter:
        start_up = exporter.cpu_seconds()
        while not exporter.is_ready():
            time.sleep(READY_EVERY_SECONDS)
        seconds = time.perf_counter() - began
        cost = Cost(seconds, exporter.cpu_seconds(), start_up, exporter.peak_mb())
        counted = _runs_counted(exporter.get("/metrics")[1])
    assert counted == runs, f"the exporter counted {counted} of {runs} runs"
    return cost


def _runs_counted(exposition: str) -> int:
    samples = (line for line in exposition.splitlines() if line.startswith("databricks_job_runs_total{"))
    return round(sum(float(sample.rpartition(" ")[2]) for sample in samples))


def _median(costs: list[Cost]) -> Cost:
    return Cost(*(median(column) for column in zip(*costs, strict=True)))


def _report(runs: int, ours: Cost, client: Cost, sdk: Cost) -> str:
    ratio = sdk.cpu_seconds / ours.cpu_seconds
    names = ("runs per second", "runs per CPU second", "CPU seconds", "of which start-up", "peak memory, MB")
    columns = [
        (
            runs / cost.seconds,
            runs / cost.cpu_seconds,
            cost.cpu_seconds,
            cost.start_up_cpu_seconds,
            cost.peak_mb,
        )
        for cost in (ours, client, sdk)
    ]
    rows = zip(names, *columns, strict=True)
    table = [
        f"{'median':<22}{'exporter':>12}{'its client':>12}{'SDK':>12}{'exporter / SDK':>16}",
        *(f"{name:<22}{a:>12,.1f}{b:>12,.1f}{c:>12,.1f}{a / c:>16.2f}" for name, a, b, c in rows),
    ]
    speed, memory = verdict(good=ratio >= TARGET_RATIO), verdict(good=ours.peak_mb < TARGET_MB)
    targets = [
        f"at least {TARGET_RATIO} times the SDK's runs per CPU second: {speed} ({ratio:.1f})",
        f"under {TARGET_MB} MB at the peak: {memory} ({ours.peak_mb:.0f} MB)",
        f"databricks_job_runs_total adds up to exactly {runs:,} runs: met in every round",
    ]
    return "\n".join([*table, *(f"target: {target}" for target in targets)])


def benchmark(runs: int, jobs: int, rounds: int, seed: int) -> None:
    """Measure all, in turns, and print the table."""
    with _child(__file__, "workspace", str(runs), str(jobs), str(seed)) as simulator:
        workspace = _said(simulator.stdout, "url")
        url = workspace["url"]
        print(f"first poll of {runs:,} runs with {workspace['tasks']:,} tasks, {jobs} jobs, {rounds} rounds")
        ours: list[Cost] = []
        client: list[Cost] = []
        sdk: list[Cost] = []
        for number in range(1, rounds + 1):
            ours.append(_measure_exporter(url, runs))
            client.append(_measure_reader("client", url, runs))
            sdk.append(_measure_reader("sdk", url, runs))
            each = {"exporter": ours[-1], "its client": client[-1], "SDK": sdk[-1]}
            said = (
                f"{name} {cost.cpu_seconds:.2f} CPU s in {cost.seconds:.1f} s" for name, cost in each.items()
            )
            print(f"round {number}: {', '.join(said)}", flush=True)
    print(_report(runs, _median(ours), _median(client), _median(sdk)))


def main() -> None:
    """The measuring process; its children are started with a first argument that says what they are."""
    match sys.argv[1:]:
        case ["workspace", runs, jobs, seed]:
            serve_workspace(int(runs), int(jobs), int(seed))
        case ["client", url, start_time_from]:
            read_with_client(url, int(start_time_from))
        case ["sdk", url, start_time_from]:
            read_with_sdk(url, int(start_time_from))
        case arguments:
            parser = argparse.ArgumentParser(
                description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
            )
            parser.add_argument("--runs", type=int, default=50_000)
            parser.add_argument("--jobs", type=int, default=500)
            parser.add_argument("--rounds", type=int, default=3)
            parser.add_argument("--seed", type=int, default=1)
            benchmark(**vars(parser.parse_args(arguments)))


if __name__ == "__main__":
    main()
