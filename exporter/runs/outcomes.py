"""From the API's words to what they mean: one table, and the few rules around it. Pure.

`status` speaks first, the deprecated `state` where it is silent. Unknown words are data: an unknown
termination code is a failure, an unknown state is an active one.
"""

from typing import Protocol

from exporter.databricks.models import OldState, Status

# The closed set of `result` values, in the order of the slots that count them.
RESULTS = ("SUCCESS", "SUCCESS_WITH_FAILURES", "FAILED", "TIMEDOUT", "CANCELED", "SKIPPED", "UNKNOWN")
# These exist at 0 as soon as a job is seen, so that increase() sees its first failure.
SEEDED_RESULTS = ("SUCCESS", "FAILED", "TIMEDOUT", "CANCELED")

UNKNOWN = "UNKNOWN"
SUCCESSES = frozenset({"SUCCESS", "SUCCESS_WITH_FAILURES"})

# Termination codes and old result states; every other word is FAILED.
_RESULT_OF = {
    "SUCCESS": "SUCCESS",
    "SUCCESS_WITH_FAILURES": "SUCCESS_WITH_FAILURES",
    "TIMEDOUT": "TIMEDOUT",
    "USER_CANCELED": "CANCELED",
    "CANCELED": "CANCELED",
    "UPSTREAM_CANCELED": "CANCELED",
    "SKIPPED": "SKIPPED",
    "DISABLED": "SKIPPED",
    "EXCLUDED": "SKIPPED",
    "UPSTREAM_FAILED": "SKIPPED",
    "MAX_CONCURRENT_RUNS_EXCEEDED": "SKIPPED",
    "MAXIMUM_CONCURRENT_RUNS_REACHED": "SKIPPED",
    "MAX_JOB_QUEUE_SIZE_EXCEEDED": "SKIPPED",
}
_SLOT_OF = {result: slot for slot, result in enumerate(RESULTS)}
_SLOT_OF_CODE = {code: _SLOT_OF[result] for code, result in _RESULT_OF.items()}
_TIMEDOUT, _FAILED, _UNKNOWN = _SLOT_OF["TIMEDOUT"], _SLOT_OF["FAILED"], _SLOT_OF[UNKNOWN]
SKIPPED_SLOT = _SLOT_OF["SKIPPED"]
SUCCESS_SLOTS = frozenset(_SLOT_OF[result] for result in SUCCESSES)

_ACTIVE_STATES = frozenset({"QUEUED", "PENDING", "BLOCKED", "RUNNING", "WAITING", "TERMINATING"})
_TERMINAL_LIFE_CYCLES = frozenset({"TERMINATED", "SKIPPED", "INTERNAL_ERROR"})


class Outcome(Protocol):
    """What runs, tasks and repair history items have in common."""

    status: Status | None
    state: OldState | None
    end_time: int | float | None


def is_finished(item: Outcome) -> bool:
    """Whether the API says that it has ended. An unknown state is finished once it has an end."""
    status = item.status
    state = status.state if status is not None else None
    if state == "TERMINATED":
        return True
    if state in _ACTIVE_STATES:
        return False
    if not state:
        life_cycle = item.state.life_cycle_state if item.state else None
        if life_cycle in _TERMINAL_LIFE_CYCLES:
            return True
        if life_cycle in _ACTIVE_STATES or life_cycle == "WAITING_FOR_RETRY":
            return False
    return (item.end_time or 0) > 0


def active_state(item: Outcome) -> str:
    """The API state of a run that has not ended."""
    state = item.status.state if item.status else None
    if not state and item.state:
        state = item.state.life_cycle_state
    return "WAITING" if state == "WAITING_FOR_RETRY" else state or UNKNOWN


def queue_reason(item: Outcome) -> str:
    """Why a queued run waits: `status.queue_details.code`."""
    details = item.status.queue_details if item.status else None
    return (details.code if details else None) or UNKNOWN


def result_slot(item: Outcome) -> int:
    """The index in `RESULTS` of how a finished run, task attempt or repair ended."""
    status, state = item.status, item.state
    if state is not None and state.result_state == "TIMEDOUT":
        # Only the old state tells: the termination code of a timeout is CANCELED.
        return _TIMEDOUT
    details = status.termination_details if status is not None else None
    code = (details.code if details is not None else None) or _old_code(state)
    return _SLOT_OF_CODE.get(code, _FAILED) if code else _UNKNOWN


def _old_code(state: OldState | None) -> str | None:
    """What the old state says in the place of a termination code."""
    if state is None:
        return None
    if state.life_cycle_state == "SKIPPED":
        return "SKIPPED"
    return state.result_state or ("FAILED" if state.life_cycle_state == "INTERNAL_ERROR" else None)


def termination(item: Outcome) -> tuple[str, str]:
    """The API's termination code and type."""
    details = item.status.termination_details if item.status else None
    if details is None:
        return UNKNOWN, UNKNOWN
    return details.code or UNKNOWN, details.type or UNKNOWN
