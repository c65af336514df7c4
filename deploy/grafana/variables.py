"""The variables at the top of the dashboards, the links between them, and what all of them have in common."""

from grafana_foundation_sdk.builders import dashboard
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as models

from deploy.grafana.panels import SOURCE, AnyPanel
from exporter.families import JOB_INFO, RUNS, UP

TAG = "databricks-jobs"
UIDS = {
    "overview": "databricks-jobs-overview",
    "job": "databricks-jobs-job",
    "performance-target": "databricks-jobs-target",
    "exporter": "databricks-jobs-exporter",
}

JOB_LINK = (
    f"/d/{UIDS['job']}?${{datasource:queryparam}}&var-workspace=${{__data.fields.workspace}}"
    "&var-job=${__data.fields.job_id}&${__url_time_range}"
)
RUN_LINK = "https://${__data.fields.workspace}/jobs/${__data.fields.job_id}/runs/${__value.raw}"

_ALL = models.VariableOption(text="All", value="$__all", selected=True)

Row = tuple[str, list[AnyPanel]]
Variable = Builder[models.VariableModel]


def data_source() -> Variable:
    return (
        dashboard.DatasourceVariable("datasource")
        .label("Data source")
        .description("The Prometheus that scrapes the exporter.")
        .type("prometheus")
        .multi(False)
    )


def _query(name: str, label: str, text: str, query: str) -> dashboard.QueryVariable:
    return (
        dashboard.QueryVariable(name)
        .label(label)
        .description(text)
        .datasource(SOURCE)
        .query(query)
        .refresh(models.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(models.VariableSort.ALPHABETICAL_CASE_INSENSITIVE_ASC)
    )


def _many(variable: dashboard.QueryVariable) -> dashboard.QueryVariable:
    return variable.multi(True).include_all(True).all_value(".*").current(_ALL)


def workspaces() -> Variable:
    return _many(_one_workspace())


def one_workspace() -> Variable:
    return _one_workspace()


def _one_workspace() -> dashboard.QueryVariable:
    return _query(
        "workspace", "Workspace", "The workspace's host name.", f"label_values({UP.name}, workspace)"
    )


def _job(selector: str) -> dashboard.QueryVariable:
    """Shows names and stands for ids; one-off runs, which have no job, go by their run type."""
    one_off = f'group by (job_id) ({RUNS.name}{{{selector}, job_id!~"[0-9]+"}})'
    query = (
        f"query_result(max by (job_id, job_name) ({JOB_INFO.name}{{{selector}}})"
        f' or label_replace({one_off}, "job_name", "$1", "job_id", "(.*)"))'
    )
    return _query("job", "Job", "The job, by its name.", query).regex(
        '/job_name="(?<text>[^"]+)|job_id="(?<value>[^"]+)/g'
    )


def one_job() -> Variable:
    return _job('workspace="$workspace"')


def jobs() -> Variable:
    return _many(_job('workspace=~"$workspace"'))


def targets(selector: str) -> Variable:
    return _many(
        _query(
            "target",
            "Performance target",
            "NONE is classic compute.",
            f"label_values({RUNS.name}{{{selector}}}, effective_performance_target)",
        )
    )


def assemble(name: str, title: str, description: str, variables: list[Variable]) -> dashboard.Dashboard:
    """A dashboard without panels: the others are one click away, with the same time range and variables."""
    return (
        dashboard.Dashboard(title)
        .uid(UIDS[name])
        .description(description)
        .tags([TAG, "prometheus"])
        .timezone("browser")
        .editable()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .variables(variables)
        .link(
            dashboard.DashboardLink("Databricks jobs")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(True)
            .keep_time(True)
        )
    )


def filled(built: dashboard.Dashboard, rows: list[Row]) -> dashboard.Dashboard:
    """With its rows; panels are placed from left to right."""
    for title, panels in rows:
        built = built.with_row(dashboard.Row(title))
        for panel in panels:
            built = built.with_panel(panel)
    return built
