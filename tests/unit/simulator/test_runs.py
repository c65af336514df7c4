"""What one run looks like at the instants of its life."""

import pytest

from exporter.simulator.workspace import Workspace
from tests.unit.simulator.conftest import NOW, Api, Clock


def phases(body: dict[str, int]) -> tuple[int, int, int]:
    return body["setup_duration"], body["execution_duration"], body["cleanup_duration"]


async def test_a_single_task_run_has_its_phases_at_the_root(api: Api, workspace: Workspace) -> None:
    """They partition the run but for what flooring to whole seconds lost."""
    run = workspace.finished_run(workspace.add_job("load"), duration=100.7, setup=30, cleanup=2)
    body = await api.run(run.run_id)
    assert phases(body) == phases(body["tasks"][0]) == (30_000, 68_000, 2_000)
    assert body["run_duration"] == body["end_time"] - body["start_time"] == 100_700


async def test_a_multi_task_run_has_zero_phases_at_the_root(api: Api, workspace: Workspace) -> None:
    """Its tasks have them."""
    run = workspace.finished_run(workspace.add_job("load"), duration=100, tasks=2, setup=30)
    body = await api.run(run.run_id)
    assert phases(body) == (0, 0, 0)
    assert [phases(task) for task in body["tasks"]] == [(30_000, 70_000, 0)] * 2


async def test_queue_time_is_inside_the_run_and_absent_without_a_queue(
    api: Api, workspace: Workspace
) -> None:
    """queue_duration is a part of run_duration, and no field at all for a run that never queued."""
    job = workspace.add_job("load")
    queued = await api.run(workspace.finished_run(job, duration=60, queue=14.111).run_id)
    assert (queued["queue_duration"], queued["run_duration"]) == (14_111, 60_000)
    assert queued["tasks"][0]["start_time"] == queued["start_time"] + 14_111
    assert "queue_duration" not in await api.run(workspace.finished_run(job).run_id)


async def test_the_target_is_absent_for_classic_compute(api: Api, workspace: Workspace) -> None:
    """Serverless runs and tasks name it."""
    job = workspace.add_job("load")
    classic = await api.run(workspace.finished_run(job).run_id)
    serverless = await api.run(workspace.finished_run(job, target="STANDARD").run_id)
    assert "effective_performance_target" not in classic | classic["tasks"][0]
    assert serverless["effective_performance_target"] == "STANDARD"
    assert serverless["tasks"][0]["effective_performance_target"] == "STANDARD"


async def test_a_run_lives_through_its_states(api: Api, workspace: Workspace, clock: Clock) -> None:
    """Queued, pending while setting up, running, terminating while cleaning up, terminated."""
    run = workspace.finished_run(
        workspace.add_job("load"), start=NOW, duration=100, queue=10, setup=20, cleanup=5
    )
    seen = []
    for second in (0, 10, 30, 95, 100):
        clock.now = NOW + second
        body = await api.run(run.run_id)
        seen.append((body["status"]["state"], body["end_time"] > 0, phases(body)))
    assert seen == [
        ("QUEUED", False, (0, 0, 0)),
        ("PENDING", False, (0, 0, 0)),
        ("RUNNING", False, (20_000, 0, 0)),
        ("TERMINATING", False, (20_000, 0, 0)),
        ("TERMINATED", True, (20_000, 65_000, 5_000)),
    ]


async def test_a_queued_run_says_why(api: Api, workspace: Workspace) -> None:
    """In queue_details of the new status and in queue_reason of the old state."""
    run = workspace.active_run(
        workspace.add_job("load"), state="QUEUED", queue_reason="ACTIVE_RUNS_LIMIT_REACHED"
    )
    body = await api.run(run.run_id)
    assert body["status"]["queue_details"]["code"] == "ACTIVE_RUNS_LIMIT_REACHED"
    assert body["state"]["queue_reason"]


async def test_a_run_in_the_future_does_not_exist(api: Api, workspace: Workspace, clock: Clock) -> None:
    """It appears by itself when the clock reaches its start."""
    run = workspace.finished_run(workspace.add_job("load"), start=NOW + 5)
    assert await api.listed_ids() == []
    assert (await api.ask("runs/get", run_id=run.run_id))[0] == 400
    clock.now += 5
    assert await api.listed_ids() == [run.run_id]


