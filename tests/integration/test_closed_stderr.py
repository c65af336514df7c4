"""The log of a process whose standard error nobody reads."""

import os
import subprocess
import sys


def test_a_closed_standard_error_stops_nobody() -> None:
    """When the reader of standard error is gone, the process goes on and ends with 0."""
    script = (
        "import structlog; from exporter.logs import setup as logs\n"
        "logs.configure('info', 'logfmt', [])\n"
        "log = structlog.stdlib.get_logger('x')\n"
        "[log.info('line', n=n) for n in range(3)]\n"
        "print('went on')\n"
    )
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-c", script], stderr=writer, stdout=subprocess.PIPE, check=False
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stdout) == (0, b"went on\n")
