"""The jobs of the demo workspace: THE table. How they turn into runs is in `scenario`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

STANDARD = "STANDARD"
FAST = "PERFORMANCE_OPTIMIZED"
CLASSIC = None

_FLAKY = {"RUN_EXECUTION_ERROR": 0.08}


@dataclass(frozen=True, slots=True)
class DemoJob:
    """One job: a run about every `every` seconds of a quiet day, each at work for about `seconds`.

    `targets` are taken in turn by its runs. `setup` is what the first tasks wait for compute. `endings` are
    the chances of a run to end otherwise than well, `retry` that a task fails once or twice first, `repair`
    that a failed run is repaired. `overlap` says what happens to a run that starts while another is active.
    """

    name: str
    every: float
    seconds: float
    tasks: int = 1
    targets: tuple[str | None, ...] = (CLASSIC,)
    setup: float = 90
    endings: Mapping[str, float] = field(default_factory=dict)
    retry: float = 0.0
    repair: float = 0.0
    overlap: Literal["allow", "queue", "skip"] = "allow"
    trigger: str | None = "PERIODIC"
    run_type: str = "JOB_RUN"
    classic_last_task: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)


def _serverless(name: str, every: float, seconds: float, target: str, tasks: int = 1) -> DemoJob:
    setup = 45 if target == STANDARD else 3
    return DemoJob(name, every, seconds, tasks, (target,), setup, _FLAKY, retry=0.03)


DEMO_JOBS = (
    # Nightly and hourly loads on classic clusters.
    DemoJob("etl-orders-hourly", 3600, 420, 5, endings=_FLAKY, repair=0.6, tags={"team": "sales"}),
    DemoJob("etl-customers-hourly", 3600, 360, 4, endings=_FLAKY, retry=0.1, tags={"team": "sales"}),
    DemoJob("etl-inventory-half-hourly", 1800, 240, 6, retry=0.1, tags={"team": "logistics"}),
    DemoJob("etl-finance-nightly", 14400, 1500, 12, endings=_FLAKY, repair=0.8, tags={"team": "finance"}),
    DemoJob("table-maintenance", 10800, 900, 120, endings={"SUCCESS_WITH_FAILURES": 0.2}),
    # The same query on both targets in turn, so that they can be compared; and each on its own.
    DemoJob("compare-targets", 300, 40, 1, (STANDARD, FAST), 20),
    _serverless("dashboard-refresh", 300, 25, FAST),
    _serverless("feature-lookup-sync", 600, 30, FAST, tasks=2),
    _serverless("customer-segments", 900, 120, STANDARD, tasks=3),
    _serverless("marketing-attribution", 1800, 200, STANDARD, tasks=4),
    _serverless("data-quality-checks", 600, 35, STANDARD, tasks=3),
    _serverless("reverse-etl-crm", 600, 45, FAST),
    DemoJob("mixed-compute-report", 900, 90, 3, (FAST,), 60, classic_last_task=True),
    # Events: short and frequent.
    DemoJob("ingest-landing-files", 120, 14, 1, (FAST,), 2, _FLAKY, trigger="FILE_ARRIVAL"),
    DemoJob("ingest-clickstream", 120, 18, 2, (FAST,), 2, retry=0.05, trigger="FILE_ARRIVAL"),
    DemoJob("on-table-update", 300, 22, 1, (STANDARD,), 10, trigger="TABLE"),
    # Streams that somebody or something restarts.
    DemoJob("stream-payments", 3600, 560, 1, endings={"USER_CANCELED": 0.5}, trigger="CONTINUOUS"),
    DemoJob(
        "stream-telemetry", 1800, 280, 1, endings={"DRIVER_ERROR": 0.2, "CANCELED": 0.2}, trigger="CONTINUOUS"
    ),
    # Machine learning.
    DemoJob("ml-training-churn", 7200, 1100, 3, setup=240, endings={"TIMEDOUT": 0.15, "CLUSTER_ERROR": 0.05}),
    DemoJob("ml-scoring-batch", 1800, 150, 2, setup=120, endings=_FLAKY, retry=0.1),
    DemoJob("ml-feature-backfill", 3600, 500, 8, endings={"USER_CANCELED": 0.1}, trigger="ONE_TIME"),
    # Troublemakers.
    DemoJob("flaky-partner-api", 300, 35, 1, (FAST,), 3, {"RUN_EXECUTION_ERROR": 0.15}, retry=0.5),
    DemoJob(
        "failing-legacy-export", 900, 40, 1, endings={"RUN_EXECUTION_ERROR": 0.7, "RESOURCE_NOT_FOUND": 0.3}
    ),
    DemoJob("repaired-settlement", 900, 60, 4, endings={"RUN_EXECUTION_ERROR": 0.6}, repair=1.0),
    DemoJob("timing-out-crawler", 900, 110, 1, endings={"TIMEDOUT": 0.4}, setup=30),
    DemoJob(
        "no-cloud-capacity", 1800, 120, 1, endings={"CLOUD_FAILURE": 0.3, "CLUSTER_ERROR": 0.2}, setup=300
    ),
    # One at a time.
    DemoJob("queued-warehouse-load", 480, 48, 2, (STANDARD,), 8, overlap="queue"),
    DemoJob("queued-ledger-close", 600, 70, 1, setup=15, overlap="queue", endings=_FLAKY),
    DemoJob("skipped-snapshot", 300, 38, 1, (FAST,), 3, overlap="skip"),
    DemoJob("parent-orchestrator", 900, 100, 2, (STANDARD,), 5, trigger="RUN_JOB_TASK"),
    # One-off runs: every one has a job id of its own.
    DemoJob("adhoc-notebook", 600, 50, 1, (FAST,), 3, _FLAKY, trigger=None, run_type="SUBMIT_RUN"),
    DemoJob("airflow-submit", 400, 60, 2, setup=60, trigger=None, run_type="SUBMIT_RUN"),
)
