"""The house style of the dashboards: what a stat, a graph, a heatmap, a bar list and a table look like here.

What must stay true: every panel has a unit and a description, and every query goes to the data source that
the reader has chosen. What a colour means is in colours.py, panels that several dashboards have in shared.py.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import (
    bargauge,
    common,
    dashboard,
    heatmap,
    prometheus,
    stat,
    timeseries,
)
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as words
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode, HeatmapColorScale
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from deploy.grafana.colours import GREEN, Steps

SOURCE = models.DataSourceRef(type_val="prometheus", uid="${datasource}")

_LEGEND = (
    common.VizLegendOptions()
    .show_legend(True)
    .display_mode(words.LegendDisplayMode.LIST)
    .placement(words.LegendPlacement.BOTTOM)
)


@dataclass(frozen=True, slots=True)
class Query:
    """One query; `legend` names its series, in a table its column."""

    expression: str
    legend: str = ""
    exemplars: bool = False


def target(query: Query, number: int, *, instant: bool, form: PromQueryFormat) -> prometheus.Dataquery:
    built = (
        prometheus.Dataquery()
        .expr(query.expression)
        .ref_id(chr(ord("A") + number))
        .format(form)
        .datasource(SOURCE)
    )
    if query.legend and form != PromQueryFormat.TABLE:
        built = built.legend_format(query.legend)
    if query.exemplars:
        built = built.exemplar(True)
    return built.instant() if instant else built.range()


def thresholds(steps: Steps) -> dashboard.ThresholdsConfig:
    return (
        dashboard.ThresholdsConfig()
        .mode(models.ThresholdsMode.ABSOLUTE)
        .steps([models.Threshold(value=value, color=colour) for value, colour in steps])
    )


def _fixed(colour: str) -> models.DynamicConfigValue:
    return models.DynamicConfigValue("color", {"mode": "fixed", "fixedColor": colour})


def _by(mode: models.FieldColorModeId) -> dashboard.FieldColor:
    return dashboard.FieldColor().mode(mode)


def stat_panel(title: str, description: str, query: Query, unit: str, steps: Steps) -> stat.Panel:
    """One figure, in the colour of its threshold."""
    return (
        stat.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(target(query, 0, instant=True, form=PromQueryFormat.TIME_SERIES))
        .unit(unit)
        .thresholds(thresholds(steps))
        .color_scheme(_by(models.FieldColorModeId.THRESHOLDS))
        .color_mode(words.BigValueColorMode.VALUE)
        .graph_mode(words.BigValueGraphMode.NONE)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .no_value("–")
        .height(4)
        .span(3)
    )


def said(**texts: tuple[str, str]) -> list[models.ValueMapping]:
    """Mappings of figures to a text and a colour; `_1` stands for the figure 1."""
    options: dict[str, models.ValueMappingResult] = {
        value.removeprefix("_"): models.ValueMappingResult(text=text, color=colour, index=number)
        for number, (value, (text, colour)) in enumerate(texts.items())
    }
    return [models.ValueMap(options=options)]


def graph(
    title: str, description: str, queries: Sequence[Query], unit: str, steps: Steps = ((None, GREEN),)
) -> timeseries.Panel:
    """Lines over time; gaps are bridged, because a job that runs once a day has one point a day."""
    panel = (
        timeseries.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .targets(
            [
                target(query, number, instant=False, form=PromQueryFormat.TIME_SERIES)
                for number, query in enumerate(queries)
            ]
        )
        .unit(unit)
        .min(0)
        .line_width(2)
        .fill_opacity(8)
        .show_points(words.VisibilityMode.AUTO)
        .point_size(6)
        .span_nulls(True)
        .color_scheme(_by(models.FieldColorModeId.PALETTE_CLASSIC))
        .thresholds(thresholds(steps))
        .legend(_LEGEND)
        .tooltip(
            common.VizTooltipOptions().mode(words.TooltipDisplayMode.MULTI).sort(words.SortOrder.DESCENDING)
        )
        .height(8)
        .span(12)
    )
    if len(steps) > 1:
        panel = panel.thresholds_style(
            common.GraphThresholdsStyleConfig().mode(words.GraphThresholdsStyleMode.DASHED)
        )
    return panel


def coloured(panel: timeseries.Panel, colours: Mapping[str, str]) -> timeseries.Panel:
    """Give series the colours that their names have everywhere."""
    for name, colour in colours.items():
        panel = panel.override_by_name(name, [_fixed(colour)])
    return panel


def dashed(panel: timeseries.Panel, names: Sequence[str]) -> timeseries.Panel:
    """Draw some series as dashes: the upper quantile beside the median in the same colour."""
    dash = models.DynamicConfigValue("custom.lineStyle", {"fill": "dash", "dash": [8, 6]})
    for name in names:
        panel = panel.override_by_name(name, [dash])
    return panel


def stacked(panel: timeseries.Panel) -> timeseries.Panel:
    """The same as bars, one on the other: a series that is not there leaves no slope behind."""
    return (
        panel.stacking(common.StackingConfig().mode(words.StackingMode.NORMAL))
        .draw_style(words.GraphDrawStyle.BARS)
        .fill_opacity(80)
        .line_width(0)
        .show_points(words.VisibilityMode.NEVER)
        .span_nulls(False)
    )


def heat(title: str, description: str, query: Query, unit: str) -> heatmap.Panel:
    """How many observations fell into which bucket, over time."""
    return (
        heatmap.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(target(query, 0, instant=False, form=PromQueryFormat.HEATMAP))
        .unit(unit)
        .calculate(False)
        .y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(words.AxisPlacement.LEFT))
        .cell_gap(1)
        .cell_values(heatmap.CellValues().unit("short").decimals(0))
        .filter_values(heatmap.FilterValueRange().le(1e-9))
        .color(
            heatmap.HeatmapColorOptions()
            .mode(HeatmapColorMode.SCHEME)
            .scheme("Oranges")
            .scale(HeatmapColorScale.EXPONENTIAL)
            .exponent(0.5)
            .steps(32)
        )
        .exemplars_color("rgba(255,255,255,0.8)")
        .show_legend()
        .mode(words.TooltipDisplayMode.SINGLE)
        .height(8)
        .span(12)
    )


def bars(
    title: str, description: str, query: Query, unit: str, steps: Steps, *, by_bucket: bool = False
) -> bargauge.Panel:
    """A bar per series over the whole range; `by_bucket` takes a histogram's buckets apart."""
    form = PromQueryFormat.HEATMAP if by_bucket else PromQueryFormat.TIME_SERIES
    return (
        bargauge.Panel()
        .title(title)
        .description(description)
        .datasource(SOURCE)
        .with_target(target(query, 0, instant=True, form=form))
        .unit(unit)
        .decimals(0)
        .min(0)
        .thresholds(thresholds(steps))
        .color_scheme(_by(models.FieldColorModeId.THRESHOLDS))
        .display_mode(words.BarGaugeDisplayMode.BASIC)
        .value_mode(words.BarGaugeValueMode.TEXT)
        .orientation(words.VizOrientation.HORIZONTAL)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]))
        .height(8)
        .span(12)
    )


AnyPanel = Builder[models.Panel]
