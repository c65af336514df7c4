#!/usr/bin/env python3
"""200 scrapers at once while 12,000 jobs are polled: does a scrape fail, is a poll late?

Three kinds of process: the simulated workspace, in which runs of all jobs start and end; the exporter as it
is shipped; and the scrapers, which ask as Prometheus does (OpenMetrics, gzip), and again as soon as they have
their answer. A poll is late by what lies between its first request and that of the poll before,
beyond the interval; the workspace sees them arrive.
"""

import argparse
import asyncio
import gzip
import json
import random
import subprocess
import sys
import time
import urllib.request
import zlib
from collections import Counter
from typing import TYPE_CHECKING, Any, NamedTuple

from processes import Exporter, exporting, until, verdict

if TYPE_CHECKING:
    from exporter.simulator.traffic import RequestLog
    from exporter.simulator.workspace import Workspace

ACCEPT = "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
# How long before the start each job first ended, at most: in the lookback, and mostly outside of the ten
# minutes that every poll reads again, or it is `api.rate` alone that says how long a poll takes.
HISTORY_SECONDS = 20 * 3600.0
WHOLE_POLLS = 3
# What is inflated and looked at, of all bodies; the others are as long as their headers say.
LOOKED_AT = 1 / 200


class Scrapes:
    """What the scrapers met."""

    def __init__(self) -> None:
        self.served = 0
        self.bytes = 0
        self.looked_at = 0
        self.failures: Counter[str] = Counter()
        self.seconds: list[float] = []


class Told(NamedTuple):
    """What the workspace saw: its finished runs, and when each poll began."""

    finished: int
    polls: list[float]


# --- the simulated workspace, in its own process


def serve_workspace(jobs: int, ends_per_second: float, longest: float, seed: int) -> None:
    """Serve until a line comes in; then let every run end and be polled, and say what was seen."""
    from exporter.simulator.server import SimulatorServer  # noqa: PLC0415  each process pays for its own
    from exporter.simulator.workspace import Workspace  # noqa: PLC0415

    workspace = Workspace()
    chance = random.Random(seed)
    job_ids = [workspace.add_job(f"job {number}") for number in range(jobs)]
    now = time.time()
    for job_id in job_ids:
        _add_run(workspace, job_id, chance, now - longest - chance.uniform(0, HISTORY_SECONDS), longest)

    async def keep_starting() -> None:
        while True:
            _add_run(workspace, chance.choice(job_ids), chance, time.time(), longest)
            await asyncio.sleep(chance.expovariate(ends_per_second))

    async def serve() -> None:
        async with SimulatorServer(workspace) as server:
            _say(url=server.url)
            starting = asyncio.create_task(keep_starting())
            await asyncio.to_thread(sys.stdin.readline)
            starting.cancel()
            last_end = max(run.end_ms or 0 for run in workspace.runs) / 1000
            await asyncio.sleep(max(last_end - time.time(), 0) + 1)
            polls = len(_poll_starts(server.requests))
            while len(_poll_starts(server.requests)) < polls + WHOLE_POLLS:  # noqa: ASYNC110  a log has no event
                await asyncio.sleep(0.5)
            _say(finished=len(workspace.truth()), polls=_poll_starts(server.requests))
            await asyncio.to_thread(sys.stdin.readline)

    asyncio.run(serve())


def _add_run(
    workspace: "Workspace", job_id: int, chance: random.Random, start: float, longest: float
) -> None:
    workspace.finished_run(
        job_id,
        start=start,
        duration=chance.uniform(longest / 10, longest),
        target=chance.choice(("STANDARD", "PERFORMANCE_OPTIMIZED")) if job_id % 2 else "STANDARD",
        tasks=chance.randint(1, 4),
        setup=5,
        code="SUCCESS" if chance.random() < 0.95 else "RUN_EXECUTION_ERROR",
    )


def _poll_starts(requests: "RequestLog") -> list[float]:
    return [
        request.arrival
        for request in requests.of("runs/list")
        if "active_only" in request.query and "page_token" not in request.query
    ]


def _say(**facts: object) -> None:
    print(json.dumps(facts), flush=True)


