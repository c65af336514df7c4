"""The exporter as a real process, for tests: start it, read its pages, end it.

What must stay true: nothing waits for a fixed time; every wait is for a condition, and fails with the log.
"""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from exporter.simulator.credentials import DEFAULT_TOKEN
from exporter.simulator.server import SimulatorServer

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]
T = TypeVar("T")

# Far more than anything takes: only a failing test waits so long.
PATIENCE_SECONDS = 45.0
# Fast polls and no politeness, so that a test spends its time on what it is about.
BRISK = ("--poll.interval=250ms", "--api.rate=1000", "--api.timeout=1s")

_ADDRESS = re.compile(r"msg=listening address=(\S+)")


def parse(body: str) -> Samples:
    """Every sample of a body in the text format."""
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(body)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    """The sum of the samples of this name that have these labels; 0 where there are none."""
    wanted = set(labels.items())
    return sum(value for (sample, had), value in samples.items() if sample == name and wanted <= had)


async def wait_for(
    condition: Callable[[], Awaitable[T]], what: str, seconds: float = PATIENCE_SECONDS, pause: float = 0.05
) -> T:
    """The first true value of a condition."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not (value := await condition()):
        assert asyncio.get_running_loop().time() < deadline, f"not within {seconds:g} s: {what}"
        await asyncio.sleep(pause)
    return value


def access(server: SimulatorServer, token: str = DEFAULT_TOKEN) -> dict[str, str]:
    """The environment that names a simulated workspace."""
    return {"DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": token}


class Exporter:
    """One exporter process, and its standard output and error in files."""

    def __init__(self, folder: Path, *arguments: str, env: Mapping[str, str]) -> None:
        """Start it with these arguments, and of our own environment without what it would read."""
        self.url = ""
        number = len(list(folder.glob("*.stderr")))
        self._stderr = folder / f"{number}.stderr"
        self._stdout = folder / f"{number}.stdout"
        inherited = {name: word for name, word in os.environ.items() if not name.startswith("DATABRICKS_")}
        with self._stderr.open("wb") as stderr, self._stdout.open("wb") as stdout:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "exporter", *arguments],
                env={**inherited, **env},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
            )

    @property
    def pid(self) -> int:
        """What the system calls it by."""
        return self._process.pid

    @property
    def title(self) -> str:
        """Its command line as the system shows it; nothing where the system has no /proc."""
        path = Path(f"/proc/{self._process.pid}/cmdline")
        return path.read_text() if path.exists() else ""

    @property
    def log(self) -> str:
        """What it has written to standard error."""
        return self._stderr.read_text(errors="replace")

    @property
    def output(self) -> str:
        """What it has written to standard output."""
        return self._stdout.read_text(errors="replace")

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    async def listening(self) -> "Exporter":
        """Wait until it listens."""

        async def address() -> str | None:
            assert not self.has_ended(), self.log
            found = _ADDRESS.search(self.log)
            return found[1] if found else None

        self.url = f"http://{await wait_for(address, 'the exporter listens')}"
        return self

    async def get(self, path: str, **headers: str) -> tuple[int, str]:
        """The status and the body of a page."""
        named = {name.replace("_", "-"): word for name, word in headers.items()}
        try:
            async with (
                aiohttp.ClientSession(headers=named) as session,
                session.get(self.url + path, timeout=aiohttp.ClientTimeout(PATIENCE_SECONDS)) as response,
            ):
                return response.status, await response.text()
        except aiohttp.ClientError as error:
            raise AssertionError(f"{error}; the exporter said:\n{self.log[-4000:]}") from error

    async def metrics(self) -> Samples:
        """A scrape."""
        status, body = await self.get("/metrics")
        assert status == 200
        return parse(body)

    async def until(
        self, condition: Callable[[Samples], object], what: str, seconds: float = PATIENCE_SECONDS
    ) -> Samples:
        """The first scrape that satisfies a condition."""
        seen: Samples = {}

        async def satisfied() -> bool:
            nonlocal seen
            assert not self.has_ended(), self.log
            seen = await self.metrics()
            return bool(condition(seen))

        try:
            await wait_for(satisfied, what, seconds)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{_run_lines(seen)}\n{self.log[-4000:]}") from None
        return seen

    async def until_ready(self, seconds: float = PATIENCE_SECONDS) -> Samples:
        """The first scrape after the first good poll."""

        async def ready() -> bool:
            return (await self.get("/-/ready"))[0] == 200

        await wait_for(ready, "the exporter is ready", seconds)
        return await self.metrics()

    async def polls(self, count: int = 2, seconds: float = PATIENCE_SECONDS) -> Samples:
        """The first scrape after so many more good polls: two, and one of them began after now."""
        before = total(await self.metrics(), POLLS, result="success")
        return await self.until(
            lambda seen: total(seen, POLLS, result="success") >= before + count,
            f"{count} more polls",
            seconds,
        )

    async def exit_code(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Wait for its end."""

        async def ended() -> bool:
            return self.has_ended()

        await wait_for(ended, "the exporter ends", seconds, pause=0.01)
        return self._process.returncode

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def terminate(self) -> int:
        """Ask it to stop; its exit code."""
        self.send(signal.SIGTERM)
        return await self.exit_code()

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.wait()


POLLS = "databricks_exporter_polls_total"
RUNS = "databricks_job_runs_total"


def _run_lines(samples: Samples) -> str:
    return "\n".join(
        f"{name} {sorted(labels)} {value:g}"
        for (name, labels), value in samples.items()
        if name.endswith("_total")
    )


class Launcher:
    """Starts exporters that share a folder, and leaves none behind."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state.db"
        self._started: list[Exporter] = []

    def spawn(self, *arguments: str, env: Mapping[str, str]) -> Exporter:
        """Start one on a free port, with the state file of the folder unless an argument says otherwise."""
        usual = ("--web.listen-address=127.0.0.1:0", f"--state.path={self.state}")
        exporter = Exporter(self.folder, *_completed(arguments, usual), env=env)
        self._started.append(exporter)
        return exporter

    async def start(self, server: SimulatorServer, *arguments: str) -> Exporter:
        """Start a brisk one on a workspace and wait until it listens."""
        return await self.spawn(*_completed(arguments, BRISK), env=access(server)).listening()

    def end(self) -> None:
        for exporter in self._started:
            exporter.kill()


def _completed(arguments: Sequence[str], usual: Sequence[str]) -> list[str]:
    """Arguments, and the usual ones for flags that are not among them."""
    named = {argument.partition("=")[0] for argument in arguments}
    return [*arguments, *(argument for argument in usual if argument.partition("=")[0] not in named)]
