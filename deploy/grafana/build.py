"""Writes the dashboards' JSON, from the modules beside this one: `python -m deploy.grafana.build`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grafana_foundation_sdk.builders.dashboard import Dashboard
from grafana_foundation_sdk.cog.encoder import JSONEncoder

from deploy.grafana import exporter, job, overview, performance_target

FOLDER = Path(__file__).parent / "dashboards"

BUILDERS: dict[str, Callable[[], Dashboard]] = {
    "overview": overview.build,
    "job": job.build,
    "performance-target": performance_target.build,
    "exporter": exporter.build,
}


def document(name: str) -> dict[str, Any]:
    """A dashboard as Grafana reads it; panels are numbered in their order, so that links to them last."""
    made: dict[str, Any] = json.loads(json.dumps(BUILDERS[name]().build(), cls=JSONEncoder))
    for number, panel in enumerate(made["panels"], start=1):
        panel["id"] = number
    return made


def text(name: str) -> str:
    return json.dumps(document(name), indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    for one in BUILDERS:
        (FOLDER / f"{one}.json").write_text(text(one), encoding="utf-8")
