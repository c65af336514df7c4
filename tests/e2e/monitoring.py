"""A real Prometheus and a real Alertmanager on the shipped configuration, in fast motion.

The documented substitution: every duration of the rules and of alertmanager.yml is divided by `SPEED`, and
the addresses are those of the test. Numbers of seconds inside expressions stay as they are.
"""

import re
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Self

import aiohttp
import yaml
from aiohttp import web

from tests.e2e.conftest import program
from tests.e2e.process import wait_for

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SPEED = 60
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"\b(\d+)(ms|s|m|h|d)\b")
_LISTENS = re.compile(r"Listening on.*address=(127\.0\.0\.1:\d+)")
# From the name of a rule file and an expression of it to another expression.
Change = Callable[[str, str], str]
_DURATIONS_OF_RULES = ("for", "keep_firing_for", "interval")


def faster(text: str) -> str:
    """A text with every duration in it divided by `SPEED`."""
    return _DURATION.sub(lambda found: f"{int(found[1]) * _MILLISECONDS[found[2]] // SPEED}ms", text)


def fast_rules(path: Path, change: Change | None = None) -> dict[str, Any]:
    """The groups of a rule file in fast motion; `change` is applied to every expression before."""
    document: dict[str, Any] = yaml.safe_load(path.read_text())
    for group in document["groups"]:
        for item in (group, *group["rules"]):
            for name in _DURATIONS_OF_RULES:
                if name in item:
                    item[name] = faster(item[name])
        for rule in group["rules"]:
            rule["expr"] = faster(change(path.stem, rule["expr"]) if change else rule["expr"])
    return document


def fast_alertmanager(webhook: str) -> str:
    """The shipped configuration in fast motion, with its receivers at another address."""
    text = (DEPLOY / "alertmanager" / "alertmanager.yml").read_text()
    return faster(text).replace("http://localhost:9094", webhook)


@contextmanager
def running(folder: Path, *command: str) -> Iterator[Callable[[], str]]:
    """A program whose log is in a folder, while the context is open."""
    path = folder / f"{Path(command[0]).name}.log"
    with path.open("wb") as log:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
    try:
        yield path.read_text
    finally:
        process.kill()
        process.wait()


async def address(log: Callable[[], str], what: str) -> str:
    """Where a program says that it listens."""

    async def found() -> str:
        seen = _LISTENS.search(log())
        return seen[1] if seen else ""

    return await wait_for(found, f"{what} listens")


class Receiver:
    """The webhook: every notification, as (receiver, status, alert name, job id)."""

    def __init__(self) -> None:
        self.notifications: list[tuple[str, str, str, str]] = []
        self.alerts: list[dict[str, Any]] = []
        self.url = ""

    async def __aenter__(self) -> Self:
        app = web.Application()
        app.router.add_post("/{receiver}", self._receive)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        message = await request.json()
        for alert in message["alerts"]:
            labels = alert["labels"]
            self.alerts.append(alert)
            self.notifications.append(
                (message["receiver"], alert["status"], labels["alertname"], labels.get("job_id", ""))
            )
        return web.Response()


class Prometheus:
    """One on the shipped rules (`change`d), and on an Alertmanager where one is given."""

    def __init__(self, folder: Path, target: str, stack: ExitStack) -> None:
        program("prometheus")
        self._folder, self._target, self._stack = folder, target, stack
        self.url = ""

    async def start(
        self,
        alertmanager: str | None = None,
        change: Change | None = None,
        more_rules: Iterable[dict[str, Any]] = (),
    ) -> Self:
        rules = self._folder / "rules"
        rules.mkdir()
        for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
            (rules / path.name).write_text(yaml.safe_dump(fast_rules(path, change)))
        (rules / "more.yml").write_text(yaml.safe_dump({"groups": list(more_rules)}))
        config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
        config["scrape_configs"][0]["static_configs"] = [{"targets": [self._target]}]
        targets = [alertmanager] if alertmanager else []
        config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": targets}]
        (self._folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        command = (
            program("prometheus"),
            f"--config.file={self._folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={self._folder / 'prometheus-data'}",
            "--web.listen-address=127.0.0.1:0",
            "--query.lookback-delta=5s",
        )
        log = self._stack.enter_context(running(self._folder, *command))
        self.url = f"http://{await address(log, 'Prometheus')}"

        async def ready() -> bool:
            async with aiohttp.ClientSession() as session, session.get(f"{self.url}/-/ready") as response:
                return response.status == 200

        await wait_for(ready, "Prometheus is ready")
        return self

    async def get(self, path: str, **parameters: str) -> Any:
        """The data of an answer of its API. Raises AssertionError with its error."""
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{self.url}/api/v1/{path}", params=parameters) as response,
        ):
            answer = await response.json()
        assert answer["status"] == "success", f"{answer.get('error')}: {parameters}"
        return answer["data"]

    async def query(self, expression: str) -> list[dict[str, Any]]:
        data = await self.get("query", query=expression)
        found: list[dict[str, Any]] = data["result"]
        return found


async def start_alertmanager(folder: Path, webhook: str, stack: ExitStack) -> str:
    """One on the shipped configuration; its address."""
    (folder / "alertmanager.yml").write_text(fast_alertmanager(webhook))
    command = (
        program("prometheus-alertmanager"),
        f"--config.file={folder / 'alertmanager.yml'}",
        f"--storage.path={folder / 'alertmanager-data'}",
        "--web.listen-address=127.0.0.1:0",
        "--cluster.listen-address=",
    )
    log = stack.enter_context(running(folder, *command))
    return await address(log, "Alertmanager")
