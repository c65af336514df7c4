#!/usr/bin/env python3
"""What an exposition costs: the exporter beside prometheus-client, Go's client_golang and Prometheus itself.

The same jobs, families, labels, buckets and values in each, every one in a process of its own, measured in
turns: a poll that changed some series, the scrape after it, scrapes of ready bytes, the same bytes copied
through a loopback socket and nothing else, both renderings of prometheus-client, a gzip scrape of
client_golang, and what a real Prometheus spends to ingest the exporter's answer. Before that the samples of
all are compared, at the smallest size. CPU is of whole processes, all threads; only ratios count.
"""

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import TypeVar

from peers import programs, workload
from peers.processes import BODIES, Server, python_child
from peers.programs import Prometheus
from peers.report import STALL_PERCENTS, TARGET_CHANGED, Figures, report
from peers.samples import body_of, compared
from processes import peak_mb

# Scrapes of ready bytes take milliseconds: some at a time, in turns with the bare socket.
READY_TURNS, READY_SCRAPES = 4, 5
# So do the peers' at small sizes; at large ones, what decides nothing is measured in one round only.
SMALL_SERIES = 200_000
Item = TypeVar("Item")
AS_PROMETHEUS = "OpenMetrics gzip"


class _Bench:
    """Every peer at one size, and what was measured of them."""

    def __init__(self, stack: ExitStack, folder: Path, series: int, seed: int, go: Path | None) -> None:
        self.figures = Figures()
        self.many = workload.series_keys(series)
        self.series = self.many * workload.SERIES_PER_JOB
        self.is_small = self.series <= SMALL_SERIES
        self.prometheus: Prometheus | None = None
        self.go: Server | None = None
        self._stack, self._folder = stack, folder
        samples = folder / "samples"
        exporter = stack.enter_context(python_child("exporter", seed, self.many))
        workload.write_samples(samples, seed, self.many)
        self.python = stack.enter_context(python_child("client_python", samples))
        if go is not None:
            self.go = Server(*stack.enter_context(programs.client_golang(go, samples)))
        self.python.hear()
        self.exporter = Server(exporter, exporter.hear()["address"])
        self.figures.add("filled", peak_mb(exporter.pid))
        self.figures.add("series keys", self.many)
        self.figures.add("series", self.series)

    def first_render(self) -> None:
        """Of everything, and the first body that anybody asks for."""

        def render() -> None:
            self.figures.add("first render", 1000 * self.exporter.process.ask(do="publish")["cpu"])
            self.exporter.read(AS_PROMETHEUS)

        self._stalled("first", render)

    def compare(self) -> str:
        """That all peers expose the same samples; ends the benchmark where they don't."""
        rendered = self._folder / "rendered"
        self.python.ask(format="text", into=str(rendered))
        bodies = {
            "exporter": body_of(self.exporter.address, *BODIES[AS_PROMETHEUS]),
            "prometheus-client": rendered.read_bytes(),
        }
        if self.go:
            bodies["client_golang"] = body_of(self.go.address, *BODIES["text gzip"])
        return compared(bodies, self.series)

    def watch_prometheus(self) -> None:
        """Start Prometheus and let it get warm: the first scrape makes all its series."""
        self.prometheus = self._stack.enter_context(
            programs.prometheus(self._folder, self.exporter.address, self.series)
        )
        for _ in range(2):
            self.prometheus.ingest()

    def round(self, percents: Sequence[float], loopback: Server, *, first: bool) -> None:
        """Polls and scrapes as Prometheus makes them, then each peer in turn."""
        figures = self.figures
        for percent in percents:
            self._poll(percent, "scattered")
            if self.prometheus and (first or self.is_small or percent == TARGET_CHANGED):
                figures.add(f"prometheus {percent:g}", self.prometheus.ingest())
            if percent < 100:
                self._poll(percent, "adjacent")
        self._ready(AS_PROMETHEUS, loopback)
        for form in ("text", "openmetrics") if self.is_small else ():
            figures.add(
                f"render {form}", 1000 * self.exporter.process.ask(do="render", form=form.upper())["cpu"]
            )
        for form in ("openmetrics", "text") if first or self.is_small else ("openmetrics",):
            figures.add(f"python {form}", 1000 * self.python.ask(format=form)["cpu"])
        if self.go:
            figures.add_scrape("go", self.go.scrape("text gzip", READY_SCRAPES if self.is_small else 1))

    def other_bodies(self, loopbacks: dict[str, Server]) -> None:
        """Scrapes of what Prometheus does not ask for."""
        for body, loopback in loopbacks.items():
            self._ready(body, loopback)

    def stalls(self) -> None:
        """What polls do to the event loop while every body is asked for, and what the machine does alone."""
        self._stalled("idle", lambda: time.sleep(1))
        for percent in STALL_PERCENTS:
            self._settle(percent, "scattered")
            self._stalled(f"{percent:g} %", self._poll_and_scrapes)

    def peaks(self) -> None:
        """The high-water marks at the end."""
        self.figures.add("peak all", peak_mb(self.exporter.process.pid))
        self.figures.add("python peak", peak_mb(self.python.pid))
        if self.go:
            self.figures.add("go peak", peak_mb(self.go.process.pid))

    def start_afresh(self) -> None:
        """The same totals, and nothing rendered."""
        self.exporter.address = self.exporter.process.ask(do="start afresh")["address"]

    def loopback(self, body: str) -> Server:
        """A process that serves the bytes that the exporter has now."""
        path = self._folder / body
        path.write_bytes(body_of(self.exporter.address, *BODIES[body], decoded=False))
        floor = self._stack.enter_context(python_child("loopback", path))
        return Server(floor, floor.hear()["address"])

    def _settle(self, percent: float, place: str) -> int:
        changed = max(1, round(self.many * percent / 100))
        answer = self.exporter.process.ask(do="settle", changed=changed, adjacent=place == "adjacent")
        return int(answer["settled"])

    def _poll(self, percent: float, place: str) -> None:
        name = f"{percent:g} % {place}"
        self._settle(percent, place)
        self.figures.add(f"poll {name}", 1000 * self.exporter.process.ask(do="publish")["cpu"])
        self.figures.add_scrape(f"scrape {name}", self.exporter.scrape(AS_PROMETHEUS))

    def _ready(self, body: str, loopback: Server) -> None:
        for _ in range(READY_TURNS):
            self.figures.add_scrape(body, self.exporter.scrape(body, READY_SCRAPES))
            self.figures.add_scrape(f"loopback {body}", loopback.scrape(body, READY_SCRAPES))

    def _poll_and_scrapes(self) -> None:
        self.exporter.process.ask(do="publish")
        for body in BODIES:
            self.exporter.read(body)

    def _stalled(self, name: str, act: Callable[[], None]) -> None:
        self.exporter.process.ask(do="watch")
        act()
        stall = self.exporter.process.ask(do="stall")
        self.figures.add(f"stall {name}", stall["ms"])
        self.figures.add(f"own stall {name}", stall["own_ms"])


