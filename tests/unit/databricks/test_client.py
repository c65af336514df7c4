"""The client against a simulated workspace on a real socket: paging, retries, deadlines, limits."""

import asyncio
import gzip
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from pydantic import SecretStr

from exporter import __version__
from exporter.config import ClientCredentials
from exporter.databricks.client import JOBS_PER_PAGE, RUNS_PER_PAGE
from exporter.databricks.context import Priority
from exporter.databricks.errors import AccessRefused, NotUnderstood, RunGone, TryAgain
from exporter.databricks.responses import DecodeError
from exporter.simulator.credentials import DEFAULT_TOKEN, Credentials
from exporter.simulator.index import NEWEST
from exporter.simulator.paging import token
from exporter.simulator.workspace import Workspace
from tests.certificates import make_ca, make_leaf
from tests.faults import (
    Answer,
    Fault,
    SimulatorServer,
    empty,
    error,
    fault_of,
    html,
    login_page,
    plain,
    redirect,
    throttled,
    throttled_until,
    unavailable,
)
from tests.unit.databricks import NOW, Connection, connected, most_in_any_second, within

REQUESTS = "databricks_exporter_api_requests_total"


@pytest.fixture
async def server() -> AsyncIterator[SimulatorServer]:
    async with SimulatorServer(Workspace(clock=lambda: NOW)) as running:
        yield running


