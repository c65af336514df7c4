"""A day of the demo's workspace in a real Prometheus, in some minutes.

The exporter is a real process that polls a simulated workspace over HTTP. Only the workspace's clock is ours:
it jumps a step ahead, the exporter polls, and Prometheus gets what it then serves with the workspace's time
written behind every sample. So every duration and every count is the exporter's own; the time axis is
the workspace's, on which a poll takes place about once per step.
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from aiohttp import web

from exporter.families import LAST_POLL, POLLS
from exporter.simulator.scenario import demo_workspace
from tests.e2e.process import Exporter, Launcher, wait_for
from tests.e2e.prometheus import Prometheus, is_data, prometheus, scrape_of
from tests.faults import Fault, SimulatorServer, throttled, unavailable

DAY_SECONDS = 86400
STEP_SECONDS = 180
# Seconds before the end at which the API is slow to admit us, and at which it is away.
THROTTLED = range(3 * 3600, 4 * 3600)
AWAY = range(5400, 7200)

_POLLED = re.compile(rf"^{POLLS.name}{{.*}} (\S+)$", re.MULTILINE)
_LAST_POLL = re.compile(rf"^({LAST_POLL.name}{{.*}}) (\S+)$", re.MULTILINE)
_SAMPLE = re.compile(r"^([^#\n].*)$", re.MULTILINE)


class History:
    """Moves a workspace from a day ago to `end`, and keeps what the exporter served at each step."""

    def __init__(self, end: float) -> None:
        self.end = end
        self.now = end - DAY_SECONDS
        self.served = asyncio.Queue[bytes]()
        self._polled_at: dict[str, float] = {}

    async def run(self, exporter: Exporter, server: SimulatorServer) -> None:
        while self.now < self.end:
            self.now += STEP_SECONDS
            self._go_wrong(server)
            self.served.put_nowait(self._dated(await self._polled(exporter)))

    def _go_wrong(self, server: SimulatorServer) -> None:
        server.faults.clear()
        left = self.end - self.now
        if left in THROTTLED:
            server.faults.add(Fault(throttled(0), probability=0.2))
        elif left in AWAY:
            server.faults.add(Fault(unavailable()))

    async def _polled(self, exporter: Exporter) -> str:
        """What the exporter serves after one more poll, a good or a failed one."""
        body = ""
        before = _polls(await _page(exporter))

        async def one_more() -> bool:
            nonlocal body
            body = await _page(exporter)
            return _polls(body) > before

        await wait_for(one_more, "one more poll", pause=0.02)
        return body

    def _dated(self, body: str) -> bytes:
        """Every sample with the workspace's time; the exporter's own clock is read as if it were that."""
        body = _LAST_POLL.sub(
            lambda found: f"{found[1]} {self._polled_at.setdefault(found[2], self.now)}", body
        )
        return _SAMPLE.sub(rf"\1 {round(self.now * 1000)}", body).encode()


async def _page(exporter: Exporter) -> str:
    return (await exporter.get("/metrics"))[1]


def _polls(body: str) -> float:
    return sum(float(value) for value in _POLLED.findall(body))


@asynccontextmanager
async def a_day(folder: Path) -> AsyncIterator[tuple[Prometheus, str, float]]:
    """A Prometheus with the day in it, the workspace's name, and the day's end in epoch seconds."""
    history = History(float(round(time.time() / 600) * 600 - 600))
    launcher = Launcher(folder)
    try:
        async with SimulatorServer(demo_workspace(lambda: history.now)) as server:
            exporter = await launcher.start(
                server, "--poll.interval=200ms", "--poll.sweep-interval=20s", "--api.timeout=1s"
            )
            await exporter.until_ready()
            producing = asyncio.create_task(history.run(exporter, server), name="history")
            async with (
                _handing_out(history) as address,
                prometheus(folder, _config(address)) as running,
            ):
                await producing
                await _until_stored(running, history.end)
                yield running, server.url.removeprefix("http://"), history.end
    finally:
        launcher.end()


def _config(address: str) -> dict[str, object]:
    scrape = scrape_of(address, "2s")
    scrape["static_configs"][0]["labels"] = {"instance": "exporter:9977"}
    # Prometheus adds samples of its own with the real time, beside which a day ago is out of order.
    storage = {"tsdb": {"out_of_order_time_window": "3d"}}
    return {"scrape_configs": [scrape], "storage": storage}


@asynccontextmanager
async def _handing_out(history: History) -> AsyncIterator[str]:
    """A page with all that was served and not fetched yet, oldest first; its address."""

    async def page(_request: web.Request) -> web.Response:
        pieces = [history.served.get_nowait() for _ in range(min(history.served.qsize(), 20))]
        return web.Response(body=b"".join(pieces), content_type="text/plain")

    app = web.Application()
    app.router.add_get("/metrics", page)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def _until_stored(running: Prometheus, end: float) -> None:
    async def stored() -> bool:
        return is_data(await running.instant(f"{POLLS.name}", end + 1))

    await wait_for(stored, "the whole day is in Prometheus", pause=0.5)
