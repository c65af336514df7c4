"""A real Prometheus that scrapes what it is told to, and the questions that tests put to it."""

import asyncio
import json
import math
import re
import subprocess
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.e2e.conftest import program
from tests.e2e.process import wait_for

_LISTENS = re.compile(r"Listening on.*address=(127\.0\.0\.1:\d+)")

Series = tuple[Mapping[str, str], list[tuple[float, float]]]


class Prometheus:
    """What one answers; `url` is its address."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def instant(self, expression: str, at: float | None = None) -> list[Series]:
        """The series of an instant query, one value each."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        answer = await self._ask("query", {"query": expression, **moment})
        return [(one["metric"], _values([one["value"]])) for one in answer["result"]]

    async def over_time(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """The series of a range query."""
        asked = {"query": expression, "start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        answer = await self._ask("query_range", asked)
        return [(one["metric"], _values(one["values"])) for one in answer["result"]]

    async def _ask(self, path: str, asked: dict[str, str]) -> dict[str, Any]:
        async with self._session.post(f"{self.url}/api/v1/{path}", data=asked) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{answer.get('error')}\n{asked['query']}"
        data: dict[str, Any] = answer["data"]
        return data


def _values(pairs: list[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(moment, float(value)) for moment, value in pairs]


def is_data(series: list[Series]) -> bool:
    """Whether any of them has a value that is a number."""
    return any(math.isfinite(value) for _, values in series for _, value in values)


def _start(folder: Path, path: Path) -> subprocess.Popen[bytes]:
    command = [
        program("prometheus"),
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        "--web.listen-address=127.0.0.1:0",
    ]
    with path.open("wb") as log:
        return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)


@asynccontextmanager
async def prometheus(
    folder: Path, scrape: Mapping[str, object], storage: Mapping[str, object] | None = None
) -> AsyncIterator[Prometheus]:
    """One that runs while the context is open, with its files in a folder; `scrape` is a scrape_config."""
    config = {"scrape_configs": [scrape], "storage": storage or {}}
    (folder / "prometheus.yml").write_text(json.dumps(config))
    path = folder / "prometheus.log"
    process = _start(folder, path)

    async def address() -> str | None:
        assert process.poll() is None, path.read_text()
        found = _LISTENS.search(path.read_text())
        return found[1] if found else None

    try:
        url = f"http://{await wait_for(address, 'Prometheus listens')}"
        async with aiohttp.ClientSession() as session:
            yield Prometheus(url, session)
    finally:
        process.kill()
        await asyncio.to_thread(process.wait)