@pytest.fixture
async def connection(server: SimulatorServer) -> AsyncIterator[Connection]:
    async with connected(server.url) as connection:
        yield connection


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Retries follow without a wait, where the wait is not what the test is about."""
    monkeypatch.setattr("exporter.databricks.client.MOST_BACKOFF_SECONDS", 0.0)


def with_runs(server: SimulatorServer, count: int) -> list[int]:
    """Finished runs, newest start first."""
    job = server.workspace.add_job("nightly")
    return [
        server.workspace.finished_run(job, start=NOW - 1000 - number, duration=10.0).run_id
        for number in range(count)
    ]


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110  what is awaited happens on a server, which sets no event
            await asyncio.sleep(0.01)


@asynccontextmanager
async def answering(
    answer: Callable[[web.Request], web.Response], context: ssl.SSLContext | None = None
) -> AsyncIterator[str]:
    """A server of our own, where the simulator cannot show what the client sent or how it is met."""

    async def handle(request: web.Request) -> web.Response:
        return answer(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_every_page_of_a_listing_is_read(server: SimulatorServer, connection: Connection) -> None:
    """A listing longer than two pages gives each run once, newest first, with the same query on each page."""
    run_ids = with_runs(server, 2 * RUNS_PER_PAGE + 3)
    assert await connection.run_ids(completed_only="true") == run_ids
    queries = [request.query for request in server.requests.of("runs/list")]
    assert [query.pop("page_token", None) is not None for query in queries] == [False, True, True]
    assert queries == [{"completed_only": "true", "limit": "25"}] * 3


async def test_only_the_page_token_says_that_there_is_more(
    server: SimulatorServer, connection: Connection
) -> None:
    """A root `has_more` is an error without a token, and does not stop the listing where there is one."""
    run_ids = with_runs(server, 3)
    server.faults.add(Fault(Answer(200, b'{"has_more":true,"next_page_token":""}'), times=1))
    with pytest.raises(NotUnderstood, match="there is more and gives no page token"):
        await connection.run_ids()
    more = msgspec.json.encode({"has_more": False, "next_page_token": token("runs", *NEWEST)})
    server.faults.add(Fault(Answer(200, more), times=1))
    assert await connection.run_ids() == run_ids
    assert len(server.requests) == 3


async def test_an_empty_workspace_has_no_runs(server: SimulatorServer, connection: Connection) -> None:
    """A list without `runs` is an empty list."""
    assert await connection.run_ids() == []
    assert len(server.requests) == 1


async def test_a_repeated_page_token_ends_the_listing_in_an_error(
    server: SimulatorServer, connection: Connection
) -> None:
    """A server that sends us round in circles is not followed for ever."""
    with_runs(server, RUNS_PER_PAGE + 1)
    server.faults.add(fault_of("same page token"))
    with pytest.raises(NotUnderstood, match="repeats a page token"):
        await connection.run_ids()
    assert len(server.requests) == 2


async def test_the_names_of_all_jobs_are_read(server: SimulatorServer, connection: Connection) -> None:
    """Names come from every page of `jobs/list`."""
    names = {
        server.workspace.add_job(f"job {number}"): f"job {number}" for number in range(JOBS_PER_PAGE + 1)
    }
    assert await connection.client.list_job_names(within(20)) == names
    assert len(server.requests.of("jobs/list")) == 2


async def test_a_run_of_many_tasks_has_every_task_once(
    server: SimulatorServer, connection: Connection
) -> None:
    """`runs/get` is paged until every task is there: 250 tasks, three pages, no task twice."""
    job = server.workspace.add_job("wide")
    run_id = server.workspace.finished_run(job, start=NOW - 500, duration=100.0, tasks=250).run_id
    run = await connection.run(run_id)
    assert run.tasks is not None
    assert len(run.tasks) == len({task.run_id for task in run.tasks}) == 250
    assert len({task.task_key for task in run.tasks}) == 250
    assert len(server.requests.of("runs/get")) == 3


async def test_a_task_on_two_pages_is_one_task(server: SimulatorServer, connection: Connection) -> None:
    """Pages that overlap add no task twice, and their repair histories are joined."""
    job = server.workspace.add_job("wide")
    run_id = server.workspace.finished_run(job, start=NOW - 500, duration=100.0).run_id

    def page(tasks: list[int], repair: int, **more: str) -> Answer:
        body = {"run_id": run_id, "job_id": job, "end_time": 5, "tasks": [{"run_id": n} for n in tasks]}
        return Answer(200, msgspec.json.encode({**body, "repair_history": [{"end_time": repair}], **more}))

    server.faults.add(Fault(page([1, 2, 3], 7, next_page_token="more"), times=1))
    server.faults.add(Fault(page([3, 4], 8), times=1))
    run = await connection.run(run_id)
    assert [task.run_id for task in run.tasks or ()] == [1, 2, 3, 4]
    assert [item.end_time for item in run.repair_history or ()] == [7, 8]


async def test_the_repair_history_is_asked_for(server: SimulatorServer, connection: Connection) -> None:
    """A repaired run comes with its original and its repair."""
    job = server.workspace.add_job("nightly")
    run = server.workspace.finished_run(job, start=NOW - 500, duration=100.0, code="RUN_EXECUTION_ERROR")
    server.workspace.repair(run)
    server.workspace.finish_repair(run, "SUCCESS")
    history = (await connection.run(run.run_id)).repair_history
    assert [item.type for item in history or ()] == ["ORIGINAL", "REPAIR"]


@pytest.mark.parametrize("what", ["finishes", "reopens"])
async def test_pages_that_disagree_are_not_one_run(
    server: SimulatorServer, connection: Connection, what: str
) -> None:
    """A run that ends or reopens between two pages of one `runs/get` is to be asked for again."""
    workspace = server.workspace
    job = workspace.add_job("wide")
    run = (
        workspace.active_run(job, tasks=150)
        if what == "finishes"
        else workspace.finished_run(job, start=NOW - 500, duration=100.0, tasks=150)
    )

    def at_the_second_page(query: Mapping[str, str]) -> bool:
        if "page_token" in query:
            (workspace.finish if what == "finishes" else workspace.repair)(run)
        return False

    change = server.faults.add(Fault(empty(500), when=at_the_second_page))
    with pytest.raises(TryAgain, match="changed while"):
        await connection.run(run.run_id)
    server.faults.remove(change)
    assert len((await connection.run(run.run_id)).tasks or ()) >= 150


@pytest.mark.parametrize("missing_status", [400, 404])
async def test_a_run_that_does_not_exist_is_gone(
    server: SimulatorServer, connection: Connection, missing_status: int
) -> None:
    """Newer servers say 404 and older ones 400: either is a run that is gone, at the first answer."""
    server.workspace.missing_status = missing_status
    with pytest.raises(RunGone):
        await connection.run(5)
    assert (len(server.requests), connection.retries) == (1, 0)


async def test_a_run_that_is_not_understood_is_a_misfit(
    server: SimulatorServer, connection: Connection
) -> None:
    """`runs/get` tells of a run it cannot decode as the list does."""
    (run_id,) = with_runs(server, 1)
    server.workspace.override(run_id, lambda body: body.update(status="x"))
    decode_error = await connection.client.get_run(run_id, within(20))
    assert isinstance(decode_error, DecodeError)
    assert decode_error.key == str(run_id)


@pytest.mark.parametrize(
    "answer",
    [
        throttled(None),
        throttled(0),
        unavailable(),
        error(500, "INTERNAL_ERROR", "The service is temporarily unavailable."),
        error(408, "X", "slow"),
        html(502, "Bad gateway"),
        html(504, "Gateway timeout"),
        plain(503, "No webapps are available"),
        empty(500),
        login_page(),
    ],
    ids=lambda answer: f"{answer.status} {answer.content_type}",
)
@pytest.mark.usefixtures("at_once")
async def test_a_passing_answer_is_asked_for_again(
    server: SimulatorServer, connection: Connection, answer: Answer
) -> None:
    """Each answer that says "later", and each 200 that is no page, costs one retry and no run."""
    run_ids = with_runs(server, 2)
    server.faults.add(Fault(answer, endpoint="runs/list", times=2))
    assert await connection.run_ids() == run_ids
    assert connection.counted("databricks_exporter_api_retries_total", endpoint="runs/list") == 2
    assert connection.counted(REQUESTS, endpoint="runs/list", code=str(answer.status)) >= 2
    assert connection.counted("databricks_exporter_api_request_duration_seconds_count") == 3


@pytest.mark.parametrize(
    ("damage", "code"),
    [
        ("reset", "error"),
        ("reset mid-body", "error"),
        ("truncated", "error"),
        ("hang", "timeout"),
        ("hang mid-body", "timeout"),
        ("drip", "timeout"),
        ("broken JSON", "200"),
        ("broken gzip", "error"),
        ("empty body", "200"),
    ],
)
@pytest.mark.usefixtures("at_once")
async def test_damage_on_the_way_is_asked_for_again(server: SimulatorServer, damage: str, code: str) -> None:
    """A broken connection or body is counted as what it was and costs a retry and no run."""
    run_ids = with_runs(server, 2)
    # The HTTP library itself repeats a request once after a reset.
    fault = server.faults.add(fault_of(damage, times=2 if damage == "reset" else 1))
    async with connected(server.url, timeout=1.0 if code == "timeout" else 10.0) as connection:
        assert await connection.run_ids() == run_ids
        assert connection.counted(REQUESTS, code=code) >= 1
        assert 1 <= connection.retries <= fault.hits


@pytest.mark.usefixtures("at_once")
async def test_a_workspace_that_is_away_is_tried_until_it_is_back(
    server: SimulatorServer, connection: Connection
) -> None:
    """Nobody listens, and then somebody does: the same request is answered."""
    run_ids = with_runs(server, 1)
    await server.stop()
    reading = asyncio.create_task(connection.run_ids())
    await until(lambda: connection.counted(REQUESTS, code="error") >= 1)
    await server.start()
    assert await reading == run_ids
    assert connection.retries >= 1


@pytest.mark.parametrize("form", ["seconds", "date"])
async def test_every_request_to_an_endpoint_keeps_the_wait_it_asked_for(
    server: SimulatorServer, connection: Connection, form: str
) -> None:
    """After a Retry-After of 1 s, what the endpoint is asked next arrives a second later at the earliest."""
    answer = throttled(1) if form == "seconds" else throttled_until(NOW + 1)
    server.faults.add(Fault(answer, endpoint="runs/list", times=1))
    listing = asyncio.create_task(connection.run_ids())
    await until(lambda: connection.retries == 1)
    await asyncio.gather(listing, *(connection.run_ids() for _ in range(4)))
    first, *later = [request.arrival for request in server.requests]
    assert len(later) == 5
    assert min(later) - first >= 1.0


async def test_retries_end_at_the_deadline(server: SimulatorServer, connection: Connection) -> None:
    """Nothing is asked after the deadline, and the last fault is what is raised."""
    server.faults.add(Fault(unavailable()))
    async with asyncio.timeout(20):
        with pytest.raises(TryAgain, match="runs/list: HTTP 503"):
            await connection.run_ids(seconds=1.0)
    asked = len(server.requests)
    await asyncio.sleep(0.2)
    assert len(server.requests) == asked > 1


async def test_a_wait_beyond_the_deadline_is_not_begun(
    server: SimulatorServer, connection: Connection
) -> None:
    """A Retry-After longer than what is left fails at once, and so does the next request, unsent."""
    server.faults.add(Fault(throttled(60)))
    async with asyncio.timeout(20):
        for _ in range(2):
            with pytest.raises(TryAgain):
                await connection.run_ids(seconds=30)
    assert (len(server.requests), connection.retries) == (1, 0)


async def test_retry_after_zero_is_no_leave_to_hammer(
    server: SimulatorServer, connection: Connection
) -> None:
    """A wait of nothing falls back to our own, which grows: no burst of retries."""
    server.faults.add(Fault(throttled(0)))
    with pytest.raises(TryAgain):
        await connection.run_ids(seconds=0.5)
    assert len(server.requests) < 30


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_is_not_followed(
    server: SimulatorServer, connection: Connection, status: int
) -> None:
    """The credentials go nowhere else: a redirect is an error after one request."""
    server.faults.add(Fault(redirect("/api/2.2/jobs/list", status), endpoint="runs/list"))
    with pytest.raises(AccessRefused, match="redirects"):
        await connection.run_ids()
    assert [request.endpoint for request in server.requests] == ["runs/list"]


async def test_a_refused_personal_token_fails_at_once(
    server: SimulatorServer, connection: Connection
) -> None:
    """403 Invalid access token is the operator's: one request, no retry, and the token is not named."""
    server.credentials.tokens.clear()
    with pytest.raises(AccessRefused, match="Invalid access token") as raised:
        await connection.run_ids()
    assert DEFAULT_TOKEN not in repr(raised.value)
    assert (len(server.requests), connection.retries) == (1, 0)
    assert connection.counted(REQUESTS, endpoint="runs/list", code="403") == 1


