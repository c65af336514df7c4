"""Graphs and heatmaps as SVG, drawn from what a panel's JSON says and what Prometheus answered."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from itertools import pairwise
from typing import Any

from deploy.grafana.pictures.units import PALETTE, colour, shown, ticks

Points = list[tuple[float, float]]

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 10, 8, 22
_LEGEND_ROW = 17
_GRID, _FAINT = "#2c3235", "#9fa7b3"
# From few to many, on a dark background.
_HEAT = ((58, 32, 12), (163, 73, 12), (255, 131, 29), (255, 190, 110), (255, 241, 214))


@dataclass(frozen=True, slots=True)
class Named:
    """One series of a graph."""

    name: str
    points: Points


@dataclass(frozen=True, slots=True)
class Frame:
    """The area of a graph: pixels, and the time and the values that they stand for."""

    width: int
    height: int
    start: float
    end: float
    top: float

    def x(self, moment: float) -> float:
        inside = self.width - _LEFT - _RIGHT
        return _LEFT + inside * (moment - self.start) / (self.end - self.start)

    def y(self, value: float) -> float:
        inside = self.height - _TOP - _BOTTOM
        return _TOP + inside * (1 - value / self.top)


def colours_of(panel: Mapping[str, Any], names: Sequence[str]) -> dict[str, str]:
    """Each series' colour: the panel's override, or the next of the palette."""
    fixed = {
        override["matcher"]["options"]: colour(one["value"]["fixedColor"])
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "color"
    }
    return {name: fixed.get(name, PALETTE[number % len(PALETTE)]) for number, name in enumerate(names)}


def graph(
    panel: Mapping[str, Any], series: Sequence[Named], size: tuple[int, int], span: tuple[float, float]
) -> str:
    """A timeseries panel's lines, areas or bars, with its legend."""
    width, height = size
    legend = _legend_rows([one.name for one in series], width)
    defaults = panel["fieldConfig"]["defaults"]
    custom = defaults.get("custom", {})
    stacked = custom.get("stacking", {}).get("mode") == "normal"
    lower = _stack(series) if stacked else [[(moment, 0.0) for moment, _ in one.points] for one in series]
    raised = [
        [(moment, value + base) for (moment, value), (_, base) in zip(one.points, bases, strict=True)]
        for one, bases in zip(series, lower, strict=True)
    ]
    top = max((value for points in raised for _, value in points), default=0) or 1
    frame = Frame(width, height - _LEGEND_ROW * len(legend) - 3, *span, top * 1.08)
    colours = colours_of(panel, [one.name for one in series])
    dashes = _dashed(panel)
    drawn = [_axes(frame, defaults["unit"])]
    if custom.get("thresholdsStyle", {}).get("mode") == "dashed":
        drawn += _threshold_lines(frame, defaults["thresholds"]["steps"])
    for one, points, bases in zip(series, raised, lower, strict=True):
        if custom.get("drawStyle") == "bars":
            drawn.append(_bars(frame, points, bases, colours[one.name]))
        else:
            drawn.append(_line(frame, points, bases, colours[one.name], dashed=one.name in dashes))
    drawn.append(_legend(legend, colours, height))
    return _svg(width, height, drawn)


def _dashed(panel: Mapping[str, Any]) -> set[str]:
    """The names of the series that are drawn as dashes."""
    return {
        override["matcher"]["options"]
        for override in panel["fieldConfig"]["overrides"]
        for one in override["properties"]
        if one["id"] == "custom.lineStyle"
    }


def _stack(series: Sequence[Named]) -> list[Points]:
    """Under every point of a series, the sum of the series before it."""
    so_far: dict[float, float] = {}
    bases = []
    for one in series:
        bases.append([(moment, so_far.get(moment, 0.0)) for moment, _ in one.points])
        for moment, value in one.points:
            so_far[moment] = so_far.get(moment, 0.0) + value
    return bases


def _line(frame: Frame, points: Points, bases: Points, stroke: str, *, dashed: bool) -> str:
    if not points:
        return ""
    places = [(frame.x(moment), frame.y(value)) for moment, value in points]
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    back = " ".join(f"{frame.x(moment):.1f},{frame.y(base):.1f}" for moment, base in reversed(bases))
    area = f'<polygon points="{path} {back}" fill="{stroke}" fill-opacity="{0 if dashed else 0.08}"/>'
    dash = ' stroke-dasharray="5 3"' if dashed else ""
    line = f'<polyline points="{path}" fill="none" stroke="{stroke}" stroke-width="1.6"{dash}/>'
    few = len(points) < 40
    dots = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.4" fill="{stroke}"/>' for x, y in places if few)
    return area + line + dots


def _bars(frame: Frame, points: Points, bases: Points, fill: str) -> str:
    step = min((later - earlier for (earlier, _), (later, _) in pairwise(points)), default=600)
    wide = max((frame.x(step) - frame.x(0)) * 0.82, 1)
    rects = []
    for (moment, value), (_, base) in zip(points, bases, strict=True):
        upper, under = frame.y(value), frame.y(base)
        if under - upper > 0.2:
            rects.append(
                f'<rect x="{frame.x(moment) - wide / 2:.1f}" y="{upper:.1f}" width="{wide:.1f}"'
                f' height="{under - upper:.1f}"/>'
            )
    return f'<g fill="{fill}" fill-opacity="0.9">{"".join(rects)}</g>'


