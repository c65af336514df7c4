"""The entry point: handles signals while the other modules are loaded, then runs the command.

Loading takes long enough for a supervisor or a user to stop the process. Nothing has begun by then, so the
process ends at once. As soon as there is something to stop in order, `cli` handles the signals.
"""

import os
import signal
import sys
from types import FrameType


def run() -> None:
    """The console script."""
    # An interrupted check has failed. The word may be anywhere among the flags.
    code = 1 if "check" in sys.argv[1:] else 0

    def leave(_number: int, _frame: FrameType | None) -> None:
        # No exception: it would surface in whatever module is being loaded.
        os._exit(code)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, leave)
    from exporter.cli import main  # noqa: PLC0415  what takes long, after the signals

    sys.exit(main(sys.argv[1:]))


if __name__ == "__main__":
    run()
