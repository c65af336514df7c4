"""Ids that look like the real ones: unique, up to fifteen digits, in no order."""

_SPACE = 10**15
# Prime to the size of the space, so that the walk meets every id once before it meets one twice.
_STRIDE = 618_033_988_749_893


class Ids:
    """An endless walk over the id space that is the same for the same `first`."""

    def __init__(self, first: int = 1) -> None:
        self._step = first

    def __call__(self) -> int:
        self._step += 1
        return self._step * _STRIDE % _SPACE or self()
