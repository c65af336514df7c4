"""Whatever a server says, and however much is logged: no secret is shown anywhere."""

import base64
from itertools import cycle

from exporter.simulator.credentials import Credentials
from tests.e2e.process import BRISK, POLLS, Exporter, Launcher, total
from tests.echoes import answers, shown_parts
from tests.faults import Fault, SimulatorServer, error, html, plain
from tests.rawserver import raw_server

TOKEN = "dapi5ecret0fTheP1atf0rm+/="
CLIENT, SECRET = "a3c1-client", "dose5ecret&%0fTheCl1ent"
PAIR = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
ISSUED = "simulated-oauth-"


async def everything_shown(exporter: Exporter) -> str:
    """Everything there is to read: the pages, the log and the process title."""
    pages = [await exporter.get(path) for path in ("/", "/metrics", "/-/healthy", "/-/ready", "/nowhere")]
    return "\n".join([*(body for _, body in pages), exporter.title, exporter.log, exporter.output])


async def errors(exporter: Exporter, count: int) -> None:
    """Wait for this number of failed polls."""
    await exporter.until(lambda seen: total(seen, POLLS, result="error") >= count, f"{count} failed polls")


async def test_a_personal_token_is_shown_nowhere(launch: Launcher) -> None:
    """A server that repeats the token in its errors does not get it into a log, a page or a title."""
    async with SimulatorServer(credentials=Credentials(tokens=(TOKEN,))) as server:
        for answer in (
            error(403, "PERMISSION_DENIED", f"Invalid token {TOKEN}"),
            error(401, "UNAUTHENTICATED", f"Bearer {TOKEN} is expired"),
            html(400, f"Bad Request: Authorization: Bearer {TOKEN}"),
            plain(418, f"Authorization=Bearer+{TOKEN}"),
        ):
            server.faults.add(Fault(answer, endpoint="runs/list", times=1))
        server.faults.add(Fault(error(500, "INTERNAL_ERROR", f"oops {TOKEN}"), endpoint="jobs/list", times=1))
        env = {"DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": TOKEN}
        exporter = await launch.spawn("--log.level=debug", *BRISK, env=env).listening()
        await errors(exporter, 2)
        shown = await everything_shown(exporter)
        await exporter.until_ready()
        server.credentials.tokens.clear()
        await errors(exporter, 3)
        shown += await everything_shown(exporter)
        await exporter.terminate()
    assert "[redacted]" in shown
    assert shown_parts(shown + exporter.log, TOKEN) == set()


async def test_nothing_of_an_oauth_login_is_shown_anywhere(launch: Launcher) -> None:
    """Neither the client's secret, nor what HTTP Basic makes of it, nor a token that was issued is shown."""
    async with SimulatorServer(credentials=Credentials(clients={CLIENT: SECRET})) as server:
        for status in (401, 403, 400, 500):
            text = f"{CLIENT} with {SECRET} or Basic {PAIR} is refused"
            server.faults.add(Fault(error(status, "invalid_client", text), endpoint="token", times=1))
        env = {
            "DATABRICKS_HOST": server.url,
            "DATABRICKS_CLIENT_ID": CLIENT,
            "DATABRICKS_CLIENT_SECRET": SECRET,
        }
        exporter = await launch.spawn("--log.level=debug", *BRISK, env=env).listening()
        await errors(exporter, 1)
        shown = await everything_shown(exporter)
        await exporter.until_ready()
        # The second token is issued because the first is refused, and then refused as well.
        for number in (1, 2):
            text = f"Bearer {ISSUED}{number} is no good"
            server.faults.add(Fault(error(403, "PERMISSION_DENIED", text), endpoint="runs/list", times=2))
        failed = total(await exporter.metrics(), POLLS, result="error")
        await errors(exporter, int(failed) + 1)
        shown += await everything_shown(exporter)
        server.faults.clear()
        server.credentials.revoke_issued()
        await exporter.polls()
        shown += await everything_shown(exporter)
        assert server.credentials.issued > 1
        await exporter.terminate()
    shown += exporter.log
    assert "[redacted]" in shown
    assert shown_parts(shown, SECRET, PAIR) == set()
    assert [word for word in (f"{ISSUED}1", f"{ISSUED}2") if word in shown] == []


async def test_a_server_that_repeats_the_token_everywhere_gets_no_part_of_it_shown(launch: Launcher) -> None:
    """In status lines, headers, bodies and redirects, whole and cut: neither in the log nor on any page."""
    ways = cycle([*answers(f"Bearer {TOKEN}")][::5])
    async with raw_server(lambda _: next(ways)) as url:
        env = {"DATABRICKS_HOST": url, "DATABRICKS_TOKEN": TOKEN}
        exporter = await launch.spawn("--log.level=debug", *BRISK, env=env).listening()
        for failed in range(1, 25):
            await errors(exporter, failed)
            assert shown_parts(await everything_shown(exporter), TOKEN) == set()
        await exporter.terminate()
    assert shown_parts(exporter.log, TOKEN) == set()
    assert "[redacted]" in exporter.log
