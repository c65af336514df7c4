"""A dashboard as an HTML page: its panels where the JSON places them, filled with Prometheus' answers."""

import math
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from deploy.grafana.pictures.drawing import Named, graph, heat
from deploy.grafana.pictures.units import colour, shown, threshold_colour
from tests.e2e.prometheus import Series

WIDTH = 1160
_UNIT, _GAP = 32, 8

_STYLE = (Path(__file__).parent / "style.css").read_text(encoding="utf-8")

Answers = Sequence[list[Series]]


def page(
    title: str, subtitle: str, panels: Sequence[tuple[dict[str, Any], Answers]], span: tuple[float, float]
) -> str:
    """The whole page."""
    boxes = "".join(_box(panel, answers, span) for panel, answers in panels)
    return (
        f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style>'
        f"<h1>{escape(title)}<small>{escape(subtitle)}</small></h1>{boxes}"
    )


def height(panels: Sequence[dict[str, Any]]) -> int:
    """How many pixels the page is high."""
    places: list[dict[str, int]] = [panel["gridPos"] for panel in panels]
    return 48 + max(place["y"] + place["h"] for place in places) * _UNIT + _GAP


def _box(panel: dict[str, Any], answers: Answers, span: tuple[float, float]) -> str:
    place = panel["gridPos"]
    column = (WIDTH - _GAP) / 24
    left, top = round(_GAP + place["x"] * column), 48 + place["y"] * _UNIT
    wide, tall = round(place["w"] * column - _GAP), place["h"] * _UNIT - _GAP
    where = f'style="left:{left}px;top:{top}px;width:{wide}px;height:{tall}px"'
    if panel["type"] == "row":
        return f'<div class="row" {where}>{escape(panel["title"])}</div>'
    inside = _inside(panel, answers, (wide - 2, tall - 34), span)
    return f'<div class="panel" {where}><h2>{escape(panel["title"])}</h2>{inside}</div>'


def _inside(panel: dict[str, Any], answers: Answers, size: tuple[int, int], span: tuple[float, float]) -> str:
    kind = panel["type"]
    if kind == "table":
        return _table(panel, answers)
    named = [
        Named(legend(target, labels), values)
        for target, answer in zip(panel["targets"], answers, strict=True)
        for labels, values in answer
    ]
    if kind == "stat":
        return _stat(panel, named)
    if kind == "bargauge":
        return _bars(panel, named)
    if kind == "heatmap":
        return heat(panel, named, size, span)
    finite = [
        Named(one.name, [(moment, value) for moment, value in one.points if math.isfinite(value)])
        for one in named
    ]
    return graph(panel, sorted(finite, key=lambda one: _rank(panel, one.name)), size, span)


def _rank(panel: Mapping[str, Any], name: str) -> tuple[int, str]:
    """In the order of the panel's colours, so that success is at the bottom of a stack."""
    order = [override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]]
    return (order.index(name) if name in order else len(order), name)


def legend(target: Mapping[str, Any], labels: Mapping[str, str]) -> str:
    """A series' name."""
    form = target.get("legendFormat") or ""
    return re.sub(r"{{(\w+)}}", lambda found: labels.get(found[1], ""), form)


def _stat(panel: dict[str, Any], named: Sequence[Named]) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    if not named:
        return f'<div class="stat">{escape(defaults["noValue"])}</div>'
    value = named[0].points[-1][1]
    fill = threshold_colour(defaults["thresholds"]["steps"], value)
    text = shown(value, defaults["unit"], defaults.get("decimals"))
    for mapping in defaults.get("mappings", []):
        if result := mapping["options"].get(f"{value:g}"):
            text, fill = result["text"], colour(result["color"])
    if panel["options"]["textMode"] == "name":
        text = named[0].name
    return f'<div class="stat" style="color:{fill}">{escape(text)}</div>'


