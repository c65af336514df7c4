"""TLS as a client sees it, and files that change under a listener that stays open."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import bcrypt
import pytest
from aiohttp import web
from cryptography import x509

from exporter.server.web_config import WebConfigError, WebConfigFile
from tests.certificates import Identity, make_ca, make_leaf

TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"
MUTUAL = TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: client-ca.pem\n"

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
    """What is wrong now, empty for nothing. Asked anew: mypy keeps what an assert said of an attribute."""
    return str(file.error or "")


@asynccontextmanager
async def listening(file: WebConfigFile) -> AsyncIterator[int]:
    """The server of aiohttp on loopback; yields its port."""

    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    app = web.Application()
    app.router.add_get("/", hello)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=file.listener_context)
    await site.start()
    try:
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


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


async def test_http_1_1_is_what_a_client_that_prefers_http_2_gets(place: Place) -> None:
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


async def test_a_ca_that_is_taken_away_is_trusted_no_more_and_its_session_not_resumed(place: Place) -> None:
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


def test_nothing_is_read_again_while_nothing_changes(place: Place) -> None:
    file = place.write(TLS)
    config = file.config
    assert not file.refresh()
    assert file.config is config


def test_a_broken_change_keeps_the_last_good_file_and_says_why(place: Place) -> None:
    file = place.write(TLS)
    good = file.config
    place.path.write_text(TLS + "  colour: red\n")
    assert file.refresh()
    assert file.config is good
    assert error_of(file) == "line 4: tls_server_config: unknown key colour"
    assert not file.refresh()
    place.path.write_text(TLS + "  min_version: TLS13\n")
    assert file.refresh()
    assert not error_of(file)
    assert file.config is not good


def test_a_file_that_goes_away_keeps_the_last_good_one(place: Place) -> None:
    file = place.write(TLS)
    place.path.unlink()
    assert file.refresh()
    assert file.config.ssl_context is not None
    assert error_of(file)


def test_a_certificate_that_was_missing_is_noticed_when_it_comes(place: Place) -> None:
    file = place.write(TLS)
    place.path.write_text(TLS.replace("server.", "next."))
    assert file.refresh()
    assert error_of(file)
    make_leaf(place.ca).write(place.folder, "next")
    assert file.refresh()
    assert not error_of(file)
    assert file.config.files == (place.path, place.folder / "next.pem", place.folder / "next.key")


def test_a_rewrite_with_the_same_size_and_time_is_noticed(place: Place) -> None:
    file = place.write("http_server_config: {headers: {X-XSS-Protection: 0}}")
    before = place.path.stat()
    place.path.write_text("http_server_config: {headers: {X-XSS-Protection: 1}}")
    os.utime(place.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert file.refresh()
    assert dict(file.config.headers) == {"X-XSS-Protection": "1"}


def test_a_mounted_secret_changes_by_a_swapped_link(place: Place) -> None:
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
    assert file.refresh()
    assert dict(file.config.headers) == {"X-XSS-Protection": "1"}


def test_tls_cannot_come_or_go_under_an_open_listener(place: Place) -> None:
    file = place.write(TLS)
    place.path.write_text("")
    assert file.refresh()
    assert file.config.ssl_context is not None
    assert "restart" in error_of(file)
    place.path.write_text(TLS)
    assert file.refresh()
    assert not error_of(file)


async def test_a_changed_password_counts_after_the_refresh(place: Place) -> None:
    def users(password: bytes) -> str:
        return f"basic_auth_users: {{alice: '{bcrypt.hashpw(password, bcrypt.gensalt(4)).decode()}'}}"

    old, new = "Basic YWxpY2U6b2xk", "Basic YWxpY2U6bmV3"
    file = place.write(users(b"old"))
    assert file.listener_context is None
    assert await file.auth.allows(old)
    place.path.write_text(users(b"new"))
    file.refresh()
    assert not await file.auth.allows(old)
    assert await file.auth.allows(new)
    file.auth.close()
