"""What a colour means, and at which figures it changes: the same on every dashboard."""

from collections.abc import Sequence

Steps = Sequence[tuple[float | None, str]]

RESULT_COLOURS = {
    "SUCCESS": "green",
    "SUCCESS_WITH_FAILURES": "light-green",
    "FAILED": "red",
    "TIMEDOUT": "orange",
    "CANCELED": "purple",
    "SKIPPED": "light-blue",
    "UNKNOWN": "#808080",
}
STATE_COLOURS = {
    "QUEUED": "orange",
    "BLOCKED": "purple",
    "PENDING": "yellow",
    "RUNNING": "blue",
    "WAITING": "light-orange",
    "TERMINATING": "#808080",
}
TARGET_COLOURS = {"STANDARD": "blue", "PERFORMANCE_OPTIMIZED": "orange", "NONE": "#808080"}
PHASE_COLOURS = {"queue": "orange", "setup": "yellow", "execution": "blue", "cleanup": "purple"}
QUANTILE_COLOURS = {"p50": "blue", "p90": "yellow", "p95": "orange", "p99": "red"}

GREEN, AMBER, RED, PLAIN = "green", "orange", "red", "text"

# Figures that are neither good nor bad.
PLAINLY: Steps = ((None, PLAIN),)
COUNTED: Steps = ((None, "blue"),)
# Figures that are.
ONE_IS_GOOD: Steps = ((None, RED), (1, GREEN))
GOOD_SHARE: Steps = ((None, RED), (0.9, AMBER), (0.99, GREEN))
NONE_IS_GOOD: Steps = ((None, GREEN), (1, RED))
QUEUED_SECONDS: Steps = ((None, GREEN), (900, AMBER), (3600, RED))
SECONDS_SINCE_SUCCESS: Steps = ((None, GREEN), (86400, AMBER), (7 * 86400, RED))
