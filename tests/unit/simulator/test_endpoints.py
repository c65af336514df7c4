"""What runs/list and jobs/list answer."""

import sys
from types import FrameType

from exporter.simulator.endpoints import list_runs
from exporter.simulator.workspace import Workspace
from tests.unit.simulator.conftest import NOW, Api, Clock


async def test_an_empty_list_has_no_runs(api: Api) -> None:
    """No key is there where no run is."""
    assert await api.get("runs/list") == {}


async def test_runs_come_newest_first(api: Api, workspace: Workspace) -> None:
    """The order is by start, descending, whatever the order of being added."""
    job = workspace.add_job("load")
    starts = [NOW - 500, NOW - 900, NOW - 100]
    ids = {workspace.finished_run(job, start=start).run_id: start for start in starts}
    assert [ids[run_id] for run_id in await api.listed_ids()] == sorted(starts, reverse=True)


async def test_pages_neither_lose_nor_repeat_when_a_run_arrives_meanwhile(
    api: Api, workspace: Workspace, clock: Clock
) -> None:
    """A token pins a place among the runs that were there."""
    job = workspace.add_job("load")
    ids = [workspace.finished_run(job, start=NOW - 100 - number).run_id for number in range(7)]
    first = await api.get("runs/list", limit=3)
    clock.now += 10
    workspace.active_run(job)
    rest = await api.listed_ids(limit=3, page_token=first["next_page_token"])
    assert [run["run_id"] for run in first["runs"]] + rest == ids


async def test_the_last_page_has_no_token(api: Api, workspace: Workspace) -> None:
    """A page that is exactly full is the last one too."""
    job = workspace.add_job("load")
    for _ in range(3):
        workspace.finished_run(job)
    page = await api.get("runs/list", limit=3)
    assert len(page["runs"]) == 3
    assert "next_page_token" not in page


async def test_the_default_page_has_twenty_runs_and_zero_asks_for_most(
    api: Api, workspace: Workspace
) -> None:
    """No limit means 20, limit=0 means 26."""
    job = workspace.add_job("load")
    for _ in range(30):
        workspace.finished_run(job)
    assert len((await api.get("runs/list"))["runs"]) == 20
    assert len((await api.get("runs/list", limit=0))["runs"]) == 26


async def test_a_limit_above_the_maximum_is_refused(api: Api) -> None:
    """The text names the limit that was asked for and the one that is allowed."""
    assert await api.ask("runs/list", limit=27) == (
        400,
        {
            "error_code": "INVALID_PARAMETER_VALUE",
            "message": "Invalid limit 27 - it has to be no more than 26.",
        },
    )


