"""The pages on a real socket: what is served, to whom, and what the health paths say."""

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urljoin

import aiohttp
import bcrypt
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text
from yarl import URL

from exporter import __version__
from exporter.config import Settings
from exporter.exposition.exposition import Exposition
from exporter.exposition.snapshot import Format
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.runs.layout import Layout
from exporter.runs.records import Job
from exporter.server.pages import DEAD_AFTER_INTERVALS, WebServer, WorkspaceView
from exporter.server.status_page import status_page
from exporter.server.web_config import WebConfigFile
from tests.unit.exposition import Observed
from tests.unit.exposition.test_negotiation import BROWSER, PROMETHEUS_2, PROMETHEUS_3

INTERVAL = 10.0
PAGES = ("/metrics", "/")
HEALTH = ("/-/healthy", "/-/ready")
PASSWORD = "correct horse"


def loop_time() -> float:
    return asyncio.get_running_loop().time()


def view(
    own_metrics: OwnMetrics,
    name: str = "adb-1.2.test",
    *,
    ready: bool = True,
    last_sign_of_life: Callable[[], float] = loop_time,
) -> WorkspaceView:
    return WorkspaceView(WorkspaceMetrics(own_metrics, name, INTERVAL), lambda: ready, last_sign_of_life)


@dataclass
class Site:
    session: aiohttp.ClientSession
    exposition: Exposition
    own_metrics: OwnMetrics
    url: str
    bodies: list[bytes] = field(default_factory=list)

    async def ask(self, path: str, method: str = "GET", **headers: str) -> aiohttp.ClientResponse:
        """The answer. Its body is kept in `bodies`, as it was sent."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        target = URL(f"{self.url}{path}", encoded=True)
        async with self.session.request(method, target, headers=named, allow_redirects=False) as response:
            self.bodies.append(await response.read())
            return response

    async def text(self, path: str) -> str:
        await self.ask(path)
        return self.bodies[-1].decode()


@asynccontextmanager
async def serving(
    *views: Callable[[OwnMetrics], WorkspaceView],
    web_config: WebConfigFile | None = None,
    telemetry_path: str = "/metrics",
) -> AsyncIterator[Site]:
    own_metrics = OwnMetrics()
    exposition = Exposition(own_metrics, Layout())
    settings = Settings.model_validate(
        {
            "web": {"listen_address": "127.0.0.1:0", "telemetry_path": telemetry_path},
            "poll": {"interval": "10s"},
        }
    )
    made = [make(own_metrics) for make in views]
    async with (
        WebServer(settings, web_config, exposition, own_metrics, made).listening() as address,
        # No decompression, and no header that the test does not name.
        aiohttp.ClientSession(
            auto_decompress=False, skip_auto_headers=["Accept", "Accept-Encoding"]
        ) as session,
    ):
        yield Site(session, exposition, own_metrics, f"http://{address}")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with serving(view) as running:
        yield running


@pytest.fixture
def guarded(tmp_path: Path) -> WebConfigFile:
    path = tmp_path / "web.yml"
    hashed = bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()
    path.write_text(
        f"basic_auth_users:\n  prometheus: {hashed}\n"
        "http_server_config:\n  headers:\n    X-Frame-Options: deny\n"
    )
    return WebConfigFile(path)


@pytest.mark.parametrize(
    "path", ["/nothing", "/metrics/", "/metricsx", "/-/", "/-/healthy/x", "/favicon.ico"]
)
async def test_other_paths_are_404(site: Site, path: str) -> None:
    """Every other path answers 404."""
    assert (await site.ask(path)).status == 404


@pytest.mark.parametrize("path", [*PAGES, *HEALTH])
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
async def test_pages_can_only_be_read(site: Site, path: str, method: str) -> None:
    """Nothing can be sent to a page."""
    assert (await site.ask(path, method)).status == 405


@pytest.mark.parametrize("path", [*PAGES, *HEALTH])
async def test_head_is_get_without_the_body(site: Site, path: str) -> None:
    """HEAD has the status and type of GET, a length, and no body."""
    got, head = await site.ask(path), await site.ask(path, "HEAD")
    assert head.status == got.status == 200
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    assert int(head.headers["Content-Length"]) > 0
    assert site.bodies[-1] == b""


@pytest.mark.parametrize("path", [*PAGES, *HEALTH, "/nothing"])
async def test_every_answer_has_the_security_headers(site: Site, path: str) -> None:
    """Errors have them too."""
    headers = (await site.ask(path)).headers
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        (None, Format.TEXT.value),
        ("*/*", Format.TEXT.value),
        (BROWSER, Format.TEXT.value),
        (PROMETHEUS_2, Format.OPENMETRICS.value),
        (PROMETHEUS_3, Format.OPENMETRICS.value),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
async def test_a_scraper_gets_the_format_it_asks_for(
    site: Site, accept: str | None, content_type: str, *, packed: bool
) -> None:
    """Format by Accept, gzip by Accept-Encoding; the body is legal and has job and own metrics."""
    labels = ("7", "STANDARD")
    site.exposition.update(
        "adb-1.2.test", {labels: Observed(seeded=True).totals()}, {"7": (Job(name="n"), None)}
    )
    headers = {"Accept": accept} if accept else {}
    response = await site.ask("/metrics", **headers, **({"Accept_Encoding": "gzip"} if packed else {}))
    body = site.bodies[-1]
    assert response.status == 200
    assert response.headers["Content-Type"] == content_type
    assert response.headers["Vary"] == "Accept, Accept-Encoding"
    assert response.headers.get("Content-Encoding") == ("gzip" if packed else None)
    assert int(response.headers["Content-Length"]) == len(body)
    if packed:
        reader = zlib.decompressobj(wbits=31)
        body = reader.decompress(body)
        assert (reader.eof, reader.unused_data) == (True, b"")
    openmetrics = content_type == Format.OPENMETRICS.value
    parse = parse_openmetrics if openmetrics else parse_text
    names = {family.name for family in parse(body.decode())}
    assert {"databricks_job_runs", "databricks_job_info", "databricks_up", "process_cpu_seconds"} <= names
    assert body.endswith(b"# EOF\n") == openmetrics


async def test_before_the_first_poll_there_are_the_exporters_own_metrics(site: Site) -> None:
    """A scrape answers 200 at once, says that nothing is up, and names no job family."""
    text = await site.text("/metrics")
    assert 'databricks_up{workspace="adb-1.2.test"} 0.0\n' in text
    assert "databricks_job_" not in text


async def test_a_scrape_sees_the_newest_commit(site: Site) -> None:
    """What has been published is in the next scrape, packed or not."""
    for name in ("first", "second"):
        site.exposition.update("adb-1.2.test", {}, {"7": (Job(name=name), None)})
        assert f'job_name="{name}"' in await site.text("/metrics")
        await site.ask("/metrics", Accept_Encoding="gzip")
        assert f'job_name="{name}"' in gzip.decompress(site.bodies[-1]).decode()


async def test_the_metrics_can_be_served_under_another_path() -> None:
    """Another telemetry path is served, and the usual one is not there."""
    async with serving(view, telemetry_path="/a/b") as site:
        assert (await site.ask("/a/b")).status == 200
        assert (await site.ask("/metrics")).status == 404


@pytest.mark.parametrize("telemetry_path", ["/metrics", "/a/b"])
async def test_links_of_the_status_page_work_below_any_path_of_a_reverse_proxy(telemetry_path: str) -> None:
    """A browser that has the page from /databricks/ follows each link to a path below /databricks/."""
    async with serving(view, telemetry_path=telemetry_path) as site:
        page = await site.text("/")
        links = re.findall(r'(?:href|src|action)="([^"]*)"', page)
        assert [urljoin("https://proxy.test/databricks/", link) for link in links] == [
            f"https://proxy.test/databricks{telemetry_path}"
        ]
        assert (await site.ask(urljoin("/", links[0]))).status == 200


async def test_health_is_a_sign_of_life_within_ten_intervals() -> None:
    """Healthy until ten intervals after the last sign of life; the verdict names the dead workspace only."""
    limit = DEAD_AFTER_INTERVALS * INTERVAL
    quiet = [limit - 5]

    def sleepy(own_metrics: OwnMetrics) -> WorkspaceView:
        return view(own_metrics, "sleepy", last_sign_of_life=lambda: loop_time() - quiet[0])

    async with serving(view, sleepy) as site:
        assert (await site.ask("/-/healthy")).status == 200
        quiet[0] = limit + 1
        assert (await site.ask("/-/healthy")).status == 503
        assert "sleepy" in site.bodies[-1].decode()
        assert "adb-1.2.test" not in site.bodies[-1].decode()
        assert (await site.ask("/-/ready")).status == 200, "readiness does not depend on it"


async def test_ready_is_when_every_workspace_was_polled() -> None:
    """503 while any workspace waits for its first successful poll; the answer names the workspace."""
    ready = {"first": False, "second": False}

    def waiting(name: str) -> Callable[[OwnMetrics], WorkspaceView]:
        return lambda own_metrics: view(own_metrics, name)._replace(is_ready=lambda: ready[name])

    async with serving(waiting("first"), waiting("second")) as site:
        for name in ready:
            response = await site.ask("/-/ready")
            waits = [name for name, done in ready.items() if not done]
            assert response.status == 503
            assert site.bodies[-1].decode().rstrip().endswith(" of " + ", ".join(waits))
            assert (await site.ask("/-/healthy")).status == 200
            ready[name] = True
        assert (await site.ask("/-/ready")).status == 200


@pytest.mark.parametrize(
    "path", [*PAGES, "/nothing", "/-/", "/-/healthy/", "//-/healthy", "/-/healthy/../../metrics", "/-/Ready"]
)
async def test_with_basic_auth_every_other_path_is_shut(guarded: WebConfigFile, path: str) -> None:
    """Without the password the answer is 401, whether the path exists or not."""
    async with serving(view, web_config=guarded) as site:
        response = await site.ask(path)
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Basic")
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["X-Frame-Options"] == "deny"
        assert b"databricks" not in site.bodies[-1]


async def test_the_health_paths_stay_open(guarded: WebConfigFile) -> None:
    """They need no password, and have the configured headers."""
    async with serving(view, web_config=guarded) as site:
        for path in HEALTH:
            response = await site.ask(path)
            assert (response.status, response.headers["X-Frame-Options"]) == (200, "deny")


@pytest.mark.parametrize(
    ("user", "password", "status"),
    [
        ("prometheus", PASSWORD, 200),
        ("prometheus", "wrong", 401),
        ("prometheus", "", 401),
        ("nobody", PASSWORD, 401),
    ],
)
async def test_the_password_opens_the_pages(
    guarded: WebConfigFile, user: str, password: str, status: int
) -> None:
    """Only the right user with the right password reads the metrics and the status page."""
    authorization = aiohttp.encode_basic_auth(user, password)
    async with serving(view, web_config=guarded) as site:
        for path in PAGES:
            assert (await site.ask(path, Authorization=authorization)).status == status


async def test_a_password_taken_away_shuts_the_pages(guarded: WebConfigFile) -> None:
    """The file is read again when it changes: a removed user is shut out without a restart."""
    (path,) = guarded.config.files
    authorization = aiohttp.encode_basic_auth("prometheus", PASSWORD)
    async with serving(view, web_config=guarded) as site:
        assert (await site.ask("/metrics", Authorization=authorization)).status == 200
        path.write_text(path.read_text().replace("prometheus:", "another-user:"))
        assert (await site.ask("/metrics", Authorization=authorization)).status == 401


async def test_the_status_page_shows_the_state_at_a_glance(site: Site) -> None:
    """Version, link to the metrics, series, workspace and that it is not up are on the page."""
    page = await site.text("/")
    assert f"Version {__version__}" in page
    assert 'href="metrics"' in page
    assert "0 series" in page
    assert "<td>adb-1.2.test</td>" in page
    assert '<td>first poll, 0 %</td><td>never</td>' in page
    assert (await site.ask("/")).content_type == "text/html"


async def test_errors_are_text_on_the_status_page() -> None:
    """The text of an error and the name of a workspace cannot add HTML to the page."""
    made: list[WorkspaceView] = []

    def hostile(own_metrics: OwnMetrics) -> WorkspaceView:
        made.append(view(own_metrics, '<b>"&'))
        return made[-1]

    async with serving(hostile) as site:
        made[0].own_metrics.poll_ended(1.0, "HTTP 502: <script>alert('x')</script>")
        page = await site.text("/")
    assert "<script" not in page
    assert "HTTP 502: &lt;script&gt;alert(&#x27;x&#x27;)&lt;/script&gt;" in page
    assert "<td>&lt;b&gt;&quot;&amp;</td>" in page


def test_control_characters_are_visible_on_the_status_page() -> None:
    """Escape sequences, line breaks, changes of the writing direction and half characters read as text."""
    own_metrics = WorkspaceMetrics(OwnMetrics(), "adb\x07", INTERVAL)
    own_metrics.poll_ended(1.0, "HTTP 500: \x1b[2J\r\nts=now\u202e\u0085\ud800 Zürich 🎉")
    page = status_page("/metrics", 0, [own_metrics])
    assert "<td>adb\\x07</td>" in page
    assert "<td>HTTP 500: \\x1b[2J\\r\\nts=now\\u202e\\x85\\ud800 Zürich 🎉</td>" in page


def test_the_status_page_of_a_workspace_that_is_up() -> None:
    """After a success the row says up, since when, how many runs are active, and no error."""
    now = 100.0
    own_metrics = WorkspaceMetrics(OwnMetrics(), "adb-1.2.test", INTERVAL, lambda: now)
    own_metrics.poll_ended(1.0, "away")
    own_metrics.poll_ended(1.0, None)
    own_metrics.active_runs = 3
    now = 107.0
    page = status_page("/metrics", 1234, [own_metrics])
    assert '<td class="up">up</td>' in page
    assert "<td>7 s</td><td>3</td><td>0</td><td>1</td><td>none</td>" in page
    assert "1234 series" in page
