"""When the next request may go: the rate, the places in flight, asked-for waits, and who goes first."""

import asyncio
import math
from collections.abc import Callable

import pytest

from exporter.databricks.context import Priority, RequestContext
from exporter.databricks.errors import TryAgain
from exporter.databricks.limits import RequestLimits
from tests.unit.databricks import most_in_any_second, within

RUNS, JOBS = "runs/list", "jobs/list"
LISTS, PENDING, BACKGROUND = map(RequestContext, Priority)


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not true():  # noqa: ASYNC110  what is awaited sets no event
            await asyncio.sleep(0)


async def everyone_has_asked() -> None:
    """Let tasks that were just made run up to where they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_no_second_sees_more_than_the_rate_and_a_small_burst(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many want to go at once, any second sees at most 1.3 times the rate, and nearly all of it."""
    now = 1000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    limits = RequestLimits(concurrency=100, rate=100)
    went: list[float] = []

    async def go() -> None:
        async with limits.turn(RUNS, LISTS):
            went.append(now)

    going = asyncio.gather(*(go() for _ in range(150)))
    while not going.done():
        await everyone_has_asked()
        now += 0.001
    assert len(went) == 150
    assert most_in_any_second(went) <= 100 * 1.3
    assert went[-1] - went[0] < 2, "150 requests at 100 a second, by the clock given here"


async def test_a_rate_below_one_per_second_lets_one_go_at_a_time() -> None:
    """A slow rate still admits a first request at once, and holds back the second."""
    limits = RequestLimits(concurrency=5, rate=0.01)
    async with limits.turn(RUNS, LISTS):
        pass
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05), limits.turn(RUNS, LISTS):
            pass


