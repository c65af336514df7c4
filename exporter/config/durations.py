"""Durations as operators write them: `500ms`, `30s`, `5m`, `24h`, `14d`, `1h30m`.

A number without a unit is refused rather than guessed: the same `30` means seconds to one reader and
milliseconds to the next.
"""

import re
from decimal import Decimal

# Largest first: the order in which the parts of a compound duration are written.
_MILLISECONDS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
_NUMBER = r"[0-9]+(?:\.[0-9]+)?"
_DURATION = re.compile("".join(f"(?:({_NUMBER}){unit})?" for unit in _MILLISECONDS))
_LONGEST_DAYS = 3650
_EXAMPLES = "write for example 500ms, 30s, 5m, 24h or 1h30m"


def parse_duration(text: str) -> float:
    """Seconds of a written duration, exact to the millisecond.

    Raises:
        ValueError: not a duration; the message says what to write and never repeats the text.
    """
    written = text.strip()
    if re.fullmatch(rf"-?{_NUMBER}", written):
        raise ValueError(f"a duration needs a unit (ms, s, m, h, d): {_EXAMPLES}")
    if written.startswith("-"):
        raise ValueError(f"a duration cannot be negative: {_EXAMPLES}")
    parts = _DURATION.fullmatch(written)
    if not written or parts is None:
        raise ValueError(f"not a duration: {_EXAMPLES}")
    milliseconds = sum(
        (
            Decimal(number) * size
            for number, size in zip(parts.groups(), _MILLISECONDS.values(), strict=True)
            if number
        ),
        start=Decimal(0),
    )
    if milliseconds != milliseconds.to_integral_value():
        raise ValueError("a duration cannot be finer than a millisecond")
    if milliseconds > _LONGEST_DAYS * _MILLISECONDS["d"]:
        raise ValueError(f"a duration cannot be longer than {_LONGEST_DAYS}d")
    return int(milliseconds) / 1000
