"""HTTP basic authentication against bcrypt hashes.

bcrypt is slow on purpose, so it runs in threads, few at a time, and its recent answers are remembered by a
digest under a key that lives only as long as this process: no password is kept. An unknown user costs the
same work as a known one.
"""

import asyncio
import base64
import hashlib
import secrets
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

_CONCURRENT_CHECKS = 2
_MAX_WAITING_CHECKS = 64
_REMEMBERED = 128
# Blowfish takes no more. Go's CompareHashAndPassword, and so the toolkit, ignores the rest; Python's raises.
_BCRYPT_PASSWORD_BYTES = 72
# What follows the cost in a well-formed hash. Whether a password fits it does not matter: see `allows`.
_DECOY = b"$" + b"." * 53


class BasicAuth:
    """Says whether an Authorization header names a user and the right password. Owned by one event loop."""

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._key = secrets.token_bytes(32)
        # Apart, so that guesses cannot push out the answer for the one who scrapes.
        self._allowed = _Recent(_REMEMBERED)
        self._refused = _Recent(_REMEMBERED)
        self._slots = asyncio.Semaphore(_CONCURRENT_CHECKS)
        self._waiting = 0
        # As many threads as slots: a slot is given up when its request goes away, the thread still computes.
        self._threads = ThreadPoolExecutor(_CONCURRENT_CHECKS, thread_name_prefix="bcrypt")
        self._users: Mapping[bytes, bytes] = {}
        self._costs: list[bytes] = []
        self.replace(users)

    @property
    def required(self) -> bool:
        return bool(self._users)

    def replace(self, users: Mapping[str, bytes]) -> None:
        """Takes bcrypt hashes by user name; forgets every remembered answer where they differ."""
        encoded = {user.encode(): hashed for user, hashed in users.items()}
        if encoded == self._users:
            return
        self._users = encoded
        self._costs = sorted(hashed[4:6] for hashed in encoded.values())
        self._allowed.clear()
        self._refused.clear()

    def close(self) -> None:
        """Drops checks that have not begun."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def allows(self, authorization: str | None) -> bool:
        """True for a known user with the right password, and for everyone when there are no users.

        False also when too many checks wait already: that answer is not remembered.
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
        remembered = self._remembered(digest)
        if remembered is None:
            return await self._check(digest, hashed, password, is_known=known is not None)
        return remembered

    async def _check(self, digest: bytes, hashed: bytes, password: bytes, *, is_known: bool) -> bool:
        if self._waiting >= _MAX_WAITING_CHECKS:
            return False
        self._waiting += 1
        try:
            async with self._slots:
                remembered = self._remembered(digest)  # by the one before us in the queue
                if remembered is None:
                    fits = await asyncio.get_running_loop().run_in_executor(
                        self._threads, _fits, password, hashed
                    )
                    remembered = fits and is_known
                    (self._allowed if remembered else self._refused).add(digest)
                return remembered
        finally:
            self._waiting -= 1

    def _remembered(self, digest: bytes) -> bool | None:
        if digest in self._allowed:
            return True
        return False if digest in self._refused else None

    def _digest(self, user: bytes, hashed: bytes, password: bytes) -> bytes:
        keyed = hashlib.blake2b(key=self._key, digest_size=32)
        for part in (user, hashed, password):
            keyed.update(len(part).to_bytes(8, "big") + part)
        return keyed.digest()

    def _decoy(self, user: bytes) -> bytes:
        """A hash for an unknown user: always the same for a name, as costly as one of the real ones."""
        pick = int.from_bytes(self._digest(user, b"", b"")) % len(self._costs)
        return b"$2b$" + self._costs[pick] + _DECOY


class _Recent:
    """The digests seen last, at most `size`."""

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
    """User and password of a Basic header (RFC 7617), None for any other."""
    scheme, _, encoded = (authorization or "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        decoded = base64.b64decode(encoded, validate=True)
    except ValueError:
        return None
    user, colon, password = decoded.partition(b":")
    return (user, password) if colon else None