@pytest.mark.slow
@pytest.mark.parametrize("rate", [0.5, 1, 1.5, 2, 3, 3.3, 5, 9])
async def test_a_low_rate_too_leaves_room_for_what_the_network_bunches(
    rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One request more than a second may see takes longer than it by 40 ms, of the clock given here."""
    now = 1000.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now)
    limits = RequestLimits(concurrency=1, rate=rate)
    went: list[float] = []

    async def go_on() -> None:
        for _ in range(12):
            async with limits.turn(RUNS, LISTS):
                went.append(now)

    going = asyncio.create_task(go_on())
    while not going.done():
        await everyone_has_asked()
        now += 0.001
    allowed = max(math.floor(rate * 1.3), 1)
    assert min(later - went[i] for i, later in enumerate(went[allowed:])) >= 1.0399


async def test_no_more_are_in_flight_than_allowed() -> None:
    """A place in flight is held until its request ended, and given back when it failed or was cancelled."""
    limits = RequestLimits(concurrency=3, rate=10_000)
    in_flight = peak = 0

    async def go(number: int) -> None:
        nonlocal in_flight, peak
        async with limits.turn(RUNS, LISTS if number % 2 else BACKGROUND):
            in_flight += 1
            peak = max(peak, in_flight)
            try:
                await asyncio.sleep(0)
                if number % 3 == 0:
                    raise TryAgain("oops")
                if number % 5 == 0:
                    raise asyncio.CancelledError
            finally:
                in_flight -= 1

    await asyncio.gather(*(go(number) for number in range(60)), return_exceptions=True)
    assert (in_flight, peak) == (0, 3)


async def test_a_wait_the_server_asked_for_holds_back_every_request() -> None:
    """After a pause of 0.2 s nobody goes for 0.2 s, and a shorter pause does not end a longer one."""
    limits = RequestLimits(concurrency=8, rate=10_000)
    loop = asyncio.get_running_loop()
    began = loop.time()
    limits.pause(RUNS, 0.2)
    limits.pause(RUNS, 0.01)

    async def go(context: RequestContext) -> float:
        async with limits.turn(RUNS, context):
            return loop.time() - began

    waits = await asyncio.gather(*(go(context) for context in (LISTS, PENDING, BACKGROUND, LISTS)))
    assert min(waits) >= 0.2


async def test_a_wait_beyond_the_deadline_is_not_waited_for() -> None:
    """A context that must end before the pause does fails at once and says how long it would have been."""
    limits = RequestLimits(concurrency=1, rate=10_000)
    limits.pause(RUNS, 600)
    with pytest.raises(TryAgain) as raised:
        async with asyncio.timeout(5), limits.turn(RUNS, within(30)):
            pass
    assert raised.value.retry_after is not None
    assert 590 < raised.value.retry_after <= 600


@pytest.mark.parametrize("concurrency", [1, 2])
async def test_the_background_lets_everybody_else_pass(concurrency: int) -> None:
    """Background requests that asked first go last, also those that waited for a place in flight already."""
    limits = RequestLimits(concurrency=concurrency, rate=10_000)
    order: list[str] = []
    full, release = asyncio.Event(), asyncio.Event()
    holding = 0

    async def hold() -> None:
        nonlocal holding
        async with limits.turn(RUNS, LISTS):
            holding += 1
            if holding == concurrency:
                full.set()
            await release.wait()

    async def go(context: RequestContext) -> None:
        async with limits.turn(RUNS, context):
            order.append(context.priority.name)
            await asyncio.sleep(0)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        for _ in range(concurrency):
            group.create_task(hold())
        await full.wait()
        for context in (BACKGROUND,) * 5 + (LISTS,) * 5:
            group.create_task(go(context))
            await everyone_has_asked()
        assert order == []
        release.set()
    assert order == ["LISTS"] * 5 + ["BACKGROUND"] * 5


async def test_a_request_that_gives_up_waiting_holds_nobody_back() -> None:
    """A foreground request cancelled in the queue no longer keeps the background waiting."""
    limits = RequestLimits(concurrency=1, rate=10_000)
    release = asyncio.Event()
    went: list[str] = []

    async def hold() -> None:
        async with limits.turn(RUNS, LISTS):
            went.append("held")
            await release.wait()

    async def go(context: RequestContext) -> None:
        async with limits.turn(RUNS, context):
            went.append(context.priority.name)

    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        group.create_task(hold())
        await until(lambda: went == ["held"])
        impatient = group.create_task(go(LISTS))
        await everyone_has_asked()
        group.create_task(go(BACKGROUND))
        await everyone_has_asked()
        impatient.cancel()
        release.set()
    assert went == ["held", "BACKGROUND"]


async def test_a_pause_holds_back_its_endpoint_alone() -> None:
    """Others go on, whatever waits in front of them."""
    limits = RequestLimits(concurrency=1, rate=10_000)
    limits.pause(JOBS, 600)

    async def wait_for_jobs() -> None:
        async with limits.turn(JOBS, LISTS):
            raise AssertionError

    async with asyncio.timeout(10):
        waiting = asyncio.create_task(wait_for_jobs())
        await everyone_has_asked()
        for _ in range(3):
            async with limits.turn(RUNS, LISTS):
                pass
        waiting.cancel()
    await limits.close()


@pytest.mark.parametrize(("priority", "every"), [(Priority.PENDING, 4), (Priority.BACKGROUND, 16)])
async def test_nobody_is_starved(priority: Priority, every: int) -> None:
    """While lists never end, pending runs get a quarter of the turns and the background a sixteenth."""
    limits = RequestLimits(concurrency=1, rate=10_000)
    order: list[str] = []

    async def go(context: RequestContext) -> None:
        async with limits.turn(RUNS, context):
            order.append(context.priority.name)
            await asyncio.sleep(0)

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(64):
            group.create_task(go(LISTS))
            group.create_task(go(RequestContext(priority)))
    assert order[:64].count(priority.name) == 64 // every


async def test_pending_runs_that_hang_leave_places_to_the_lists() -> None:
    """However many hang, and the background too, a list finds a place in flight."""
    limits = RequestLimits(concurrency=16, rate=10_000)
    release = asyncio.Event()

    async def hang(context: RequestContext) -> None:
        async with limits.turn(RUNS, context):
            await release.wait()

    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for context in (PENDING, BACKGROUND) * 40:
            group.create_task(hang(context))
        await everyone_has_asked()
        async with limits.turn(RUNS, LISTS):
            pass
        release.set()
