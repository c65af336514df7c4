"""The way in: what a signal means while the rest is still being loaded, then the command.

Loading takes long enough for a supervisor or a user to change their mind. Nothing has begun by then, so to
stop is to leave at once; as soon as there is something to end in order, `command` takes the signals over.
"""

import os
import signal
import sys
from types import FrameType


def run() -> None:
    """The console script."""
    # An interrupted check has not found that all is well. It may stand anywhere among the flags.
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
