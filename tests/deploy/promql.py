"""The words that a PromQL expression may use: the families of the table, and what the rules record.

`unknown_words` is what the rules' and the dashboards' tests ask. It reads expressions with a real parser.
"""

import re
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import yaml

from exporter.families import FAMILIES, JOB_LABELS, RUN_LABELS

PROMETHEUS = Path(__file__).parent.parent.parent / "deploy" / "prometheus"
RUNBOOKS = PROMETHEUS / "runbooks"
# A query in a runbook.
QUERY = re.compile(r"```promql\n(.*?)```", re.DOTALL)
# The labels that a recorded series has, by its level: what stands before the first colon of its name.
LEVELS = {
    "databricks_workspace": {"workspace"},
    "databricks_target": {"workspace", "effective_performance_target"},
    "databricks_job": set(JOB_LABELS),
    "databricks_job_state": {*JOB_LABELS, "state"},
    "databricks_job_target": set(RUN_LABELS),
}
# Beside those of their level.
RULE_LABELS = {
    "databricks_job_target:events:total": {"event"},
    "databricks_job_target:events:new": {"event"},
    "databricks_job:alert_threshold:override": {"alert"},
    "databricks_job:alert_threshold:max": {"alert"},
}
# What Prometheus itself adds to every scraped series.
SCRAPE_LABELS = {"job", "instance"}


@cache
def rules() -> tuple[dict[str, Any], ...]:
    """Every shipped rule."""
    found: list[dict[str, Any]] = []
    for path in sorted((PROMETHEUS / "rules").glob("*.yml")):
        for group in yaml.safe_load(path.read_text())["groups"]:
            found.extend(group["rules"])
    return tuple(found)


def recorded() -> set[str]:
    """What the shipped rules record, and the thresholds that a user may."""
    return {rule["record"] for rule in rules() if "record" in rule} | {
        "databricks_job:alert_threshold:override"
    }


@cache
def vocabulary() -> dict[str, set[str]]:
    """The labels of every sample that an expression may select, by its name."""
    known = {"up": set(SCRAPE_LABELS)}
    for family in FAMILIES:
        labels = {*family.labels, *SCRAPE_LABELS}
        if family.kind == "histogram":
            known[f"{family.name}_bucket"] = {*labels, "le"}
            known[f"{family.name}_count"] = known[f"{family.name}_sum"] = labels
        else:
            known[family.name] = labels
    for name in recorded():
        known[name] = LEVELS[name.partition(":")[0]] | RULE_LABELS.get(name, set())
    return known


def nodes(expression: str) -> list[promql_parser.Expr]:
    """Every node of an expression. Raises ValueError when it can't be parsed."""
    found: list[promql_parser.Expr] = []

    def visit(node: promql_parser.Expr) -> bool:
        found.append(node)
        return True

    promql_parser.walk(promql_parser.parse(expression), visit)
    return found


def selectors(expression: str) -> list[promql_parser.VectorSelector]:
    return [node for node in nodes(expression) if isinstance(node, promql_parser.VectorSelector)]


def grouping_labels(expression: str) -> set[str]:
    """The labels of by, without, on, ignoring, group_left and group_right."""
    labels: set[str] = set()
    for node in nodes(expression):
        if isinstance(node, promql_parser.AggregateExpr) and node.modifier:
            labels.update(node.modifier.labels)
        if isinstance(node, promql_parser.BinaryExpr) and node.modifier:
            if node.modifier.matching:
                labels.update(node.modifier.matching.labels)
            labels.update(node.modifier.group_labels or ())
    return labels


def unknown_words(expression: str, also: Iterable[str] = ()) -> list[str]:
    """The metrics and labels of an expression that nothing has; `also` are labels that it makes itself."""
    known, wrong = vocabulary(), []
    reached = set(also)
    for selector in selectors(expression):
        name = str(selector.name)
        if name not in known:
            wrong.append(name)
            continue
        reached |= known[name]
        used = {matcher.name for matcher in selector.matchers.matchers}
        wrong.extend(f"{name}{{{label}}}" for label in sorted(used - known[name]))
    return wrong + sorted(grouping_labels(expression) - reached)


COMPARISONS = {"==", "!=", ">", "<", ">=", "<="}


def without_comparisons(expression: str) -> str:
    """The expression as it would be without thresholds, exceptions (`unless`) and offsets.

    A comparison of two vectors becomes `and`: both sides must still have series that match.
    """
    return _loosened(promql_parser.parse(expression))


def alternatives(expression: str) -> list[str]:
    """What the outermost `or`s of an expression choose from, and what `and` demands of them."""
    return [_loosened(part) for part in _parts(promql_parser.parse(expression))]


def _parts(node: promql_parser.Expr) -> list[promql_parser.Expr]:
    if isinstance(node, promql_parser.ParenExpr):
        return _parts(node.expr)
    if isinstance(node, promql_parser.BinaryExpr) and str(node.op) == "or":
        return _parts(node.lhs) + _parts(node.rhs)
    if isinstance(node, promql_parser.BinaryExpr) and str(node.op) == "and":
        return [*_parts(node.lhs), node.rhs]
    return [node]


def _loosened(node: promql_parser.Expr) -> str:
    match node:
        case promql_parser.ParenExpr():
            return f"({_loosened(node.expr)})"
        case promql_parser.BinaryExpr():
            return _loosened_operation(node)
        case promql_parser.AggregateExpr():
            arguments = [node.param, node.expr] if node.param else [node.expr]
            return f"{node.op} {node.modifier or ''} ({', '.join(map(_loosened, arguments))})"
        case promql_parser.Call():
            return f"{node.func.name}({', '.join(map(_loosened, node.args))})"
        case _:
            return re.sub(r" offset \w+$", "", node.prettify().strip())


def _loosened_operation(node: promql_parser.BinaryExpr) -> str:
    left, operation = _loosened(node.lhs), str(node.op)
    scalar = not selectors(node.rhs.prettify())
    if operation == "unless" or (operation in COMPARISONS and scalar):
        return left
    modifier = str(node.modifier or "")
    if operation in COMPARISONS:
        operation, modifier = "and", modifier.partition("group_left")[0]
    return f"({left}) {operation} {modifier} ({_loosened(node.rhs)})"
