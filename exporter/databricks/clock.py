"""What time it is for the workspace, by the `Date` of its answers. One answer alone never decides. Pure.

What must stay true: of any three answers in a row one may have any `Date`, and nothing follows from it.
"""

from collections import deque
from typing import NamedTuple

# Two clocks that are further apart than this disagree.
AGREE_SECONDS = 300.0
# So many answers in a row are compared: the one in the middle is right while any two of them are.
_WITNESSES = 3


class Instant(NamedTuple):
    """Now, by the server's clock and by ours.

    What is kept or counted goes by `earliest_ms`, and what a later expiry starts from by `latest_ms`: where
    the two clocks disagree, more is kept and less is forgotten.
    """

    server_ms: int
    ours_ms: int

    @property
    def disagree(self) -> bool:
        """Whether the two clocks are more than five minutes apart."""
        return abs(self.server_ms - self.ours_ms) > AGREE_SECONDS * 1000

    @property
    def earliest_ms(self) -> int:
        """The earlier of the two where they disagree, else the server's."""
        return min(self) if self.disagree else self.server_ms

    @property
    def latest_ms(self) -> int:
        """The later of the two where they disagree, else the server's."""
        return max(self) if self.disagree else self.server_ms


class ServerClock:
    """The server's clock, by its latest answers. `moment` is in seconds of a clock that never goes back."""

    def __init__(self) -> None:
        # Of each of the latest answers: the server's clock minus the one that never goes back.
        self._offsets: deque[float] = deque(maxlen=_WITNESSES)

    def note(self, date: float, moment: float) -> None:
        """Take in the `Date` of an answer that came at a moment, in seconds since the epoch."""
        self._offsets.append(date - moment)

    def needs_witness(self, moment: float, ours: float) -> bool:
        """Whether another answer is needed, because too few say the same to believe them."""
        return len(self._offsets) < _WITNESSES and not self._agree(ours - moment)

    def now(self, moment: float, ours: float) -> Instant:
        """The time at a moment; `ours` is what our own clock says then, in seconds since the epoch."""
        offset = self._offset(ours - moment)
        return Instant(int((moment + offset) * 1000), int(ours * 1000))

    def _agree(self, own_offset: float) -> bool:
        """Whether two answers, or the last one and our own clock, say the same."""
        witnesses = [own_offset, *self._offsets]
        return len(witnesses) > 1 and any(
            abs(witnesses[-1] - other) <= AGREE_SECONDS for other in witnesses[:-1]
        )

    def _offset(self, own_offset: float) -> float:
        if len(self._offsets) == _WITNESSES:
            return sorted(self._offsets)[_WITNESSES // 2]
        return self._offsets[-1] if self._agree(own_offset) else own_offset