async def test_an_unknown_api_version_is_not_a_missing_run(
    server: SimulatorServer, connection: Connection
) -> None:
    """`Bad Target` on `runs/get` must never look like a run that is gone."""
    server.faults.add(Fault(error(404, "ENDPOINT_NOT_FOUND", "Bad Target: /api/2.2/jobs/runs/get")))
    with pytest.raises(NotUnderstood):
        await connection.run(5)


async def test_no_second_sees_more_than_the_limit(at_once: None) -> None:
    """Lists, gets, retries and token requests together stay within 1.3 times the rate at the server."""
    del at_once
    credentials = Credentials(tokens=(), clients={"robot": "s3cret"})
    login = ClientCredentials("robot", SecretStr("s3cret"))
    async with (
        SimulatorServer(Workspace(clock=lambda: NOW), credentials=credentials) as server,
        connected(server.url, login, rate=40, concurrency=8) as connection,
    ):
        run_ids = with_runs(server, 20)
        server.faults.add(Fault(unavailable(), endpoint="runs/get", probability=0.3))
        server.faults.add(Fault(error(403, "PERMISSION_DENIED", "no"), endpoint="runs/list", times=1))
        await asyncio.gather(
            *(connection.run(run_id) for run_id in run_ids * 2),
            *(connection.run_ids() for _ in range(10)),
        )
        assert len(server.requests.of("token")) == 2
        assert connection.retries > 0
        assert most_in_any_second(request.arrival for request in server.requests) <= 40 * 1.3
        assert server.requests.peak_in_flight <= 8