async def test_a_retry_is_another_attempt_of_the_same_task(
    api: Api, workspace: Workspace, clock: Clock
) -> None:
    """Its element appears when it starts; the failed one stays, with a task run id of its own."""
    run = workspace.finished_run(workspace.add_job("load"), start=NOW, duration=90, retries=2)
    attempts = []
    for second in (0, 31, 90):
        clock.now = NOW + second
        tasks = (await api.run(run.run_id))["tasks"]
        attempts.append([(task["task_key"], task["attempt_number"]) for task in tasks])
    assert attempts == [[("main", n) for n in range(count)] for count in (1, 2, 3)]
    codes = [task["status"]["termination_details"]["code"] for task in tasks]
    assert codes == ["RUN_EXECUTION_ERROR", "RUN_EXECUTION_ERROR", "SUCCESS"]
    assert len({task["run_id"] for task in tasks} | {run.run_id}) == 4


@pytest.mark.parametrize(
    ("code", "status_code", "life_cycle_state", "result_state"),
    [
        ("SUCCESS", "SUCCESS", "TERMINATED", "SUCCESS"),
        ("RUN_EXECUTION_ERROR", "RUN_EXECUTION_ERROR", "INTERNAL_ERROR", "FAILED"),
        ("TIMEDOUT", "CANCELED", "TERMINATED", "TIMEDOUT"),
        ("USER_CANCELED", "USER_CANCELED", "TERMINATED", "CANCELED"),
        ("BRAND_NEW_CODE", "BRAND_NEW_CODE", "INTERNAL_ERROR", "FAILED"),
    ],
)
async def test_both_vocabularies_tell_the_end(
    api: Api, workspace: Workspace, code: str, status_code: str, life_cycle_state: str, result_state: str
) -> None:
    """The deprecated state beside the status, with the words that the real API pairs."""
    body = await api.run(workspace.finished_run(workspace.add_job("load"), code=code).run_id)
    assert body["status"]["termination_details"]["code"] == status_code
    assert body["state"]["life_cycle_state"] == life_cycle_state
    assert body["state"]["result_state"] == result_state


async def test_a_skipped_run_has_no_durations(api: Api, workspace: Workspace) -> None:
    """It is TERMINATED in the new words and SKIPPED in the old, and its task never started."""
    run = workspace.finished_run(workspace.add_job("load"), code="MAX_CONCURRENT_RUNS_EXCEEDED")
    body = await api.run(run.run_id)
    assert (body["status"]["state"], body["state"]["life_cycle_state"]) == ("TERMINATED", "SKIPPED")
    assert (body["run_duration"], *phases(body)) == (0, 0, 0, 0)
    assert (body["tasks"][0]["start_time"], body["tasks"][0]["end_time"] > 0) == (0, True)


async def test_what_is_cancelled_in_its_setup_reports_cleanup(
    api: Api, workspace: Workspace, clock: Clock
) -> None:
    """All of the time is cleanup then."""
    run = workspace.finished_run(workspace.add_job("load"), start=NOW, duration=100, setup=60)
    clock.now += 23.43
    workspace.finish(run, "USER_CANCELED")
    assert phases(await api.run(run.run_id)) == (0, 0, 23_000)


async def test_an_active_run_ends_when_it_is_told(api: Api, workspace: Workspace, clock: Clock) -> None:
    """Its phases follow from when it was moved and finished."""
    run = workspace.active_run(workspace.add_job("load"), state="QUEUED")
    for state, seconds in (("PENDING", 5), ("RUNNING", 20)):
        clock.now += seconds
        workspace.move(run, state)
    clock.now += 40
    workspace.finish(run, "SUCCESS")
    body = await api.run(run.run_id)
    assert (body["queue_duration"], *phases(body)) == (5_000, 20_000, 40_000, 0)
    assert body["run_duration"] == 65_000


async def test_a_repair_reopens_the_run(api: Api, workspace: Workspace, clock: Clock) -> None:
    """It keeps run_id and start_time, its end_time goes back to 0, and run_duration is already set."""
    run = workspace.finished_run(workspace.add_job("load"), code="RUN_EXECUTION_ERROR", tasks=2)
    before = await api.run(run.run_id)
    clock.now += 1000
    workspace.repair(run)
    clock.now += 7
    during = await api.run(run.run_id)
    assert (during["start_time"], during["end_time"]) == (before["start_time"], 0)
    assert during["status"] == {"state": "RUNNING"}
    assert during["run_duration"] == before["run_duration"] + 7_000
    assert [(task["task_key"], task["attempt_number"]) for task in during["tasks"]] == [
        ("task_000", 0),
        ("task_001", 0),
        ("task_001", 1),
    ]
    assert await api.listed_ids(active_only=True) == [run.run_id]
    assert await api.listed_ids(completed_only=True) == []


