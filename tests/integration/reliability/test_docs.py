"""docs/reliability.md names tests that exist, and every fault that the simulator knows has a row there."""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from exporter.families import FAMILIES
from tests.faults import FAULTS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reliability.md").read_text()
NAMED_TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "::" in line]
RANGE = re.compile(r"`status (\d+)` to `status (\d+)`")


@cache
def functions_of(path: str) -> set[str]:
    found = ast.walk(ast.parse((ROOT / path).read_text()))
    return {node.name for node in found if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def kinds_in(row: str) -> Iterator[str]:
    """The kinds that a row names, ranges of statuses spelt out."""
    for first, last in RANGE.findall(row):
        yield from (f"status {status}" for status in range(int(first), int(last) + 1))
    yield from re.findall(r"`([^`]+)`", RANGE.sub("", row))


@pytest.mark.parametrize(("path", "name"), NAMED_TESTS)
def test_every_named_test_exists(path: str, name: str) -> None:
    assert name in functions_of(path)


def test_every_row_names_its_test() -> None:
    tables = [line for line in PAGE.partition("## Figures")[0].splitlines() if line.startswith("| ")]
    heads = [line for line in tables if line.startswith(("| fault ", "| --- "))]
    assert len(ROWS) == len(tables) - len(heads) > 30


def test_every_kind_of_fault_has_a_row() -> None:
    told = {kind for row in ROWS for kind in kinds_in(row)}
    assert set(FAULTS) <= told, f"no row has {sorted(set(FAULTS) - told)}"


def test_every_kind_in_a_row_is_one_of_the_simulators() -> None:
    """The second column is a list of kinds, or says that there is none."""
    way_there = PAGE.partition("## The process, the disk")[0]
    cells = [line.split(" | ")[1] for line in way_there.splitlines() if line in ROWS]
    assert {kind for cell in cells for kind in kinds_in(cell)} <= set(FAULTS)
    assert all(cell.startswith(("`", "none: ")) for cell in cells)


def test_every_metric_in_the_page_exists() -> None:
    names = {family.name for family in FAMILIES}
    assert set(re.findall(r"`(databricks_\w+)", PAGE)) <= names
