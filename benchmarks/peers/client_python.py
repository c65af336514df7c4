"""The samples of a file in prometheus-client, rendered on command."""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics

from peers.processes import forget_peak, say

Add = Callable[[list[str], list[float]], None]


def main() -> None:
    """Fill a registry, then render it once per line of standard input, into a file where one is named."""
    disable_created_metrics()  # type: ignore[no-untyped-call]
    registry = CollectorRegistry()
    with Path(sys.argv[1]).open(encoding="utf-8") as file:
        _fill(registry, file)
    forget_peak()
    say(filled=True)
    for line in sys.stdin:
        command = json.loads(line)
        render = generate_openmetrics if command["format"] == "openmetrics" else generate_text
        began = time.process_time()
        body = render(registry)
        cpu = time.process_time() - began
        if command.get("into"):
            Path(command["into"]).write_bytes(body)
        say(cpu=cpu, size=len(body))
        del body


def _fill(registry: CollectorRegistry, file: TextIO) -> None:
    table = [_registered(registry, **json.loads(line)) for line in iter(file.readline, "\n")]
    for line in file:
        index, labels, numbers = json.loads(line)
        table[index](labels, numbers)


def _registered(
    registry: CollectorRegistry,
    *,
    name: str,
    kind: str,
    help: str,  # noqa: A002  the file's word
    labels: list[str],
    buckets: list[float],
) -> Add:
    match kind:
        case "histogram":
            histogram = Histogram(name, help, labels, registry=registry, buckets=buckets)

            def observe(values: list[str], numbers: list[float]) -> None:
                child = histogram.labels(*values)
                for number in numbers:
                    child.observe(number)

            return observe
        case "counter":
            counter = Counter(name, help, labels, registry=registry)
            return lambda values, numbers: counter.labels(*values).inc(numbers[0])
        case _:
            gauge = Gauge(name, help, labels, registry=registry)
            return lambda values, numbers: gauge.labels(*values).set(numbers[0])
