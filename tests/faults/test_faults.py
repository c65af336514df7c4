"""A fault hits the requests that it is aimed at, and they get what it says."""

import asyncio
import copy
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from tests.faults import (
    FAULTS,
    Answer,
    Fault,
    SimulatorServer,
    earlier,
    empty,
    error,
    fault_of,
    html,
    login_page,
    no_such_run,
    plain,
    redirect,
    throttled,
    throttled_until,
    unavailable,
)
from tests.unit.simulator.conftest import NOW, Api, Clock


@pytest.fixture(autouse=True)
def some_runs(server: SimulatorServer) -> None:
    job = server.workspace.add_job("load")
    for number in range(10):
        server.workspace.finished_run(job, start=NOW - 100 - number)


async def test_a_throttled_answer_says_when_to_come_back(api: Api, server: SimulatorServer) -> None:
    """In seconds, as an HTTP date, or not at all."""
    answers = [throttled(7), throttled_until(NOW), throttled(None)]
    for answer in answers:
        server.faults.add(Fault(answer, times=1))
    waits = []
    for _ in answers:
        async with api.session.get("/api/2.2/jobs/runs/list") as response:
            assert response.status == 429
            assert (await response.json())["error_code"] == "REQUEST_LIMIT_EXCEEDED"
            waits.append(response.headers.get("Retry-After"))
    assert waits[0] == "7"
    assert parsedate_to_datetime(waits[1] or "") == datetime.fromtimestamp(NOW, UTC)
    assert waits[2] is None


async def test_a_fault_hits_only_its_endpoint_its_query_and_its_times(
    api: Api, server: SimulatorServer
) -> None:
    """All others get the real answer; the first one that matches is let through by skip."""
    fault = Fault(unavailable(), endpoint="runs/list", times=1, skip=1, when=lambda query: "job_id" in query)
    server.faults.add(fault)
    assert (await api.ask("list"))[0] == 200
    assert (await api.ask("runs/list"))[0] == 200
    statuses = [(await api.ask("runs/list", job_id=1))[0] for _ in range(3)]
    assert (statuses, fault.hits) == ([200, 503, 200], 1)


async def test_a_probable_fault_hits_sometimes(api: Api, server: SimulatorServer) -> None:
    """About as often as asked for, and the same way for the same seed."""
    server.faults.add(Fault(error(500, 500, "oops"), probability=0.5))
    statuses = [(await api.ask("runs/list", limit=1))[0] for _ in range(60)]
    assert 15 < statuses.count(500) < 45


@pytest.mark.parametrize(
    ("answer", "status", "content_type"),
    [
        (html(504, "Gateway timeout"), 504, "text/html"),
        (plain(500, "INTERNAL_ERROR: oops"), 500, "text/plain"),
        (empty(502), 502, "application/json"),
        (login_page(), 200, "text/html"),
        (redirect(), 302, "application/json"),
    ],
)
async def test_answers_of_gateways(
    api: Api, server: SimulatorServer, answer: Answer, status: int, content_type: str
) -> None:
    """Other bodies than JSON, with the status and type they come with."""
    server.faults.add(Fault(answer))
    async with api.session.get("/api/2.2/jobs/runs/list", allow_redirects=False) as response:
        assert (response.status, response.content_type) == (status, content_type)
        assert await response.read() == answer.body


@pytest.mark.parametrize(
    ("kind", "raised"),
    [
        ("reset", aiohttp.ClientOSError),
        ("reset mid-body", aiohttp.ClientPayloadError),
        ("truncated", aiohttp.ClientPayloadError),
        ("broken JSON", ValueError),
        ("broken gzip", aiohttp.ClientPayloadError),
    ],
)
async def test_a_broken_answer_reaches_the_client(
    api: Api, server: SimulatorServer, kind: str, raised: type[Exception]
) -> None:
    """As the error that a real connection would cause."""
    server.faults.add(fault_of(kind))
    with pytest.raises(raised):
        await api.get("runs/list")


async def test_an_empty_body_is_empty(api: Api, server: SimulatorServer) -> None:
    """With status 200."""
    server.faults.add(fault_of("empty body"))
    async with api.session.get("/api/2.2/jobs/runs/list") as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize("kind", ["hang", "hang mid-body"])
async def test_a_hanging_request_is_answered_once_faults_are_cleared(
    api: Api, server: SimulatorServer, kind: str
) -> None:
    """Until then the client waits."""
    server.faults.add(fault_of(kind))
    asked = asyncio.create_task(api.get("runs/list", limit=3))
    done, _ = await asyncio.wait({asked}, timeout=0.1)
    assert not done
    server.faults.clear()
    assert len((await asked)["runs"]) == 3


