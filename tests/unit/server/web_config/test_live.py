"""TLS as a client sees it, and files that change while the listener is open."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import bcrypt
import pytest
from cryptography import x509
from structlog.testing import capture_logs

from exporter.server.web_config import WebConfigError, WebConfigFile
from exporter.server.web_config.live import SETTLE_SECONDS
from tests.certificates import Identity, make_ca, make_leaf
from tests.unit.server.clients import GET, local_server, rest, some

pytestmark = pytest.mark.slow  # waits, floods or goes through every byte

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: client-ca.pem\n"


def users(**passwords: str) -> str:
    """A file with these users; each on a line of its own."""
    hashed = {
        user: bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()
        for user, password in passwords.items()
    }
    return "basic_auth_users:\n" + "".join(f"  {user}: {line}\n" for user, line in hashed.items())


REFUSED = (ssl.SSLError, ConnectionError, asyncio.IncompleteReadError)


class Place:
    """A folder with a CA, a server certificate signed by it, and the web.config.file."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "web.yml"
        self.ca = make_ca()
        self.ca.write(folder, "ca")
        self.serve_with(make_leaf(self.ca))

    def serve_with(self, identity: Identity) -> Identity:
        identity.write(self.folder, "server")
        return identity

    def trust_clients_of(self, ca: Identity) -> None:
        ca.write(self.folder, "client-ca")

    def write(self, content: str) -> WebConfigFile:
        self.path.write_text(content)
        return WebConfigFile(self.path)

    def client(self, identity: Identity | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.folder / "ca.pem"))
        if identity is not None:
            certificate, key = identity.write(self.folder, "client")
            context.load_cert_chain(certificate, key)
        return context


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


def error_of(file: WebConfigFile) -> str:
    """The error now; empty for none. A function, because mypy keeps what an assert said of an attribute."""
    return str(file.error or "")


@asynccontextmanager
async def listening(file: WebConfigFile) -> AsyncIterator[int]:
    """A server with this web config on loopback; yields its port."""
    async with local_server(web_config=file) as server:
        yield server.port


