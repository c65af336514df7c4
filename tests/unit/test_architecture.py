"""The rules of the source tree: data flows one way, the middle is pure, one table names every metric.

And tests/unit mirrors exporter: the tests of exporter/x/y.py are in tests/unit/x/test_y.py.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from exporter.families import FAMILIES

ROOT = Path(__file__).parents[2]
UNIT_TESTS = ROOT / "tests" / "unit"

# From the bottom to the top. A module imports from layers below its own and from its own entry; of the
# entries that fit a module the longest counts. "exporter" itself holds the version only.
LAYERS = (
    ("exporter",),
    (
        "exporter.config",
        "exporter.databricks.clock",
        "exporter.databricks.errors",
        "exporter.databricks.models",
        "exporter.logs.deduplication",
        "exporter.server",
        "exporter.server.web_config",
        "exporter.simulator",
        "exporter.state.errors",
    ),
    (
        "exporter.runs.durations",
        "exporter.runs.outcomes",
        "exporter.runs.series_keys",
    ),
    ("exporter.runs.records",),
    ("exporter.families",),
    (
        "exporter.databricks.bodies",
        "exporter.databricks.context",
        "exporter.databricks.sanity",
        "exporter.logs",
        "exporter.own_metrics",
        "exporter.runs",
        "exporter.state.checksums",
    ),
    ("exporter.databricks.failures", "exporter.databricks.lenient", "exporter.state.codec"),
    ("exporter.databricks.responses", "exporter.state.upgrade"),
    ("exporter.databricks", "exporter.state", "exporter.exposition", "exporter.server.status_page"),
    ("exporter.polling", "exporter.server.pages"),
    ("exporter.app",),
    ("exporter.check",),
    ("exporter.cli",),
    ("exporter.__main__",),
)

# No socket, clock, log or database, themselves or through what they import.
PURE = (
    "exporter.runs",
    "exporter.exposition.blocks",
    "exporter.exposition.packing",
    "exporter.exposition.render",
    "exporter.exposition.negotiation",
    "exporter.exposition.snapshot",
    "exporter.families",
    "exporter.logs.deduplication",
    "exporter.databricks.clock",
    "exporter.databricks.models",
    "exporter.databricks.bodies",
    "exporter.databricks.lenient",
    "exporter.databricks.failures",
    "exporter.databricks.responses",
    "exporter.databricks.sanity",
    "exporter.databricks.errors",
)
IMPURE = frozenset(
    {
        "asyncio",
        "aiohttp",
        "logging",
        "structlog",
        "time",
        "prometheus_client",
        "sqlite3",
        "socket",
        "threading",
    }
)

# Unit tests of no single module, and why.
WITHOUT_A_MODULE = {
    "config/test_hostile_settings.py": "any input, read by the whole package",
    "config/test_settings.py": "flags, variables and files together",
    "databricks/test_credential_files.py": "files, logins and the client together",
    "databricks/test_proxy.py": "settings of proxies and the client together",
    "databricks/test_same_host.py": "the client and the logins: credentials stay with their host",
    "databricks/test_tls.py": "settings of trust and the client together",
    "exposition/test_peer.py": "the whole package beside prometheus-client",
    "exposition/test_threads.py": "the whole package in several threads",
    "runs/test_pending.py": "pending runs, from an observation to its changes",
    "test_new_family.py": "a new metric in two files, through the whole package",
    "runs/test_exemplars.py": "a run on its way through the whole package",
    "runs/test_properties.py": "any runs in any order, through the whole package",
    "state/test_damage.py": "any file, read by the whole package",
    "test_architecture.py": "the source tree",
}


def _name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name_of(path): path for path in sorted((ROOT / "exporter").rglob("*.py"))}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


@cache
def imports(module: str) -> frozenset[str]:
    """What a module imports, anywhere in it; `from exporter import families` is exporter.families."""
    found: set[str] = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}: imports are written in full"
            assert node.module is not None
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                found.add(name if name in FILES else node.module)
    return frozenset(found)


def ours(module: str) -> set[str]:
    return {name for name in imports(module) if name in FILES}


def within(module: str, entry: str) -> bool:
    return module == entry or (entry != "exporter" and module.startswith(f"{entry}."))


def place(module: str) -> tuple[int, str]:
    """The layer of a module and the entry that puts it there."""
    fitting = [
        (level, entry) for level, layer in enumerate(LAYERS) for entry in layer if within(module, entry)
    ]
    assert fitting, f"{module} has no layer: add it to LAYERS"
    return max(fitting, key=lambda found: len(found[1]))


def texts(module: str) -> Iterator[str]:
    """The string constants of a module, f-strings' parts too, without docstrings."""
    docstrings = {
        id(node.body[0].value)
        for node in ast.walk(tree(module))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docstrings:
            yield node.value


@pytest.mark.parametrize("module", FILES)
def test_imports_go_down(module: str) -> None:
    """A module imports only what is in a lower layer, or next to it in its own package."""
    level, entry = place(module)
    for other in sorted(ours(module)):
        other_level, other_entry = place(other)
        assert other_level < level or other_entry == entry, f"{module} imports {other}"


def test_every_layer_is_lived_in() -> None:
    """No entry of the order outlives the code it was written for."""
    lived_in = {place(module)[1] for module in FILES}
    assert lived_in == {entry for layer in LAYERS for entry in layer}


@pytest.mark.parametrize("module", [name for name in FILES if any(within(name, entry) for entry in PURE)])
def test_the_middle_is_pure(module: str) -> None:
    """Neither a pure module nor anything of ours that it imports touches a socket, a clock or a log."""
    reached, waiting = {module}, [module]
    while waiting:
        current = waiting.pop()
        impure = {name.partition(".")[0] for name in imports(current)} & IMPURE
        assert not impure, f"{module} reaches {sorted(impure)} through {current}"
        new = ours(current) - reached
        reached |= new
        waiting += new


def test_every_pure_module_is_there() -> None:
    """The list of pure modules names modules that exist."""
    assert all(any(within(name, entry) for name in FILES) for entry in PURE)


def test_only_the_composition_root_knows_the_simulator() -> None:
    """The simulator is reached through app.py alone, and knows nothing of the exporter."""
    for module in FILES:
        simulated = {name for name in ours(module) if within(name, "exporter.simulator")}
        if within(module, "exporter.simulator"):
            assert simulated == ours(module), f"{module} imports the exporter"
        else:
            assert not simulated or module == "exporter.app", f"{module} imports the simulator"


def test_no_two_modules_import_each_other() -> None:
    """There is an order in which every module comes after all that it imports."""
    remaining = {module: ours(module) - {module} for module in FILES}
    while remaining:
        free = {module for module, needed in remaining.items() if not needed & remaining.keys()}
        assert free, f"these import each other in a circle: {sorted(remaining)}"
        remaining = {module: needed for module, needed in remaining.items() if module not in free}


# The table, and the names that metrics had when older state files were written.
NAME_METRICS = {"exporter.families", "exporter.state.upgrade"}


@pytest.mark.parametrize("module", [name for name in FILES if name not in NAME_METRICS])
def test_only_the_table_names_metrics(module: str) -> None:
    """No other module writes a metric's name; a group of them, with a star, may stand in a help text."""
    for text in texts(module):
        assert not re.findall(r"\bdatabricks_\w+\b(?!\*)", text), f"{module} names a metric"


def test_the_table_is_where_the_names_are() -> None:
    """The rule above can see names: it finds every one of them in families.py."""
    assert {family.name for family in FAMILIES} <= set(texts("exporter.families"))


@pytest.mark.parametrize(
    "path", sorted(str(path.relative_to(UNIT_TESTS)) for path in UNIT_TESTS.rglob("test_*.py"))
)
def test_a_unit_test_has_its_module(path: str) -> None:
    """tests/unit/x/test_y.py is about exporter/x/y.py, or WITHOUT_A_MODULE says what it is about."""
    module = (ROOT / "exporter" / path).with_name(Path(path).name.removeprefix("test_"))
    assert module.exists() != (path in WITHOUT_A_MODULE)


def test_the_page_on_architecture_names_modules_that_exist() -> None:
    """Every module that docs/architecture.md names is there, and every stage of the way has one."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`(exporter/[\w/.]+)`", page))
    assert len(named) > 25
    assert [path for path in named if not (ROOT / path).exists()] == []
    assert [f"{path}" for path in re.findall(r"`((?:databricks|runs)/\w+\.py)`", page)
            if not (ROOT / "exporter" / path).exists()] == []  # fmt: skip


def test_the_page_on_architecture_names_the_pure_stages() -> None:
    """The modules of a stage that it calls pure are."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    stages = [row for row in page.splitlines() if row.startswith("| ") and "(*pure*)" in row]
    assert len(stages) == 2
    for stage in stages:
        for path in re.findall(r"`exporter/([\w/]+)\.py`", stage):
            module = f"exporter.{path.replace('/', '.')}"
            assert any(within(module, entry) for entry in PURE), module


def test_every_exception_is_there() -> None:
    """No entry outlives its file."""
    assert [path for path in WITHOUT_A_MODULE if not (UNIT_TESTS / path).exists()] == []
