"""A large exposition on a real socket."""

from collections.abc import AsyncIterator

import pytest

from exporter.exposition.exposition import Exposition
from exporter.instruments import Instruments
from exporter.settings import Settings
from exporter.web import WebServer
from tests.exposition import large


@pytest.fixture(scope="module")
def exposition() -> Exposition:
    return large()


@pytest.fixture
async def url(exposition: Exposition) -> AsyncIterator[str]:
    settings = Settings.from_layers({"web": {"listen_address": "127.0.0.1:0"}})
    async with WebServer(settings, None, exposition, Instruments(), []).listening() as address:
        yield f"http://{address}/metrics"