def _threshold_lines(frame: Frame, steps: Sequence[Mapping[str, Any]]) -> list[str]:
    return [
        f'<line x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{frame.y(step["value"]):.1f}"'
        f' y2="{frame.y(step["value"]):.1f}" stroke="{colour(step["color"])}" stroke-dasharray="6 5"/>'
        for step in steps
        if step["value"] is not None and 0 < step["value"] < frame.top
    ]


def _axes(frame: Frame, unit: str) -> str:
    drawn = []
    for value in ticks(frame.top, unit):
        y = frame.y(value)
        drawn.append(
            f'<line x1="{_LEFT}" x2="{frame.width - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" stroke="{_GRID}"/>'
        )
        drawn.append(_text(_LEFT - 6, y + 4, shown(value, unit, exact=True), "end"))
    return "".join(drawn) + _time_axis(frame)


def _time_axis(frame: Frame) -> str:
    hours = (frame.end - frame.start) / 3600
    room = (frame.width - _LEFT) / 64
    step = next(size for size in (1, 2, 3, 4, 6, 8, 12, 24) if hours / size <= room) * 3600
    first = math.ceil(frame.start / step) * step
    moments = [first + step * number for number in range(int((frame.end - first) / step) + 1)]
    return "".join(
        _text(
            frame.x(moment), frame.height - 5, datetime.fromtimestamp(moment, UTC).strftime("%H:%M"), "middle"
        )
        for moment in moments
        if frame.x(moment) < frame.width - 24
    )


def heat(
    panel: Mapping[str, Any], buckets: Sequence[Named], size: tuple[int, int], span: tuple[float, float]
) -> str:
    """A heatmap panel's cells; `buckets` are cumulative and named by their upper bounds."""
    width, height = size
    unit = panel["options"]["yAxis"]["unit"]
    ordered = sorted(buckets, key=lambda one: float(one.name))
    rows = _taken_apart(ordered)
    used = [number for number, row in enumerate(rows) if any(count > 0.01 for count in row.values())]
    if not used:
        return _svg(width, height, [])
    low, high = max(min(used) - 1, 0), min(max(used) + 1, len(rows) - 1)
    frame = Frame(width, height, *span, high - low + 1)
    most = max(count for row in rows for count in row.values())
    moments = sorted({moment for row in rows for moment in row})
    wide = frame.x(moments[1]) - frame.x(moments[0]) if len(moments) > 1 else 8
    tall = frame.y(0) - frame.y(1)
    drawn = [_time_axis(frame)]
    for number in range(low, high + 1):
        y = frame.y(number - low + 1)
        bound = float(ordered[number].name)
        label = shown(bound, unit) if math.isfinite(bound) else "more"
        every = 2 if tall < 13 else 1
        if (number - low) % every == 0:
            drawn.append(_text(_LEFT - 6, y + tall / 2 + 4, label, "end"))
        for moment, count in rows[number].items():
            if count > 0.01 and frame.x(moment) - wide > _LEFT - 1:
                drawn.append(
                    f'<rect x="{frame.x(moment) - wide:.1f}" y="{y + 0.5:.1f}" width="{max(wide - 1, 1):.1f}"'
                    f' height="{tall - 1:.1f}" fill="{_shade(count / most)}"/>'
                )
    return _svg(width, height, drawn)


def _taken_apart(ordered: Sequence[Named]) -> list[dict[float, float]]:
    """How many fell between a bound and the one below it, by moment."""
    below: dict[float, float] = {}
    rows = []
    for one in ordered:
        now = {moment: value for moment, value in one.points if math.isfinite(value)}
        rows.append({moment: max(value - below.get(moment, 0.0), 0.0) for moment, value in now.items()})
        below = now
    return rows


def _shade(share: float) -> str:
    """The colour of a cell: the square root lets a few be seen beside many."""
    place = math.sqrt(share) * (len(_HEAT) - 1)
    number = min(int(place), len(_HEAT) - 2)
    part = place - number
    mixed = (round(a + (b - a) * part) for a, b in zip(_HEAT[number], _HEAT[number + 1], strict=True))
    return "#" + "".join(f"{one:02x}" for one in mixed)


def _legend_rows(names: Sequence[str], width: int) -> list[list[tuple[str, float]]]:
    """The names with the place where each begins, in as many rows as they need."""
    rows: list[list[tuple[str, float]]] = [[]]
    x = 10.0
    for name in names:
        long = 33 + len(name) * 6.6
        if x + long > width and rows[-1]:
            rows.append([])
            x = 10.0
        rows[-1].append((name, x))
        x += long
    return rows


def _legend(rows: Sequence[Sequence[tuple[str, float]]], colours: Mapping[str, str], height: int) -> str:
    drawn = []
    for number, row in enumerate(reversed(rows)):
        y = height - 5 - _LEGEND_ROW * number
        for name, x in row:
            drawn.append(
                f'<rect x="{x:.0f}" y="{y - 6}" width="12" height="4" rx="2" fill="{colours[name]}"/>'
            )
            drawn.append(_text(x + 17, y, name, "start"))
    return "".join(drawn)


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{_FAINT}">{escape(words)}</text>'


def _svg(width: int, height: int, parts: Sequence[str]) -> str:
    return f'<svg width="{width}" height="{height}" viewBox="0 0 {width} {height}">{"".join(parts)}</svg>'