def _bars(panel: dict[str, Any], named: Sequence[Named]) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    values = [(one.name, one.points[-1][1]) for one in named]
    if panel["targets"][0]["format"] == "heatmap":
        values = _apart(values)
    else:
        values.sort(key=lambda one: -one[1])
    most = max((value for _, value in values), default=1) or 1
    rows = []
    for name, value in values[: int((panel["gridPos"]["h"] * _UNIT - 44) / 20)]:
        fill = threshold_colour(defaults["thresholds"]["steps"], value)
        text = shown(value, defaults["unit"], defaults.get("decimals"))
        wide = f"width:{value / most * 100:.1f}%;background:{fill}"
        bar = f'<span class="bar"><i style="{wide}"></i></span><b style="color:{fill}">{escape(text)}</b>'
        rows.append(f"<span>{escape(name)}</span>{bar}")
    return f'<div class="bars">{"".join(rows)}</div>'


def _bar(percent: float, text: str, fill: str) -> str:
    return (
        f'<span class="bar"><i style="width:{percent:.1f}%;background:{fill}"></i>'
        f'<b style="color:{fill}">{escape(text)}</b></span>'
    )


def _apart(values: Sequence[tuple[str, float]]) -> list[tuple[str, float]]:
    """Cumulative buckets, each without those below it."""
    ordered = sorted(values, key=lambda one: float(one[0]))
    below, parts = 0.0, []
    for name, value in ordered:
        bound = float(name)
        parts.append((f"{bound:g}" if math.isfinite(bound) else "more", value - below))
        below = value
    return parts


def _table(panel: dict[str, Any], answers: Answers) -> str:
    """The panel's queries joined by their labels, its columns in order and under their titles."""
    organize = panel["transformations"][1]["options"]
    columns = sorted(organize["indexByName"], key=organize["indexByName"].__getitem__)
    titles = {column: organize["renameByName"].get(column, column) for column in columns}
    looks = {
        override["matcher"]["options"]: {one["id"]: one["value"] for one in override["properties"]}
        for override in panel["fieldConfig"]["overrides"]
    }
    rows: dict[tuple[tuple[str, str], ...], dict[str, str | float]] = {}
    for number, answer in enumerate(answers):
        name = f"Value #{chr(ord('A') + number)}" if len(answers) > 1 else "Value"
        for labels, values in answer:
            row = rows.setdefault(tuple(sorted(labels.items())), dict(labels))
            row[name] = values[-1][1]
    (order,) = panel["options"]["sortBy"]
    by = next(column for column in columns if titles[column] == order["displayName"])
    found = sorted(rows.values(), key=lambda row: float(row.get(by, math.nan)), reverse=order["desc"])
    visible = [column for column in columns if not looks[titles[column]].get("custom.hidden")]
    head = "".join(f"<th{_wide(looks[titles[column]])}>{escape(titles[column])}</th>" for column in visible)
    fitting = int((panel["gridPos"]["h"] * _UNIT - 70) / 24)
    body = "".join(
        "<tr>" + "".join(_cell(row.get(column), looks[titles[column]]) for column in visible) + "</tr>"
        for row in found[:fitting]
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _wide(look: Mapping[str, Any]) -> str:
    return f' style="width:{look["custom.width"]}px"' if "custom.width" in look else ""


def _cell(value: str | float | None, look: Mapping[str, Any]) -> str:
    if value is None:
        return "<td>–</td>"
    if isinstance(value, str):
        text = escape(value)
    else:
        text = shown(value, look["unit"], look.get("decimals"))
        if "thresholds" in look:
            fill = threshold_colour(look["thresholds"]["steps"], value)
            if look["custom.cellOptions"]["type"] == "gauge":
                return f"<td>{_bar(value * 65, text, fill)}</td>"
            return f'<td style="color:{fill}">{text}</td>'
    return f'<td><span class="link">{text}</span></td>' if "links" in look else f"<td>{text}</td>"
