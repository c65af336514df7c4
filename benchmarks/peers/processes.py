"""Children, what the kernel says of them, and one scrape over loopback."""

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from processes import cpu_seconds

BENCHMARKS = Path(__file__).parents[1]
# What a scrape asks for: `Accept` and `Accept-Encoding`.
_OPENMETRICS = "application/openmetrics-text;version=1.0.0"
_TEXT = "text/plain;version=0.0.4"
BODIES = {
    "OpenMetrics gzip": (_OPENMETRICS, "gzip"),
    "text gzip": (_TEXT, "gzip"),
    "text": (_TEXT, "identity"),
}
# A process has come to rest when it uses less than 5 % of so long a look; garbage collectors go on for a bit.
LOOK_SECONDS = 0.03
REST = 0.05
LONGEST_UNREST_SECONDS = 30

_BUFFER = memoryview(bytearray(1 << 20))


class Child:
    """A process that answers lines of JSON with lines of JSON."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self.pid = process.pid
        self._process = process

    def hear(self) -> dict[str, Any]:
        """The next line it says."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a process of the benchmark ended before its time")
        facts: dict[str, Any] = json.loads(line)
        return facts

    def ask(self, **command: object) -> dict[str, Any]:
        """Its answer to a command."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        return self.hear()


@contextmanager
def child(*command: str) -> Iterator[Child]:
    """A process that is stopped, and waited for, when the context ends."""
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with process:
        try:
            yield Child(process)
        finally:
            process.kill()


@contextmanager
def python_child(module: str, *arguments: object) -> Iterator[Child]:
    """A module of this folder as a process."""
    program = f"import sys; sys.path.insert(0, {str(BENCHMARKS)!r}); from peers.{module} import main; main()"
    with child(sys.executable, "-c", program, *map(str, arguments)) as started:
        yield started


def say(**facts: object) -> None:
    """The child's side: one line of JSON."""
    print(json.dumps(facts), flush=True)


# --- what the kernel says


def rested_cpu_seconds(pid: int) -> float:
    """The same as soon as the process has come to rest."""
    deadline = time.monotonic() + LONGEST_UNREST_SECONDS
    before = cpu_seconds(pid)
    while True:
        time.sleep(LOOK_SECONDS)
        now = cpu_seconds(pid)
        if now - before < REST * LOOK_SECONDS or time.monotonic() > deadline:
            return now
        before = now


def forget_peak() -> None:
    """Let this process' high-water mark start again from what it holds now; see proc(5), clear_refs."""
    Path(f"/proc/{os.getpid()}/clear_refs").write_text("5", encoding="utf-8")


# --- a scrape


class Scrape(NamedTuple):
    """What one scrape took: the server's CPU, the time until the last byte was here, the body's size."""

    cpu_ms: float
    latency_ms: float
    size: int


@dataclass
class Server:
    """A process that answers scrapes, and where."""

    process: Child
    address: str

    def read(self, body: str) -> tuple[float, int]:
        """Seconds until the last byte, and how many bytes the body had; nothing is kept of it."""
        began = time.perf_counter()
        with _asked(self.address, *BODIES[body]) as connection:
            got = connection.recv_into(_BUFFER)
            head = bytes(_BUFFER[:got]).partition(b"\r\n\r\n")[0]
            assert head.startswith(b"HTTP/1.1 200 "), head[:200]
            size = got - len(head) - 4
            while got := connection.recv_into(_BUFFER):
                size += got
        return time.perf_counter() - began, size

    def scrape(self, body: str, times: int = 1) -> Scrape:
        """Some scrapes, one after the other: their mean CPU and their median latency."""
        before = rested_cpu_seconds(self.process.pid)
        seconds, sizes = zip(*(self.read(body) for _ in range(times)), strict=True)
        cpu = rested_cpu_seconds(self.process.pid) - before
        return Scrape(1000 * cpu / times, 1000 * median(seconds), sizes[-1])


def _asked(address: str, accept: str, encoding: str) -> socket.socket:
    host, _, port = address.rpartition(":")
    connection = socket.create_connection((host, int(port)), timeout=300)
    # The connection's end is the body's end: no framing to take apart while the clock runs.
    connection.sendall(
        f"GET /metrics HTTP/1.1\r\nHost: {address}\r\nAccept: {accept}\r\n"
        f"Accept-Encoding: {encoding}\r\nConnection: close\r\n\r\n".encode()
    )
    return connection


def run_of(command: Sequence[str], **environ: str) -> str:
    """What a program says; its complaint ends the benchmark."""
    done = subprocess.run(command, check=False, capture_output=True, text=True, env={**os.environ, **environ})
    if done.returncode:
        raise SystemExit(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout
