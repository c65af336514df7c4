"""Updates, preparations and scrapes from several threads: every body is whole, and of one commit."""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from exporter.exposition.exposition import READY_SECONDS, Exposition
from exporter.exposition.snapshot import Format
from exporter.families import TASK_RETRIES
from exporter.own_metrics import OwnMetrics
from exporter.runs.changes import Expired
from exporter.runs.records import Job
from tests.unit.exposition import LAYOUT, Observed, sent, unpacked

LABELS = [str(number) for number in range(30)]
UPDATES = 60
WORKSPACES = ("a", "b")


def commit(exposition: Exposition, workspace: str, number: int) -> None:
    """Every series key and job says the number of the commit; half of them are dropped before."""
    totals = Observed(counts={(TASK_RETRIES.name, ""): 1}).totals()
    totals.row[LAYOUT.counters[TASK_RETRIES.name].first] = number
    exposition.update(
        workspace,
        {(label, "NONE"): totals for label in LABELS},
        {label: (Job(name=str(number)), None) for label in LABELS},
        Expired(frozenset((label, "NONE") for label in LABELS[::2]), frozenset(LABELS[::2])),
    )


def check(body: bytes) -> dict[str, str]:
    """That each workspace in it is there as a whole, of one commit; the commits' numbers."""
    lines = body.decode().splitlines()
    seen: dict[str, str] = {}
    for workspace in WORKSPACES:
        mine = [line for line in lines if f'workspace="{workspace}"' in line]
        counts = [line.rpartition(" ")[2] for line in mine if line.startswith(TASK_RETRIES.name)]
        names = [line.split('job_name="')[1].split('"')[0] for line in mine if "job_name" in line]
        assert len(counts) == len(names) == len(LABELS)
        (seen[workspace],) = {*counts, *names}
    return seen


@pytest.mark.slow
def test_every_scrape_sees_whole_commits() -> None:
    """Two workspaces commit while scrapes ask for formats that come and go: no mixture, no broken body."""
    now = [0.0]
    exposition = Exposition(OwnMetrics(), LAYOUT, lambda: now[0])
    for workspace in WORKSPACES:
        commit(exposition, workspace, 1)
    done = threading.Event()

    def committing(workspace: str) -> Callable[[], None]:
        def work() -> None:
            for number in range(2, UPDATES + 1):
                now[0] += READY_SECONDS / 3
                commit(exposition, workspace, number)

        return work

    def scraping(form: Format) -> Callable[[], int]:
        def work() -> int:
            scrapes, last = 0, dict.fromkeys(WORKSPACES, 0)
            while not done.is_set() or not scrapes:
                snapshot = exposition.ready(form) or exposition.prepare(form)
                body = sent(snapshot.plain(form, b""))
                assert unpacked(sent(snapshot.gzipped(form, b""))) == body
                seen = {workspace: int(number) for workspace, number in check(body).items()}
                assert all(seen[workspace] >= last[workspace] for workspace in WORKSPACES), "never back"
                last, scrapes = seen, scrapes + 1
            return scrapes

        return work

    with ThreadPoolExecutor() as pool:
        scrapers = [pool.submit(scraping(form)) for form in (*Format, *Format)]
        try:
            for writer in [pool.submit(committing(workspace)) for workspace in WORKSPACES]:
                writer.result()
        finally:
            done.set()
        assert all(scraper.result() for scraper in scrapers)
    for form in Format:
        snapshot = exposition.ready(form) or exposition.prepare(form)
        assert check(sent(snapshot.plain(form, b""))) == dict.fromkeys(WORKSPACES, str(UPDATES))
