"""How often the same thing may be said: once a minute per cause, with what was left unsaid in between.

Pure: the moment comes in as an argument.
"""

import re
from collections import OrderedDict
from collections.abc import Hashable

QUIET_SECONDS = 60.0
# Far more causes than a workspace has at a time; one that falls out is told again at once.
REMEMBERED_CAUSES = 1000

# Ids, moments and waits tell one occurrence from another, not one cause from another; an HTTP status does.
_OF_THIS_OCCURRENCE = re.compile(r"(?<!\bHTTP )\b\w*\d\w*")


def cause_in(text: str) -> str:
    """What a text has in common with the texts of other occurrences: every word with a digit is left out."""
    return _OF_THIS_OCCURRENCE.sub("#", text)


class Deduplication:
    """Remembers when each cause was last told, and how often it has come since."""

    def __init__(self) -> None:
        self._told: OrderedDict[Hashable, tuple[float, int]] = OrderedDict()

    def admit(self, cause: Hashable, moment: float) -> int | None:
        """None when a cause is not to be told now, else how often it was not told since it last was.

        `moment` is in seconds of a clock that never goes back.
        """
        last, unsaid = self._told.get(cause, (None, 0))
        if last is not None and moment - last < QUIET_SECONDS:
            self._told[cause] = (last, unsaid + 1)
            return None
        self._told[cause] = (moment, 0)
        self._told.move_to_end(cause)
        if len(self._told) > REMEMBERED_CAUSES:
            self._told.popitem(last=False)
        return unsaid