def measure(series: int, options: argparse.Namespace, go: Path | None, *, compare: bool) -> Figures:
    """Everything at one size."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        bench = _Bench(stack, folder, series, options.seed, go)
        bench.first_render()
        if compare:
            print(bench.compare(), flush=True)
        if "prometheus" not in options.without:
            bench.watch_prometheus()
        loopback = bench.loopback(AS_PROMETHEUS)
        for number in range(1, options.rounds + 1):
            bench.round(options.changed, loopback, first=number == 1)
            print(f"{series:,} series: round {number} of {options.rounds}", flush=True)
        bench.figures.add("peak", peak_mb(bench.exporter.process.pid))
        others = {body: bench.loopback(body) for body in BODIES if body != AS_PROMETHEUS}
        for _ in range(options.rounds):
            bench.other_bodies(others)
            bench.stalls()
        bench.peaks()
        for _ in range(options.rounds - 1):
            bench.start_afresh()
            bench.first_render()
        return bench.figures


def benchmark(options: argparse.Namespace) -> None:
    """Every size in turn, then the table."""
    for peer, packages in programs.missing().items():
        if peer not in options.without:
            print(f"!!! NOT MEASURED beside {peer}: install {packages} !!!", flush=True)
            options.without.append(peer)
    print(programs.versions(options.without), flush=True)
    print(
        f"{workload.SERIES_PER_JOB} series a job: every histogram, counter and last-run gauge filled; "
        f"a change is one more run of a job; {options.rounds} rounds, seed {options.seed}",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        go = None if "go" in options.without else programs.build_client_golang(Path(folder))
        sizes = {
            series: measure(series, options, go, compare=series == min(options.series))
            for series in sorted(options.series)
        }
    print(report(sizes, options.changed))
    for peer in sorted(options.without):
        print(f"!!! NOT MEASURED beside {peer} !!!")


def main() -> None:
    """Read the flags."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--series", type=_list(int), default=[10_000, 100_000, 1_000_000], help="sizes, commas between")
    add("--changed", type=_list(float), default=[0.1, 1, 10, 100], help="per cent of series keys, likewise")
    add("--rounds", type=int, default=3)
    add("--without", type=_list(_peer), default=[], help="go, prometheus or both")
    add("--seed", type=int, default=1)
    options = parser.parse_args()
    # No process outlives this one, Prometheus that stands still least of all.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    benchmark(options)


def _list(kind: Callable[[str], Item]) -> Callable[[str], list[Item]]:
    return lambda text: [kind(item) for item in text.split(",")]


def _peer(name: str) -> str:
    if name not in programs.NAMES:
        raise argparse.ArgumentTypeError(f"{name} is none of {', '.join(programs.NAMES)}")
    return name


if __name__ == "__main__":
    main()
