"""Which runs there are, kept sorted by start so that a page costs its length and not the workspace's."""

from bisect import bisect_left, insort
from collections.abc import Iterator

from exporter.simulator.runs import Run

Key = tuple[int, int]  # start_ms, run_id: the order of every list, and what a page token pins

NEWEST: Key = (1 << 62, 0)


def key_of(run: Run) -> Key:
    return run.start_ms, run.run_id


class RunIndex:
    """Sorted keys of all runs, of each job's and of each run type's."""

    def __init__(self) -> None:
        self._keys: dict[object, list[Key]] = {None: []}

    def add(self, run: Run) -> None:
        for group in (None, run.job_id, run.run_type):
            insort(self._keys.setdefault(group, []), key_of(run))

    def remove(self, run: Run) -> None:
        for group in (None, run.job_id, run.run_type):
            keys = self._keys[group]
            del keys[bisect_left(keys, key_of(run))]
            if not keys and group is not None:
                del self._keys[group]

    def newest_first(self, group: object, before: Key, start_from_ms: int) -> Iterator[int]:
        """Ids of the group's runs older than `before` that started at `start_from_ms` or later."""
        keys = self._keys.get(group, [])
        low = bisect_left(keys, (start_from_ms, -1))
        for place in range(bisect_left(keys, before) - 1, low - 1, -1):
            yield keys[place][1]

    def started_before(self, start_ms: int) -> list[int]:
        keys = self._keys[None]
        return [run_id for _, run_id in keys[: bisect_left(keys, (start_ms, -1))]]
