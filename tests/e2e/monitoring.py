"""A real Prometheus and a real Alertmanager on the shipped configuration, in fast motion.

The documented substitution: every duration of the rules and of alertmanager.yml is divided by `SPEED`, and
the addresses are those of the test. Numbers of seconds inside expressions stay as they are.
"""

import re
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Self

import yaml
from aiohttp import web

from tests.e2e.prometheus import Prometheus, prometheus
from tests.programs import listening

DEPLOY = Path(__file__).parent.parent.parent / "deploy"
SPEED = 60
_MILLISECONDS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_DURATION = re.compile(r"\b(\d+)(ms|s|m|h|d)\b")
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


@asynccontextmanager
async def monitored(
    folder: Path,
    target: str,
    alertmanager: str | None = None,
    change: Change | None = None,
    more_rules: Iterable[Mapping[str, Any]] = (),
) -> AsyncIterator[Prometheus]:
    """A Prometheus on the shipped rules (`change`d) that scrapes a target, and tells an Alertmanager."""
    rules = folder / "rules"
    rules.mkdir()
    for path in (DEPLOY / "prometheus" / "rules").glob("*.yml"):
        (rules / path.name).write_text(yaml.safe_dump(fast_rules(path, change)))
    (rules / "more.yml").write_text(yaml.safe_dump({"groups": list(more_rules)}))
    config: dict[str, Any] = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "500ms", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [target.removeprefix("http://")]}]
    targets = [alertmanager.removeprefix("http://")] if alertmanager else []
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": targets}]
    async with prometheus(folder, config, "--query.lookback-delta=5s") as running:
        yield running


@asynccontextmanager
async def alerting(folder: Path, webhook: str) -> AsyncIterator[str]:
    """An Alertmanager on the shipped configuration, with its receivers at a webhook; its address."""
    path = folder / "alertmanager.yml"
    path.write_text(fast_alertmanager(webhook))
    arguments = (
        f"--config.file={path}",
        f"--storage.path={folder / 'alertmanager-data'}",
        "--cluster.listen-address=",
    )
    async with listening(folder, "prometheus-alertmanager", *arguments) as url:
        yield url
