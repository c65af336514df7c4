"""HTTP basic authentication against bcrypt hashes.

bcrypt is slow on purpose, so it runs in threads, few at a time, and its recent answers are remembered by a
digest under a key that lives only as long as this process: no password is kept. An unknown user costs the
same work as a known one. Equal credentials are checked once, however many bring them, and no address may fill
the queue: guesses can neither hold up the event loop nor shut out who scrapes from elsewhere.
"""

import asyncio
import base64
import hashlib
import secrets
from collections import Counter, OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import bcrypt

_CONCURRENT_CHECKS = 2
_MAX_CHECKS = 64  # under way or waiting
_MAX_CHECKS_PER_PEER = 8
_REMEMBERED = 128
# Blowfish takes no more. Go's CompareHashAndPassword, and so the toolkit, ignores the rest; Python's raises.
_BCRYPT_PASSWORD_BYTES = 72
# What follows the cost in a well-formed hash. Whether a password fits it does not matter: see `allows`.
_DECOY = b"$" + b"." * 53


class TooManyChecks(Exception):
    """No answer: too many passwords wait to be checked, all in all or from this address."""


class BasicAuth:
    """Says whether an Authorization header names a user and the right password. Owned by one event loop."""

    def __init__(self, users: Mapping[str, bytes]) -> None:
        self._key = secrets.token_bytes(32)
        # Apart, so that guesses cannot push out the answer for the one who scrapes.
        self._allowed = _Recent(_REMEMBERED)
        self._refused = _Recent(_REMEMBERED)
        # Those under way or waiting for a thread, by digest, and how many each peer has begun.
        self._checks: dict[bytes, asyncio.Future[bool]] = {}
        self._begun: Counter[str] = Counter()
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

    async def allows(self, authorization: str | None, peer: str = "") -> bool:
        """True for a known user with the right password, and for everyone when there are no users.

        `peer` is whose request it is. Raises `TooManyChecks` where nothing can be said now.
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
        if remembered is not None:
            return remembered
        check = self._checks.get(digest) or self._begin(digest, hashed, password, peer)
        # A request that goes away ends neither the thread's work nor the wait of others for it.
        fits = await asyncio.shield(check)
        return fits and known is not None

    def _begin(self, digest: bytes, hashed: bytes, password: bytes, peer: str) -> asyncio.Future[bool]:
        """A check in a thread; its answer is remembered also when nobody waits for it any more."""
        if len(self._checks) >= _MAX_CHECKS or self._begun[peer] >= _MAX_CHECKS_PER_PEER:
            raise TooManyChecks
        check = asyncio.get_running_loop().run_in_executor(self._threads, _fits, password, hashed)
        self._checks[digest] = check
        self._begun[peer] += 1

        def ended(check: asyncio.Future[bool]) -> None:
            del self._checks[digest]
            self._begun -= Counter([peer])  # drops what has come down to 0
            if not check.cancelled() and check.exception() is None:
                is_right = check.result() and hashed in self._users.values()
                (self._allowed if is_right else self._refused).add(digest)

        check.add_done_callback(ended)
        return check

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
