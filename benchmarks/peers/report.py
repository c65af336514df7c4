"""What was measured, as one table and the targets it meets or misses."""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import median

from peers.processes import BODIES, Scrape

PLACES = ("scattered", "adjacent")
TARGET_CHANGED = 1.0
STALL_PERCENTS = (TARGET_CHANGED, 100.0)
TARGET_SERIES = 1_000_000
SMALL_SERIES = 10_000


class Figures:
    """All measurements at one size, by name: a list over the rounds, read as its median."""

    def __init__(self) -> None:
        self._values: defaultdict[str, list[float]] = defaultdict(list)

    def add(self, name: str, value: float) -> None:
        self._values[name].append(value)

    def add_scrape(self, name: str, scrape: Scrape) -> None:
        """CPU and latency in milliseconds, size in MB."""
        self.add(f"{name} cpu", scrape.cpu_ms)
        self.add(f"{name} latency", scrape.latency_ms)
        self.add(f"{name} MB", scrape.size / 1e6)

    def __getitem__(self, name: str) -> float:
        """The median, not a number where nothing was measured."""
        return median(self._values[name]) if self._values.get(name) else math.nan

    def longest(self, name: str) -> float:
        """The largest, not a number where nothing was measured."""
        return max(self._values.get(name, [math.nan]))


def report(sizes: Mapping[int, Figures], percents: Sequence[float]) -> str:
    """The table with a column per size, and a line per target."""
    lines = [f"{'medians; CPU and latency in ms':<58}" + "".join(f"{series:>22,}" for series in sizes)]
    for title, cell in _rows(percents):
        if cell is None:
            lines.append(title)
        elif any("nan" not in cell(figures) for figures in sizes.values()):
            cells = (cell(figures).replace("nan", "-") for figures in sizes.values())
            lines.append(f"  {title:<56}" + "".join(f"{text:>22}" for text in cells))
    return "\n".join([*lines, "", *(f"target: {line}" for line in _targets(sizes))])


Cell = Callable[[Figures], str]


def _rows(percents: Sequence[float]) -> list[tuple[str, Cell | None]]:
    rows: list[tuple[str, Cell | None]] = [
        ("exporter", None),
        ("series keys", _cell("series keys", digits=0)),
        ("series", _cell("series", digits=0)),
        ("first render: CPU", _cell("first render")),
        ("full render, not compressed: CPU, text / OpenMetrics", _cell("render text", "render openmetrics")),
    ]
    for name in (f"{percent:g} % {place}" for percent in percents for place in PLACES):
        both = _cell(f"poll {name}", f"scrape {name} cpu", by=" + ")
        rows.append((f"poll, {name}: CPU + CPU of the scrape after it", both))
    for body in BODIES:
        rows.append((f"scrape of ready {body}: CPU / latency", _pair(body)))
        rows.append(("the same bytes through a socket: CPU / latency", _pair(f"loopback {body}")))
        rows.append((f"body of {body}: MB", _cell(f"{body} MB", digits=2)))
    rows += [
        ("longest stall of the event loop, first render: own / ever", _stall("first")),
        *(
            (f"the same, poll of {percent:g} % and every body", _stall(f"{percent:g} %"))
            for percent in STALL_PERCENTS
        ),
        ("the same, while nothing happens", _stall("idle")),
        ("memory with all totals, before the first render: MB", _cell("filled")),
        ("peak memory, scraped as by Prometheus: MB", _cell("peak")),
        ("peak memory, every kind of body asked for: MB", _cell("peak all")),
        ("prometheus-client", None),
        ("text, not compressed: CPU", _cell("python text")),
        ("OpenMetrics, not compressed: CPU", _cell("python openmetrics")),
        ("peak memory: MB", _cell("python peak")),
        ("client_golang", None),
        ("gzip scrape: CPU / latency", _pair("go")),
        ("peak memory: MB", _cell("go peak")),
        ("Prometheus, to ingest one scrape", None),
    ]
    rows += [(f"{percent:g} % changed: CPU", _cell(f"prometheus {percent:g}")) for percent in percents]
    return rows


def _pair(name: str) -> Cell:
    return _cell(f"{name} cpu", f"{name} latency")


def _stall(when: str) -> Cell:
    """What comes back in most trials without waits for a core, and the longest of all, whoever caused it."""
    return lambda figures: f"{figures[f'own stall {when}']:,.1f} / {figures.longest(f'stall {when}'):,.1f}"


def _cell(*names: str, digits: int = 1, by: str = " / ") -> Cell:
    return lambda figures: by.join(f"{figures[name]:,.{digits}f}" for name in names)


def _targets(sizes: Mapping[int, Figures]) -> list[str]:
    series = max(sizes)
    large = sizes[series]
    meant = "" if series >= TARGET_SERIES else f", meant for {TARGET_SERIES:,}"
    return [
        f"at {series:,} series{meant}, {TARGET_CHANGED:g} % changed and scattered:",
        *_shares(large),
        _ready_bytes(large),
        _stalls(large),
        _line("peak memory at most 150 MB", f"{large['peak']:.0f} MB", good=large["peak"] <= 150),
        *(_full_render(sizes[series]) for series in sizes if series == SMALL_SERIES),
    ]


def _shares(figures: Figures) -> Iterator[str]:
    name = f"{TARGET_CHANGED:g} % scattered"
    work = figures[f"poll {name}"] + figures[f"scrape {name} cpu"]
    for whose, theirs, parts in (
        ("of client_golang's gzip scrape", figures["go cpu"], 20),
        ("of prometheus-client's OpenMetrics", figures["python openmetrics"], 150),
        ("of what Prometheus spends to ingest it", figures[f"prometheus {TARGET_CHANGED:g}"], 20),
    ):
        found = theirs / work
        yield _line(f"poll and gzip scrape at most 1/{parts} {whose}", f"1/{found:.1f}", good=found >= parts)


def _ready_bytes(figures: Figures) -> str:
    cpu, latency = (
        figures[f"OpenMetrics gzip {what}"] / figures[f"loopback OpenMetrics gzip {what}"]
        for what in ("cpu", "latency")
    )
    found = f"CPU {cpu:.1f} times, latency {latency:.1f} times"
    return _line(
        "scrape of ready bytes at most 3 times the loopback copy", found, good=max(cpu, latency) <= 3
    )


def _stalls(figures: Figures) -> str:
    first = figures["own stall first"]
    later = max(figures[f"own stall {percent:g} %"] for percent in STALL_PERCENTS)
    found = f"{first:.1f} ms at the first render, {later:.1f} ms later, medians without waits for a core"
    return _line("event loop never stalled for more than 20 ms", found, good=max(first, later) <= 20)


def _full_render(figures: Figures) -> str:
    """Everything, not compressed: each format beside the peer's same one."""
    text, openmetrics = (
        figures[f"python {form}"] / figures[f"render {form}"] for form in ("text", "openmetrics")
    )
    return _line(
        f"at {SMALL_SERIES:,} series a full render at least 10 times as fast as prometheus-client's",
        f"{text:.1f} times its text, {openmetrics:.1f} times its OpenMetrics",
        good=min(text, openmetrics) >= 10,
    )


def _line(what: str, found: str, *, good: bool) -> str:
    verdict = "NOT MEASURED" if "nan" in found else f"{'met' if good else 'MISSED'} ({found})"
    return f"{what}: {verdict}"
