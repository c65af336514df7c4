"""The peers that are programs of their own: Go's client_golang, and Prometheus itself."""

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from processes import cpu_seconds

from peers.processes import BENCHMARKS, Child, child, rested_cpu_seconds, run_of

NAMES = ("go", "prometheus")
GO_LIBRARIES = Path("/usr/share/gocode")
_CLIENT_GOLANG = GO_LIBRARIES / "src/github.com/prometheus/client_golang"
_LISTENS = re.compile(r"Listening on.*address=(127\.0\.0\.1:\d+)")
# One scrape interval for small bodies, one for large ones, which take seconds to ingest.
INTERVALS_SECONDS = ((200_000, 1), (None, 20))
LOOK_SECONDS = 0.1
LEEWAY_SECONDS = 0.2
LONGEST_WAIT_SECONDS = 300


def missing() -> dict[str, str]:
    """Which of the two are not installed, and which Debian packages bring them."""
    absent = {}
    if shutil.which("go") is None or not _CLIENT_GOLANG.is_dir():
        absent["go"] = "golang golang-github-prometheus-client-golang-dev"
    if shutil.which("prometheus") is None:
        absent["prometheus"] = "prometheus"
    return absent


def versions(without: Collection[str]) -> str:
    """What is measured here, in one line."""
    found = [f"Python {platform.python_version()}", f"prometheus-client {version('prometheus-client')}"]
    if "go" not in without:
        found.append(run_of(["go", "version"]).strip())
        found.append(run_of(["dpkg-query", "-W", "golang-github-prometheus-client-golang-dev"]).strip())
    if "prometheus" not in without:
        found.append(run_of(["prometheus", "--version"]).partition(" (")[0])
    return " · ".join(text.replace("\t", " ") for text in found) + f" · {os.cpu_count()} cores"


def build_client_golang(folder: Path) -> Path:
    """The peer's binary, built from Debian's libraries."""
    binary = folder / "client_golang"
    source = BENCHMARKS / "peers" / "client_golang" / "main.go"
    run_of(
        ["go", "build", "-o", str(binary), str(source)],
        GO111MODULE="off",
        GOPATH=str(GO_LIBRARIES),
        GOCACHE=os.environ.get("GOCACHE", str(folder / "cache")),
    )
    return binary


@contextmanager
def client_golang(binary: Path, samples: Path) -> Iterator[tuple[Child, str]]:
    """A process that serves the samples, and its address."""
    with child(str(binary), str(samples)) as go:
        yield go, go.hear()["address"]


class Prometheus:
    """A running Prometheus that stands still but for the scrapes it is asked for."""

    def __init__(self, pid: int, url: str, interval: float) -> None:
        self._pid = pid
        self._url = url
        self._interval = interval
        self._scrapes = self._failed = 0.0

    def ingest(self) -> float:
        """Let it scrape; CPU milliseconds per scrape, from asking until everything is in its head block.

        It scrapes by its own clock: at once when its interval went by while it stood still. A failed scrape
        ends all series, so the one that makes them again does not count either.
        """
        while True:
            known, failed = self._scrapes, self._failed
            cpu = self._turn()
            if self._failed == failed:
                return 1000 * cpu / (self._scrapes - known)
            self._turn()

    def _turn(self) -> float:
        """CPU seconds of the scrapes of one turn, one as a rule."""
        before = cpu_seconds(self._pid)
        known = self._scrapes
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        os.kill(self._pid, signal.SIGCONT)
        while self._scrapes == known or not self._is_between_scrapes():
            if time.monotonic() > deadline:
                raise SystemExit("Prometheus does not scrape")
            time.sleep(LOOK_SECONDS)
            self._scrapes = self._ask("count_over_time(up[1d])")
            after = rested_cpu_seconds(self._pid)
        self._scrapes = self._ask("count_over_time(up[1d])")
        self._failed = self._scrapes - self._ask("sum_over_time(up[1d])")
        os.kill(self._pid, signal.SIGSTOP)
        return after - before

    def _is_between_scrapes(self) -> bool:
        """Whether it can be stopped: one that is stopped while it waits for an answer fails."""
        return time.time() - self._ask("timestamp(up)") < self._interval - LEEWAY_SECONDS

    def _ask(self, query: str) -> float:
        arguments = urllib.parse.urlencode({"query": query})
        with urllib.request.urlopen(f"{self._url}/api/v1/query?{arguments}") as answer:  # noqa: S310  http, by us
            found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        return float(found[0]["value"][1]) if found else 0.0


@contextmanager
def prometheus(folder: Path, address: str, series: int) -> Iterator[Prometheus]:
    """A Prometheus that scrapes an address while the context is open; warm, and stopped until it is asked."""
    interval = next(seconds for at_most, seconds in INTERVALS_SECONDS if at_most is None or series <= at_most)
    scrape = {
        "job_name": "exporter",
        "scrape_interval": f"{interval}s",
        "scrape_timeout": f"{interval}s",
        "static_configs": [{"targets": [address]}],
    }
    config = folder / "prometheus.yml"
    config.write_text(json.dumps({"scrape_configs": [scrape]}), encoding="utf-8")
    log = folder / "prometheus.log"
    command = (
        "prometheus",
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    )
    with log.open("wb") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)
    try:
        yield Prometheus(process.pid, f"http://{_address(log, process)}", interval)
    finally:
        process.kill()
        process.wait()


def _address(log: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + LONGEST_WAIT_SECONDS
    while (found := _LISTENS.search(log.read_text(encoding="utf-8"))) is None:
        if process.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"Prometheus does not start:\n{log.read_text(encoding='utf-8')}")
        time.sleep(LOOK_SECONDS)
    return found[1]
