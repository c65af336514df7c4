"""Logging as a test finds it is as the test before it did."""

import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.unit.logs import Stderr


@pytest.fixture(autouse=True)
def stderr(capsys: pytest.CaptureFixture[str]) -> Iterator[Stderr]:
    """What is written to standard error; logging is put back as it was."""
    root, access = logging.getLogger(), logging.getLogger("aiohttp.access")
    handlers, levels = root.handlers[:], (root.level, access.level)
    yield Stderr(capsys)
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    access.setLevel(levels[1])
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()
