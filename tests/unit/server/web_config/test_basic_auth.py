"""Basic auth against real bcrypt, at its lowest cost."""

import asyncio
import base64
import threading
import time
from collections.abc import Iterator

import bcrypt
import pytest

from exporter.server.web_config import BasicAuth, TooManyChecks, basic_auth

pytestmark = pytest.mark.slow  # waits, floods or goes through every byte


def hashed(password: bytes, cost: int = 4) -> bytes:
    return bcrypt.hashpw(password, bcrypt.gensalt(cost))


def header(user: str | bytes, password: str | bytes, scheme: str = "Basic") -> str:
    user, password = (part.encode() if isinstance(part, str) else part for part in (user, password))
    return f"{scheme} {base64.b64encode(user + b':' + password).decode()}"


class Checks:
    """Counts the bcrypt computations, and how many ran at once."""

    def __init__(self, delay: float = 0) -> None:
        self.count = self.running = self.most_running = 0
        self.delay = delay
        self.threads: set[int] = set()
        self.costs: list[bytes] = []
        self._lock = threading.Lock()

    def __call__(self, password: bytes, expected: bytes) -> bool:
        with self._lock:
            self.count += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            self.threads.add(threading.get_ident())
            self.costs.append(expected[4:6])
        time.sleep(self.delay)
        fits = bcrypt.checkpw(password, expected)
        with self._lock:
            self.running -= 1
        return fits


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Checks:
    counted = Checks()
    monkeypatch.setattr(basic_auth, "_fits", lambda password, expected: counted(password[:72], expected))
    return counted


@pytest.fixture
def auth() -> Iterator[BasicAuth]:
    auth = BasicAuth({"alice": hashed(b"wonderland"), "bob": hashed("gärtner:1".encode())})
    yield auth
    auth.close()


async def test_the_right_password_of_a_known_user_is_allowed(auth: BasicAuth) -> None:
    assert await auth.allows(header("alice", "wonderland"))
    assert await auth.allows(header("alice", "wonderland", scheme="bASIC"))


async def test_a_password_may_hold_colons_and_any_utf8(auth: BasicAuth) -> None:
    assert await auth.allows(header("bob", "gärtner:1"))


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "",
        "Basic",
        "Basic !!!!",
        "Basic ä",
        "Basic " + base64.b64encode(b"no colon").decode(),
        header("alice", "wonderlanD"),
        header("alice", ""),
        header("Alice", "wonderland"),
        header("bob", "wonderland"),
        header("nobody", "wonderland"),
        header(b"\xff", b"\xff\x00"),
        header("alice", "wonderland", scheme="Bearer"),
    ],
)
async def test_anything_else_is_refused(auth: BasicAuth, authorization: str | None) -> None:
    assert not await auth.allows(authorization)
    assert not await auth.allows(authorization)


async def test_without_users_everyone_is_allowed() -> None:
    auth = BasicAuth({})
    assert not auth.required
    assert await auth.allows(None)


async def test_only_the_first_72_bytes_count_as_with_go() -> None:
    auth = BasicAuth({"alice": hashed(b"x" * 72)})
    assert await auth.allows(header("alice", "x" * 72))
    assert await auth.allows(header("alice", "x" * 100))
    assert not await auth.allows(header("alice", "x" * 71))
    auth.close()


async def test_the_decoy_of_an_unknown_user_opens_nothing(auth: BasicAuth) -> None:
    """Also not where bcrypt says that the password fits."""
    unknown = auth._decoy(b"nobody")
    assert unknown[:7] == b"$2b$04$"
    assert not bcrypt.checkpw(b"anything", unknown)


