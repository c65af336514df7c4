"""What runs are counted under: the value of `job_id`, and what stands for no target. Pure."""

from typing import Final

from exporter.databricks.models import Run, Task

NO_TARGET: Final = "NONE"
# The `job_id` of all jobs that there is no room for.
OTHER: Final = "OTHER"
_JOB_RUN = frozenset({"JOB_RUN", "", None})


def job_label(run: Run) -> str:
    """The value of `job_id`: one-off runs get a new id each and are counted under their run type."""
    return str(run.job_id) if run.run_type in _JOB_RUN else str(run.run_type)


def is_one_off(label: str) -> bool:
    """Whether a `job_id` label stands for many jobs: a run type, or OTHER."""
    return not label.lstrip("-").isdigit()


def target_of(item: Run | Task) -> str:
    """The value of `effective_performance_target`: NONE for classic compute."""
    return item.effective_performance_target or NO_TARGET
