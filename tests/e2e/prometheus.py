"""A real Prometheus that scrapes what it is told to, and the questions that tests put to it."""

import json
import math
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp

from tests.programs import listening

Series = tuple[Mapping[str, str], list[tuple[float, float]]]


class Prometheus:
    """What one answers; `url` is its address."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self.url = url
        self._session = session

    async def instant(self, expression: str, at: float | None = None) -> list[Series]:
        """The series of an instant query, one value each."""
        moment = {} if at is None else {"time": f"{at:.3f}"}
        answer = await self.get("query", query=expression, **moment)
        return [(one["metric"], _values([one["value"]])) for one in answer["result"]]

    async def over_time(self, expression: str, start: float, end: float, step: float) -> list[Series]:
        """The series of a range query."""
        span = {"start": f"{start:.3f}", "end": f"{end:.3f}", "step": f"{step:g}"}
        answer = await self.get("query_range", query=expression, **span)
        return [(one["metric"], _values(one["values"])) for one in answer["result"]]

    async def get(self, path: str, **asked: str) -> Any:
        """The data of an answer of its API. Raises AssertionError with its error."""
        async with self._session.get(f"{self.url}/api/v1/{path}", params=asked) as response:
            answer = await response.json()
        assert answer["status"] == "success", f"{answer.get('error')}\n{asked}"
        return answer["data"]


def _values(pairs: list[tuple[float, str]]) -> list[tuple[float, float]]:
    return [(moment, float(value)) for moment, value in pairs]


def is_data(series: list[Series]) -> bool:
    """Whether any of them has a value that is a number."""
    return any(math.isfinite(value) for _, values in series for _, value in values)


def scrape_of(address: str, interval: str = "1s") -> dict[str, Any]:
    """A scrape_config of one target, `address` with or without http://."""
    return {
        "job_name": "databricks-jobs",
        "scrape_interval": interval,
        "scrape_timeout": interval,
        "static_configs": [{"targets": [address.removeprefix("http://")]}],
    }


@asynccontextmanager
async def prometheus(folder: Path, config: Mapping[str, Any], *flags: str) -> AsyncIterator[Prometheus]:
    """One on this prometheus.yml, that runs while the context is open, with its files in a folder."""
    path = folder / "prometheus.yml"
    path.write_text(json.dumps(config))
    arguments = (f"--config.file={path}", f"--storage.tsdb.path={folder / 'prometheus-data'}", *flags)
    async with listening(folder, "prometheus", *arguments) as url, aiohttp.ClientSession() as session:
        yield Prometheus(url, session)
