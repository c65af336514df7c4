"""Figures as Grafana writes them, and the colours behind its names."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime

COLOURS = {
    "green": "#73bf69",
    "light-green": "#96d98d",
    "red": "#f2495c",
    "orange": "#ff9830",
    "light-orange": "#ffb357",
    "yellow": "#fade2a",
    "blue": "#5794f2",
    "light-blue": "#8ab8ff",
    "purple": "#b877d9",
    "text": "#d8d9da",
}
# For series that no dashboard gives a colour of its own.
PALETTE = ("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2", "#b877d9", "#37872d", "#fade2a")

_TIMES = ((604800, "week"), (86400, "day"), (3600, "hour"), (60, "min"))
_LARGE = ((1e9, " Bil"), (1e6, " Mil"), (1e3, " K"))
_BYTES = ((2**30, " GiB"), (2**20, " MiB"), (2**10, " KiB"))


def colour(name: str) -> str:
    return COLOURS.get(name, name)


def threshold_colour(steps: Sequence[dict[str, object]], value: float) -> str:
    """The colour of the last step that the value reaches."""
    reached = [step for step in steps if step["value"] is None or value >= float(str(step["value"]))]
    return colour(str(reached[-1]["color"]))


def shown(value: float, unit: str, decimals: int | None = None, *, exact: bool = False) -> str:
    """A value in its unit; `exact` for a tick of an axis, which is a round number."""
    if not math.isfinite(value):
        return "–"
    match unit:
        case "percentunit":
            digits = 1 if decimals is None else decimals
            text = f"{_plain(value * 100)}%" if exact else f"{round(value * 100, digits) + 0.0:.{digits}f}%"
        case "s":
            text = _seconds(value)
        case "dateTimeAsIso":
            text = datetime.fromtimestamp(value / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")
        case "none":
            text = f"{value:.0f}"
        case "bytes":
            text = _scaled(value, _BYTES, decimals)
        case "reqps":
            text = f"{_plain(value)} req/s"
        case _:
            text = _scaled(value, _LARGE, decimals)
    return text


def _seconds(value: float) -> str:
    for size, name in _TIMES:
        if abs(value) >= size:
            amount = _plain(value / size)
            return f"{amount} {name}{'s' if amount != '1' else ''}"
    return f"{_plain(value)} s" if abs(value) >= 1 or value == 0 else f"{_plain(value * 1000)} ms"


def _scaled(value: float, scales: Sequence[tuple[float, str]], decimals: int | None) -> str:
    for size, name in scales:
        if abs(value) >= size:
            return f"{_plain(value / size)}{name}"
    return f"{value:.{decimals}f}" if decimals is not None else _plain(value)


def _plain(value: float) -> str:
    """Three digits, without zeros at the end."""
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def ticks(top: float, unit: str, count: int = 4) -> list[float]:
    """Round values from 0 to about `top`; times in steps that clocks have."""
    if top <= 0:
        return [0.0]
    rough = top / count
    if unit == "s" and rough > 1:
        nice: list[float] = [
            1,
            2,
            5,
            10,
            15,
            30,
            60,
            120,
            300,
            600,
            900,
            1800,
            3600,
            7200,
            14400,
            21600,
            43200,
        ]
        step = next((size for size in nice if size >= rough), 86400.0)
    elif unit == "bytes":
        step = 2.0 ** math.ceil(math.log2(rough))
    else:
        power = 10 ** math.floor(math.log10(rough))
        step = next(size * power for size in (1, 2, 2.5, 5, 10) if size * power >= rough)
    return [step * number for number in range(math.floor(top / step + 1e-9) + 1)]
