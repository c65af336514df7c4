"""The exporter as a process of its own, and what the kernel says of any process; for all benchmarks."""

import http.client
import json
import mmap
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

PATIENCE_SECONDS = 120.0
_CLOCKED = str(Path(__file__).with_name("clocked.py"))


def cpu_seconds(pid: int) -> float:
    """User and system time of all threads, in nanoseconds' resolution; see clock_getcpuclockid(3)."""
    return time.clock_gettime((~pid << 3) | 2)


def peak_mb(pid: int) -> float:
    """The high-water mark of memory since the program began; ru_maxrss would carry over its parent's."""
    return _memory_mb(pid, "VmHWM:")


def _memory_mb(pid: int, what: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
    kib = next(int(line.split()[1]) for line in lines if line.startswith(what))
    return kib * 1024 / 1e6


class Exporter:
    """A running exporter; `address` is host:port, `state` its state file."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, state: Path) -> None:
        self.pid = process.pid
        self.address = ""
        self.state = state
        self.log = folder / "log"
        self._process = process

    def check_alive(self) -> None:
        """Raise with the end of the log where it has ended."""
        if self._process.poll() is not None:
            raise SystemExit(f"the exporter ended:\n{self.log.read_text(errors='replace')[-4000:]}")

    def logged_address(self) -> str:
        """Where it listens, empty while it does not."""
        self.check_alive()
        for line in self.log.read_text(errors="replace").splitlines():
            try:
                address = json.loads(line).get("address")
            except json.JSONDecodeError:
                # What is wrong with the settings is said before there is a log.
                continue
            if address:
                return str(address)
        return ""

    def get(self, path: str) -> tuple[int, str]:
        """The status and the body of a page."""
        connection = http.client.HTTPConnection(self.address, timeout=PATIENCE_SECONDS)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def is_ready(self) -> bool:
        """Whether its first poll is over."""
        self.check_alive()
        return self.get("/-/ready")[0] == 200

    def cpu_seconds(self) -> float:
        """User and system time since its start."""
        return cpu_seconds(self.pid)

    def memory_mb(self) -> float:
        """What it holds in memory now."""
        return _memory_mb(self.pid, "VmRSS:")

    def peak_mb(self) -> float:
        """The most it ever held in memory."""
        return peak_mb(self.pid)

    def file_descriptors(self) -> int:
        """How many it has open."""
        return sum(1 for _ in Path(f"/proc/{self.pid}/fd").iterdir())

    def state_mb(self) -> float:
        """The size of the state file."""
        return self.state.stat().st_size / 1e6

    def log_mb(self) -> float:
        """The size of the write-ahead log that SQLite keeps beside the state file."""
        log = self.state.with_name(f"{self.state.name}-wal")
        return log.stat().st_size / 1e6 if log.exists() else 0.0


class WallClock:
    """A wall clock that an exporter can be given; `path` is its file, see clocked.py."""

    def __init__(self, path: Path, seconds: float) -> None:
        """`seconds`: since the epoch."""
        self.path = path
        path.write_bytes(struct.pack("<d", seconds))
        with path.open("r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 8)

    def set(self, seconds: float) -> None:
        """What it says from now on."""
        self._shared[:8] = struct.pack("<d", seconds)


@contextmanager
def exporting(
    url: str, *flags: str, clock: WallClock | None = None, state: Path | None = None
) -> Iterator[Exporter]:
    """An exporter on the simulated workspace at `url`, on a free port; `state` None: a new file."""
    from exporter.simulator.credentials import DEFAULT_TOKEN  # noqa: PLC0415  not every process needs it

    environ = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    environ |= {"DATABRICKS_HOST": url, "DATABRICKS_TOKEN": DEFAULT_TOKEN}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        program = ["-m", "exporter"] if clock is None else [_CLOCKED, str(clock.path)]
        command = [sys.executable, *program, "--web.listen-address=127.0.0.1:0", "--log.format=json"]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, f"--state.path={state or folder / 'state.db'}", *flags],
                env=environ,
                stdin=subprocess.DEVNULL,
                stderr=log,
            )
        with process:
            try:
                exporter = Exporter(process, folder, state or folder / "state.db")
                until(exporter.logged_address, "the exporter listens")
                exporter.address = exporter.logged_address()
                yield exporter
            finally:
                process.terminate()


def until(
    condition: Callable[[], object], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.05
) -> None:
    """Wait until a function says yes; `pause` seconds between two questions."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"not within {seconds:g} s: {what}")
        time.sleep(pause)


def verdict(*, good: bool) -> str:
    """How a target is reported."""
    return "met" if good else "MISSED"
