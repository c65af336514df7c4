"""The status page: version, a link to the metrics, and the state of each workspace. Pure."""

import html
from collections.abc import Sequence
from datetime import UTC, datetime

from exporter import __version__
from exporter.config.characters import visible
from exporter.own_metrics import WorkspaceMetrics

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Databricks jobs exporter</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 3rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; margin: 0; }}
p {{ margin: .25rem 0 1.5rem; opacity: .75; }}
table {{ border-collapse: collapse; width: 100%; }}
th, td {{ text-align: left; padding: .5rem .75rem; border-bottom: 1px solid #8884; vertical-align: top; }}
th {{ font-weight: 600; }}
.up {{ color: #1a7f37; }} .down {{ color: #cf222e; }}
</style>
</head>
<body>
<h1>Databricks jobs exporter</h1>
<p>Version {version} · {series} series · <a href="{path}">Metrics</a></p>
<table>
<tr><th>Workspace</th><th>State</th><th>Last successful poll</th><th>Age</th><th>Active runs</th>
<th>Pending runs</th><th>Failed polls</th><th>Last error</th></tr>
{rows}
</table>
</body>
</html>
"""


def status_page(telemetry_path: str, series: int, workspaces: Sequence[WorkspaceMetrics]) -> str:
    """The page as HTML. Its link is relative, so that it works below any path of a reverse proxy."""
    return _PAGE.format(
        version=_html(__version__),
        series=series,
        path=_html(telemetry_path.removeprefix("/")),
        rows="\n".join(map(_row, workspaces)),
    )


def _row(workspace: WorkspaceMetrics) -> str:
    age, last = workspace.age_seconds(), workspace.last_success_time
    when = "never" if last is None else datetime.fromtimestamp(last, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    cells = (
        when,
        "–" if age is None else f"{age:.0f} s",
        workspace.active_runs,
        workspace.pending_runs,
        workspace.failed_polls,
        workspace.last_error or "none",
    )
    texts = "".join(f"<td>{_html(cell)}</td>" for cell in cells)
    return f"<tr><td>{_html(workspace.workspace)}</td>{_state(workspace)}{texts}</tr>"


def _state(workspace: WorkspaceMetrics) -> str:
    if workspace.is_up():
        return '<td class="up">up</td>'
    if workspace.last_error is None and workspace.last_success_time is None:
        return f"<td>first poll, {100 * workspace.first_poll_progress:.0f} %</td>"
    return '<td class="down">down</td>'


def _html(value: object) -> str:
    return html.escape(visible(str(value)))
