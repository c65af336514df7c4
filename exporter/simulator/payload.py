"""A run as the JSON that the API would answer at one instant.

What the API leaves out is left out here, never null: `queue_duration` of a run that never queued, the
performance target of classic compute, `repair_history` unless asked for. See jobs/runs/get and
jobs/runs/list of the REST reference.
"""

from typing import Any

from exporter.simulator.endings import Ending, ending
from exporter.simulator.runs import Attempt, Period, Run

JSON = dict[str, Any]

_PAGE_URL = "https://simulated.cloud.databricks.com/?o=1#job/{}/run/{}"
_QUEUE_MESSAGES = {
    "MAX_CONCURRENT_RUNS_REACHED": "Queued due to reaching maximum concurrent runs of 1.",
    "ACTIVE_RUNS_LIMIT_REACHED": "Queued due to reaching the maximum of active task runs.",
    "ACTIVE_RUN_JOB_TASKS_LIMIT_REACHED": "Queued due to reaching the maximum of active run job tasks.",
}


# What the exporter does not read is here in its usual size: a body must weigh and nest as much as a real one.
_CLUSTER_KEY = "main"
_CLUSTER = {
    "job_cluster_key": _CLUSTER_KEY,
    "new_cluster": {
        "autoscale": {"min_workers": 1, "max_workers": 2},
        "data_security_mode": "SINGLE_USER",
        "enable_elastic_disk": True,
        "node_type_id": "i3.xlarge",
        "spark_version": "16.4.x-scala2.12",
    },
}
_PARAMETERS = [
    {"name": "environment", "default": "dev", "value": "prod"},
    {"name": "mode", "default": "incremental", "value": "incremental"},
    {"name": "from", "default": ""},
]


def run_json(run: Run, now_ms: int, *, tasks: bool = True, history: bool = False) -> JSON:
    """The whole run with every task attempt: cutting into pages is not done here."""
    period = run.periods(now_ms)[-1]
    state = run.state_at(now_ms)
    body: JSON = {
        "job_id": run.job_id,
        "run_id": run.run_id,
        "job_run_id": run.run_id,
        "number_in_job": run.run_id,
        "creator_user_name": "demo@example.com",
        "run_name": run.run_name,
        "run_page_url": _PAGE_URL.format(run.job_id, run.run_id),
        "run_type": run.run_type,
        "start_time": run.start_ms,
        "end_time": period.end_ms if state == "TERMINATED" else 0,
        **_root_phases(run, now_ms, state),
        **_words(run, state, period),
    }
    if any(attempt.target is None for attempt in run.attempts):
        body["job_clusters"] = [_CLUSTER]
    if run.run_type == "JOB_RUN":
        body["original_attempt_run_id"] = run.run_id
        body["job_parameters"] = _PARAMETERS
    if run.trigger is not None:
        body["trigger"] = run.trigger
    if state == "TERMINATED" or period.repair_id is not None:
        body["run_duration"] = run.run_duration_ms(now_ms)
    if run.queue_ms is not None and state != "QUEUED":
        body["queue_duration"] = run.queue_ms
    if period.target is not None and state != "QUEUED":
        body["effective_performance_target"] = period.target
    if tasks and run.attempts:
        body["tasks"] = [_task(run, attempt, state, now_ms) for attempt in run.attempts_at(now_ms)]
    if history:
        body["repair_history"] = _history(run, now_ms)
    return body | run.extra


def _root_phases(run: Run, now_ms: int, state: str) -> JSON:
    """Zero for a multi-task run; of a single task the sum of its attempts, all but setup only at the end."""
    if len({attempt.task_key for attempt in run.attempts}) != 1:
        return {"setup_duration": 0, "execution_duration": 0, "cleanup_duration": 0}
    parts = [_phases(attempt, now_ms) for attempt in run.attempts_at(now_ms)]
    over = state == "TERMINATED"
    return {
        "setup_duration": sum(setup for setup, _, _ in parts),
        "execution_duration": sum(execution for _, execution, _ in parts) if over else 0,
        "cleanup_duration": sum(cleanup for _, _, cleanup in parts) if over else 0,
    }


def _phases(attempt: Attempt, now_ms: int) -> tuple[int, int, int]:
    """Setup, execution and cleanup as reported now: a part is 0 until it is over."""
    if attempt.start_ms is None:
        return 0, 0, 0
    state = attempt.state_at(now_ms)
    setup = attempt.setup_ms if state in {"RUNNING", "TERMINATING", "TERMINATED"} else 0
    if attempt.execution_ms is None or state not in {"TERMINATING", "TERMINATED"}:
        return setup, 0, 0
    return setup, attempt.execution_ms, attempt.cleanup_ms if state == "TERMINATED" else 0


