"""The only outgoing socket: requests, retries, and pages over the three endpoints we read.

What must stay true: every answer is decoded inside the retry, so a broken body is one more passing fault;
no redirect is followed, and nothing that the server says changes which host is asked; a listing whose page
token repeats ends in an error, never in a loop.
"""

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import NamedTuple, Self, TypeVar

import aiohttp
import structlog
from isal import isal_zlib

from exporter.config import ApiSettings, Proxy, WorkspaceAccess
from exporter.databricks import responses
from exporter.databricks.api_version import OLDER, ApiVersion
from exporter.databricks.auth import TOKEN_ENDPOINT, TOKEN_FORM, login_for
from exporter.databricks.bodies import MAX_BODY_BYTES
from exporter.databricks.clock import Instant, ServerClock
from exporter.databricks.context import Priority, RequestContext
from exporter.databricks.errors import (
    AccessRefused,
    NotUnderstood,
    Postponed,
    Throttled,
    TryAgain,
    UnknownPath,
)
from exporter.databricks.limits import RequestLimits
from exporter.databricks.models import Run, Task
from exporter.databricks.responses import DecodeError, JobPage, RunPage, Token
from exporter.databricks.transport import open_session, transport_error
from exporter.own_metrics import WorkspaceMetrics

RUNS_LIST = "runs/list"
RUNS_GET = "runs/get"
JOBS_LIST = "jobs/list"
_PATHS = {
    RUNS_LIST: "/api/{version}/jobs/runs/list",
    RUNS_GET: "/api/{version}/jobs/runs/get",
    JOBS_LIST: "/api/{version}/jobs/list",
    TOKEN_ENDPOINT: "/oidc/v1/token",
}

RUNS_PER_PAGE = 25  # the documented maximum of runs/list
JOBS_PER_PAGE = 100  # and of jobs/list
# Of all that are being read at a time: bounds memory however many answers are far too large at once.
MAX_BODIES_BYTES = 2 * MAX_BODY_BYTES

# Inflates twice as fast as zlib; pages of runs are large and pack well.
aiohttp.set_zlib_backend(isal_zlib)

# The longest wait before a request is repeated, by how often it was tried; the wait itself is drawn below it.
FIRST_BACKOFF_SECONDS, MOST_BACKOFF_SECONDS = 1.0, 20.0
# Later pages of one run are tried so often: a run of hundreds of pages is not begun anew for one bad page.
PAGE_ATTEMPTS = 3
# A listing of more runs than any workspace has never ends.
MAX_PAGES = 100_000
# Of answers whose `Date` is unlike our own clock, so many are asked for before one is believed.
CLOCK_PROBES = 3
_log = structlog.stdlib.get_logger(__name__)
T = TypeVar("T")


