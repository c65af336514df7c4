"""Tables: one query per column, joined by the labels that they share."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common, table
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.colours import PLAINLY, Steps
from deploy.grafana.panels import SOURCE, Query, target, thresholds
from deploy.grafana.variables import JOB_LINK, RUN_LINK


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table: the value of its `query`, or without one the `label` that the queries share.

    `link` and `tip` make its cells links; `steps` colour the text; `gauge` draws a bar behind it.
    """

    title: str
    query: str = ""
    label: str = ""
    unit: str = "string"
    decimals: int | None = None
    width: int | None = None
    link: str = ""
    tip: str = ""
    steps: Steps = ()
    gauge: bool = False
    hidden: bool = False


def _properties(column: Column) -> list[models.DynamicConfigValue]:
    values: list[tuple[str, object]] = [("unit", column.unit)]
    if column.decimals is not None:
        values.append(("decimals", column.decimals))
    if column.width is not None:
        values.append(("custom.width", column.width))
    if column.link:
        values.append(
            ("links", [{"title": column.tip, "url": column.link, "targetBlank": "://" in column.link}])
        )
    if column.steps:
        steps = [{"value": value, "color": colour} for value, colour in column.steps]
        values.append(("thresholds", {"mode": "absolute", "steps": steps}))
        values.append(("color", {"mode": "thresholds"}))
        kind = {"type": "gauge", "mode": "basic", "valueDisplayMode": "text"} if column.gauge else None
        values.append(("custom.cellOptions", kind or {"type": "color-text"}))
        if column.gauge:
            values += [("min", 0), ("max", 1)]
    if column.hidden:
        # The older name of it and the newer one; each Grafana leaves out what it does not know.
        values.append(("custom.hidden", True))
        values.append(("custom.hideFrom.viz", True))
    return [models.DynamicConfigValue(name, value) for name, value in values]


def _arranged(columns: Sequence[Column]) -> list[models.DataTransformerConfig]:
    """One row per set of labels, the columns in order and under their titles."""
    asked = [column.title for column in columns if column.query]
    sources = {title: f"Value #{chr(ord('A') + number)}" for number, title in enumerate(asked)}
    if len(asked) == 1:
        sources = {asked[0]: "Value"}
    names = {sources.get(column.title, column.label): column.title for column in columns}
    options = {
        "excludeByName": {"Time": True},
        "indexByName": {name: number for number, name in enumerate(names)},
        "renameByName": {old: new for old, new in names.items() if old != new},
    }
    return [
        models.DataTransformerConfig(id_val="merge", options={}),
        models.DataTransformerConfig(id_val="organize", options=options),
    ]


def table_panel(
    title: str, description: str, columns: Sequence[Column], sort: str, *, descending: bool = True
) -> table.Panel:
    """Rows put together from one query per column, by the labels that they share."""
    asked = [column for column in columns if column.query]
    panel = (
        table.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(
            [
                target(Query(column.query), number, instant=True, form=PromQueryFormat.TABLE)
                for number, column in enumerate(asked)
            ]
        )
        .unit("none")
        .thresholds(thresholds(PLAINLY))
        .no_value("–")
        .transformations(_arranged(columns))
        .sort_by([common.TableSortByFieldState().display_name(sort).desc(descending)])
        .cell_height(words.TableCellHeight.SM)
        .height(9)
        .span(12)
    )
    for column in columns:
        panel = panel.override_by_name(column.title, _properties(column))
    return panel


NAME = Column("Job", label="job_name", link=JOB_LINK, tip="Open the job's dashboard")
# Links are built from them, so they must be there.
JOB_ID = Column("job_id", label="job_id", hidden=True)
WORKSPACE = Column("workspace", label="workspace", hidden=True)


def run_column(query: str) -> Column:
    """A run id that links to the run's page. Real ids stay below 2^53, so a sample holds them exactly."""
    return Column("Run", query, unit="none", decimals=0, link=RUN_LINK, tip="Open the run in Databricks")


def count(title: str, query: str, width: int | None = None) -> Column:
    return Column(title, query, unit="short", decimals=0, width=width)


def seconds(title: str, query: str, width: int | None = None, steps: Steps = ()) -> Column:
    return Column(title, query, unit="s", width=width, steps=steps)


def share_bar(title: str, query: str, steps: Steps) -> Column:
    """A ratio from 0 to 1, with a bar behind it."""
    return Column(title, query, unit="percentunit", decimals=0, width=180, steps=steps, gauge=True)


def jobs_table(
    title: str, description: str, columns: Sequence[Column], sort: str, *, descending: bool = True
) -> table.Panel:
    """A row per job, its name first, which links to the job's dashboard."""
    return table_panel(title, description, [NAME, *columns, JOB_ID, WORKSPACE], sort, descending=descending)