def _task(run: Run, attempt: Attempt, run_state: str, now_ms: int) -> JSON:
    setup, execution, cleanup = _phases(attempt, now_ms)
    state = _task_state(run, attempt, run_state, now_ms)
    started = attempt.start_ms is not None and attempt.start_ms <= now_ms
    end_ms = attempt.end_ms if attempt.start_ms is not None else run.end_ms
    body: JSON = {
        "run_id": attempt.run_id,
        "task_key": attempt.task_key,
        "attempt_number": attempt.attempt_number,
        "run_if": "ALL_SUCCESS",
        "start_time": attempt.start_ms if started else 0,
        "end_time": end_ms if state == "TERMINATED" else 0,
        "setup_duration": setup,
        "execution_duration": execution,
        "cleanup_duration": cleanup,
        "run_page_url": _PAGE_URL.format(run.job_id, attempt.run_id),
        "notebook_task": {
            "notebook_path": f"/Workspace/Users/demo@example.com/.bundle/demo/prod/files/{attempt.task_key}",
            "base_parameters": {"environment": "prod", "catalog": "main"},
            "source": "WORKSPACE",
        },
        "status": _status(state, ending(attempt.code), run.queue_reason),
        "state": _old_state(state, ending(attempt.code), run.queue_reason, of_task=True),
    }
    if attempt.target is None:
        body["job_cluster_key"] = _CLUSTER_KEY
        if started and state not in {"QUEUED", "BLOCKED"}:
            body["cluster_instance"] = {
                "cluster_id": f"0101-120000-{attempt.run_id % 10**8:08d}",
                "spark_context_id": str(attempt.run_id),
            }
    elif started:
        body["effective_performance_target"] = attempt.target
    return body


def _task_state(run: Run, attempt: Attempt, run_state: str, now_ms: int) -> str:
    if attempt.start_ms is None:
        if run.end_ms is not None and run.end_ms <= now_ms:
            return "TERMINATED"
        return "BLOCKED" if run_state != "QUEUED" or attempt is not run.attempts[0] else "QUEUED"
    if run.held_state is not None and (attempt.end_ms is None or attempt.end_ms > now_ms):
        return run.held_state
    return attempt.state_at(now_ms)


def _words(run: Run, state: str, period: Period) -> JSON:
    how = ending(period.code)
    status = _status(state, how, run.queue_reason)
    if run.termination_type is not None and "termination_details" in status:
        status["termination_details"]["type"] = run.termination_type
    return {"status": status, "state": _old_state(state, how, run.queue_reason, of_task=False)}


def _status(state: str, how: Ending, queue_reason: str) -> JSON:
    if state in {"TERMINATED", "TERMINATING"}:
        details = {"code": how.code, "type": how.type, "message": how.message}
        return {"state": state, "termination_details": details}
    if state == "QUEUED":
        message = _QUEUE_MESSAGES.get(queue_reason, "")
        return {"state": state, "queue_details": {"code": queue_reason, "message": message}}
    return {"state": state}


def _old_state(state: str, how: Ending, queue_reason: str, *, of_task: bool) -> JSON:
    body: JSON = {"life_cycle_state": "WAITING_FOR_RETRY" if state == "WAITING" else state}
    if state == "TERMINATED":
        body["life_cycle_state"] = (of_task and how.task_life_cycle_state) or how.life_cycle_state
    over = state in {"TERMINATED", "TERMINATING"}
    if over and how.result_state is not None:
        body["result_state"] = how.result_state
    if state == "QUEUED":
        body["queue_reason"] = _QUEUE_MESSAGES.get(queue_reason, "")
    body["state_message"] = how.message if over else ""
    body["user_cancelled_or_timedout"] = over and how.user_cancelled_or_timedout
    return body


def _history(run: Run, now_ms: int) -> list[JSON]:
    """ORIGINAL, which has no id, and then one REPAIR per repair that has begun."""
    repaired = {task_run_id for repair in run.repairs for task_run_id in repair.task_run_ids}
    original = [attempt.run_id for attempt in run.attempts if attempt.run_id not in repaired]
    task_run_ids = [original, *(repair.task_run_ids for repair in run.repairs)]
    return [
        _history_item(run, period, ids, now_ms)
        for period, ids in zip(run.periods(now_ms), task_run_ids, strict=False)
    ]


def _history_item(run: Run, period: Period, task_run_ids: list[int], now_ms: int) -> JSON:
    over = period.over_at(now_ms)
    how = ending(period.code)
    state = "TERMINATED" if over else run.state_at(now_ms)
    body: JSON = {
        "type": "ORIGINAL" if period.repair_id is None else "REPAIR",
        "start_time": period.start_ms,
        "end_time": period.end_ms if over else 0,
        "status": _status(state, how, run.queue_reason),
        "state": _old_state(state, how, run.queue_reason, of_task=False),
        "task_run_ids": task_run_ids,
    }
    if period.repair_id is not None:
        body["id"] = period.repair_id
    if period.target is not None:
        body["effective_performance_target"] = period.target
    return body