async def test_a_fitting_decoy_is_still_refused(auth: BasicAuth, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(basic_auth, "_fits", lambda _password, _hashed: True)
    assert not await auth.allows(header("nobody", "anything"))


async def test_answers_good_and_bad_are_remembered(auth: BasicAuth, checks: Checks) -> None:
    for _ in range(5):
        assert await auth.allows(header("alice", "wonderland"))
        assert not await auth.allows(header("alice", "looking-glass"))
        assert not await auth.allows(header("nobody", "wonderland"))
    assert checks.count == 3


async def test_bcrypt_never_runs_on_the_event_loop(auth: BasicAuth, checks: Checks) -> None:
    await auth.allows(header("alice", "wonderland"))
    assert checks.threads
    assert threading.get_ident() not in checks.threads


async def test_few_checks_run_at_once_and_the_others_wait(auth: BasicAuth, checks: Checks) -> None:
    checks.delay = 0.02
    guesses = ((header("alice", str(guess)), f"10.0.0.{guess}") for guess in range(20))
    answers = await asyncio.gather(*(auth.allows(*guess) for guess in guesses))
    assert not any(answers)
    assert checks.count == 20
    assert checks.most_running == 2


async def test_equal_requests_at_once_cost_one_check_wherever_they_come_from(
    auth: BasicAuth, checks: Checks
) -> None:
    checks.delay = 0.02
    right, wrong = header("alice", "wonderland"), header("alice", "looking-glass")
    answers = await asyncio.gather(
        *(auth.allows(word, f"10.0.0.{number % 7}") for number in range(200) for word in (right, wrong))
    )
    assert answers == [True, False] * 200
    assert checks.count == 2


async def outcome(auth: BasicAuth, authorization: str, peer: str) -> bool | None:
    """None where there is no answer because too many wait."""
    try:
        return await auth.allows(authorization, peer)
    except TooManyChecks:
        return None


def guesses(auth: BasicAuth, count: int, peers: int) -> list[asyncio.Task[bool | None]]:
    """So many wrong passwords at once, from this many addresses in turn."""
    return [
        asyncio.create_task(outcome(auth, header("alice", str(guess)), f"10.0.{guess % peers}"))
        for guess in range(count)
    ]


async def test_no_more_than_320_checks_wait(auth: BasicAuth, checks: Checks) -> None:
    """Two more run; all others get no answer, and are not refused for it later."""
    checks.delay = 0.001
    answers = await asyncio.gather(*guesses(auth, count=1000, peers=1))
    assert (answers.count(False), answers.count(None)) == (322, 678)
    assert not await auth.allows(header("alice", "999"), "10.0.0"), "checked now"
    assert checks.count == 323


async def test_an_address_that_rarely_fails_passes_a_flood_from_elsewhere(
    auth: BasicAuth, checks: Checks
) -> None:
    """A password of it that was never seen is checked next, although more than can wait came first."""
    checks.delay = 0.01
    flood = guesses(auth, count=2000, peers=200)
    await asyncio.sleep(0.1)
    before = checks.count
    assert await auth.allows(header("alice", "wonderland"), "10.1.1")
    assert checks.count <= before + 6, "those that ran, and not those that waited"
    assert not all(each.done() for each in flood)
    await asyncio.gather(*flood)


async def test_behind_a_shared_address_every_client_that_waits_has_its_turn(
    auth: BasicAuth, checks: Checks
) -> None:
    """A hundred clients there guess without a pause: the right password is checked after those before it."""
    checks.delay = 0.001
    number = iter(range(10**9))

    async def guess() -> None:
        while True:
            assert not await auth.allows(header("alice", str(next(number))), "10.0.0")

    guessing = [asyncio.create_task(guess()) for _ in range(100)]
    await asyncio.sleep(0.1)
    before = checks.count
    assert await auth.allows(header("alice", "wonderland"), "10.0.0")
    assert checks.count <= before + 110
    for task in guessing:
        task.cancel()
    await asyncio.gather(*guessing, return_exceptions=True)


async def test_addresses_that_fail_often_share_what_is_left(auth: BasicAuth, checks: Checks) -> None:
    """One that sent ten times as many guesses leaves room for the others."""
    checks.delay = 0.001
    loud = guesses(auth, count=1000, peers=1)
    await asyncio.sleep(0)
    quiet = [
        asyncio.create_task(outcome(auth, header("bob", str(guess)), f"10.2.{guess % 5}"))
        for guess in range(100)
    ]
    assert (await asyncio.gather(*quiet)).count(None) == 0
    assert (await asyncio.gather(*loud)).count(False) >= 100


async def test_an_address_that_knows_its_passwords_keeps_its_rank(auth: BasicAuth, checks: Checks) -> None:
    """A hundred users there, each with the right password, count for nothing."""
    auth.replace({f"user {number}": hashed(b"right") for number in range(100)})
    for number in range(100):
        assert await auth.allows(header(f"user {number}", "right"), "10.1.1")
    checks.delay = 0.01
    flood = guesses(auth, count=2000, peers=200)
    await asyncio.sleep(0.1)
    before = checks.count
    assert not await auth.allows(header("user 1", "typing error"), "10.1.1")
    assert checks.count <= before + 6
    await asyncio.gather(*flood)


async def test_a_flood_does_not_push_out_a_known_password(auth: BasicAuth, checks: Checks) -> None:
    assert await auth.allows(header("alice", "wonderland"))
    for guess in range(200):
        await auth.allows(header("alice", str(guess)))
    before = checks.count
    assert await auth.allows(header("alice", "wonderland"))
    assert checks.count == before
    assert len(auth._refused) == 128


async def test_a_request_that_goes_away_leaves_no_more_than_the_allowed_threads(
    auth: BasicAuth, checks: Checks
) -> None:
    checks.delay = 0.02
    for guess in range(10):
        task = asyncio.create_task(auth.allows(header("alice", str(guess)), f"10.0.0.{guess}"))
        await asyncio.sleep(0.002)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert await auth.allows(header("alice", "wonderland"))
    assert checks.most_running <= 2


async def test_the_result_of_a_check_is_remembered_when_its_request_has_gone(
    auth: BasicAuth, checks: Checks
) -> None:
    checks.delay = 0.02
    task = asyncio.create_task(auth.allows(header("alice", "wonderland")))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await auth.allows(header("alice", "wonderland"))
    assert await auth.allows(header("alice", "wonderland"))
    assert checks.count == 1


async def test_changed_users_are_checked_anew(auth: BasicAuth) -> None:
    assert await auth.allows(header("alice", "wonderland"))
    assert not await auth.allows(header("alice", "new"))
    auth.replace({"alice": hashed(b"new")})
    assert len(auth._allowed) == len(auth._refused) == 0
    assert not await auth.allows(header("alice", "wonderland"))
    assert await auth.allows(header("alice", "new"))
    auth.replace({"carol": hashed(b"new")})
    assert not await auth.allows(header("alice", "new"))


async def test_the_same_users_again_keep_what_is_remembered(auth: BasicAuth, checks: Checks) -> None:
    users = {"alice": hashed(b"wonderland")}
    auth.replace(users)
    await auth.allows(header("alice", "wonderland"))
    auth.replace(dict(users))
    await auth.allows(header("alice", "wonderland"))
    assert checks.count == 1


async def test_no_password_is_kept(auth: BasicAuth) -> None:
    await auth.allows(header("alice", "wonderland"))
    kept = list(auth._allowed._digests)
    assert [len(digest) for digest in kept] == [32]
    assert b"wonderland" not in b"".join(kept)


async def test_an_unknown_user_costs_the_same_work_as_a_known_one(checks: Checks) -> None:
    """One check, against a hash of the same cost: how long it takes tells nothing."""
    auth = BasicAuth({"alice": hashed(b"wonderland", cost=6)})
    for user in ("alice", "nobody"):
        assert not await auth.allows(header(user, "guess"))
    assert checks.costs == [b"06", b"06"]
    auth.close()


def test_unknown_users_look_like_the_known_ones_of_every_cost() -> None:
    """A fixed cost would tell those whose hashes have another one; one per request, by its change."""
    auth = BasicAuth({"cheap": hashed(b"a", cost=4), "dear": hashed(b"b", cost=6)})
    names = [f"user {number}".encode() for number in range(64)]
    assert {auth._decoy(name)[4:6] for name in names} == {b"04", b"06"}
    assert [auth._decoy(name) for name in names] == [auth._decoy(name) for name in names]
    auth.close()
