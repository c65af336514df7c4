"""A door once locked stays locked: what a change of the web.config.file may and may not do."""

from collections.abc import Callable
from pathlib import Path

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.server.web_config import WebConfig, WebConfigFile
from tests.certificates import make_ca, make_leaf

pytestmark = pytest.mark.slow  # waits, floods or goes through every byte

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = TLS + "  client_ca_file: ca.pem\n  client_auth_type: RequireAndVerifyClientCert\n"
# The same in every process: what tests are called must not change.
SALT = b"$2b$04$abcdefghijklmnopqrstuu"
HASHES = {user: bcrypt.hashpw(user.encode(), SALT).decode() for user in ("alice", "bob", "carol")}
HEADERS = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n    X-XSS-Protection: 0\n"


def users(*names: str) -> str:
    return "basic_auth_users:\n" + "".join(f"  {name}: {HASHES[name]}\n" for name in names)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("locks")
    ca = make_ca()
    ca.write(folder, "ca")
    make_leaf(ca).write(folder, "server")
    return folder


@pytest.fixture
def change(folder: Path) -> Callable[[str, str], WebConfigFile]:
    """A file that was good, and then changed."""

    def changed(before: str, after: str) -> WebConfigFile:
        path = folder / "web.yml"
        path.write_text(before)
        file = WebConfigFile(path)
        path.write_text(after)
        file.reread()
        return file

    return changed


@pytest.mark.parametrize(
    ("before", "after", "reason"),
    [
        (users("alice"), "", "basic_auth_users names no user any more"),
        (users("alice"), "# nothing\n", "basic_auth_users names no user any more"),
        (users("alice"), "basic_auth_users: {}\n", "basic_auth_users names no user any more"),
        (users("alice"), TLS, "basic_auth_users names no user any more"),
        (TLS, "", "tls_server_config is missing"),
        (TLS + users("alice"), users("alice"), "tls_server_config is missing"),
        (MUTUAL, TLS, "client_auth_type asks less of clients"),
        (
            MUTUAL,
            MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"),
            "client_auth_type asks less of clients",
        ),
        (TLS + "  min_version: TLS13\n", TLS, "min_version is lower"),
        (users("alice") + HEADERS, users("alice"), "the file is cut off"),
        (HEADERS, "", "the file is cut off"),
        (TLS + "  curve_preferences: [CurveP256]\n", TLS, "the file is cut off"),
    ],
)
def test_what_would_open_the_door_is_refused_with_the_reason_and_the_remedy(
    change: Callable[[str, str], WebConfigFile], before: str, after: str, reason: str
) -> None:
    file = change(before, after)
    assert reason in str(file.error)
    assert "restart the exporter" in str(file.error)
    assert file.config.content.decode() == before


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (users("alice", "bob", "carol"), users("alice", "carol")),
        (users("alice", "bob", "carol"), users("alice", "bob")),
        (users("alice"), users("bob")),
        (users("alice"), users("alice") + TLS),
        ("", MUTUAL),
        (TLS, users("alice") + MUTUAL),
        (TLS, TLS + "  min_version: TLS13\n"),
        (HEADERS + users("alice"), users("alice")),
        (HEADERS, "# no headers any more\n"),
    ],
)
def test_other_changes_count_without_a_restart(
    change: Callable[[str, str], WebConfigFile], before: str, after: str
) -> None:
    file = change(before, after)
    assert file.error is None
    assert file.config.content.decode() == after


def test_what_was_refused_may_be_followed_by_a_good_change(
    change: Callable[[str, str], WebConfigFile], folder: Path
) -> None:
    file = change(users("alice"), "")
    (folder / "web.yml").write_text(users("bob"))
    file.reread()
    assert (file.error, set(file.config.users)) == (None, {"bob"})


GOOD_FILES = st.builds(
    lambda sections, with_end: "".join(sections).removesuffix("" if with_end else "\n"),
    st.tuples(
        st.sampled_from(
            [
                "",
                TLS,
                MUTUAL,
                TLS + "  min_version: TLS13\n",
                TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n",
            ]
        ),
        st.lists(st.sampled_from(sorted(HASHES)), unique=True).map(
            lambda names: users(*names) if names else ""
        ),
        st.sampled_from(["", HEADERS]),
        st.sampled_from(["", "# a comment: über\n", "rate_limit: {interval: 0}\n"]),
    ).flatmap(st.permutations),
    st.booleans(),
)


def assert_as_locked(now: WebConfig, before: WebConfig) -> None:
    """Nothing but users at the end may be missing, and not the last of them."""
    assert bool(now.users) == bool(before.users)
    assert now.users.items() <= before.users.items()
    assert (now.tls, now.headers) == (before.tls, before.headers)


@settings(deadline=None)
@given(good=GOOD_FILES, data=st.data())
def test_a_file_cut_off_at_any_byte_opens_nothing(folder: Path, good: str, data: st.DataObject) -> None:
    """It is refused, or names fewer users. This holds for cuts of cuts too."""
    path = folder / "cut.yml"
    content = good.encode()
    path.write_bytes(content)
    file = WebConfigFile(path)
    first = file.config
    for _ in range(3):
        before = file.config
        content = content[: data.draw(st.integers(0, len(content)))]
        path.write_bytes(content)
        file.reread()
        assert_as_locked(file.config, first)
        assert file.error is None or file.config is before


@pytest.mark.parametrize(
    "content",
    [TLS + users("alice", "bob", "carol") + HEADERS, users("alice", "bob") + HEADERS + MUTUAL],
    ids=["users in the middle", "users first"],
)
def test_at_every_byte_of_a_file_the_cut_is_refused(folder: Path, content: str) -> None:
    """Users in front of other sections: no cut is a good file."""
    path = folder / "cut.yml"
    path.write_text(content)
    file = WebConfigFile(path)
    good = file.config
    for length in range(len(content) - 1):
        path.write_text(content[:length])
        file.reread()
        assert file.error is not None, content[:length]
        assert file.config is good