class Answer(NamedTuple):
    """An answer as it came."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class WorkspaceClient:
    """Reads one workspace. Owns its connections: use as an async context manager."""

    def __init__(
        self,
        access: WorkspaceAccess,
        api: ApiSettings,
        own_metrics: WorkspaceMetrics,
        note_secret: Callable[[str], object],
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        """`wall_clock`: our own, in seconds since the epoch."""
        self._wall_clock = wall_clock
        self.workspace = access.name
        self.timeout = api.timeout
        # When an answer last came, by the loop's clock.
        self.last_answer: float | None = None
        self._bytes_in_hand = 0
        self._base_url = access.base_url
        self._proxy = access.proxy
        self._ca_file = api.ca_file
        self._version = ApiVersion(access.name)
        self._concurrency = api.concurrency
        self._limits = RequestLimits(api.concurrency, api.rate)
        self._own_metrics = own_metrics
        self._note_secret = note_secret
        self._login = login_for(access, self._fetch_token, note_secret)
        self._session: aiohttp.ClientSession | None = None
        self._clock = ServerClock()

    async def __aenter__(self) -> Self:
        """Open the connection pool."""
        self._session = open_session(
            self._base_url,
            ca_file=self._ca_file,
            timeout_seconds=self.timeout,
            concurrency=self._concurrency,
        )
        return self

    @property
    def withholds_tasks(self) -> bool:
        """Whether a run of more than a hundred tasks comes without any, as Jobs API 2.1 gives it."""
        return self._version.asked == OLDER

    async def __aexit__(self, *_: object) -> None:
        """Close the connection pool."""
        await self._limits.close()
        if self._session is not None:
            await self._session.close()

    @property
    def pending_at_once(self) -> int:
        """How many requests for pending runs may be in flight."""
        return self._limits.pending_at_once

    def now(self) -> Instant:
        """The time now, by the server's clock and by ours."""
        return self._clock.now(asyncio.get_running_loop().time(), self._wall_clock())

    async def probe_clock(self, context: RequestContext) -> None:
        """Ask for the least there is, until the server's clock is known from more than one answer."""
        loop = asyncio.get_running_loop()
        asked = 0
        while asked == 0 or (
            asked < CLOCK_PROBES and self._clock.needs_witness(loop.time(), self._wall_clock())
        ):
            asked += 1
            await self._get(
                RUNS_LIST, {"limit": "1", "active_only": "true"}, context, responses.decode_run_page
            )
            context.page_came()

    async def list_runs(self, context: RequestContext, **params: str | int) -> AsyncGenerator[RunPage, None]:
        """The pages of `runs/list`, newest start first."""
        query = {"limit": str(RUNS_PER_PAGE), **{name: str(value) for name, value in params.items()}}
        async for page in self._pages(RUNS_LIST, query, context, responses.decode_run_page):
            yield page

    async def list_job_names(self, context: RequestContext) -> dict[int, str]:
        """The names of all jobs that may be viewed, by job id, from every page of `jobs/list`."""
        names: dict[int, str] = {}
        query = {"limit": str(JOBS_PER_PAGE)}
        async for page in self._pages(JOBS_LIST, query, context, responses.decode_job_page):
            names.update(page.names)
        return names

    async def get_run(self, run_id: int, context: RequestContext) -> Run | DecodeError:
        """A run with all its tasks and its repair history, from every page of `runs/get`.

        Raises RunGone where it does not exist, Postponed where the context says so, TryAgain where it changed
        while its pages were read, or where an answer is about another run: whether that one is settled
        already, nobody has looked up.
        """
        query = {"run_id": str(run_id), "include_history": "true"}
        whole: Run | None = None
        async for page in self._pages(RUNS_GET, query, context, _decode_run_part):
            part = page.run
            if isinstance(part, DecodeError):
                return part
            if part.run_id != run_id:
                raise TryAgain(f"the answer is about another run, {part.run_id}")
            context.attempts = PAGE_ATTEMPTS
            if page.next_page_token and not context.may_go_on():
                raise Postponed(f"run {run_id} has more pages; it is read later")
            if whole is None:
                whole = part
            elif _standing(part) != _standing(whole):
                raise TryAgain(f"run {run_id} changed while its pages were read")
            else:
                whole.tasks = _joined(whole.tasks, part.tasks)
                whole.repair_history = (whole.repair_history or []) + (part.repair_history or [])
        assert whole is not None  # noqa: S101  a listing has at least one page
        return whole

    async def _pages(
        self, endpoint: str, query: Mapping[str, str], context: RequestContext, decode: Callable[[bytes], "P"]
    ) -> AsyncGenerator["P", None]:
        token: str | None = None
        seen: set[str] = set()
        for _ in range(MAX_PAGES):
            asked = {**query, "page_token": token} if token else query
            page = await self._get(endpoint, asked, context, decode)
            context.page_came()
            yield page
            token = page.next_page_token
            if token is None:
                return
            if token in seen:
                raise NotUnderstood(f"{endpoint}: the server repeats a page token, so the listing never ends")
            seen.add(token)
        raise NotUnderstood(f"{endpoint}: more than {MAX_PAGES} pages; please report it")

    async def _get(
        self, endpoint: str, query: Mapping[str, str], context: RequestContext, decode: Callable[[bytes], T]
    ) -> T:
        """A decoded answer, after as many attempts as the context allows."""
        loop = asyncio.get_running_loop()
        attempt = 0
        while True:
            attempt += 1
            try:
                return await self._attempt(endpoint, query, context, decode)
            except TryAgain as fault:
                context.last_fault = str(fault)
                # "Retry-After: 0", or a date that has passed, is no leave to ask again at once.
                wait = fault.retry_after or random.uniform(0, _longest_wait(attempt))  # noqa: S311  no secret
                if attempt == context.attempts or loop.time() + wait >= context.deadline:
                    raise
                self._note_repeated(endpoint, attempt, wait, fault)
            await asyncio.sleep(wait)

    def _note_repeated(self, endpoint: str, attempt: int, wait: float, fault: TryAgain) -> None:
        self._own_metrics.request_repeated(endpoint)
        _log.info(
            "a request will be repeated",
            workspace=self.workspace,
            endpoint=endpoint,
            attempt=attempt,
            wait_seconds=round(wait, 3),
            cause=str(fault),
        )

    async def _attempt(
        self, endpoint: str, query: Mapping[str, str], context: RequestContext, decode: Callable[[bytes], T]
    ) -> T:
        version = self._version.asked
        path = _PATHS[endpoint].format(version=version)
        try:
            answer = await self._authorized(endpoint, path, query, context)
            responses.check(answer.status, answer.headers, answer.body, time.time())
            decoded = decode(answer.body)
        except UnknownPath as fault:
            if not self._version.unknown(version):
                fault.args = (f"{endpoint}: {fault}",)
                raise
        except TryAgain as fault:
            # Of a single run, only a 429 is about all of them.
            if fault.retry_after is not None and (endpoint != RUNS_GET or isinstance(fault, Throttled)):
                self._limits.pause(endpoint, fault.retry_after)
            raise TryAgain(f"{endpoint}: {fault}", fault.retry_after) from None
        except (AccessRefused, NotUnderstood) as fault:
            fault.args = (f"{endpoint}: {fault}",)
            raise
        else:
            if self._version.answered(version):
                return decoded
        return await self._attempt(endpoint, query, context, decode)

    async def _authorized(
        self, endpoint: str, path: str, query: Mapping[str, str], context: RequestContext
    ) -> Answer:
        authorization = await self._login.authorization(context.deadline)
        answer = await self._exchange(endpoint, path, context, authorization, query=query)
        if answer.status in {401, 403} and await self._login.renew(authorization, context.deadline):
            authorization = await self._login.authorization(context.deadline)
            answer = await self._exchange(endpoint, path, context, authorization, query=query)
        return answer

    async def _fetch_token(self, authorization: str) -> Token:
        # Every request waits for the token, each until a deadline of its own.
        context = RequestContext(Priority.LISTS)
        try:
            answer = await self._exchange(
                TOKEN_ENDPOINT, _PATHS[TOKEN_ENDPOINT], context, authorization, form=TOKEN_FORM
            )
            token = responses.decode_token(answer.status, answer.headers, answer.body, time.time())
        except TryAgain as fault:
            if fault.retry_after is not None:
                self._limits.pause(TOKEN_ENDPOINT, fault.retry_after)
            raise TryAgain(f"{TOKEN_ENDPOINT}: {fault}") from None
        self._note_secret(token.access_token)
        return token

    async def _exchange(
        self,
        endpoint: str,
        path: str,
        context: RequestContext,
        authorization: str,
        *,
        query: Mapping[str, str] | None = None,
        form: Mapping[str, str] | None = None,
    ) -> Answer:
        """One request and its answer, counted; every way it can fail on the wire is TryAgain."""
        assert self._session is not None, "the client is not open"  # noqa: S101
        loop = asyncio.get_running_loop()
        seconds = self.timeout if context.timeout is None else context.timeout
        async with self._limits.turn(endpoint, context):
            began = loop.time()
            code = "error"
            try:
                async with self._session.request(
                    "GET" if form is None else "POST",
                    path,
                    params=query,
                    data=form,
                    headers={"Authorization": authorization},
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=seconds),
                    proxy=self._proxy.url if self._proxy else None,
                    proxy_headers=_proxy_headers(self._proxy),
                ) as response:
                    body = await self._read(response)
                    code = str(response.status)
            except TimeoutError:
                code = "timeout"
                raise TryAgain(f"no answer within {seconds:g} s") from None
            except (aiohttp.ClientError, OSError) as error:
                raise transport_error(
                    error, self._proxy.url if self._proxy else None, self._ca_file
                ) from None
            finally:
                self._own_metrics.request_ended(endpoint, code, loop.time() - began)
        self.last_answer = loop.time()
        if (date := responses.server_time(response.headers)) is not None:
            self._clock.note(date, self.last_answer)
        # A server that repeats our credential in a good answer would have it served as a label.
        credential = authorization.rpartition(" ")[2].encode()
        if credential in body:
            body = body.replace(credential, b"[redacted]")
        return Answer(response.status, response.headers, body)

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        """A body, unpacked; given up when it, or all that are being read, can't be what we asked for."""
        chunks: list[bytes] = []
        size = 0
        try:
            async for chunk in response.content.iter_any():
                chunks.append(chunk)
                size += len(chunk)
                self._bytes_in_hand += len(chunk)
                if size > MAX_BODY_BYTES:
                    raise TryAgain(f"a body of more than {MAX_BODY_BYTES} bytes")
                if self._bytes_in_hand > MAX_BODIES_BYTES:
                    raise TryAgain(f"bodies of more than {MAX_BODIES_BYTES} bytes at once")
            return b"".join(chunks)
        finally:
            self._bytes_in_hand -= size


