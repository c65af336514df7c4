"""`databricks-jobs-exporter check`: log in, and list what would be exported. Writes nothing."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from exporter.app import accessible
from exporter.config import Invocation, Settings, WorkspaceAccess
from exporter.databricks.client import WorkspaceClient
from exporter.databricks.context import Priority, RequestContext
from exporter.databricks.errors import WorkspaceError
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.runs.series_keys import job_label
from exporter.server.web_config import load

Say = Callable[[str], None]

# A person waits for the answer, so a workspace that does not answer is reported sooner than by a poll.
FIRST_ANSWER_SECONDS = 10.0


async def check(invocation: Invocation, say: Say, note_secret: Callable[[str], None]) -> bool:
    """Say what would be exported, line by line, and return whether all is well. Raises WebConfigError."""
    settings = invocation.settings
    if settings.web.config.file is not None:
        load(settings.web.config.file)
        say(f"web config file: {settings.web.config.file} is good")
    good = True
    if not invocation.demo and settings.state.path is not None:
        good = _check_state_file(settings.state.path, say)
    async with accessible(invocation) as workspaces:
        for access in workspaces:
            good = await _check_workspace(access, settings, say, note_secret) and good
    return good


def _check_state_file(path: Path, say: Say) -> bool:
    # Not Path.exists(): that raises where the folder above may not be read.
    there = next(one for one in (path, *path.absolute().parents) if os.access(one, os.F_OK))
    if there == path and not path.is_file():
        say(f"state file: {path} is not a file; set state.path to a file")
    elif there != path and not there.is_dir():
        say(f"state file: {path} cannot be made: {there} is not a directory; set state.path")
    elif not os.access(there, os.W_OK if there == path else os.W_OK | os.X_OK):
        say(f"state file: {path} cannot be written; set state.path or the permissions of {there}")
    else:
        say(f"state file: {path}" if there == path else f"state file: {path}, to be made")
        return True
    return False


async def _check_workspace(
    access: WorkspaceAccess, settings: Settings, say: Say, note_secret: Callable[[str], None]
) -> bool:
    own_metrics = WorkspaceMetrics(OwnMetrics(), access.name, settings.poll.interval)
    try:
        async with WorkspaceClient(access, settings.api, own_metrics, note_secret) as client:
            first = min(settings.api.timeout, FIRST_ANSWER_SECONDS)
            async with RequestContext.while_pages_come(Priority.LISTS, first) as context:
                await client.probe_clock(context)
            later = max(settings.poll.interval, 2 * settings.api.timeout)
            async with RequestContext.while_pages_come(Priority.LISTS, later) as context:
                names = await client.list_job_names(context)
                active = Counter(
                    [
                        job_label(run)
                        async for page in client.list_runs(context, active_only="true")
                        for run in page.runs
                    ]
                )
    except WorkspaceError as error:
        say(f"workspace {access.name}: {error}")
        return False
    say(f"workspace {access.name}: logged in; {len(names)} jobs, {active.total()} active runs")
    for job_id, name in sorted(names.items(), key=lambda item: item[1]):
        say(f"  job {job_id}  {name}" + (f"  ({n} active)" if (n := active.pop(str(job_id), 0)) else ""))
    for label, n in sorted(active.items()):
        say(f"  job {label}  ({n} active)")
    if not names and not active:
        say("  the login may view no job: give it CAN VIEW on the jobs")
    return True
