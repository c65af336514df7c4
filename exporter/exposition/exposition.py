"""What scrapes read: the newest whole rendering, swapped in at once.

What must stay true: a scrape sees whole commits only and never waits for one; what has not changed is not
rendered again. `update` takes long for many series: callers run it in a thread.
"""

import threading
import time
from collections.abc import Iterator, Mapping

from exporter.accounting.records import ActiveGauges, Job, LabelSet
from exporter.accounting.totals import Totals
from exporter.exposition.render import render_job, render_totals
from exporter.exposition.snapshot import EMPTY, Format, Snapshot
from exporter.families import JOB_FAMILIES, LABEL_SET_FAMILIES, Family
from exporter.instruments import Instruments

_Blocks = dict[tuple[str, ...], tuple[str, ...]]


class Exposition:
    """Owns the rendered lines of all workspaces and the snapshot that is served."""

    def __init__(self, instruments: Instruments) -> None:
        self.snapshot: Snapshot = EMPTY
        self._instruments = instruments
        self._label_sets: _Blocks = {}
        self._jobs: _Blocks = {}
        self._one_at_a_time = threading.Lock()

    def update(
        self,
        workspace: str,
        totals: Mapping[LabelSet, Totals],
        jobs: Mapping[str, tuple[Job, ActiveGauges | None]],
    ) -> None:
        """Render what has changed in a workspace and serve it from now on."""
        began = time.perf_counter()
        with self._one_at_a_time:
            for label_set, values in totals.items():
                self._label_sets[workspace, *label_set] = render_totals(workspace, label_set, values)
            for label, (job, active) in jobs.items():
                self._jobs[workspace, label] = render_job(workspace, label, job, active)
            families = (
                *_joined(LABEL_SET_FAMILIES, self._label_sets),
                *_joined(JOB_FAMILIES, self._jobs),
            )
            snapshot = Snapshot(families, sum(lines.count(b"\n") for _, lines in families))
            for form in Format:
                # Who asked for a gzip body of the last one will ask for one of this.
                if self.snapshot.has_deflated(form):
                    snapshot.deflated(form)
            self.snapshot = snapshot
        self._instruments.series.set(snapshot.series)
        self._instruments.render_duration.set(time.perf_counter() - began)


def _joined(families: tuple[Family, ...], blocks: _Blocks) -> Iterator[tuple[Family, bytes]]:
    """The lines of each family over all label sets, or all jobs, in a stable order."""
    columns = zip(*(blocks[key] for key in sorted(blocks)), strict=True)
    for family, column in zip(families, columns, strict=False):
        if lines := "".join(column):
            yield family, lines.encode()
