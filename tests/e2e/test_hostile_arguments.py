"""The real program with arguments of any kind."""

import os
import subprocess
import sys

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.config.test_hostile_settings import LOGIN, SECRET, text, values


@settings(deadline=None, max_examples=6, suppress_health_check=list(HealthCheck))
@given(st.lists(st.builds("--{}={}".format, text, values), min_size=1, max_size=3))
def test_a_process_with_hostile_arguments_ends_with_2_and_tells_no_secret(argv: list[str]) -> None:
    """The real program: exit code 2, no traceback, no secret on either stream."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *argv, f"--unknown={SECRET}"],
        env=inherited | LOGIN,
        check=False,
        capture_output=True,
        timeout=60,
    )
    said = (done.stdout + done.stderr).decode()
    if b"--help" not in b" ".join(word.encode() for word in argv):
        assert done.returncode == 2, said
    assert SECRET not in said
    assert "Traceback" not in said
