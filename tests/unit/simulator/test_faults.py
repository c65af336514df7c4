"""What goes wrong when a test wants it to."""

import asyncio
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import aiohttp
import pytest

from exporter.simulator import faults
from exporter.simulator.damage import Damage
from exporter.simulator.faults import Fault
from exporter.simulator.kinds import KINDS
from exporter.simulator.server import SimulatorServer
from tests.unit.simulator.conftest import NOW, Api


@pytest.fixture(autouse=True)
def some_runs(server: SimulatorServer) -> None:
    job = server.workspace.add_job("load")
    for number in range(10):
        server.workspace.finished_run(job, start=NOW - 100 - number)


async def test_a_throttled_answer_says_when_to_come_back(api: Api, server: SimulatorServer) -> None:
    """In seconds, as an HTTP date, or not at all."""
    answers = [faults.throttled(7), faults.throttled_until(NOW), faults.throttled(None)]
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
    fault = Fault(
        faults.unavailable(), endpoint="runs/list", times=1, skip=1, when=lambda query: "job_id" in query
    )
    server.faults.add(fault)
    assert (await api.ask("list"))[0] == 200
    assert (await api.ask("runs/list"))[0] == 200
    statuses = [(await api.ask("runs/list", job_id=1))[0] for _ in range(3)]
    assert (statuses, fault.hits) == ([200, 503, 200], 1)


async def test_a_probable_fault_hits_sometimes(api: Api, server: SimulatorServer) -> None:
    """About as often as asked for, and the same way for the same seed."""
    server.faults.add(Fault(faults.error(500, 500, "oops"), probability=0.5))
    statuses = [(await api.ask("runs/list", limit=1))[0] for _ in range(60)]
    assert 15 < statuses.count(500) < 45


@pytest.mark.parametrize(
    ("answer", "status", "content_type"),
    [
        (faults.html(504, "Gateway timeout"), 504, "text/html"),
        (faults.plain(500, "INTERNAL_ERROR: oops"), 500, "text/plain"),
        (faults.empty(502), 502, "application/json"),
        (faults.login_page(), 200, "text/html"),
        (faults.redirect(), 302, "application/json"),
    ],
)
async def test_answers_of_gateways(
    api: Api, server: SimulatorServer, answer: faults.Answer, status: int, content_type: str
) -> None:
    """Other bodies than JSON, with the status and type they come with."""
    server.faults.add(Fault(answer))
    async with api.session.get("/api/2.2/jobs/runs/list", allow_redirects=False) as response:
        assert (response.status, response.content_type) == (status, content_type)
        assert await response.read() == answer.body


@pytest.mark.parametrize(
    ("damage", "raised"),
    [
        ("reset", aiohttp.ClientOSError),
        ("reset mid-body", aiohttp.ClientPayloadError),
        ("truncated", aiohttp.ClientPayloadError),
        ("broken JSON", ValueError),
        ("broken gzip", aiohttp.ClientPayloadError),
    ],
)
async def test_damage_reaches_the_client(
    api: Api, server: SimulatorServer, damage: Damage, raised: type[Exception]
) -> None:
    """As the error that the same damage causes on a real connection."""
    server.faults.add(Fault(damage=damage))
    with pytest.raises(raised):
        await api.get("runs/list")


async def test_an_empty_body_is_empty(api: Api, server: SimulatorServer) -> None:
    """With status 200."""
    server.faults.add(Fault(damage="empty body"))
    async with api.session.get("/api/2.2/jobs/runs/list") as response:
        assert (response.status, await response.read()) == (200, b"")


@pytest.mark.parametrize("damage", ["hang", "hang mid-body"])
async def test_a_hanging_request_is_answered_once_faults_are_cleared(
    api: Api, server: SimulatorServer, damage: Damage
) -> None:
    """Until then the client waits."""
    server.faults.add(Fault(damage=damage))
    asked = asyncio.create_task(api.get("runs/list", limit=3))
    done, _ = await asyncio.wait({asked}, timeout=0.1)
    assert not done
    server.faults.clear()
    assert len((await asked)["runs"]) == 3


