"""README and CHANGELOG say what the code does."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

import exporter
from exporter.config import all_settings
from exporter.config.credentials import CREDENTIAL_VARIABLES
from exporter.families import FAMILIES, Family
from exporter.runs.outcomes import RESULTS
from tests.docs_tables import BLOCKS, SHARED_LABELS, block, with_blocks
from tests.packaging.test_packaging import pyproject

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()

FAMILY_OF = {family.name: family for family in FAMILIES}
HISTOGRAM_PARTS = ("_bucket", "_sum", "_count")
QUERIES = re.findall(r"```promql\n(.*?)```", README, re.DOTALL)
# A name as it stands in a text; one that ends in an underscore stands for every name that begins so.
METRIC = re.compile(r"\bdatabricks_[a-z_]+")
MATCHERS = re.compile(r"\{([^}]*)\}")
GROUPINGS = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


def family_of(sample: str) -> Family | None:
    """The family that a sample of this name belongs to."""
    if sample in FAMILY_OF:
        return FAMILY_OF[sample]
    for part in HISTOGRAM_PARTS:
        family = FAMILY_OF.get(sample.removesuffix(part))
        if sample.endswith(part) and family is not None and family.kind == "histogram":
            return family
    return None


def labels_in(query: str) -> set[str]:
    """Every label that a query selects or groups by."""
    selected = {name for inside in MATCHERS.findall(query) for name in re.findall(r"(\w+)\s*[=!]", inside)}
    grouped = {name for inside in GROUPINGS.findall(query) for name in re.findall(r"\w+", inside)}
    return selected | grouped


def words_in_code(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"`(\w+)`", text))


def anchors(document: str) -> set[str]:
    """The fragments that GitHub gives the headings."""
    headings = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


# --- tables


@pytest.mark.parametrize("name", BLOCKS)
def test_a_table_is_what_the_code_says(name: str) -> None:
    assert block(name, README) == BLOCKS[name](), "draw it again: python -m tests.docs_tables"


def test_drawing_the_tables_again_leaves_the_rest_of_the_readme_alone() -> None:
    assert with_blocks(README) == README


def test_every_family_has_one_row_with_its_type_labels_and_help() -> None:
    """So that a mistake in the drawing can't go unseen."""
    rows: dict[str, tuple[str, tuple[str, ...], str]] = {}
    shared: tuple[str, ...] = ()
    for line in block("metrics", README).splitlines():
        if line.startswith("### "):
            shared = ()
        elif line.startswith(SHARED_LABELS):
            shared = words_in_code(line)
        elif line.startswith("| `databricks_") and line.count(" | ") == 3:
            name, kind, labels, text = line.strip("| ").split(" | ")
            rows[name.strip("`")] = (kind, shared + words_in_code(labels), text)
    assert rows == {family.name: (family.kind, family.labels, family.help) for family in FAMILIES}


def test_every_setting_has_a_row_with_its_flag_default_and_help() -> None:
    for setting in all_settings():
        rows = [line for line in README.splitlines() if line.startswith(f"| `{setting.flag}` |")]
        assert len(rows) == 1
        assert rows[0].endswith(f"| {setting.default_text} | {setting.help} |")


def test_what_the_demo_changes_is_told() -> None:
    paragraph = next(part for part in README.split("\n\n") if part.startswith("`--demo`"))
    for setting in all_settings():
        if setting.demo_default_text is not None:
            assert setting.demo_default_text in paragraph, setting.name


def test_every_result_is_explained() -> None:
    explained = re.findall(r"^\| `([A-Z_]+)` \| ", block_after("### Results"), re.MULTILINE)
    assert set(explained) == set(RESULTS)


def block_after(heading: str) -> str:
    """The text from a heading to the next one."""
    return README.partition(f"{heading}\n")[2].partition("\n#")[0]


def test_every_credential_is_explained() -> None:
    for variable in CREDENTIAL_VARIABLES:
        assert f"| `{variable}` | " in README


# --- names in the text


def test_every_metric_that_the_documents_name_exists() -> None:
    for name in METRIC.findall(README + CHANGELOG):
        beginning = name.endswith("_") and any(family.startswith(name) for family in FAMILY_OF)
        assert beginning or family_of(name), name


def test_every_variable_that_the_readme_names_exists() -> None:
    known = {setting.variable for setting in all_settings()} | {"DATABRICKS_EXPORTER_CONFIG_FILE"}
    named = {name for name in re.findall(r"DATABRICKS_EXPORTER_\w+", README) if not name.endswith("_")}
    assert named
    assert named <= known


@pytest.mark.parametrize(("document", "first"), [(README, "demo"), (CONTRIBUTING, "quick")])
def test_every_make_target_that_a_document_names_exists(document: str, first: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z]+)", document, re.MULTILINE))
    assert named <= targets
    assert first in named


def test_every_path_and_marker_that_the_contributing_page_names_exists() -> None:
    paths = re.findall(r"`((?:exporter|tests|deploy|docs|benchmarks)/[\w/.]*)`", CONTRIBUTING)
    assert len(paths) > 10
    assert [path for path in paths if not (ROOT / path).exists()] == []
    marks = {mark for chosen in re.findall(r"-m (\w+)`", CONTRIBUTING) for mark in [chosen]}
    markers = pyproject()["tool"]["pytest"]["ini_options"]["markers"]
    assert marks == {marker.partition(":")[0] for marker in markers}


def test_every_relative_link_leads_somewhere() -> None:
    links = [link for link in LINK.findall(README + CHANGELOG + CONTRIBUTING) if "://" not in link]
    assert links
    for link in links:
        path, _, fragment = link.partition("#")
        if path:
            assert (ROOT / path).exists(), link
        else:
            assert fragment in anchors(README), link


# --- queries


def test_there_are_queries_to_start_from() -> None:
    assert len(QUERIES) >= 5


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_uses_families_and_labels_that_exist(query: str) -> None:
    families = [(name, family_of(name)) for name in METRIC.findall(query)]
    assert families
    assert [name for name, family in families if family is None] == []
    known = {label for _, family in families if family for label in family.labels}
    if any(name.endswith("_bucket") for name, _ in families):
        known.add("le")
    assert labels_in(query) <= known


def test_promtool_understands_every_query(tmp_path: Path) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed")
    rules = [{"record": f"readme:query_{number}", "expr": query} for number, query in enumerate(QUERIES)]
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "readme", "rules": rules}]}))
    result = subprocess.run([promtool, "check", "rules", file], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{len(QUERIES)} rules found" in result.stdout


# --- versions


def test_the_changelog_has_the_version_first_and_with_a_date() -> None:
    versions = re.findall(r"^## \[(\d+\.\d+\.\d+)\] - \d{4}-\d{2}-\d{2}$", CHANGELOG, re.MULTILINE)
    assert versions[0] == exporter.__version__
