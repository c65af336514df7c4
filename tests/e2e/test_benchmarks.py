"""Each benchmark runs through at a small size, and what it promises besides speed holds."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def output_of(benchmark: str, *arguments: str) -> str:
    """What a benchmark prints; it must end well."""
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / benchmark), *arguments],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_exposition_benchmark_compares_the_same_samples() -> None:
    """At a small size and without the peers of other languages, the benchmark runs through to its targets."""
    output = output_of("exposition.py", "--series=1000", "--rounds=1", "--without=go,prometheus")
    assert "exporter and prometheus-client expose the same 1,050 samples" in output
    assert "target: event loop never stalled" in output


def test_no_scrape_fails_and_no_run_is_missed_under_load() -> None:
    """With many scrapers at once every answer is whole, and every run that ends meanwhile is counted once."""
    output = output_of(
        "load.py",
        *("--scrapers=50", "--jobs=60", "--seconds=3", "--interval=0.5", "--rate=1000", "--longest=1"),
    )
    assert "target: no scrape fails: met" in output
    assert "target: every run counted once: met" in output


def test_totals_are_exact_after_a_day_of_everything_that_happens() -> None:
    """Runs, repairs, late listings, deletions and sweeps of a day leave exact totals."""
    output = output_of("soak.py", "--days=0.75", "--after=0", "--jobs=15")
    assert "target: totals exact: met" in output


def test_pending_runs_are_settled_while_every_poll_is_good() -> None:
    """Runs that ended while it was away are all settled beside good polls."""
    output = output_of("pending.py", "--runs=200")
    assert "target: every poll good: met" in output
