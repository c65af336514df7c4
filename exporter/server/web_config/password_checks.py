"""Which password is checked next, while more wait than can be checked at once.

Each check is slow on purpose, so a flood of guesses keeps all threads busy. An address ranks by the checks it
had lately, without those of right passwords. The check of the lowest rank runs next, and the oldest of that
rank first. When too many wait, one of the highest rank gives way. So an address that rarely fails passes a
flood from elsewhere, and behind a shared address every client that waits has its turn.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

_THREADS = 2
_MAX_WAITING = 320  # of 400 connections: the others are left for answers that need no check
# Ranks end here: among the addresses that fail often, the check that waits longest runs next.
_HIGHEST_RANK = 4
_HALVE_SECONDS = 60.0
_MAX_ADDRESSES = 10_000


@dataclass(eq=False, slots=True)
class _Check:
    digest: bytes
    peer: str
    number: int
    work: Callable[[], bool]
    answer: asyncio.Future[bool | None]


class PasswordChecks:
    """The checks that wait and those that run. Owned by one event loop."""

    def __init__(self, remember: Callable[[bytes, bool], None]) -> None:
        """`remember` is called with the digest and the result of every check that ran."""
        self._remember = remember
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="bcrypt")
        self._waiting: dict[bytes, _Check] = {}
        self._running: dict[bytes, _Check] = {}
        self._ranks: Counter[str] = Counter()
        self._halve_at = 0.0
        self._number = 0

    def close(self) -> None:
        """Drop the checks that wait; those that run end by themselves."""
        for check in self._waiting.values():
            check.answer.cancel()
        self._waiting.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def result(self, digest: bytes, peer: str, work: Callable[[], bool]) -> bool | None:
        """The result of `work`, in a thread; None when it had to give way.

        The digest says which work it is: equal work runs once. It also runs when its request goes away.
        """
        check = self._running.get(digest) or self._waiting.get(digest)
        if check is None:
            if len(self._waiting) >= _MAX_WAITING and not self._make_room(peer):
                return None
            self._raise_rank(peer)
            self._number += 1
            check = _Check(digest, peer, self._number, work, asyncio.get_running_loop().create_future())
            self._waiting[digest] = check
            self._start()
        elif self._ranks[peer] < self._ranks[check.peer]:
            check.peer = peer
        return await asyncio.shield(check.answer)

    def _raise_rank(self, peer: str) -> None:
        now = asyncio.get_running_loop().time()
        if now >= self._halve_at or len(self._ranks) >= _MAX_ADDRESSES:
            self._ranks = Counter({each: rank // 2 for each, rank in self._ranks.items() if rank > 1})
            self._halve_at = now + _HALVE_SECONDS
        self._ranks[peer] = min(self._ranks[peer] + 1, _HIGHEST_RANK)

    def _make_room(self, peer: str) -> bool:
        """Drop the newest check of the highest rank; False where that is the new one.

        Among addresses of one rank, the one with most checks gives way.
        """
        waiting = Counter(check.peer for check in self._waiting.values())
        worst = max(
            self._waiting.values(),
            key=lambda check: (self._ranks[check.peer], waiting[check.peer], check.number),
        )
        if (self._ranks[peer], waiting[peer] + 1) >= (self._ranks[worst.peer], waiting[worst.peer]):
            return False
        del self._waiting[worst.digest]
        worst.answer.set_result(None)
        return True

    def _start(self) -> None:
        """Begin the next checks, where threads are free."""
        while self._waiting and len(self._running) < _THREADS:
            check = min(self._waiting.values(), key=lambda check: (self._ranks[check.peer], check.number))
            del self._waiting[check.digest]
            self._running[check.digest] = check
            asyncio.get_running_loop().run_in_executor(self._threads, check.work).add_done_callback(
                lambda done, check=check: self._ended(check, done)  # type: ignore[misc]
            )

    def _ended(self, check: _Check, done: asyncio.Future[bool]) -> None:
        del self._running[check.digest]
        if done.cancelled():
            check.answer.cancel()
        elif error := done.exception():
            check.answer.set_exception(error)
        else:
            right = done.result()
            if right and self._ranks[check.peer]:
                self._ranks[check.peer] -= 1
            self._remember(check.digest, right)
            check.answer.set_result(right)
        self._start()
