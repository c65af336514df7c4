"""Tasks side by side, whose first error stops the others and is raised as it is."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")


async def side_by_side(work: Callable[[T], Awaitable[None]], items: Iterable[T], at_once: int) -> None:
    """Do work on items, so many at once."""
    queue = list(items)[::-1]

    async def worker() -> None:
        while queue:
            await work(queue.pop())

    async with together() as group:
        for _ in range(min(at_once, len(queue))):
            group.create_task(worker())


async def both(first: Awaitable[T], second: Awaitable[U]) -> tuple[T, U]:
    """The results of two things."""
    async with together() as group:
        one = group.create_task(_awaited(first))
        two = group.create_task(_awaited(second))
    return one.result(), two.result()


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A task group."""
    task = asyncio.current_task()
    cancelled_before = task.cancelling() if task else 0
    try:
        async with asyncio.TaskGroup() as group:
            yield group
    except BaseExceptionGroup as errors:
        # Before Python 3.13 the group's own request to cancel its parent is left standing, and before 3.11.5
        # the parent's next timeout takes it for a real one: the loop would end after its first failed poll.
        if sys.version_info < (3, 13) and task and task.cancelling() > cancelled_before:
            task.uncancel()
        raise _first(errors) from None


async def _awaited(awaitable: Awaitable[T]) -> T:
    return await awaitable


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    error = errors.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error
