"""Where the Authorization header comes from.

A further kind of login is one more class with `authorization()` and `renew()`, chosen in `_login_of`. Where
credentials stand in files, `FileLogin` is around it and makes it anew when they change.
"""

import asyncio
import copy
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Protocol

import structlog

from exporter.config import (
    ClientCredentials,
    Credentials,
    CredentialSource,
    PersonalToken,
    WorkspaceAccess,
)
from exporter.databricks.errors import AccessRefused, TryAgain, WorkspaceError
from exporter.databricks.responses import Token

# A token is fetched anew this long before it ends, or at half its life where that is sooner.
REFRESH_BEFORE_END_SECONDS = 60.0
# A wait for a token ends this long before the deadline of the request, so that the error can name the wait.
ROOM_SECONDS = 0.5

TOKEN_ENDPOINT = "oidc/v1/token"  # noqa: S105  a path
TOKEN_FORM = {"grant_type": "client_credentials", "scope": "all-apis"}

# Exchanges an Authorization header for a token at the workspace's token endpoint.
FetchToken = Callable[[str], Awaitable[Token]]

_log = structlog.stdlib.get_logger(__name__)


class Login(Protocol):
    """A kind of login. A `deadline` is by the loop's clock; TryAgain when a token does not come before it."""

    async def authorization(self, deadline: float | None = None) -> str:
        """The header's value for the next request."""

    async def renew(self, refused: str, deadline: float | None = None) -> bool:
        """Whether another value than the refused one can be had now."""


class PersonalTokenLogin:
    """A personal access token: there is no other to try."""

    def __init__(self, login: PersonalToken) -> None:
        self._header = f"Bearer {login.token.get_secret_value()}"

    async def authorization(self, deadline: float | None = None) -> str:  # noqa: ARG002  it waits for nothing
        """The header's value for the next request."""
        return self._header

    async def renew(self, refused: str, deadline: float | None = None) -> bool:  # noqa: ARG002
        """Whether another value than the refused one can be had now."""
        return refused != self._header


class ClientCredentialsLogin:
    """OAuth machine-to-machine: a token kept until shortly before it ends, fetched once for all who wait.

    When the token endpoint fails, all who waited get its error; none of them asks and waits once more.
    """

    def __init__(
        self,
        login: ClientCredentials,
        fetch: FetchToken,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        pair = f"{login.client_id}:{login.client_secret.get_secret_value()}"
        self._basic = f"Basic {b64encode(pair.encode()).decode()}"
        self._fetch = fetch
        self._monotonic = monotonic
        self._one_fetch = asyncio.Lock()
        self._header = ""
        self._refresh_at = float("-inf")
        self._failed_fetches = 0
        self._last_failure: WorkspaceError | None = None

    async def authorization(self, deadline: float | None = None) -> str:
        """The header's value for the next request."""
        if self._is_old():
            await self._fetch_where(self._is_old, deadline)
        return self._header

    async def renew(self, refused: str, deadline: float | None = None) -> bool:
        """Whether another value than the refused one can be had now: it is fetched, unless one just was."""
        await self._fetch_where(lambda: self._header == refused, deadline)
        return True

    def _is_old(self) -> bool:
        return self._monotonic() >= self._refresh_at

    async def _fetch_where(self, needed: Callable[[], bool], deadline: float | None) -> None:
        failed_before = self._failed_fetches
        until = None
        if deadline is not None:
            left = deadline - asyncio.get_running_loop().time()
            until = deadline - min(ROOM_SECONDS, left / 10)
        try:
            async with asyncio.timeout_at(until), self._one_fetch:
                if self._last_failure is not None and self._failed_fetches > failed_before:
                    # A copy: the client adds to the text of an error.
                    raise copy.copy(self._last_failure)
                if needed():
                    await self._fetch_token()
        except TimeoutError:
            raise TryAgain(f"{TOKEN_ENDPOINT}: no token came in time") from None

    async def _fetch_token(self) -> None:
        asked_at = self._monotonic()
        try:
            token = await self._fetch(self._basic)
        except WorkspaceError as failure:
            self._failed_fetches += 1
            self._last_failure = copy.copy(failure)
            raise
        self._header = f"Bearer {token.access_token}"
        self._refresh_at = asked_at + token.expires_in - min(REFRESH_BEFORE_END_SECONDS, token.expires_in / 2)


class FileLogin:
    """A login with credentials in files: read again when a file changes, and whenever it is refused.

    While the files can't be used, the last good credentials stay.
    """

    def __init__(
        self,
        credentials: Credentials,
        source: CredentialSource,
        fetch: FetchToken,
        note_secret: Callable[[str], object],
    ) -> None:
        self._credentials = credentials
        self._source = source
        self._fetch = fetch
        self._note_secret = note_secret
        # The settings were read without stamps, so the first request reads the files again.
        self._stamps: object = None
        self._error: str | None = None
        self._login = _login_of(credentials, self._fetch_noted)

    async def authorization(self, deadline: float | None = None) -> str:
        """The header's value for the next request."""
        if self._stamps != self._now():
            self._read()
        try:
            return await self._login.authorization(deadline)
        except AccessRefused as refusal:
            if not self._read():
                raise self._with_error(refusal) from None
        return await self._login.authorization(deadline)

    async def renew(self, refused: str, deadline: float | None = None) -> bool:
        """Whether another value than the refused one can be had now."""
        if self._read():
            return True
        if self._error is not None:
            raise AccessRefused(f"the login is refused, and its file can't be used: {self._error}")
        return await self._login.renew(refused, deadline)

    def _with_error(self, refusal: AccessRefused) -> AccessRefused:
        return refusal if self._error is None else AccessRefused(f"{refusal}; {self._error}")

    def _now(self) -> object:
        return [file.stamp() for file in self._source.files.values()]

    def _read(self) -> bool:
        """Read the files; whether the credentials in them are new."""
        # The stamps come first: the next request then sees a change that happens while we read.
        self._stamps = self._now()
        try:
            found = self._source.read()
        except ValueError as error:
            if str(error) != self._error:
                self._error = str(error)
                _log.error("the credentials can't be read again; the last ones are used", cause=self._error)
            return False
        self._error = None
        if found == self._credentials:
            return False
        self._credentials = found
        self._note()
        self._login = _login_of(found, self._fetch_noted)
        _log.info("the credentials were read again from their files")
        return True

    def _note(self) -> None:
        for secret in self._credentials.secrets():
            self._note_secret(secret)

    async def _fetch_noted(self, authorization: str) -> Token:
        # The log forgets the oldest tokens. It must not forget the secret that all tokens are bought with.
        self._note()
        return await self._fetch(authorization)


def _login_of(credentials: Credentials, fetch: FetchToken) -> Login:
    if isinstance(credentials, PersonalToken):
        return PersonalTokenLogin(credentials)
    return ClientCredentialsLogin(credentials, fetch)


def login_for(access: WorkspaceAccess, fetch: FetchToken, note_secret: Callable[[str], object]) -> Login:
    """The login to a workspace; `note_secret` gets each secret that comes later than the settings."""
    if access.source is not None:
        return FileLogin(access.login, access.source, fetch, note_secret)
    return _login_of(access.login, fetch)
