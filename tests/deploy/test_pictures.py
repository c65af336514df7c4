"""The pictures of the dashboards: there, small enough for a page, and drawn as the JSON says."""

import pytest

from deploy.grafana.pictures import page
from deploy.grafana.pictures.drawing import Named, graph, heat
from deploy.grafana.pictures.units import shown, ticks
from tests.deploy.dashboard_queries import FOLDER, NAMES, panels
from tests.e2e.prometheus import Series

DOCS = FOLDER.parents[2] / "docs"
SPAN = (0.0, 3600.0)


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_has_a_picture(name: str) -> None:
    """The README shows each dashboard with less than 200 kB."""
    picture = DOCS / f"{name}.png"
    assert 20_000 < picture.stat().st_size < 200_000
    assert f"docs/{name}.png" in (DOCS.parent / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.0, "s", "0 s"),
        (0.25, "s", "250 ms"),
        (90.0, "s", "1.5 mins"),
        (3600.0, "s", "1 hour"),
        (0.912, "percentunit", "91.2%"),
        (-0.0001, "percentunit", "0.0%"),
        (1500.0, "short", "1.5 K"),
        (2.0**26, "bytes", "64 MiB"),
        (618033988749893.0, "none", "618033988749893"),
        (float("nan"), "s", "–"),
    ],
)
def test_figures_are_written_in_their_unit(value: float, unit: str, text: str) -> None:
    """A figure reads as it does in Grafana."""
    assert shown(value, unit) == text


def test_an_axis_of_time_has_the_steps_of_a_clock() -> None:
    """Ticks are minutes and hours, not tenths of thousands of seconds."""
    assert ticks(400, "s") == [0, 120, 240, 360]
    assert ticks(40, "short") == [0, 10, 20, 30, 40]


def _panel(name: str, title: str) -> dict[str, object]:
    (found,) = (panel for panel in panels(name) if panel["title"] == title)
    return found


def test_a_stack_lies_on_what_is_below_it() -> None:
    """The upper bar of two equal ones begins where the lower one ends."""
    series = [Named("SUCCESS", [(1800.0, 5.0)]), Named("FAILED", [(1800.0, 5.0)])]
    drawn = graph(_panel("overview", "Finished runs per hour"), series, (400, 200), SPAN)
    lower, upper = (part.split('height="')[0] for part in drawn.split("<rect ")[1:3])
    assert lower != upper
    assert drawn.count('fill="#73bf69"') == drawn.count('fill="#f2495c"') == 2


def test_a_heatmap_takes_cumulative_buckets_apart() -> None:
    """One run of 20 s is one cell, although every larger bucket counts it as well."""
    cumulative = [Named(bound, [(1200.0, count), (2400.0, count)]) for bound, count in _ONE_OF_20_SECONDS]
    drawn = heat(_panel("job", "Run duration"), cumulative, (400, 200), SPAN)
    assert drawn.count("<rect ") == 2


_ONE_OF_20_SECONDS = (("5.0", 0.0), ("15.0", 0.0), ("30.0", 1.0), ("60.0", 1.0), ("+Inf", 1.0))


def test_a_table_joins_its_queries_by_labels() -> None:
    """What two queries say about one job stands in one row, under the titles and in the units of the JSON."""
    panel = next(panel for panel in panels("overview") if panel["title"] == "Most failing")
    job = {"job_name": "nightly", "job_id": "1", "workspace": "w"}
    answers: list[list[Series]] = [[(job, [(0.0, value)])] for value in (3.0, 12.0, 0.25)]
    body = page.page("t", "s", [(panel, answers)], SPAN)
    assert body.count("<tr>") == 2
    for text in (">nightly<", "<td>3</td>", "<td>12</td>", "25%"):
        assert text in body
