"""What we read of the Jobs API's answers: only the fields we use, the API's words unchanged.

Times and durations are milliseconds as the API gives them; 0, null and absent all mean "not set".
Fields typed `Any` hold what may be missing, new or of a strange type: `word()` and `ordinal()` read them.
A run that does not fit these types is not understood; see `responses.py`.
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


def word(value: object) -> str | None:
    """A word of the API, or None where there is none: absent, null, empty or not a string."""
    if not isinstance(value, str) or not value:
        return None
    if value.isascii():
        return value
    # A lone surrogate is legal in JSON and cannot be served as UTF-8.
    return value.encode("utf-8", "replace").decode()


def ordinal(value: object) -> int:
    """A number of the API that counts from 0; 0 where there is none or it is no number."""
    if isinstance(value, str):
        try:
            value = int(value)
        except ValueError:
            return 0
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        return 0
    return min(value, _HIGHEST_ORDINAL)


class Status(msgspec.Struct, gc=False):
    """`status`: where a run is; `termination_details` and `queue_details` are objects."""

    state: Any = None
    termination_details: Any = None
    queue_details: Any = None


class OldState(msgspec.Struct, gc=False):
    """`state`: the deprecated way, still the only one that tells a timeout."""

    life_cycle_state: Any = None
    result_state: Any = None


class Task(msgspec.Struct, gc=False):
    """One element of `tasks`: one attempt of one task."""

    run_id: Id | None = None
    task_key: Any = None
    attempt_number: Any = None
    setup_duration: Milliseconds = None
    execution_duration: Milliseconds = None
    cleanup_duration: Milliseconds = None
    start_time: Milliseconds = None
    end_time: Milliseconds = None
    effective_performance_target: Any = None
    status: Status | None = None
    state: OldState | None = None


class HistoryItem(msgspec.Struct, gc=False):
    """One element of `repair_history`; `type` is ORIGINAL or REPAIR."""

    type: Any = None
    start_time: Milliseconds = None
    end_time: Milliseconds = None
    status: Status | None = None
    state: OldState | None = None


class Run(msgspec.Struct, gc=False):
    """A job run, as an item of `runs/list` or the answer of `runs/get`."""

    run_id: Id
    job_id: Id
    run_type: Any = None
    run_name: Any = None
    attempt_number: Any = None
    start_time: Milliseconds = None
    end_time: Milliseconds = None
    setup_duration: Milliseconds = None
    execution_duration: Milliseconds = None
    cleanup_duration: Milliseconds = None
    run_duration: Milliseconds = None
    queue_duration: Milliseconds = None
    effective_performance_target: Any = None
    status: Status | None = None
    state: OldState | None = None
    tasks: list[Task] | None = None
    has_more: Any = None
    repair_history: list[HistoryItem] | None = None
    next_page_token: Any = None
