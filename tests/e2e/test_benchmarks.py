import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_exposition_benchmark_compares_the_same_samples() -> None:
    """At a small size and without the peers of other languages, the benchmark runs through to its targets."""
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "benchmarks" / "exposition.py"),
            "--series=1000",
            "--rounds=1",
            "--without=go,prometheus",
        ],
        check=False,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "exporter and prometheus-client expose the same 1,050 samples" in done.stdout
    assert "target: event loop never stalled" in done.stdout
