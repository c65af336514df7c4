"""What runs are counted under: the value of `job_id`, and what stands for no target. Pure."""

from typing import Final

from exporter.databricks.models import Run

NO_TARGET: Final = "NONE"
# What stands for every word beyond the limit of an open set, and for the jobs that there is no room for.
OTHER: Final = "OTHER"
UNKNOWN_TYPE: Final = "UNKNOWN"

# A job's label (`job_id`, or the run type of one-off runs) and the effective performance target.
SeriesKey = tuple[str, str]

_JOB_RUN = frozenset({"JOB_RUN", "", None})


def job_label(run: Run) -> str:
    """The value of `job_id`: one-off runs get a new id each and are counted under their run type."""
    if run.run_type in _JOB_RUN:
        return str(run.job_id)
    # A run type that reads as a number would be taken for the job with that id.
    return UNKNOWN_TYPE if is_job_id(str(run.run_type)) else str(run.run_type)


def is_job_id(label: str) -> bool:
    """Whether a `job_id` label is the id of one job; else it is a run type, or OTHER."""
    digits = label.removeprefix("-")
    return digits.isascii() and digits.isdigit()