async def test_a_finished_repair_leaves_the_gap_out_of_the_duration(
    api: Api, workspace: Workspace, clock: Clock
) -> None:
    """run_duration is the time at work, end_time the end of the repair, the result that of the repair."""
    run = workspace.finished_run(workspace.add_job("load"), duration=60, code="RUN_EXECUTION_ERROR")
    clock.now += 1000
    workspace.repair(run)
    clock.now += 30
    workspace.finish_repair(run)
    body = await api.run(run.run_id)
    assert body["run_duration"] == 90_000
    assert body["end_time"] == round(clock.now * 1000)
    assert body["status"]["termination_details"]["code"] == "SUCCESS"


async def test_repair_history_is_given_only_when_asked_for(
    api: Api, workspace: Workspace, clock: Clock
) -> None:
    """It starts with the original, which has no id, and names the task runs of each repair."""
    run = workspace.finished_run(workspace.add_job("load"), code="RUN_EXECUTION_ERROR")
    clock.now += 100
    repair = workspace.repair(run, target="STANDARD")
    assert "repair_history" not in await api.run(run.run_id)
    original, item = (await api.run(run.run_id, include_history=True))["repair_history"]
    assert (original["type"], "id" in original) == ("ORIGINAL", False)
    assert (item["type"], item["id"], item["end_time"]) == ("REPAIR", repair.id, 0)
    assert item["task_run_ids"] == repair.task_run_ids
    assert item["effective_performance_target"] == "STANDARD"


async def test_more_than_a_hundred_tasks_are_paged_within_the_run(api: Api, workspace: Workspace) -> None:
    """Scalar fields come with every page, the tasks once each, the token at the root."""
    run = workspace.finished_run(workspace.add_job("load"), tasks=250)
    query: dict[str, object] = {"run_id": run.run_id}
    keys: list[str] = []
    sizes = []
    while True:
        page = await api.get("runs/get", **query)
        assert page["end_time"] == run.end_ms
        keys += [task["task_key"] for task in page["tasks"]]
        sizes.append(len(page["tasks"]))
        if "next_page_token" not in page:
            break
        query["page_token"] = page["next_page_token"]
    assert sizes == [100, 100, 50]
    assert keys == [attempt.task_key for attempt in run.attempts]


@pytest.mark.parametrize(
    ("status", "code"), [(400, "INVALID_PARAMETER_VALUE"), (404, "RESOURCE_DOES_NOT_EXIST")]
)
async def test_a_deleted_run_does_not_exist(api: Api, workspace: Workspace, status: int, code: str) -> None:
    """Older servers say so with 400, newer ones with 404."""
    run = workspace.finished_run(workspace.add_job("load"))
    workspace.delete(run.run_id)
    workspace.missing_status = status
    assert await api.ask("runs/get", run_id=run.run_id) == (
        status,
        {"error_code": code, "message": f"Run {run.run_id} does not exist."},
    )
    assert await api.listed_ids() == []


async def test_an_override_changes_or_replaces_the_answer(api: Api, workspace: Workspace) -> None:
    """In lists and in get, until it is taken back."""
    run = workspace.finished_run(workspace.add_job("load"))
    workspace.override(run.run_id, lambda body: body.update(end_time=None, start_time="soon"))
    assert (await api.listed())[0]["end_time"] is None
    assert (await api.run(run.run_id))["start_time"] == "soon"
    workspace.override(run.run_id, lambda _body: [1, "two"])
    assert (await api.get("runs/list"))["runs"] == [[1, "two"]]
    workspace.override(run.run_id, None)
    assert (await api.run(run.run_id))["end_time"] == run.end_ms


async def test_the_truth_counts_what_really_finished(workspace: Workspace, clock: Clock) -> None:
    """Finished runs with their attempts and repairs; not the active ones, nor one under repair."""
    job = workspace.add_job("load")
    workspace.active_run(job)
    skipped = workspace.finished_run(job, code="MAX_CONCURRENT_RUNS_EXCEEDED")
    failed = workspace.finished_run(job, code="RUN_EXECUTION_ERROR", retries=1)
    clock.now += 50
    workspace.repair(failed)
    assert [account.run_id for account in workspace.truth()] == [skipped.run_id]
    workspace.finish_repair(failed)
    _, account = workspace.truth()
    assert (account.code, account.highest_attempt) == ("SUCCESS", 3)
    assert account.repairs == ((round(clock.now * 1000), "SUCCESS"),)
