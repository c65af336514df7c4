"""The README's tables, drawn from the code: `python -m tests.docs_tables` writes them into README.md.

Each stands between a `<!-- name -->` and a `<!-- /name -->` line.
"""

from collections.abc import Callable, Iterable
from pathlib import Path

from exporter.config import all_settings
from exporter.families import (
    FAMILIES,
    JOB_FAMILIES,
    JOB_LABELS,
    OWN_FAMILIES,
    RUN_FAMILIES,
    RUN_LABELS,
    Family,
)

README = Path(__file__).parent.parent / "README.md"
SHARED_LABELS = "Each has the labels"


def metric_table() -> str:
    """Every family, in the order of the body, in sections of families that share their first labels."""
    last_run = [family for family in JOB_FAMILIES if family.labels == RUN_LABELS]
    now = [family for family in JOB_FAMILIES if family.labels != RUN_LABELS]
    return "\n\n".join(
        [
            _metric_section("Finished runs and task attempts", RUN_LABELS, RUN_FAMILIES),
            _metric_section("Each job's last run", RUN_LABELS, last_run),
            _metric_section("What is active now", JOB_LABELS, now),
            _metric_section("The exporter itself", (), OWN_FAMILIES),
            _buckets(),
        ]
    )


def setting_table() -> str:
    """Every setting; `default` is the one without `--demo`."""
    rows = [(f"`{one.flag}`", f"`{one.kind}`", one.default_text, one.help) for one in all_settings()]
    return _table(("flag", "value", "default", "meaning"), rows)


BLOCKS: dict[str, Callable[[], str]] = {"metrics": metric_table, "settings": setting_table}


def block(name: str, text: str) -> str:
    """What stands between a block's marks in the document, without the blank lines around it."""
    _, found, rest = text.partition(f"<!-- {name} -->")
    inside, ended, _ = rest.partition(f"<!-- /{name} -->")
    assert found, f"README.md has no {name} block"
    assert ended, f"the {name} block of README.md has no end"
    return inside.strip()


def with_blocks(text: str) -> str:
    """The document with every block drawn again."""
    for name, draw in BLOCKS.items():
        before, after = f"<!-- {name} -->", f"<!-- /{name} -->"
        head, _, rest = text.partition(before)
        _, _, tail = rest.partition(after)
        text = f"{head}{before}\n\n{draw()}\n\n{after}{tail}"
    return text


def _metric_section(title: str, shared: tuple[str, ...], families: Iterable[Family]) -> str:
    heading = f"### {title}"
    if shared:
        heading += f"\n\n{SHARED_LABELS} {_code(shared)}, and those of its row:"
    rows = [
        (f"`{one.name}`", one.kind, _code(one.labels[len(shared) :]) or "–", one.help) for one in families
    ]
    return f"{heading}\n\n{_table(('metric', 'type', 'labels', 'meaning'), rows)}"


def _buckets() -> str:
    names: dict[tuple[float, ...], list[str]] = {}
    for family in FAMILIES:
        if family.buckets:
            names.setdefault(family.buckets, []).append(family.name)
    rows = [(_code(users), ", ".join(map("{:g}".format, buckets))) for buckets, users in names.items()]
    return f"### Buckets\n\n{_table(('metric', 'upper bounds'), rows)}"


def _code(words: Iterable[str]) -> str:
    return ", ".join(f"`{word}`" for word in words)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    cells = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", r"\|") for cell in row) + " |" for row in cells)


if __name__ == "__main__":
    README.write_text(with_blocks(README.read_text()))
