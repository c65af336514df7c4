"""Who may read the simulated workspace: personal access tokens and OAuth service principals."""

import base64
import binascii
import time
from collections.abc import Mapping

from exporter.simulator.paging import RefusedError

DEFAULT_TOKEN = "dapi-simulated"


class TokenRefusedError(Exception):
    """What the token endpoint refuses, in OAuth's words; HTTP `status` beside them."""

    def __init__(self, status: int, error: str, description: str) -> None:
        super().__init__(description)
        self.status = status
        self.body = {"error": error, "error_description": description}


class Credentials:
    """`tokens` are personal access tokens, `clients` OAuth secrets by client id.

    `expires_in` is the life of the OAuth tokens issued from now on, in seconds of real time.
    """

    def __init__(
        self,
        *,
        tokens: tuple[str, ...] = (DEFAULT_TOKEN,),
        clients: Mapping[str, str] | None = None,
        expires_in: float = 3600,
    ) -> None:
        self.tokens = set(tokens)
        self.clients = dict(clients or {})
        self.expires_in = expires_in
        self.issued = 0
        self._expiry_of: dict[str, float] = {}

    def revoke_issued(self) -> None:
        """Every OAuth token handed out so far stops working at once."""
        self._expiry_of = dict.fromkeys(self._expiry_of, 0.0)

    def check(self, authorization: str | None) -> None:
        """Raise what the API answers for a missing (401), a wrong (403) or an expired (401) credential."""
        kind, _, word = (authorization or "").partition(" ")
        if kind != "Bearer" or not word:
            raise RefusedError(
                401, "UNAUTHENTICATED", "Credential was not sent or was of an unsupported type."
            )
        if word in self.tokens:
            return
        if word not in self._expiry_of:
            raise RefusedError(403, "PERMISSION_DENIED", "Invalid access token.")
        if self._expiry_of[word] <= time.monotonic():
            raise RefusedError(401, "UNAUTHENTICATED", "Token is expired.")

    def issue(self, authorization: str | None, form: Mapping[str, object]) -> dict[str, object]:
        """The answer of the token endpoint to a client-credentials request with HTTP Basic."""
        client, secret = _basic(authorization)
        if client not in self.clients or self.clients[client] != secret:
            raise TokenRefusedError(401, "invalid_client", "Client authentication failed")
        if form.get("grant_type") != "client_credentials":
            raise TokenRefusedError(400, "unsupported_grant_type", "Only client_credentials is supported")
        if form.get("scope") != "all-apis":
            raise TokenRefusedError(400, "invalid_scope", "The scope has to be all-apis")
        self.issued += 1
        word = f"simulated-oauth-{self.issued}"
        self._expiry_of[word] = time.monotonic() + self.expires_in
        return {
            "access_token": word,
            "token_type": "Bearer",
            "expires_in": int(self.expires_in),
            "scope": "all-apis",
        }


def _basic(authorization: str | None) -> tuple[str, str]:
    kind, _, encoded = (authorization or "").partition(" ")
    try:
        client, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (ValueError, binascii.Error):
        client, secret = "", ""
    return (client, secret) if kind == "Basic" else ("", "")
