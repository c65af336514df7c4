"""What promtool says about our text format."""

import subprocess

from hypothesis import HealthCheck, given, settings

from exporter.exposition.snapshot import Format
from tests.programs import program
from tests.unit.exposition.test_peer import Everything, everything, ours


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(everything)
def test_promtool_finds_no_fault(what: Everything) -> None:
    """`promtool check metrics` reads the text format of anything, and has nothing to say."""
    text = ours(what, Format.TEXT)
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=text.encode(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
