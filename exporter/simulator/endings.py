"""How a run or task ends, said in both vocabularies of the API.

`status.termination_details` is the new one, `state` the deprecated one. They disagree on purpose: a timed
out run is CANCELED in the new words and only the old `result_state` says TIMEDOUT, and a job run with a
failed task is INTERNAL_ERROR in the old words although nothing is wrong with the platform.
"""

from dataclasses import dataclass, replace


@dataclass(frozen=True, slots=True)
class Ending:
    """One way to end: `code` and `type` of the new words, the rest of the old."""

    code: str
    type: str
    life_cycle_state: str
    result_state: str | None
    message: str = ""
    task_life_cycle_state: str | None = None
    user_cancelled_or_timedout: bool = False


def _failure(code: str, kind: str, message: str) -> Ending:
    return Ending(code, kind, "INTERNAL_ERROR", "FAILED", message)


_WORKLOAD_FAILED = "Workload failed, see run output for details"
_LIMIT = "Skipping this run because the limit of 1 maximum concurrent runs has been reached."

ENDINGS = {
    "SUCCESS": Ending("SUCCESS", "SUCCESS", "TERMINATED", "SUCCESS"),
    "SUCCESS_WITH_FAILURES": Ending(
        "SUCCESS_WITH_FAILURES", "SUCCESS", "TERMINATED", "SUCCESS_WITH_FAILURES", "Some tasks failed."
    ),
    "RUN_EXECUTION_ERROR": replace(
        _failure("RUN_EXECUTION_ERROR", "CLIENT_ERROR", _WORKLOAD_FAILED), task_life_cycle_state="TERMINATED"
    ),
    "RESOURCE_NOT_FOUND": _failure("RESOURCE_NOT_FOUND", "CLIENT_ERROR", "The notebook does not exist."),
    "DRIVER_ERROR": _failure("DRIVER_ERROR", "CLIENT_ERROR", "The driver stopped responding."),
    "LIBRARY_INSTALLATION_ERROR": _failure(
        "LIBRARY_INSTALLATION_ERROR", "CLIENT_ERROR", "Library installation failed."
    ),
    "CLUSTER_ERROR": _failure("CLUSTER_ERROR", "INTERNAL_ERROR", "The cluster could not be started."),
    "INTERNAL_ERROR": _failure("INTERNAL_ERROR", "INTERNAL_ERROR", "An internal error occurred."),
    "CLOUD_FAILURE": _failure("CLOUD_FAILURE", "CLOUD_FAILURE", "The cloud provider has no capacity."),
    "USER_CANCELED": Ending(
        "USER_CANCELED",
        "CLIENT_ERROR",
        "TERMINATED",
        "CANCELED",
        "Run cancelled.",
        user_cancelled_or_timedout=True,
    ),
    "CANCELED": Ending("CANCELED", "INTERNAL_ERROR", "TERMINATED", "CANCELED", "Run cancelled."),
    "UPSTREAM_CANCELED": Ending("UPSTREAM_CANCELED", "CLIENT_ERROR", "TERMINATED", "UPSTREAM_CANCELED"),
    "TIMEDOUT": Ending(
        "CANCELED",
        "CLIENT_ERROR",
        "TERMINATED",
        "TIMEDOUT",
        "Run timed out.",
        user_cancelled_or_timedout=True,
    ),
    "SKIPPED": Ending("SKIPPED", "SUCCESS", "SKIPPED", None, "Nothing to do."),
    "UPSTREAM_FAILED": Ending("UPSTREAM_FAILED", "CLIENT_ERROR", "TERMINATED", "UPSTREAM_FAILED"),
    "EXCLUDED": Ending("EXCLUDED", "SUCCESS", "TERMINATED", "EXCLUDED"),
    "DISABLED": Ending("DISABLED", "SUCCESS", "TERMINATED", "DISABLED"),
    "MAX_CONCURRENT_RUNS_EXCEEDED": Ending(
        "MAX_CONCURRENT_RUNS_EXCEEDED", "CLIENT_ERROR", "SKIPPED", "MAXIMUM_CONCURRENT_RUNS_REACHED", _LIMIT
    ),
    "MAX_JOB_QUEUE_SIZE_EXCEEDED": Ending(
        "MAX_JOB_QUEUE_SIZE_EXCEEDED", "CLIENT_ERROR", "SKIPPED", None, "The queue of the job is full."
    ),
}

_STOPPED = {"USER_CANCELED", "CANCELED", "UPSTREAM_CANCELED", "TIMEDOUT"}
_NEVER_RAN = {
    "SKIPPED",
    "UPSTREAM_FAILED",
    "EXCLUDED",
    "DISABLED",
    "MAX_CONCURRENT_RUNS_EXCEEDED",
    "MAX_JOB_QUEUE_SIZE_EXCEEDED",
}


def ending(word: str) -> Ending:
    """Any word is allowed: one that nobody knows yet ends like a failure of the user's code."""
    return ENDINGS.get(word) or _failure(word, "CLIENT_ERROR", "")


def is_success(word: str) -> bool:
    return ending(word).type == "SUCCESS" and not is_skip(word)


def is_stop(word: str) -> bool:
    """True when somebody or a limit stopped it, which may be before it began."""
    return word in _STOPPED


def is_skip(word: str) -> bool:
    return word in _NEVER_RAN


def ending_of_unstarted(word: str) -> str:
    """The word for a task that had not begun when its run ended with `word`."""
    if is_stop(word) or is_skip(word):
        return word
    return "SKIPPED" if is_success(word) else "UPSTREAM_FAILED"
