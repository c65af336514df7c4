"""What we read of the Jobs API's answers: only the fields we use, the API's words unchanged.

Times and durations are milliseconds as the API gives them; 0, null and absent all mean "not set", and so
does an empty word. `mended` is for answers that are not of these types: it takes out what is strange where
any word may come. What then still does not fit is a run that is not understood; see `responses.py`.
Source: Databricks REST API, Jobs 2.2, `runs/list`, `runs/get` and `jobs/list`.
"""

from typing import Annotated, Any

import msgspec

# SQLite and the real API both hold ids in 64 bits.
Id = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]
# Wide enough for any time in milliseconds; keeps out NaN, infinities and numbers no float can count with.
Milliseconds = (
    Annotated[int, msgspec.Meta(ge=-(10**17), le=10**17)]
    | Annotated[float, msgspec.Meta(ge=-1e17, le=1e17)]
    | None
)
# Retries are capped at some thousands; a higher number is a mistake that must not drown a sum.
_HIGHEST_ORDINAL = 10**6
# A number that counts from 0.
Ordinal = Annotated[int, msgspec.Meta(ge=0, le=_HIGHEST_ORDINAL)]


class Details(msgspec.Struct, gc=False):
    """`termination_details` and `queue_details` of `status`."""

    code: str | None = None
    type: str | None = None


class Status(msgspec.Struct, gc=False):
    """`status`: where a run is."""

    state: str | None = None
    termination_details: Details | None = None
    queue_details: Details | None = None


class OldState(msgspec.Struct, gc=False):
    """`state`: the deprecated way, and still the only one that says a timeout."""

    life_cycle_state: str | None = None
    result_state: str | None = None


class Task(msgspec.Struct, gc=False):
    """One element of `tasks`: one attempt of one task."""

    run_id: Id | None = None
    task_key: str | None = None
    attempt_number: Ordinal | None = None
    setup_duration: Milliseconds = None
    execution_duration: Milliseconds = None
    cleanup_duration: Milliseconds = None
    start_time: Milliseconds = None
    end_time: Milliseconds = None
    effective_performance_target: str | None = None
    status: Status | None = None
    state: OldState | None = None


class HistoryItem(msgspec.Struct, gc=False):
    """One element of `repair_history`; `type` is ORIGINAL or REPAIR."""

    type: str | None = None
    start_time: Milliseconds = None
    end_time: Milliseconds = None
    status: Status | None = None
    state: OldState | None = None


class Run(msgspec.Struct, gc=False):
    """A job run, as an item of `runs/list` or the answer of `runs/get`."""

    run_id: Id
    job_id: Id
    run_type: str | None = None
    run_name: str | None = None
    attempt_number: Ordinal | None = None
    start_time: Milliseconds = None
    end_time: Milliseconds = None
    setup_duration: Milliseconds = None
    execution_duration: Milliseconds = None
    cleanup_duration: Milliseconds = None
    run_duration: Milliseconds = None
    queue_duration: Milliseconds = None
    effective_performance_target: str | None = None
    status: Status | None = None
    state: OldState | None = None
    tasks: list[Task] | None = None
    has_more: bool | None = None
    repair_history: list[HistoryItem] | None = None
    next_page_token: str | None = None


def mended(run: dict[str, Any]) -> dict[str, Any]:
    """A run as JSON, with nothing strange left where any word may come; its words can be written as UTF-8."""
    fixed = _with_words(run, "run_type", "run_name", "effective_performance_target", "next_page_token")
    fixed["has_more"] = bool(run.get("has_more"))
    history = run.get("repair_history")
    fixed["repair_history"] = _mended_all(history, "type") if isinstance(history, list) else None
    if isinstance(tasks := run.get("tasks"), list):
        fixed["tasks"] = _mended_all(tasks, "task_key", "effective_performance_target")
    return fixed


def _mended_all(items: list[Any], *words: str) -> list[Any]:
    return [_with_words(item, *words) if isinstance(item, dict) else item for item in items]


def _with_words(item: dict[str, Any], *words: str) -> dict[str, Any]:
    """A run, a task or a repair: these words, the attempt and what stands below its states."""
    fixed = item | {name: word(item.get(name)) for name in words}
    fixed["attempt_number"] = _ordinal(item.get("attempt_number"))
    if isinstance(status := item.get("status"), dict):
        details = {name: _details(status.get(name)) for name in ("termination_details", "queue_details")}
        fixed["status"] = details | {"state": word(status.get("state"))}
    if isinstance(state := item.get("state"), dict):
        fixed["state"] = {name: word(state.get(name)) for name in ("life_cycle_state", "result_state")}
    return fixed


def _details(value: object) -> dict[str, str | None] | None:
    return {name: word(value.get(name)) for name in ("code", "type")} if isinstance(value, dict) else None


def word(value: object) -> str | None:
    """A word of the API, or None where there is none: absent, null, empty or not a string."""
    if not isinstance(value, str) or not value:
        return None
    # A lone surrogate is legal in JSON and cannot be served as UTF-8.
    return value if value.isascii() else value.encode("utf-8", "replace").decode()


def _ordinal(value: object) -> int:
    """A number that counts from 0; 0 where there is none or it is no number."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return 0
    return min(value, _HIGHEST_ORDINAL)
