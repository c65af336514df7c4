"""A test that fails must not make the next one fail."""

from collections.abc import Iterator

import pytest

from tests.integration.polling.world import World


@pytest.fixture(autouse=True)
def close_what_is_left_open() -> Iterator[None]:
    """A world that a failed test has left open would warn of its sockets in the middle of another test."""
    before = set(World.open)
    yield
    for world in World.open - before:
        world.close()