async def test_the_background_yields_to_the_foreground(server: SimulatorServer) -> None:
    """With one place in flight, a listing asked for last is answered before the background's backlog."""
    (run_id,) = with_runs(server, 1)
    async with connected(server.url, concurrency=1) as connection:
        held = server.faults.add(fault_of("hang", endpoint="runs/get", times=1))
        sweep = [
            asyncio.create_task(connection.client.get_run(run_id, within(20, Priority.BACKGROUND)))
            for _ in range(5)
        ]
        await until(lambda: len(server.requests) == 1)
        listing = asyncio.create_task(connection.run_ids())
        await asyncio.sleep(0.05)
        server.faults.remove(held)
        await asyncio.gather(listing, *sweep)
    assert [request.endpoint for request in server.requests] == ["runs/get", "runs/list"] + ["runs/get"] * 4


async def test_requests_say_who_asks_and_take_gzip() -> None:
    """The client names itself and its version, sends its token, takes gzip and reads it."""
    seen: list[Any] = []

    def answer(request: web.Request) -> web.Response:
        seen.append(request.headers)
        packed = gzip.compress(b'{"runs":[{"run_id":1,"job_id":2}]}')
        return web.Response(body=packed, headers={"Content-Encoding": "gzip", "Set-Cookie": "a=b"})

    async with answering(answer) as url, connected(url) as connection:
        assert await connection.run_ids() == await connection.run_ids() == [1]
    assert "gzip" in seen[0]["Accept-Encoding"]
    assert seen[0]["Accept"] == "application/json"
    assert seen[0]["User-Agent"] == f"databricks-jobs-exporter/{__version__}"
    assert seen[0]["Authorization"] == f"Bearer {DEFAULT_TOKEN}"
    assert "Cookie" not in seen[1]


