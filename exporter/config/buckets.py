"""The upper bounds of duration histograms as operators write them: `duration`, or `30,60,300`."""

import re
from itertools import pairwise

BUILT_IN = "duration"
MOST_BUCKETS = 100

_NUMBER = re.compile(r"[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_LARGEST_SECONDS = 3650 * 86_400
_EXAMPLE = f"write {BUILT_IN}, or seconds with commas between them, for example 30,60,300,900,3600"


def parse_buckets(text: str) -> tuple[float, ...] | None:
    """The bounds in seconds, ascending, whole ones as `int`; None for the built-in ones.

    Raises:
        ValueError: not a list of bounds; the message counts them from 1 and never repeats the text.
    """
    if text.strip() == BUILT_IN:
        return None
    words = [word.strip() for word in text.split(",")]
    if len(words) > MOST_BUCKETS:
        raise ValueError(
            f"more than {MOST_BUCKETS} bounds; every bound is a series of every job and histogram"
        )
    bounds = tuple(_bound(word, f"bound {number}") for number, word in enumerate(words, start=1))
    for number, (before, bound) in enumerate(pairwise(bounds), start=2):
        if bound <= before:
            raise ValueError(
                f"bound {number} is not more than the bound before it; sort the bounds in ascending order"
            )
    return bounds


def _bound(word: str, which: str) -> float:
    if word.lower().strip("+") in {"inf", "infinity"}:
        raise ValueError(f"{which} is infinite; leave it out, every histogram has +Inf")
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{which} is not a number of seconds above 0; {_EXAMPLE}")
    bound = float(word)
    if not 0 < bound <= _LARGEST_SECONDS:
        raise ValueError(f"{which} must be more than 0 and at most {_LARGEST_SECONDS} seconds")
    # `le` shows a whole number without a fraction, as in the built-in buckets.
    return int(bound) if bound.is_integer() else bound
