"""The endpoints without the HTTP around them: (workspace, query) in, JSON bytes out, or a `RefusedError`.

`version` is the API version in the path. 2.1 says `has_more` at the root of a list and leaves `tasks` out
of a run that has more than a hundred; 2.2 pages them.
"""

from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from exporter.simulator.index import NEWEST
from exporter.simulator.paging import (
    PageSize,
    Query,
    RefusedError,
    boolean,
    integer,
    invalid,
    position,
    token,
)
from exporter.simulator.payload import run_json
from exporter.simulator.store import TASKS_PER_PAGE, RunFilter
from exporter.simulator.workspace import Job, Workspace

Endpoint = Callable[[Workspace, Query, str], bytes]

RUNS_PAGE = PageSize(default=20, maximum=26)
JOBS_PAGE = PageSize(default=20, maximum=100)
_PAGED_ARRAYS = ("tasks", "job_clusters", "job_parameters", "repair_history")


def list_runs(workspace: Workspace, query: Query, version: str) -> bytes:
    """Newest start first; an empty list has no `runs` at all, the last page no `next_page_token`."""
    wanted = _run_filter(query)
    limit = RUNS_PAGE.of(query)
    place = position(query, "runs")
    before = NEWEST if place is None else (place[0], place[1])
    tasks = boolean(query, "expand_tasks")
    now_ms = workspace.read()
    runs, more = workspace.runs.page(wanted, now_ms, limit=limit, before=before)
    cut = version == "2.2"
    items = [workspace.runs.listed_bytes(run, now_ms, tasks=tasks, cut=cut) for run in runs]
    return _list_body("runs", items, version, None if more is None else token("runs", *more))


def _run_filter(query: Query) -> RunFilter:
    wanted = RunFilter(
        active_only=boolean(query, "active_only"),
        completed_only=boolean(query, "completed_only"),
        job_id=integer(query, "job_id"),
        run_type=query.get("run_type"),
        start_from_ms=integer(query, "start_time_from") or 0,
        start_to_ms=integer(query, "start_time_to"),
    )
    if wanted.active_only and wanted.completed_only:
        raise invalid("Only one of active_only and completed_only can be true.")
    if (integer(query, "offset") or 0) > 10_000:
        raise invalid("The supplied offset has exceeded the value of 10000 allowed. Use page_token instead.")
    return wanted


def get_run(workspace: Workspace, query: Query, version: str) -> bytes:
    """One run; arrays of more than a hundred come in pages, the scalar fields with every one of them."""
    run_id = integer(query, "run_id")
    if run_id is None:
        raise invalid("Missing required field: run_id")
    place = position(query, "run")
    now_ms = workspace.read()
    run = workspace.runs.get(run_id, now_ms)
    if run is None:
        raise _missing(workspace, f"Run {run_id} does not exist.")
    body = run_json(run, now_ms, history=boolean(query, "include_history"))
    if version == "2.2":
        _cut_arrays(body, 0 if place is None else place[0])
    elif len(body.get("tasks", ())) > TASKS_PER_PAGE:
        del body["tasks"]
    return msgspec.json.encode(workspace.runs.altered(run_id, body))


def _missing(workspace: Workspace, message: str) -> RefusedError:
    code = "RESOURCE_DOES_NOT_EXIST" if workspace.missing_status == 404 else "INVALID_PARAMETER_VALUE"
    return RefusedError(workspace.missing_status, code, message)


def _cut_arrays(body: dict[str, Any], offset: int) -> None:
    end = offset + TASKS_PER_PAGE
    if any(len(body.get(name, ())) > end for name in _PAGED_ARRAYS):
        body["next_page_token"] = token("run", end)
    for name in _PAGED_ARRAYS:
        if name in body:
            body[name] = body[name][offset:end]
            if not body[name]:
                del body[name]


def list_jobs(workspace: Workspace, query: Query, version: str) -> bytes:
    """Newest created first; `name` is exact but for upper and lower case."""
    limit = JOBS_PAGE.of(query)
    place = position(query, "jobs")
    workspace.read()
    name = query.get("name", "").casefold()
    jobs = sorted(
        (
            job
            for job in workspace.jobs.values()
            if (place is None or _job_key(job) < place) and (not name or job.name.casefold() == name)
        ),
        key=_job_key,
        reverse=True,
    )
    more = token("jobs", *_job_key(jobs[limit - 1])) if len(jobs) > limit else None
    return _list_body("jobs", map(_job_bytes, jobs[:limit]), version, more)


def _job_key(job: Job) -> tuple[int, ...]:
    return job.created_ms, job.job_id


def _job_bytes(job: Job) -> bytes:
    return msgspec.json.encode(
        {
            "job_id": job.job_id,
            "created_time": job.created_ms,
            "creator_user_name": "demo@example.com",
            "settings": {"name": job.name, "format": "MULTI_TASK", "max_concurrent_runs": 1, **job.settings},
        }
    )


def _list_body(name: str, items: Iterable[bytes], version: str, more: str | None) -> bytes:
    """Joins items that are JSON already: encoding them again would cost most of a large page."""
    joined = b",".join(items)
    fields = [b'"%b":[%b]' % (name.encode(), joined)] if joined else []
    if more is not None:
        fields.append(b'"next_page_token":"%b"' % more.encode())
    if version != "2.2":
        fields.append(b'"has_more":%b' % (b"false" if more is None else b"true"))
    return b"{%b}" % b",".join(fields)


ENDPOINTS: dict[str, Endpoint] = {
    "runs/list": list_runs,
    "runs/get": get_run,
    "jobs/list": list_jobs,
}
PATHS = {"runs/list": "jobs/runs/list", "runs/get": "jobs/runs/get", "jobs/list": "jobs/list"}
VERSIONS = ("2.1", "2.2")
