"""The exporter's own metrics, on prometheus-client: what the edges count, and what a scrape reads of them.

They start at 0 with each process. `databricks_up` and every age are worked out at the moment of the scrape,
so that they tell the truth while nothing else moves.
"""

import platform
import time
from collections.abc import Callable, Mapping
from contextlib import suppress

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.exposition import generate_latest as generate_text
from prometheus_client.gc_collector import GCCollector
from prometheus_client.openmetrics.exposition import generate_latest as generate_openmetrics
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector

from exporter import __version__
from exporter.families import (
    API_DURATION,
    API_REQUESTS,
    API_RETRIES,
    BUILD_INFO,
    DECODE_ERRORS,
    FIRST_POLL_PROGRESS,
    LAST_POLL,
    LIMITED,
    LOST,
    OLDEST_PENDING,
    PENDING,
    PENDING_REASONS,
    POLL_DURATION,
    POLLS,
    RENDER_DURATION,
    SERIES,
    SETTLED,
    TRACKED,
    UP,
    Family,
)

# A workspace is up while its last successful poll is younger than this many intervals.
UP_INTERVALS = 3


class OwnMetrics:
    """Owns the registry; one instance per process."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # it doubles the series of every counter and histogram
        self._registry = CollectorRegistry()
        self.series = self._gauge(SERIES)
        self.render_duration = self._gauge(RENDER_DURATION)
        self._gauge(BUILD_INFO).labels(__version__, platform.python_version()).set(1)
        self.up = self._gauge(UP)
        self.last_poll = self._gauge(LAST_POLL)
        self.tracked = self._gauge(TRACKED)
        self.limited = self._gauge(LIMITED)
        self.pending = self._gauge(PENDING)
        self.oldest_pending = self._gauge(OLDEST_PENDING)
        self.first_poll_progress = self._gauge(FIRST_POLL_PROGRESS)
        self.poll_duration = self._histogram(POLL_DURATION)
        self.polls = self._counter(POLLS)
        self.requests = self._counter(API_REQUESTS)
        self.request_duration = self._histogram(API_DURATION)
        self.retries = self._counter(API_RETRIES)
        self.settled = self._counter(SETTLED)
        self.lost = self._counter(LOST)
        self.decode_errors = self._counter(DECODE_ERRORS)
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        GCCollector(registry=self._registry)

    def text(self) -> bytes:
        """All of them in the text format 0.0.4."""
        return generate_text(self._registry)

    def openmetrics(self) -> bytes:
        """All of them in OpenMetrics 1.0.0, with the closing `# EOF`."""
        return bytes(generate_openmetrics(self._registry))  # type: ignore[no-untyped-call]

    def _gauge(self, family: Family) -> Gauge:
        return Gauge(family.name, family.help, family.labels, registry=self._registry)

    def _counter(self, family: Family) -> Counter:
        return Counter(family.openmetrics_name, family.help, family.labels, registry=self._registry)

    def _histogram(self, family: Family) -> Histogram:
        return Histogram(
            family.name, family.help, family.labels, registry=self._registry, buckets=family.buckets
        )


class WorkspaceMetrics:
    """What is counted of one workspace, all at 0, and whether it is up; `interval` is `poll.interval`."""

    def __init__(
        self,
        own_metrics: OwnMetrics,
        workspace: str,
        interval: float,
        monotonic: Callable[[], float] = time.monotonic,
        redact: Callable[[str], str] = str,
    ) -> None:
        self.workspace = workspace
        self._api = own_metrics
        self.runs_settled = own_metrics.settled.labels(workspace)
        self.runs_lost = own_metrics.lost.labels(workspace)
        self.decode_errors = own_metrics.decode_errors.labels(workspace)
        self.first_poll_progress = 0.0
        self._first_poll_progress = own_metrics.first_poll_progress.labels(workspace)
        self.limited_jobs = own_metrics.limited.labels(workspace)
        self.active_runs = 0
        self.pending_runs = 0
        self.failed_polls = 0
        self.last_error: str | None = None
        self.last_success_time: float | None = None
        self._redact = redact
        self._interval = interval
        self._monotonic = monotonic
        self._last_success: float | None = None
        self._tracked_runs = own_metrics.tracked.labels(workspace)
        self.note_pending(dict.fromkeys(PENDING_REASONS, 0), None)
        self._last_poll = own_metrics.last_poll.labels(workspace)
        self._poll_duration = own_metrics.poll_duration.labels(workspace)
        self._good_polls = own_metrics.polls.labels(workspace, "success")
        self._failed_polls = own_metrics.polls.labels(workspace, "error")
        own_metrics.up.labels(workspace).set_function(lambda: float(self.is_up()))

    def is_up(self) -> bool:
        """Whether the last successful poll is younger than 3 intervals, by a clock that never jumps."""
        age = self.age_seconds()
        return age is not None and age < UP_INTERVALS * self._interval

    def age_seconds(self) -> float | None:
        """Seconds since the last successful poll ended, None before the first."""
        return None if self._last_success is None else self._monotonic() - self._last_success

    def poll_ended(self, seconds: float, error: str | None) -> None:
        """Count a poll; `error` says why it failed, None that it succeeded."""
        self._poll_duration.observe(seconds)
        # Pages show it, and a server may repeat in its errors what we sent it.
        self.last_error = None if error is None else self._redact(error)
        if error is not None:
            self.failed_polls += 1
            self._failed_polls.inc()
            return
        self._good_polls.inc()
        self._last_success = self._monotonic()
        self.last_success_time = time.time()
        self._last_poll.set(self.last_success_time)

    def note_first_poll(self, ratio: float) -> None:
        """Note how much of the first poll's lookback has been read, from 0 to 1."""
        self.first_poll_progress = ratio
        self._first_poll_progress.set(ratio)

    def note_memory(self, settled: int, active: int) -> None:
        """Note how many runs are remembered."""
        self._tracked_runs.set(settled + active)
        self.active_runs = active

    def note_pending(self, counts: Mapping[str, int], oldest: float | None) -> None:
        """Note how many runs are pending, by reason, and since when the oldest is, None where none is."""
        self.pending_runs = sum(counts.values())
        for reason, count in counts.items():
            self._api.pending.labels(self.workspace, reason).set(count)
        if oldest is not None:
            self._api.oldest_pending.labels(self.workspace).set(oldest)
        else:
            with suppress(KeyError):
                self._api.oldest_pending.remove(self.workspace)

    def request_ended(self, endpoint: str, code: str, seconds: float) -> None:
        """Count a request; `code` is the HTTP status, `timeout` or `error`."""
        self._api.requests.labels(self.workspace, endpoint, code).inc()
        self._api.request_duration.labels(self.workspace, endpoint).observe(seconds)

    def request_repeated(self, endpoint: str) -> None:
        """Count a retry."""
        self._api.retries.labels(self.workspace, endpoint).inc()
