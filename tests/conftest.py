"""Marks the tests of whole folders, so that `-m` can choose: `pytest -m "not slow"`, `pytest -m faults`."""

from pathlib import Path

import pytest

TESTS = Path(__file__).parent
MARKS = {
    "deploy": "slow",
    "e2e": "slow",
    "e2e/test_faults.py": "faults",
    "faults": "faults",
    "integration": "slow",
    "integration/reliability": "faults",
    "packaging": "packaging",
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        path = item.path.relative_to(TESTS)
        for folder, mark in MARKS.items():
            if path.is_relative_to(folder):
                item.add_marker(mark)
