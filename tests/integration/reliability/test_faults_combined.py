"""Faults of every kind, drawn from a seed and on at the same time."""

import os

import pytest

from tests.integration.reliability.combined import play

SEEDS = int(os.environ.get("RELIABILITY_SEEDS", "5"))


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_comes_together_costs_no_run(seed: int) -> None:
    """After a day of faults and a moment of calm every run is counted once, and none is said to be lost."""
    played = play(seed)
    assert played.struck.total() > 0
    assert played.polls[True] > 0
    assert played.polls[False] > 0