async def test_active_and_completed_at_once_is_refused(api: Api) -> None:
    """The two filters exclude each other."""
    status, body = await api.ask("runs/list", active_only=True, completed_only=True)
    assert (status, body["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


async def test_a_foreign_page_token_is_refused(api: Api) -> None:
    """A token of another endpoint, or one that is none, is an invalid parameter."""
    for token in ("nonsense", "am9iczoxOjI="):
        status, _ = await api.ask("runs/list", page_token=token)
        assert status == 400


async def test_active_only_has_the_four_documented_states(api: Api, workspace: Workspace) -> None:
    """BLOCKED and WAITING runs are active but in none of the documented words of the filter."""
    job = workspace.add_job("load")
    for state in ("QUEUED", "PENDING", "BLOCKED", "RUNNING", "WAITING", "TERMINATING"):
        workspace.active_run(job, state=state)
    workspace.finished_run(job)
    states = {run["status"]["state"] for run in await api.listed(active_only=True)}
    assert states == {"QUEUED", "PENDING", "RUNNING", "TERMINATING"}


async def test_completed_only_has_what_is_terminated(api: Api, workspace: Workspace) -> None:
    """An active run is not in it; one whose end the clock has passed is."""
    job = workspace.add_job("load")
    done = workspace.finished_run(job)
    workspace.finished_run(job, start=NOW - 10, duration=60)
    assert await api.listed_ids(completed_only=True) == [done.run_id]


async def test_start_time_bounds_are_inclusive(api: Api, workspace: Workspace) -> None:
    """A run that starts on either bound is listed, one a millisecond outside is not."""
    job = workspace.add_job("load")
    runs = [workspace.finished_run(job, start=NOW - 1000 + number) for number in range(4)]
    ids = await api.listed_ids(start_time_from=runs[1].start_ms, start_time_to=runs[2].start_ms)
    assert ids == [runs[2].run_id, runs[1].run_id]
    assert await api.listed_ids(start_time_from=runs[3].start_ms + 1) == []


async def test_job_and_run_type_filter(api: Api, workspace: Workspace) -> None:
    """Both filters together list only what satisfies both."""
    job, other = workspace.add_job("load"), workspace.add_job("other")
    kept = workspace.finished_run(job)
    workspace.finished_run(other)
    workspace.finished_run(job, run_type="SUBMIT_RUN")
    assert await api.listed_ids(job_id=job, run_type="JOB_RUN") == [kept.run_id]
    assert len(await api.listed_ids(job_id=job)) == 2


async def test_tasks_come_only_when_expanded(api: Api, workspace: Workspace) -> None:
    """Without expand_tasks an item has no tasks at all."""
    workspace.finished_run(workspace.add_job("load"), tasks=3)
    assert "tasks" not in (await api.listed())[0]
    assert len((await api.listed(expand_tasks=True))[0]["tasks"]) == 3


async def test_an_item_has_at_most_a_hundred_tasks_and_says_so(api: Api, workspace: Workspace) -> None:
    """has_more is on the item, there and only there where tasks are cut."""
    job = workspace.add_job("load")
    workspace.finished_run(job, tasks=100, start=NOW - 200)
    workspace.finished_run(job, tasks=101, start=NOW - 100)
    cut, whole = await api.listed(expand_tasks=True)
    assert (len(cut["tasks"]), cut["has_more"]) == (100, True)
    assert len(whole["tasks"]) == 100
    assert "has_more" not in whole


async def test_a_hidden_run_is_in_no_list_but_can_be_got(api: Api, workspace: Workspace) -> None:
    """It is listed late: from show on."""
    run = workspace.active_run(workspace.add_job("load"))
    workspace.hide(run.run_id)
    assert await api.listed_ids() == await api.listed_ids(active_only=True) == []
    assert (await api.run(run.run_id))["run_id"] == run.run_id
    workspace.show(run.run_id)
    assert await api.listed_ids(active_only=True) == [run.run_id]


async def test_runs_older_than_sixty_days_are_forgotten(api: Api, workspace: Workspace, clock: Clock) -> None:
    """Finished ones only: one that is still active stays."""
    job = workspace.add_job("load")
    workspace.finished_run(job)
    active = workspace.active_run(job)
    clock.now += 61 * 86400
    assert await api.listed_ids() == [active.run_id]


async def test_the_old_version_pages_by_has_more_and_drops_many_tasks(api: Api, workspace: Workspace) -> None:
    """2.1 has has_more at the root, and leaves out the tasks of a run that has more than a hundred."""
    run = workspace.finished_run(workspace.add_job("load"), tasks=101)
    async with api.session.get("/api/2.1/jobs/runs/list") as response:
        assert (await response.json())["has_more"] is False
    async with api.session.get("/api/2.1/jobs/runs/get", params={"run_id": run.run_id}) as response:
        assert "tasks" not in await response.json()


async def test_jobs_are_listed_in_pages_newest_first(api: Api, workspace: Workspace, clock: Clock) -> None:
    """A page has the jobs with their settings; the tags are there and nowhere else."""
    for number in range(5):
        clock.now += 1
        workspace.add_job(f"job {number}", tags={"number": str(number)})
    first = await api.get("list", limit=3)
    second = await api.get("list", limit=3, page_token=first["next_page_token"])
    names = [job["settings"]["name"] for job in first["jobs"] + second["jobs"]]
    assert names == [f"job {number}" for number in (4, 3, 2, 1, 0)]
    assert first["jobs"][0]["settings"]["tags"] == {"number": "4"}


async def test_jobs_are_found_by_name_in_any_case(api: Api, workspace: Workspace) -> None:
    """The name filter is exact but for upper and lower case."""
    wanted = workspace.add_job("Nightly Load")
    workspace.add_job("Nightly Load 2")
    found = await api.get("list", name="nightly load")
    assert [job["job_id"] for job in found["jobs"]] == [wanted]


def calls_for(workspace: Workspace, start_to: float) -> int:
    """How many functions are called to list one page of the finished runs that began until `start_to`."""
    calls = 0

    def count(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    query = {"completed_only": "true", "start_time_to": str(round(start_to * 1000)), "limit": "25"}
    sys.setprofile(count)
    try:
        list_runs(workspace, query, "2.2")
    finally:
        sys.setprofile(None)
    return calls


def test_a_page_deep_in_a_large_history_costs_no_more_than_the_first() -> None:
    """Counted in calls, which do not depend on the machine: none is spent on the runs before the page."""
    workspace = Workspace(lambda: NOW)
    job = workspace.add_job("load")
    for number in range(1000):
        workspace.finished_run(job, start=NOW - 1000 - number)
    workspace.read()
    assert calls_for(workspace, NOW - 1900) <= calls_for(workspace, NOW) + 10