async def test_a_body_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """A body larger than any answer of the Jobs API, also one that unpacks to it, is given up."""
    monkeypatch.setattr("exporter.databricks.client.MAX_BODY_BYTES", 100_000)
    bomb = gzip.compress(b" " * 2_000_000)

    def answer(_: web.Request) -> web.Response:
        return web.Response(body=bomb, headers={"Content-Encoding": "gzip"})

    async with answering(answer) as url, connected(url) as connection:
        with pytest.raises(TryAgain, match="more than 100000 bytes"):
            await connection.run_ids(seconds=0.2)


async def test_an_untrusted_certificate_is_the_operators(tmp_path: Path) -> None:
    """A certificate of an unknown authority fails at once and says so, and no request is sent."""
    certificate, key = make_leaf(make_ca()).write(tmp_path, "server")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    seen: list[str] = []

    def answer(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    async with answering(answer, context) as url, connected(url) as connection:
        with pytest.raises(AccessRefused, match="certificate"):
            await connection.run_ids()
        assert connection.retries == 0
    assert seen == []


async def test_the_servers_clock_is_known_from_more_than_one_answer(
    server: SimulatorServer, connection: Connection
) -> None:
    """Times are by the server's `Date`, since so many whole answers that none of them decides alone."""
    client = connection.client
    assert client.now().server_ms > NOW * 1000, "our own clock, before there was an answer"
    await client.probe_clock(within(20))
    assert client.now().server_ms == pytest.approx(NOW * 1000, abs=5_000)
    before = client.last_answer
    server.faults.add(fault_of("truncated"))
    with pytest.raises(TryAgain):
        await connection.run_ids(seconds=0.01)
    assert client.last_answer == before, "half an answer is none"


async def test_one_wrong_clock_among_the_answers_changes_nothing(
    server: SimulatorServer, connection: Connection
) -> None:
    """A single answer of next year, whenever it comes, is believed by nobody."""
    await connection.client.probe_clock(within(20))
    for _ in range(3):
        server.faults.add(fault_of("date a year ahead", times=1))
        await connection.run_ids()
        assert connection.client.now().server_ms < (NOW + 3600) * 1000
        await connection.run_ids()
        await connection.run_ids()


async def test_a_wait_is_kept_by_the_endpoint_that_asked_for_it_alone(
    server: SimulatorServer, connection: Connection
) -> None:
    """While `jobs/list` is throttled for long, runs are listed."""
    server.faults.add(Fault(throttled(90), endpoint="jobs/list"))
    with pytest.raises(TryAgain, match="429"):
        await connection.client.list_job_names(within(5))
    async with asyncio.timeout(5):
        assert await connection.run_ids() == []
    with pytest.raises(TryAgain, match="asked for no requests"):
        await connection.client.list_job_names(within(5))