async def test_a_hanging_request_does_not_hold_up_the_stop(server: SimulatorServer, api: Api) -> None:
    """The server lets it go and stops."""
    server.faults.add(fault_of("hang"))
    asked = asyncio.create_task(api.get("runs/list"))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(30):
        await server.stop()
    await asyncio.gather(asked, return_exceptions=True)


async def test_a_client_that_gives_up_is_no_longer_in_flight(server: SimulatorServer, api: Api) -> None:
    """The hanging request ends with its connection."""
    server.faults.add(fault_of("hang"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await api.get("runs/list")
    async with asyncio.timeout(30):
        while server.requests.in_flight:  # noqa: ASYNC110  what is awaited sets no event
            await asyncio.sleep(0.01)


async def test_a_drip_arrives_byte_by_byte(api: Api, server: SimulatorServer) -> None:
    """Slowly, but whole."""
    server.faults.add(fault_of("drip", pace=0))
    assert len((await api.get("runs/list", limit=1))["runs"]) == 1


async def test_a_page_token_can_repeat_for_ever(api: Api, server: SimulatorServer) -> None:
    """Following it leads to the same page again."""
    server.faults.add(fault_of("same page token"))
    first = await api.get("runs/list", limit=3)
    second = await api.get("runs/list", limit=3, page_token=first["next_page_token"])
    third = await api.get("runs/list", limit=3, page_token=second["next_page_token"])
    assert second == third


async def test_a_page_can_be_out_of_order_or_come_twice(api: Api, server: SimulatorServer) -> None:
    """The same runs: the oldest first, or each of them two times."""
    usual = await api.listed_ids()
    server.faults.add(fault_of("page out of order", times=1))
    server.faults.add(fault_of("page twice", times=1))
    assert await api.listed_ids() == usual[::-1]
    assert await api.listed_ids() == usual + usual


@pytest.mark.parametrize(("kind", "days"), [("date a year ahead", 365), ("date a year back", -365)])
async def test_an_answer_can_come_from_a_wrong_clock(
    api: Api, server: SimulatorServer, kind: str, days: int
) -> None:
    """Only the Date header of the one answer is wrong."""
    server.faults.add(fault_of(kind, times=1))
    dates = []
    for _ in range(2):
        async with api.session.get("/api/2.2/jobs/runs/list") as response:
            assert len((await response.json())["runs"]) == 10
            dates.append(parsedate_to_datetime(response.headers["Date"]).timestamp())
    assert dates == [NOW + days * 86400, NOW]


@pytest.mark.parametrize("kind", ["huge body", "gzip bomb"])
async def test_a_body_can_be_far_too_large(api: Api, server: SimulatorServer, kind: str) -> None:
    """200 MB for a client that reads so far; a bomb is small on the wire."""
    server.faults.add(fault_of(kind))
    size = 0
    async with api.session.get("/api/2.2/jobs/runs/list") as response:
        packed = int(response.headers.get("Content-Length", 0))
        async for chunk in response.content.iter_any():
            size += len(chunk)
    assert size > 200 * 2**20
    assert packed < 2**20


async def test_the_content_type_can_be_wrong(api: Api, server: SimulatorServer) -> None:
    """Around the real answer."""
    server.faults.add(fault_of("wrong content type"))
    async with api.session.get("/api/2.2/jobs/runs/list") as response:
        assert response.content_type == "image/png"
        assert len((await response.json(content_type=None))["runs"]) == 10


def test_every_kind_of_fault_can_be_made_many_times() -> None:
    """A kind is made anew at each call, so that hits of one test are none of another's."""
    for make in FAULTS.values():
        assert make() is not make()
        assert make() != Fault()


async def test_a_fault_can_be_aimed_at_one_run(api: Api, server: SimulatorServer) -> None:
    """Only runs/get of this run meets it: other runs, and lists that have the run, are answered."""
    run, other = server.workspace.truth()[:2]
    server.faults.add(fault_of("internal error", run_id=run.run_id))
    assert (await api.ask("runs/get", run_id=run.run_id))[0] == 500
    assert (await api.ask("runs/get", run_id=other.run_id))[0] == 200
    assert run.run_id in await api.listed_ids()


async def test_a_fault_can_last_for_a_time(api: Api, server: SimulatorServer, clock: Clock) -> None:
    """It hits until the workspace's clock shows the end, and never after."""
    server.faults.add(fault_of("internal error", until=NOW + 60))
    statuses = []
    for clock.now in (NOW, NOW + 59, NOW + 60, NOW + 3600):
        statuses.append((await api.ask("runs/list"))[0])
    assert statuses == [500, 500, 200, 200]


async def test_a_fault_that_is_removed_lets_its_requests_go(api: Api, server: SimulatorServer) -> None:
    """The hanging request is answered, and another fault stays on."""
    server.faults.add(fault_of("internal error", endpoint="jobs/list"))
    hang = server.faults.add(fault_of("hang", endpoint="runs/list"))
    asked = asyncio.create_task(api.get("runs/list", limit=3))
    done, _ = await asyncio.wait({asked}, timeout=0.1)
    assert not done
    server.faults.remove(hang)
    assert len((await asked)["runs"]) == 3
    assert (await api.ask("list"))[0] == 500


async def test_an_error_can_come_from_a_wrong_clock(api: Api, server: SimulatorServer) -> None:
    """A wrong Date goes with any answer, by any number of seconds."""
    server.faults.add(Fault(throttled(), clock_error=-90, times=1))
    async with api.session.get("/api/2.2/jobs/runs/list") as response:
        assert response.status == 429
        assert parsedate_to_datetime(response.headers["Date"]).timestamp() == NOW - 90


async def test_a_stale_answer_shows_the_workspace_as_it_was(
    api: Api, server: SimulatorServer, clock: Clock
) -> None:
    """Lists and runs alike; the next answer is true, and the Date is that of now."""
    job = server.workspace.add_job("nightly")
    run = server.workspace.active_run(job)
    was = earlier(server.workspace)
    clock.now += 60
    server.workspace.finish(run)
    newer = server.workspace.active_run(job)
    for path, query in (("runs/list", {"active_only": True}), ("runs/get", {"run_id": run.run_id})):
        server.faults.add(Fault(earlier=was, endpoint=path, times=1))
        stale, true = [await api.get(path, **query) for _ in range(2)]
        if path == "runs/list":
            assert [one["run_id"] for one in stale["runs"]] == [run.run_id]
            assert [one["run_id"] for one in true["runs"]] == [newer.run_id]
        else:
            assert [one["status"]["state"] for one in (stale, true)] == ["RUNNING", "TERMINATED"]


async def test_a_stale_answer_can_be_about_one_run(api: Api, server: SimulatorServer) -> None:
    """A repair that has begun is not seen once; every other run is shown as it is."""
    job = server.workspace.add_job("nightly")
    run = server.workspace.finished_run(job, start=NOW - 50, code="RUN_EXECUTION_ERROR", duration=40)
    was = copy.deepcopy(run)
    server.workspace.repair(run)
    newer = server.workspace.active_run(job)
    server.faults.add(Fault(earlier=was, endpoint="runs/get", times=1))
    server.faults.add(Fault(earlier=was, endpoint="runs/list", times=1))
    states = [(await api.run(run.run_id))["status"]["state"] for _ in range(2)]
    assert states == ["TERMINATED", "RUNNING"]
    assert await api.listed_ids(active_only=True) == [newer.run_id]
    assert sorted(await api.listed_ids(active_only=True)) == sorted([newer.run_id, run.run_id])


async def test_a_run_that_the_workspace_does_not_know_is_refused_in_its_words(
    api: Api, server: SimulatorServer
) -> None:
    """The fault for a run that is missing for a time says what the simulator itself says."""
    run = server.workspace.truth()[0]
    for status in (404, 400):
        server.workspace.missing_status = status
        real = await api.ask("runs/get", run_id=99)
        server.faults.add(Fault(no_such_run(run.run_id, status), run_id=run.run_id, times=1))
        code, body = await api.ask("runs/get", run_id=run.run_id)
        assert (code, body["error_code"]) == (real[0], real[1]["error_code"])
        assert body["message"] == real[1]["message"].replace("99", str(run.run_id))


async def test_a_delay_comes_before_the_answer(api: Api, server: SimulatorServer) -> None:
    """The answer itself is the real one."""
    server.faults.add(Fault(delay=0.1))
    began = asyncio.get_running_loop().time()
    assert len((await api.get("runs/list"))["runs"]) == 10
    assert asyncio.get_running_loop().time() - began >= 0.1


async def test_a_stopped_server_comes_back_on_the_same_port(server: SimulatorServer, api: Api) -> None:
    """A workspace that was away has the same address afterwards."""
    url = server.url
    await server.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await api.get("runs/list")
    await server.start()
    assert server.url == url
    assert len((await api.get("runs/list"))["runs"]) == 10
