"""HTTP basic authentication against bcrypt hashes.

bcrypt is slow on purpose, so it runs in threads (`password_checks`), and its recent results are remembered.
A result is remembered by a digest under a key of this process: no password is kept. The name of an unknown
user costs the same work as that of a known one.
"""

import base64
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping

import bcrypt

from exporter.server.web_config.password_checks import PasswordChecks

_REMEMBERED = 128
# bcrypt reads no more. Go's CompareHashAndPassword, and so the toolkit, ignores the rest; Python's raises.
_BCRYPT_PASSWORD_BYTES = 72
# What follows the cost in a well-formed hash. No password opens anything with it: see `allows`.
_DECOY = b"$" + b"." * 53


class TooManyChecks(Exception):
    """Too many passwords wait to be checked, so this one was neither accepted nor refused."""


class BasicAuth:
    """Says whether an Authorization header names a user and the right password. Owned by one event loop."""

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._key = secrets.token_bytes(32)
        # Two memories, so that a flood of wrong passwords does not push out the right ones.
        self._allowed = _Recent(_REMEMBERED)
        self._refused = _Recent(_REMEMBERED)
        self._checks = PasswordChecks(self._remember)
        self._users: Mapping[bytes, bytes] = {}
        self._costs: list[bytes] = []
        self.replace(users)

    @property
    def required(self) -> bool:
        return bool(self._users)

    def replace(self, users: Mapping[str, bytes]) -> None:
        """Take bcrypt hashes by user name. Where they differ, forget every remembered result."""
        encoded = {user.encode(): hashed for user, hashed in users.items()}
        if encoded == self._users:
            return
        self._users = encoded
        self._costs = sorted(hashed[4:6] for hashed in encoded.values())
        self._allowed.clear()
        self._refused.clear()

    def close(self) -> None:
        """Drop the checks that have not begun."""
        self._checks.close()

    async def allows(self, authorization: str | None, peer: str = "") -> bool:
        """True for a known user with the right password, and for everyone when there are no users.

        `peer` is the address of the client. Raises `TooManyChecks`.
        """
        if not self._users:
            return True
        credentials = _credentials(authorization)
        if credentials is None:
            return False
        user, password = credentials
        known = self._users.get(user)
        hashed = known or self._decoy(user)
        digest = self._digest(user, hashed, password)
        if digest in self._allowed or digest in self._refused:
            return digest in self._allowed
        right = await self._checks.result(digest, peer, lambda: _fits(password, hashed) and known is not None)
        if right is None:
            raise TooManyChecks
        return right

    def _remember(self, digest: bytes, right: bool) -> None:  # noqa: FBT001  # called with a result
        (self._allowed if right else self._refused).add(digest)

    def _digest(self, user: bytes, hashed: bytes, password: bytes) -> bytes:
        keyed = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (user, hashed, password):
            keyed.update(len(part).to_bytes(8, "big") + part)
        return keyed.digest()

    def _decoy(self, user: bytes) -> bytes:
        """A hash for an unknown user: always the same for a name, and as costly as one of the real hashes."""
        pick = int.from_bytes(self._digest(user, b"", b"")) % len(self._costs)
        return b"$2b$" + self._costs[pick] + _DECOY


class _Recent:
    """The digests seen last, at most `size` of them."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._digests: OrderedDict[bytes, None] = OrderedDict()

    def __contains__(self, digest: bytes) -> bool:
        if digest not in self._digests:
            return False
        self._digests.move_to_end(digest)
        return True

    def __len__(self) -> int:
        return len(self._digests)

    def add(self, digest: bytes) -> None:
        self._digests[digest] = None
        if len(self._digests) > self._size:
            self._digests.popitem(last=False)

    def clear(self) -> None:
        self._digests.clear()


def _fits(password: bytes, hashed: bytes) -> bool:
    return bcrypt.checkpw(password[:_BCRYPT_PASSWORD_BYTES], hashed)


def _credentials(authorization: str | None) -> tuple[bytes, bytes] | None:
    """User and password of a Basic header (RFC 7617); None for any other header."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    user, colon, password = decoded.partition(b":")
    return (user, password) if colon else None