async def test_a_hanging_request_does_not_hold_up_the_stop(server: SimulatorServer, api: Api) -> None:
    """The server stops within its shutdown timeout."""
    server.faults.add(Fault(damage="hang"))
    asked = asyncio.create_task(api.get("runs/list"))
    await asyncio.sleep(0.05)
    async with asyncio.timeout(1):
        await server.stop()
    await asyncio.gather(asked, return_exceptions=True)


async def test_a_client_that_gives_up_is_no_longer_in_flight(server: SimulatorServer, api: Api) -> None:
    """The hanging request ends with its connection."""
    server.faults.add(Fault(damage="hang"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.05):
            await api.get("runs/list")
    await asyncio.sleep(0.05)
    assert server.requests.in_flight == 0


async def test_a_drip_arrives_byte_by_byte(api: Api, server: SimulatorServer) -> None:
    """Slowly, but whole."""
    server.faults.add(Fault(damage="drip", pace=0))
    assert len((await api.get("runs/list", limit=1))["runs"]) == 1


async def test_a_page_token_can_repeat_for_ever(api: Api, server: SimulatorServer) -> None:
    """Following it leads to the same page again."""
    server.faults.add(Fault(damage="same page token"))
    first = await api.get("runs/list", limit=3)
    second = await api.get("runs/list", limit=3, page_token=first["next_page_token"])
    third = await api.get("runs/list", limit=3, page_token=second["next_page_token"])
    assert second == third


async def test_a_page_can_be_out_of_order_or_come_twice(api: Api, server: SimulatorServer) -> None:
    """The same runs: the oldest first, or each of them two times."""
    usual = await api.listed_ids()
    server.faults.add(Fault(damage="page out of order", times=1))
    server.faults.add(Fault(damage="page twice", times=1))
    assert await api.listed_ids() == usual[::-1]
    assert await api.listed_ids() == usual + usual


@pytest.mark.parametrize(("damage", "days"), [("date a year ahead", 365), ("date a year back", -365)])
async def test_an_answer_can_come_from_a_wrong_clock(
    api: Api, server: SimulatorServer, damage: Damage, days: int
) -> None:
    """Only the Date header of the one answer is wrong."""
    server.faults.add(Fault(damage=damage, times=1))
    dates = []
    for _ in range(2):
        async with api.session.get("/api/2.2/jobs/runs/list") as response:
            assert len((await response.json())["runs"]) == 10
            dates.append(parsedate_to_datetime(response.headers["Date"]).timestamp())
    assert dates == [NOW + days * 86400, NOW]


@pytest.mark.parametrize("damage", ["huge body", "gzip bomb"])
async def test_a_body_can_be_far_too_large(api: Api, server: SimulatorServer, damage: Damage) -> None:
    """200 MB for whoever reads that far; a bomb is small on the wire."""
    server.faults.add(Fault(damage=damage))
    size = 0
    async with api.session.get("/api/2.2/jobs/runs/list") as response:
        packed = int(response.headers.get("Content-Length", 0))
        async for chunk in response.content.iter_any():
            size += len(chunk)
    assert size > 200 * 2**20
    assert packed < 2**20


async def test_the_content_type_can_be_wrong(api: Api, server: SimulatorServer) -> None:
    """Around the real answer."""
    server.faults.add(Fault(damage="wrong content type"))
    async with api.session.get("/api/2.2/jobs/runs/list") as response:
        assert response.content_type == "image/png"
        assert len((await response.json(content_type=None))["runs"]) == 10


def test_every_kind_of_fault_can_be_made_many_times() -> None:
    """A kind is made anew at each call, so that hits of one test are none of another's."""
    for make in KINDS.values():
        assert make() is not make()
        assert make().answer is not None or make().damage is not None or make().delay


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
