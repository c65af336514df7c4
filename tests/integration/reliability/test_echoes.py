"""A server or proxy that repeats what we sent, in every place there is: no part of a secret is shown."""

import base64
import io
from itertools import count

import pytest
import structlog
from pydantic import SecretStr

from exporter.config import ClientCredentials, LogFormat, PersonalToken
from exporter.config.proxies import proxy_for
from exporter.databricks.errors import WorkspaceError
from exporter.logs.redaction import REDACTED
from exporter.logs.setup import configure
from exporter.own_metrics import OwnMetrics, WorkspaceMetrics
from exporter.server.status_page import status_page
from tests.echoes import answers, shown_parts
from tests.rawserver import http_answer, raw_server
from tests.unit.databricks import NAME, connected

TOKEN = "dapi5ecret0fThePlatf0rm+/=99"
ISSUED = "eyJhbGciOi." + "QzE1c3VlZF9ieQ-dGhlX3RlYW0" * 9
CLIENT, SECRET = "a3c1-c1ient", "dose5ecret&%0fThe~Cl1ent/+"
BASIC = base64.b64encode(f"{CLIENT}:{SECRET}".encode()).decode()
PASSWORD = "pr0xy-Passw0rd-99"
PROXY_BASIC = base64.b64encode(f"me:{PASSWORD}".encode()).decode()

SECRETS = (TOKEN, ISSUED, SECRET, BASIC, PASSWORD, PROXY_BASIC)

PERSON = PersonalToken(SecretStr(TOKEN))
ROBOT = ClientCredentials(CLIENT, SecretStr(SECRET))


class Echo:
    """What a server answers now; the token endpoint is good where `issues` is on."""

    def __init__(self, *, issues: bool) -> None:
        self._issues = issues
        self.answer = b""

    def __call__(self, head: str) -> bytes:
        if self._issues and head.startswith("POST /oidc/v1/token"):
            return http_answer(b'{"access_token":"%b"}' % ISSUED.encode())
        return self.answer


class Shown:
    """Everything that an operator can read about an error: log lines, their tracebacks, the status page."""

    def __init__(self, log_format: LogFormat, monkeypatch: pytest.MonkeyPatch, *secrets: str) -> None:
        self._stderr = io.StringIO()
        monkeypatch.setattr("sys.stderr", self._stderr)
        minutes = count(step=100)
        # At another time each: nothing is left out as a repetition.
        self.redactor = configure("debug", log_format, secrets, lambda: float(next(minutes)))
        self._workspace = WorkspaceMetrics(OwnMetrics(), NAME, 30.0, redact=self.redactor.text)

    def take(self, error: WorkspaceError) -> str:
        self._workspace.poll_ended(1.0, str(error))
        structlog.stdlib.get_logger("exporter.polling").error("failed", cause=str(error), exc_info=error)
        self._stderr.seek(0)
        text = self._stderr.read()
        self._stderr.seek(0)
        self._stderr.truncate()
        return text + status_page("/metrics", 0, [self._workspace])


@pytest.mark.parametrize(
    ("log_format", "login", "echoed", "issues", "as_proxy"),
    [
        ("logfmt", PERSON, (f"Bearer {TOKEN}",), False, False),
        ("json", PERSON, (f"Bearer {TOKEN}",), False, False),
        ("logfmt", ROBOT, (f"Basic {BASIC}", SECRET), False, False),
        ("json", ROBOT, (f"Bearer {ISSUED}",), True, False),
        ("logfmt", PERSON, (f"Basic {PROXY_BASIC}", PASSWORD), False, True),
    ],
    ids=["API, logfmt", "API, json", "token endpoint", "API after a login", "proxy"],
)
async def test_no_part_of_a_secret_is_shown_wherever_it_is_repeated(
    log_format: LogFormat,
    login: PersonalToken | ClientCredentials,
    echoed: tuple[str, ...],
    *,
    issues: bool,
    as_proxy: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In status lines, headers, bodies, chunks and redirects, whole and cut, in any writing."""
    shown = Shown(log_format, monkeypatch, *login.secrets(), PASSWORD, PROXY_BASIC)
    echo = Echo(issues=issues)
    redacted = 0
    async with raw_server(echo) as url:
        target, proxy = url, None
        if as_proxy:
            target = "https://workspace.invalid"
            proxy = proxy_for("workspace.invalid", 443, {"HTTPS_PROXY": f"http://me:{PASSWORD}@{url[7:]}"})
        async with connected(target, login, proxy=proxy, note_secret=shown.redactor.add) as connection:
            for echo.answer in (answer for secret in echoed for answer in answers(secret)):
                try:
                    await connection.run_ids(seconds=0.01)
                except WorkspaceError as error:
                    text = shown.take(error)
                    assert shown_parts(text, *SECRETS) == set(), echo.answer[:2000]
                    redacted += REDACTED in text
    assert redacted > 50, "the secret did come back"
