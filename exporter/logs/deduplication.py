"""Log de-duplication: each cause at most once a minute, with the number of lines that were left out.

Pure: the moment comes in as an argument.
"""

import re
from collections import OrderedDict
from collections.abc import Hashable

QUIET_SECONDS = 60.0
# A workspace has far fewer causes at a time; one that is forgotten is logged again at once.
REMEMBERED_CAUSES = 1000

# Ids, moments and waits differ between two occurrences of one cause; an HTTP status does not.
_OF_ONE_OCCURRENCE = re.compile(r"(?<!\bHTTP )\b\w*\d\w*")


def cause_in(text: str) -> str:
    """The part of a text that all occurrences of its cause share: every word with a digit becomes `#`."""
    return _OF_ONE_OCCURRENCE.sub("#", text)


class Deduplication:
    """Remembers when each cause was last logged, and how many lines of it were left out since."""

    def __init__(self) -> None:
        self._last_logged: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def admit(self, cause: Hashable, moment: float) -> int | None:
        """None when the line is to be left out, else the number of lines left out since the last one.

        `moment` is in seconds of a clock that never goes back.
        """
        last, left_out = self._last_logged.get(cause, (None, 0))
        if last is not None and moment - last < QUIET_SECONDS:
            self._last_logged[cause] = (last, left_out + 1)
            return None
        self._last_logged[cause] = (moment, 0)
        self._last_logged.move_to_end(cause)
        if len(self._last_logged) > REMEMBERED_CAUSES:
            self._last_logged.popitem(last=False)
        return left_out
