"""Draws `docs/<dashboard>.png`: each dashboard's JSON over a simulated day in a real Prometheus.

No Grafana takes part: the panels' places, queries, units, colours and columns are read from the JSON and
drawn by Chromium. It needs Debian's prometheus, chromium and pngquant, and some minutes.
"""

import asyncio
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from deploy.grafana.pictures.history import STEP_SECONDS, a_day
from deploy.grafana.pictures.page import WIDTH, height, page
from tests.deploy.dashboard_queries import dashboard, filled
from tests.e2e.prometheus import Prometheus, Series
from tests.programs import program

DOCS = Path(__file__).parents[3] / "docs"


@dataclass(frozen=True, slots=True)
class View:
    """What a picture shows: how many hours, which job where one is picked, and down to which row."""

    hours: int
    job_name: str = ""
    until_row: str = ""


VIEWS = {
    "overview": View(24),
    "job": View(24, "flaky-partner-api", until_row="Execution"),
    "performance-target": View(24),
    "exporter": View(6),
}


async def draw(name: str, running: Prometheus, workspace: str, end: float, folder: Path) -> Path:
    """The page of one dashboard."""
    view = VIEWS[name]
    values = {"workspace": workspace, "job": ".*", "target": ".*"}
    if view.job_name:
        ((labels, _),) = await running.instant(f'databricks_job_info{{job_name="{view.job_name}"}}', end)
        values["job"] = labels["job_id"]
    made = dashboard(name)
    shown = _shown(made["panels"], view.until_row)
    span = (end - view.hours * 3600, end)
    panels = [
        (panel, [await _answer(panel, target, running, values, span) for target in panel.get("targets", [])])
        for panel in shown
    ]
    subtitle = f"{view.job_name + ' · ' if view.job_name else ''}last {view.hours} hours · demo workspace"
    path = folder / f"{name}.html"
    path.write_text(page(made["title"], subtitle, panels, span), encoding="utf-8")
    return path


def _shown(panels: list[dict[str, Any]], until_row: str) -> list[dict[str, Any]]:
    end = next(
        (
            number
            for number, panel in enumerate(panels)
            if panel["type"] == "row" and panel["title"] == until_row
        ),
        len(panels),
    )
    return panels[:end]


async def _answer(
    panel: Mapping[str, Any],
    target: Mapping[str, Any],
    running: Prometheus,
    values: Mapping[str, str],
    span: tuple[float, float],
) -> list[Series]:
    """What Prometheus says to one query, over windows as Grafana would choose them."""
    start, end = span
    cells = 64 if panel["type"] == "heatmap" else 120
    step = max((end - start) / cells, STEP_SECONDS)
    window = max(step + STEP_SECONDS, 4 * STEP_SECONDS)
    macros = {"__range": f"{end - start:.0f}s", "__rate_interval": f"{window:.0f}s"}
    expression = filled(target["expr"], {**values, **macros})
    if target.get("instant"):
        return await running.instant(expression, end)
    return await running.over_time(expression, start, end, step)


def photograph(path: Path, tall: int, picture: Path) -> None:
    """Let Chromium draw a page."""
    options = (
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--hide-scrollbars",
        "--force-color-profile=srgb",
    )
    size = (f"--window-size={WIDTH},{tall}", "--force-device-scale-factor=1.5")
    command = [program("chromium"), *options, *size, f"--screenshot={picture}", path.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    few_colours: list[str | Path] = [
        program("pngquant"),
        "--force",
        "--ext=.png",
        "--speed=1",
        "--strip",
        "256",
        picture,
    ]
    subprocess.run(few_colours, check=True)


async def draw_all(running: Prometheus, workspace: str, end: float, folder: Path) -> None:
    for name, view in VIEWS.items():
        path = await draw(name, running, workspace, end, folder)
        tall = height(_shown(dashboard(name)["panels"], view.until_row))
        await asyncio.to_thread(photograph, path, tall, DOCS / f"{name}.png")


async def main() -> int:
    with TemporaryDirectory() as name:
        folder = Path(name)
        async with a_day(folder) as (running, workspace, end):
            await draw_all(running, workspace, end, folder)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
