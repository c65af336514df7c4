"""What scrapes read: the newest whole rendering, swapped in at once.

What must stay true: a scrape sees whole commits only and keeps the snapshot it began with; it waits for no
commit, unless it is the first in its format; what has not changed is neither rendered nor compressed again; a
format that was not asked for lately costs nothing. `update` and `prepare` take long for many series:
callers run them in a thread.
"""

import math
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from exporter.exposition.chunk_cache import ChunkCache
from exporter.exposition.chunks import Check, Chunk, ColumnData, Packer, checked
from exporter.exposition.render import Column, TotalsRenderer, columns, heading, render_job
from exporter.exposition.snapshot import EMPTY, Format, Rendering, Snapshot
from exporter.families import JOB_FAMILIES, Family
from exporter.own_metrics import OwnMetrics
from exporter.runs.changes import Expired
from exporter.runs.layout import Layout
from exporter.runs.records import ActiveGauges, Job
from exporter.runs.series_keys import SeriesKey
from exporter.runs.totals import Totals

# A format is kept ready for so long after it was asked for.
READY_SECONDS = 600.0
# A series key has a hundred lines and more, which pack well by themselves; a job has one in each family.
SERIES_KEYS_PER_GROUP = 4
JOBS_PER_GROUP = 16
_NOTHING = Expired()


class Exposition:
    """Owns the rendered lines of all workspaces and the snapshot that is served."""

    def __init__(
        self, own_metrics: OwnMetrics, layout: Layout, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`clock`: seconds that never go back."""
        self.snapshot: Snapshot = EMPTY
        self._own_metrics = own_metrics
        self._clock = clock
        self._renderer = TotalsRenderer(layout)
        self._series_keys = ChunkCache(self._renderer.render, SERIES_KEYS_PER_GROUP)
        self._jobs = ChunkCache(render_job, JOBS_PER_GROUP)
        self._headings: dict[tuple[Family, Format], Chunk] = {}
        self._one_at_a_time = threading.Lock()
        # When each format was last asked for. OpenMetrics is what Prometheus will ask for.
        # No key is ever added, so that a thread may look through it meanwhile.
        self._asked = dict.fromkeys(Format, -math.inf) | {Format.OPENMETRICS: clock()}

    def update(
        self,
        workspace: str,
        totals: Mapping[SeriesKey, Totals],
        jobs: Mapping[str, tuple[Job, ActiveGauges | None]],
        expired: Expired = _NOTHING,
    ) -> None:
        """Render what has changed in a workspace, forget what is gone, and serve that from now on."""

        def newest_first(label: str) -> int:
            job, _ = jobs.get(label, (None, None))
            return -job.last_run.end_ms if job and job.last_run else 0

        with self._one_at_a_time:
            began = time.perf_counter()
            self._series_keys.drop((workspace, *series_key) for series_key in expired.series_keys)
            self._jobs.drop((workspace, label) for label in expired.jobs)
            # Jobs that run often are found side by side: little is rendered again for them.
            # Sorting lets no other thread run: twice by something simple is shorter than once by a pair.
            series_keys = sorted(sorted(totals), key=lambda series_key: newest_first(series_key[0]))
            self._series_keys.put(
                {(workspace, *series_key): totals[series_key] for series_key in series_keys}
            )
            self._jobs.put(
                {(workspace, label): jobs[label] for label in sorted(sorted(jobs), key=newest_first)}
            )
            self._publish()
            self._own_metrics.series.set(self.snapshot.series)
            self._own_metrics.render_duration.set(time.perf_counter() - began)

    def ready(self, form: Format) -> Snapshot | None:
        """The newest snapshot if it can be served in this format; it will be kept ready in it."""
        self._asked[form] = self._clock()
        snapshot = self.snapshot
        return snapshot if form in snapshot.renderings else None

    def prepare(self, form: Format) -> Snapshot:
        """The newest snapshot, made ready for this format."""
        with self._one_at_a_time:
            if form not in self.snapshot.renderings:
                self._asked[form] = self._clock()
                self._publish()
            return self.snapshot

    def _publish(self) -> None:
        wanted = self._wanted()
        columns_data = [
            *self._series_keys.columns_data(columns(self._renderer.families, wanted)),
            *self._jobs.columns_data(columns(JOB_FAMILIES, wanted)),
        ]
        renderings = {form: Rendering.of(self._body(columns_data, form)) for form in wanted}
        # Each format has the same series.
        series = max(rendering.check.series for rendering in renderings.values())
        self.snapshot = Snapshot(renderings, series)

    def _wanted(self) -> list[Format]:
        """The formats to keep ready: those asked for lately, or else the last one."""
        last = max(self._asked.values())
        since = min(self._clock() - READY_SECONDS, last)
        return [form for form, asked in self._asked.items() if asked >= since]

    def _body(
        self, columns_data: list[tuple[Column, ColumnData]], form: Format
    ) -> Iterator[tuple[Sequence[bytes], Check]]:
        for column, column_data in columns_data:
            if column.form in {None, form} and column_data.check.size:
                heading = self._heading(column.family, form)
                yield [heading.data], checked([heading])
                yield column_data.segments, column_data.check

    def _heading(self, family: Family, form: Format) -> Chunk:
        chunk = self._headings.get((family, form))
        if chunk is None:
            chunk = self._headings[family, form] = Packer().pack(heading(family, form).encode(), 0)
        return chunk
