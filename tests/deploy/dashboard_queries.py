"""What the dashboards ask Prometheus: every query, with Grafana's variables and macros filled in."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[2] / "deploy/grafana/dashboards"
NAMES = ("overview", "job", "performance-target", "exporter")

_VARIABLE = re.compile(r"\$(\w+)|\$\{(\w+)\}")
# In the order in which Grafana would try them: longer names first.
_QUERY_VARIABLES = (
    (re.compile(r"^label_values\((?P<expression>.+), \w+\)$", re.DOTALL), "expression"),
    (re.compile(r"^query_result\((?P<expression>.+)\)$", re.DOTALL), "expression"),
)


@dataclass(frozen=True, slots=True)
class PanelQuery:
    """One query as it stands in the JSON, with where it stands."""

    dashboard: str
    panel: str
    ref: str
    expression: str
    instant: bool

    def __str__(self) -> str:
        return f"{self.dashboard}: {self.panel} {self.ref}"


@cache
def dashboard(name: str) -> dict[str, Any]:
    """The committed JSON."""
    read: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    return read


def panels(name: str) -> list[dict[str, Any]]:
    """Every panel that shows something."""
    return [panel for panel in dashboard(name)["panels"] if panel["type"] != "row"]


def variables(name: str) -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = dashboard(name)["templating"]["list"]
    return listed


def queries() -> Iterator[PanelQuery]:
    """Those of all panels, and those that fill the variables."""
    for name in NAMES:
        for panel in panels(name):
            for target in panel["targets"]:
                yield PanelQuery(
                    name, panel["title"], target["refId"], target["expr"], bool(target.get("instant"))
                )
        for variable in variables(name):
            if variable["type"] == "query":
                yield PanelQuery(name, f"${variable['name']}", "", asked_by(variable["query"]), instant=True)


def asked_by(variable_query: str) -> str:
    """The expression inside `label_values(…, label)` or `query_result(…)`."""
    for pattern, group in _QUERY_VARIABLES:
        if found := pattern.match(variable_query):
            return found[group]
    raise AssertionError(f"neither label_values nor query_result: {variable_query}")


def used(expression: str) -> set[str]:
    """The names of the variables and macros in an expression, without `$1` of a label_replace."""
    return {name for found in _VARIABLE.findall(expression) for name in found if name and not name.isdigit()}


def filled(expression: str, values: Mapping[str, str]) -> str:
    """With the values of variables and macros; a name without one is an error."""
    return _VARIABLE.sub(
        lambda found: found[0] if (found[1] or found[2]).isdigit() else values[found[1] or found[2]],
        expression,
    )
