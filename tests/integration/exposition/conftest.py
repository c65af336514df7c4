"""A large exposition on a real socket."""

from collections.abc import AsyncIterator

import pytest

from exporter.config import Settings
from exporter.exposition.exposition import Exposition
from exporter.own_metrics import OwnMetrics
from exporter.server.pages import WebServer
from tests.unit.exposition import large


@pytest.fixture(scope="module")
def exposition() -> Exposition:
    return large()


@pytest.fixture
async def url(exposition: Exposition) -> AsyncIterator[str]:
    settings = Settings.model_validate({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, None, exposition, OwnMetrics(), []).listening() as address:
        yield f"http://{address}/metrics"