class Simulator:
    """The process above, seen from here."""

    def __init__(self, options: argparse.Namespace) -> None:
        arguments = (options.jobs, options.ends, options.longest, options.seed)
        self._process = subprocess.Popen(
            [sys.executable, __file__, "workspace", *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.url: str = self._answer()["url"]

    def told(self) -> Told:
        """What it has seen, once nothing runs any more and the last has been polled."""
        assert self._process.stdin is not None
        self._process.stdin.write("rest\n")
        self._process.stdin.flush()
        facts = self._answer()
        return Told(facts["finished"], facts["polls"])

    def end(self) -> None:
        self._process.terminate()
        self._process.communicate()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("the simulated workspace ended before its time")
        facts: dict[str, Any] = json.loads(line)
        return facts


# --- the scrapers, in this process


async def scrape_all_along(address: str, scrapers: int, seconds: float, seed: int) -> Scrapes:
    """So many scrapers for so long, and each then to the end of its last answer."""
    scrapes, chance = Scrapes(), random.Random(seed)
    deadline = time.monotonic() + seconds

    async def scraper() -> None:
        while time.monotonic() < deadline:
            began = time.monotonic()
            try:
                await _scrape(address, scrapes, look=chance.random() < LOOKED_AT)
            except (OSError, EOFError, ValueError, zlib.error) as error:
                scrapes.failures[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.1)
            else:
                scrapes.seconds.append(time.monotonic() - began)

    await asyncio.gather(*(scraper() for _ in range(scrapers)))
    return scrapes


async def _scrape(address: str, scrapes: Scrapes, *, look: bool) -> None:
    """One scrape on a connection of its own; ValueError where the answer is not a whole exposition."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(
            f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n"
            f"Accept: {ACCEPT}\r\nAccept-Encoding: gzip\r\n\r\n".encode()
        )
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        if not head.startswith("http/1.1 200 "):
            raise ValueError(head.partition("\r\n")[0])
        fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
        body = bytearray()
        length = 0
        while chunk := await reader.read(1 << 18):
            length += len(chunk)
            if look:
                body += chunk
    finally:
        writer.close()
    if length != int(fields["content-length"]) or fields["content-encoding"] != "gzip":
        raise ValueError(f"{length} of {fields['content-length']} bytes")
    if look:
        await asyncio.to_thread(_inflate, bytes(body))
        scrapes.looked_at += 1
    scrapes.served += 1
    scrapes.bytes += length


def _inflate(body: bytes) -> None:
    """Piece by piece: a whole exposition of all jobs is large."""
    inflater, tail = zlib.decompressobj(wbits=31), b""
    for at in range(0, len(body), 1 << 16):
        tail = (tail + inflater.decompress(body[at : at + (1 << 16)]))[-100:]
    if not inflater.eof or not tail.endswith(b"# EOF\n"):
        raise ValueError("a body that ends before its end")


# --- the measuring


RUNS = b"databricks_job_runs_total{"


def _runs_counted(exporter: Exporter) -> int:
    url = f"http://{exporter.address}/metrics"
    request = urllib.request.Request(url, headers={"Accept": ACCEPT, "Accept-Encoding": "gzip"})
    with urllib.request.urlopen(request) as answer, gzip.open(answer) as lines:  # noqa: S310  http:// it is
        # An exemplar may follow the value.
        return sum(int(float(line.split(b"} ", 1)[1].split()[0])) for line in lines if line.startswith(RUNS))


def report(options: argparse.Namespace, scrapes: Scrapes, told: Told, exporter: Exporter, cpu: float) -> bool:
    """Print the figures, each beside what it must be; whether no scrape failed and no run was missed."""
    gaps = [later - earlier for earlier, later in zip(told.polls[1:], told.polls[2:], strict=False)]
    latest = max(gaps) - options.interval if gaps else 0.0
    counted, failed = _runs_counted(exporter), sum(scrapes.failures.values())
    waits = sorted(scrapes.seconds)
    targets = {
        "no scrape fails": (not failed, f"{scrapes.served:,} served, {failed} failed"),
        "no poll late by more than an interval": (
            latest <= options.interval,
            f"the latest of {len(told.polls)} by {max(latest, 0):.2f} s, interval {options.interval:g} s",
        ),
        "every run counted once": (counted == told.finished, f"{counted:,} of {told.finished:,}"),
    }
    print(f"{options.scrapers} scrapers, {options.jobs:,} jobs, {options.seconds:g} s")
    if waits:
        print(
            f"{scrapes.bytes / 1e9:.2f} GB, {scrapes.looked_at} bodies inflated to their end; "
            f"scrape median {waits[len(waits) // 2]:.2f} s, longest {waits[-1]:.2f} s"
        )
    print(f"exporter: {cpu:.1f} CPU s during the load, peak memory {exporter.peak_mb():.0f} MB")
    for what, (good, told_of) in targets.items():
        print(f"target: {what}: {verdict(good=good)} ({told_of})")
    for failure, number in scrapes.failures.most_common(5):
        print(f"{number} times {failure}")
    return not failed and counted == told.finished and scrapes.served > 0


def benchmark(options: argparse.Namespace) -> bool:
    """Load, then wait until the last run is counted, and report."""
    simulator = Simulator(options)
    flags = (f"--poll.interval={options.interval:g}s", f"--api.rate={options.rate:g}", "--limits.series=0")
    try:
        with exporting(simulator.url, *flags) as exporter:
            until(exporter.is_ready, "the first poll is over", 300)
            before = exporter.cpu_seconds()
            scrapes = asyncio.run(
                scrape_all_along(exporter.address, options.scrapers, options.seconds, options.seed)
            )
            cpu = exporter.cpu_seconds() - before
            return report(options, scrapes, simulator.told(), exporter, cpu)
    finally:
        simulator.end()


def main() -> int:
    """Exit code 1 where a scrape failed or a run was missed; the workspace has arguments of its own."""
    match sys.argv[1:]:
        case ["workspace", jobs, ends, longest, seed]:
            serve_workspace(int(jobs), float(ends), float(longest), int(seed))
            return 0
        case arguments:
            parser = argparse.ArgumentParser(
                description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
            )
            parser.add_argument("--scrapers", type=int, default=200)
            parser.add_argument("--jobs", type=int, default=12_000)
            parser.add_argument("--seconds", type=float, default=60)
            parser.add_argument("--interval", type=float, default=10, help="poll.interval, in seconds")
            parser.add_argument("--rate", type=float, default=20, help="api.rate")
            parser.add_argument("--ends", type=float, default=5, help="runs that end each second")
            parser.add_argument("--longest", type=float, default=20, help="seconds that a run takes at most")
            parser.add_argument("--seed", type=int, default=1)
            return 0 if benchmark(parser.parse_args(arguments)) else 1


if __name__ == "__main__":
    sys.exit(main())
