"""Where the Authorization header comes from.

The seam for more kinds of login: a class with `authorization()` and `renew()`, chosen in `login_for`.
"""

import asyncio
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable
from typing import Protocol

from exporter.settings import ClientCredentials, PersonalToken
from exporter.workspace.responses import Token

# A token is fetched anew this long before it ends, or at half its life where that is sooner.
REFRESH_BEFORE_END_SECONDS = 60.0

TOKEN_FORM = {"grant_type": "client_credentials", "scope": "all-apis"}

# Exchanges an Authorization header for a token at the workspace's token endpoint.
FetchToken = Callable[[str], Awaitable[Token]]


class Login(Protocol):
    """A kind of login."""

    async def authorization(self) -> str:
        """The header's value for the next request."""

    async def renew(self, refused: str) -> bool:
        """Whether another value than the refused one can be had now."""


class PersonalTokenLogin:
    """A personal access token: there is no other to try."""

    def __init__(self, login: PersonalToken) -> None:
        self._header = f"Bearer {login.token.get_secret_value()}"

    async def authorization(self) -> str:
        """The header's value for the next request."""
        return self._header

    async def renew(self, refused: str) -> bool:
        """Whether another value than the refused one can be had now."""
        return refused != self._header


class ClientCredentialsLogin:
    """OAuth machine-to-machine: a token kept until shortly before it ends, fetched once for all who wait."""

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

    async def authorization(self) -> str:
        """The header's value for the next request."""
        if self._monotonic() >= self._refresh_at:
            async with self._one_fetch:
                if self._monotonic() >= self._refresh_at:
                    await self._fetch_token()
        return self._header

    async def renew(self, refused: str) -> bool:
        """Whether another value than the refused one can be had now: fetched, unless somebody just did."""
        async with self._one_fetch:
            if self._header == refused:
                await self._fetch_token()
        return True

    async def _fetch_token(self) -> None:
        asked_at = self._monotonic()
        token = await self._fetch(self._basic)
        self._header = f"Bearer {token.access_token}"
        self._refresh_at = asked_at + token.expires_in - min(REFRESH_BEFORE_END_SECONDS, token.expires_in / 2)


def login_for(login: PersonalToken | ClientCredentials, fetch: FetchToken) -> Login:
    """The login of these credentials."""
    if isinstance(login, PersonalToken):
        return PersonalTokenLogin(login)
    return ClientCredentialsLogin(login, fetch)