async def connect(port: int, client: ssl.SSLContext) -> tuple[x509.Certificate, ssl.SSLObject]:
    """One request over one connection; the server's certificate and the connection's TLS."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client, server_hostname="localhost")
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        # In TLS 1.3 a client learns only now that its certificate was refused.
        status = await reader.readuntil(b"\r\n")
        assert status.startswith(b"HTTP/1.1 200")
        tls: ssl.SSLObject = writer.get_extra_info("ssl_object")
        return x509.load_der_x509_certificate(tls.getpeercert(binary_form=True) or b""), tls
    finally:
        writer.transport.abort()


async def test_a_client_that_knows_the_ca_gets_an_answer_over_tls(place: Place) -> None:
    async with listening(place.write(TLS)) as port:
        _, tls = await connect(port, place.client())
    assert tls.version() == "TLSv1.3"


async def test_a_client_that_prefers_http_2_gets_http_1_1(place: Place) -> None:
    client = place.client()
    client.set_alpn_protocols(["h2", "http/1.1"])
    async with listening(place.write(TLS)) as port:
        _, tls = await connect(port, client)
    assert tls.selected_alpn_protocol() == "http/1.1"


def at_most_tls12(client: ssl.SSLContext) -> None:
    client.maximum_version = ssl.TLSVersion.TLSv1_2


def at_least_tls13(client: ssl.SSLContext) -> None:
    client.minimum_version = ssl.TLSVersion.TLSv1_3


def only_p384(client: ssl.SSLContext) -> None:
    client.set_ecdh_curve("secp384r1")


def only_chacha(client: ssl.SSLContext) -> None:
    at_most_tls12(client)
    client.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")


@pytest.mark.parametrize(
    ("setting", "other_client"),
    [
        ("min_version: TLS13", at_most_tls12),
        ("max_version: TLS12", at_least_tls13),
        ("cipher_suites: [TLS_AES_256_GCM_SHA384]", at_most_tls12),
        ("cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256]", only_chacha),
        ("curve_preferences: [CurveP256]", only_p384),
    ],
)
async def test_a_restriction_shuts_out_the_client_that_cannot_meet_it(
    place: Place, setting: str, other_client: Callable[[ssl.SSLContext], None]
) -> None:
    shut_out = place.client()
    other_client(shut_out)
    async with listening(place.write(f"{TLS}  {setting}\n")) as port:
        await connect(port, place.client())
        with pytest.raises(REFUSED):
            await connect(port, shut_out)
    async with listening(place.write(TLS)) as port:
        await connect(port, shut_out)


async def test_a_required_client_certificate_must_come_from_the_given_ca(place: Place) -> None:
    clients, strangers = make_ca("clients"), make_ca("strangers")
    place.trust_clients_of(clients)
    async with listening(place.write(MUTUAL)) as port:
        await connect(port, place.client(make_leaf(clients)))
        with pytest.raises(REFUSED):
            await connect(port, place.client())
        with pytest.raises(REFUSED):
            await connect(port, place.client(make_leaf(strangers)))


async def test_an_intermediate_client_ca_is_trusted_without_its_root_as_with_go(place: Place) -> None:
    intermediate = make_ca("intermediate", issuer=make_ca("root"))
    place.trust_clients_of(intermediate)
    async with listening(place.write(MUTUAL)) as port:
        await connect(port, place.client(make_leaf(intermediate)))


async def test_a_client_certificate_may_be_left_out_but_not_be_wrong_if_given(place: Place) -> None:
    clients, strangers = make_ca("clients"), make_ca("strangers")
    place.trust_clients_of(clients)
    content = MUTUAL.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven")
    async with listening(place.write(content)) as port:
        await connect(port, place.client())
        await connect(port, place.client(make_leaf(clients)))
        with pytest.raises(REFUSED):
            await connect(port, place.client(make_leaf(strangers)))


async def test_an_inline_certificate_is_served(place: Place) -> None:
    leaf = make_leaf(place.ca)
    certificate, key = (
        pem.decode().replace("\n", "\n    ") for pem in (leaf.certificate_pem, leaf.key_pem())
    )
    async with listening(
        place.write(f"tls_server_config:\n  cert: |\n    {certificate}\n  key: |\n    {key}\n")
    ) as port:
        served, _ = await connect(port, place.client())
    assert served == leaf.certificate


async def test_a_renewed_certificate_is_served_by_the_open_listener(place: Place) -> None:
    async with listening(place.write(TLS)) as port:
        before, _ = await connect(port, place.client())
        renewed = place.serve_with(make_leaf(place.ca))
        after, _ = await connect(port, place.client())
    assert before != after
    assert after == renewed.certificate


async def test_a_certificate_without_its_key_is_not_served_until_the_key_follows(place: Place) -> None:
    file = place.write(TLS)
    async with listening(file) as port:
        before, _ = await connect(port, place.client())
        renewed = make_leaf(place.ca)
        (place.folder / "server.pem").write_bytes(renewed.certificate_pem)
        assert (await connect(port, place.client()))[0] == before
        assert "KEY_VALUES_MISMATCH" in error_of(file)
        (place.folder / "server.key").write_bytes(renewed.key_pem())
        assert (await connect(port, place.client()))[0] == renewed.certificate
    assert not error_of(file)


async def test_a_removed_client_ca_is_not_trusted_and_its_sessions_are_not_resumed(place: Place) -> None:
    old, new = make_ca("old"), make_ca("new")
    place.trust_clients_of(old)
    client = place.client(make_leaf(old))
    at_most_tls12(client)  # where a session is known at the end of the handshake
    file = place.write(MUTUAL)
    async with listening(file) as port:
        _, tls = await connect(port, client)
        place.trust_clients_of(new)
        with pytest.raises(REFUSED):
            await connect(port, client)
        await connect(port, place.client(make_leaf(new)))
        resumed = await asyncio.to_thread(resumes, port, client, tls.session)
    assert not resumed


def resumes(port: int, client: ssl.SSLContext, session: ssl.SSLSession | None) -> bool:
    """A client of asyncio cannot offer a session; a blocking one can."""
    with (
        socket.create_connection(("127.0.0.1", port), timeout=5) as plain,
        pytest.raises(REFUSED),
        client.wrap_socket(plain, server_hostname="localhost", session=session) as tls,
    ):
        return bool(tls.session_reused)
    return False


async def test_client_certificates_can_be_demanded_later(place: Place) -> None:
    file = place.write(TLS)
    clients = make_ca("clients")
    place.trust_clients_of(clients)
    async with listening(file) as port:
        await connect(port, place.client())
        place.path.write_text(MUTUAL)
        with pytest.raises(REFUSED):
            await connect(port, place.client())
        await connect(port, place.client(make_leaf(clients)))


def test_a_broken_first_file_is_an_error_at_start(place: Place) -> None:
    with pytest.raises(WebConfigError):
        place.write("tls_server_config: {cert_file: server.pem}")


async def test_nothing_is_read_again_while_nothing_changes(place: Place) -> None:
    file = place.write(TLS)
    config = file.config
    await file.refresh()
    assert file.config is config


def test_a_broken_change_keeps_the_last_good_file_and_says_why(place: Place) -> None:
    file = place.write(TLS)
    good = file.config
    place.path.write_text(TLS + "  colour: red\n")
    file.reread()
    assert file.config is good
    assert error_of(file) == "line 4: tls_server_config: unknown key colour"
    place.path.write_text(TLS + "  min_version: TLS13\n")
    file.reread()
    assert not error_of(file)
    assert file.config is not good


def test_without_the_file_the_last_good_one_stays(place: Place) -> None:
    file = place.write(TLS)
    place.path.unlink()
    file.reread()
    assert file.config.tls is not None
    assert error_of(file)


def test_a_named_pipe_in_place_of_the_file_is_refused(place: Place) -> None:
    """To open it would wait for ever, and no request would be answered."""
    file = place.write(TLS)
    place.path.unlink()
    os.mkfifo(place.path)
    file.reread()
    assert file.config.tls is not None
    assert "not a regular file" in error_of(file)


async def test_a_certificate_that_was_missing_is_noticed_when_it_comes(place: Place) -> None:
    file = place.write(TLS)
    place.path.write_text(TLS.replace("server.", "next."))
    await file.refresh()
    assert error_of(file)
    make_leaf(place.ca).write(place.folder, "next")
    await file.refresh()
    assert not error_of(file)
    assert file.config.files == (place.path, place.folder / "next.pem", place.folder / "next.key")


async def test_a_rewrite_with_the_same_size_and_time_is_noticed(place: Place) -> None:
    file = place.write("http_server_config: {headers: {X-XSS-Protection: 0}}")
    before = place.path.stat()
    place.path.write_text("http_server_config: {headers: {X-XSS-Protection: 1}}")
    os.utime(place.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    await file.refresh()
    assert dict(file.config.headers) == {"X-XSS-Protection": "1"}


async def test_a_mounted_secret_changes_by_a_swapped_link(place: Place) -> None:
    """How Kubernetes updates a volume: a link to a folder is replaced."""
    for version, value in (("one", "0"), ("two", "1")):
        (place.folder / version).mkdir()
        (place.folder / version / "web.yml").write_text(
            f"http_server_config: {{headers: {{X-XSS-Protection: {value}}}}}"
        )
    link = place.folder / "data"
    link.symlink_to("one")
    file = WebConfigFile(link / "web.yml")
    (place.folder / "swap").symlink_to("two")
    (place.folder / "swap").rename(link)
    await file.refresh()
    assert dict(file.config.headers) == {"X-XSS-Protection": "1"}


async def test_a_changed_password_counts_from_the_next_request(place: Place) -> None:
    old, new = "Basic YWxpY2U6b2xk", "Basic YWxpY2U6bmV3"
    file = place.write(users(alice="old"))
    assert await file.auth.allows(old)
    place.path.write_text(users(alice="new"))
    await file.refresh()
    assert not await file.auth.allows(old)
    assert await file.auth.allows(new)
    file.auth.close()


async def test_a_change_is_taken_over_once_and_logged_once_however_many_ask(place: Place) -> None:
    file = place.write(users(alice="old"))
    with capture_logs() as logged:
        place.path.write_text("")
        await asyncio.gather(*(file.refresh() for _ in range(50)))
        await file.refresh()
        place.path.write_text(users(alice="new"))
        await asyncio.gather(*(file.refresh() for _ in range(50)))
    assert [(line["log_level"], line["event"]) for line in logged] == [
        ("error", "web config file refused: the last good one stays in force"),
        ("info", "web config file taken over"),
    ]


async def test_a_file_is_not_read_while_it_is_written(place: Place) -> None:
    """Each piece is good YAML with fewer users. No user is shut out, and the whole file counts."""
    before, after = users(alice="a", bob="b"), users(alice="a", bob="b", carol="c")
    file = place.write(before)
    place.path.write_text("")
    for line in after.splitlines(keepends=True):
        with place.path.open("a") as growing:
            growing.write(line)
        looking = asyncio.create_task(file.refresh())
        await asyncio.sleep(SETTLE_SECONDS / 2)
        assert set(file.config.users) == {"alice", "bob"}
    await looking
    await file.refresh()
    assert set(file.config.users) == {"alice", "bob", "carol"}


async def test_a_change_of_users_keeps_the_tls_connections(place: Place) -> None:
    """Also where the TLS section moves to another line. A renewed certificate counts all the same."""
    file = place.write(users(alice="a") + TLS)
    context = file.config.tls_context
    place.path.write_text(users(alice="b", bob="b") + TLS)
    file.reread()
    assert file.config.tls_context is context
    place.serve_with(make_leaf(place.ca))
    place.path.write_text("")
    file.reread()
    assert error_of(file)
    place.path.write_text(users(alice="c") + TLS)
    file.reread()
    assert not error_of(file)
    assert file.config.tls_context is not context


async def test_tls_that_is_added_counts_for_connections_that_are_already_open(place: Place) -> None:
    """A plain connection gets no answer any more, and the next one must speak TLS."""
    file = place.write("")
    async with local_server(web_config=file) as server:
        with await server.connect(GET) as plain:
            assert b" 200 OK" in await some(plain)
            place.path.write_text(TLS)
            await asyncio.get_running_loop().sock_sendall(plain, GET)
            assert await rest(plain) == b""
        await connect(server.port, place.client())


async def test_a_removed_client_ca_ends_the_connections_of_its_clients(place: Place) -> None:
    """A connection that is already open gets no answer to its next request."""
    old, new = make_ca("old"), make_ca("new")
    place.trust_clients_of(old)
    ask = b"GET /-/healthy HTTP/1.1\r\nHost: localhost\r\n\r\n"
    async with listening(place.write(MUTUAL)) as port:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=place.client(make_leaf(old)), server_hostname="localhost"
        )
        writer.write(ask)
        assert (await reader.readuntil(b"OK\n")).startswith(b"HTTP/1.1 200")
        place.trust_clients_of(new)
        writer.write(ask)
        with suppress(ConnectionError):
            assert await reader.read() == b""
        writer.transport.abort()