def _proxy_headers(proxy: Proxy | None) -> dict[str, str] | None:
    """Of the CONNECT alone: what goes through the tunnel never has them."""
    if proxy is None or proxy.authorization is None:
        return None
    return {"Proxy-Authorization": proxy.authorization.get_secret_value()}


class _RunPart(NamedTuple):
    run: Run | DecodeError
    next_page_token: str | None


P = TypeVar("P", RunPage, JobPage, _RunPart)


def _decode_run_part(body: bytes) -> _RunPart:
    run = responses.decode_run(body)
    return _RunPart(run, None if isinstance(run, DecodeError) else run.next_page_token or None)


def _standing(run: Run) -> tuple[object, ...]:
    """What all pages of one `runs/get` must agree on, or the run ended or reopened between them."""
    return (
        run.end_time,
        run.status.state if run.status else None,
        run.state.life_cycle_state if run.state else None,
    )


def _joined(tasks: list[Task] | None, more: list[Task] | None) -> list[Task]:
    known = {task.run_id for task in tasks or () if task.run_id is not None}
    return (tasks or []) + [task for task in more or () if task.run_id not in known]


def _longest_wait(attempt: int) -> float:
    """The longest wait after so many attempts, in seconds: it doubles, up to a limit."""
    return min(FIRST_BACKOFF_SECONDS * 2.0 ** min(attempt - 1, 10), MOST_BACKOFF_SECONDS)
