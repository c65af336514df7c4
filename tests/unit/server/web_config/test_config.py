"""The web.config.file: what is accepted, what is refused, and that no error quotes a secret."""

import ssl
from pathlib import Path

import pytest

from exporter.server.web_config import WebConfig, WebConfigError, load
from tests.certificates import make_ca, make_leaf

HASH = "$2y$10$X0h1gDsPszWURQaxFh.zoubFi6DXncSjhoQNJgRrnGs7EsimhC7zG"
CHOICES = "NoClientCert, VerifyClientCertIfGiven, RequireAndVerifyClientCert"
TLS = "tls_server_config:\n  cert_file: server.pem\n  key_file: server.key\n"


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    ca = make_ca()
    ca.write(folder, "ca")
    leaf = make_leaf(ca)
    leaf.write(folder, "server")
    make_leaf(ca).write(folder, "other")
    (folder / "encrypted.key").write_bytes(leaf.key_pem(passphrase=b"open sesame"))
    (folder / "junk.pem").write_text("-----BEGIN CERTIFICATE-----\njunk\n-----END CERTIFICATE-----\n")
    (folder / "text.txt").write_text("no PEM, but SECRET")
    (folder / "folder.pem").mkdir()
    (folder / "loop.key").symlink_to("loop.key")
    return folder


def read(folder: Path, content: str) -> WebConfig:
    path = folder / "web.yml"
    path.write_text(content)
    return load(path)


def errors_of(folder: Path, content: str) -> tuple[str, ...]:
    with pytest.raises(WebConfigError) as raised:
        read(folder, content)
    return raised.value.errors


def test_an_empty_file_is_plain_http_without_users(tmp_path: Path) -> None:
    config = read(tmp_path, "")
    assert config == WebConfig(files=(tmp_path / "web.yml",))


def test_empty_sections_count_as_absent(tmp_path: Path) -> None:
    config = read(tmp_path, "tls_server_config:\nbasic_auth_users: {}\nhttp_server_config: ~\nrate_limit:\n")
    assert (config.tls_context, dict(config.users), dict(config.headers)) == (None, {}, {})


def test_everything_that_python_supports_is_accepted(certificates: Path) -> None:
    config = read(
        certificates,
        f"""\
tls_server_config:
  cert_file: server.pem
  key_file: server.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.pem
  min_version: TLS12
  max_version: TLS13
  prefer_server_cipher_suites: false
  cipher_suites: [TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, TLS_AES_128_GCM_SHA256]
  curve_preferences: [CurveP384]
http_server_config:
  http2: true
  headers:
    X-Frame-Options: deny
    X-Content-Type-Options: nosniff
    X-XSS-Protection: 0
    Strict-Transport-Security: ""
basic_auth_users:
  prometheus: {HASH}
  123: '{HASH.replace("$2y", "$2b")}'
rate_limit: {{interval: 0, burst: 5}}
""",
    )
    context = config.tls_context
    assert context is not None
    assert (context.minimum_version, context.maximum_version) == (
        ssl.TLSVersion.TLSv1_2,
        ssl.TLSVersion.TLSv1_3,
    )
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert not context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    ciphers = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"}
    assert ciphers == {"ECDHE-ECDSA-AES256-GCM-SHA384"}
    assert dict(config.headers) == {
        "X-Frame-Options": "deny",
        "X-Content-Type-Options": "nosniff",
        "X-XSS-Protection": "0",
    }
    assert config.users == {"prometheus": HASH.encode(), "123": HASH.replace("$2y", "$2b").encode()}
    assert config.files == tuple(
        certificates / name for name in ("web.yml", "server.pem", "server.key", "ca.pem")
    )


def test_certificate_key_and_ca_may_be_part_of_the_file(certificates: Path) -> None:
    def indented(name: str) -> str:
        return (certificates / name).read_text().replace("\n", "\n    ")

    config = read(
        certificates,
        f"tls_server_config:\n  cert: |\n    {indented('server.pem')}\n"
        f"  key: |\n    {indented('server.key')}\n"
        f"  client_ca: |\n    {indented('ca.pem')}\n  client_auth_type: VerifyClientCertIfGiven\n",
    )
    assert config.tls_context is not None
    assert config.tls_context.verify_mode is ssl.CERT_OPTIONAL
    assert len(config.tls_context.get_ca_certs()) == 1
    assert config.files == (certificates / "web.yml",)


def test_only_suites_of_tls_1_3_leave_only_tls_1_3(certificates: Path) -> None:
    config = read(certificates, TLS + "  cipher_suites: [TLS_AES_128_GCM_SHA256]\n")
    assert config.tls_context is not None
    assert config.tls_context.minimum_version is ssl.TLSVersion.TLSv1_3


def test_the_defaults_are_tls_1_2_and_newer_without_client_certificates(certificates: Path) -> None:
    context = read(certificates, TLS).tls_context
    assert context is not None
    assert (context.minimum_version, context.verify_mode) == (ssl.TLSVersion.TLSv1_2, ssl.CERT_NONE)


BAD_FILES = [
    ("basic_auth_users: [", "line 1: not valid YAML"),
    ("basic_auth_users:\n  a: *SECRET", "line 2: not valid YAML"),
    ("- a", "line 1: the file: must be a mapping"),
    ("--- {}\n--- {}", "line 2: not valid YAML"),
    ("tls_config: {}", "line 1: the file: unknown key tls_config"),
    (f"{HASH}: alice", "line 1: the file: unknown key"),
    ("? [a]\n: b", "line 1: the file: a key must be a string"),
    ("rate_limit: {}\nrate_limit: {}", "line 2: the file: a key comes twice rate_limit"),
    ("tls_server_config: yes", "line 1: tls_server_config: must be a mapping"),
    (TLS + "  certfile: x", "line 4: tls_server_config: unknown key certfile"),
    (TLS + "  cert_file: x", "line 4: tls_server_config: a key comes twice cert_file"),
    (TLS + "  cert: x", "line 4: tls_server_config: cert and cert_file exclude each other"),
    ("tls_server_config: {cert_file: server.pem}", "line 1: tls_server_config: key_file is missing"),
    ("tls_server_config: {key_file: server.key}", "line 1: tls_server_config: cert_file is missing"),
    (
        "tls_server_config: {cert_file: none.pem, key_file: server.key}",
        (
            "line 1: tls_server_config.cert_file: No such file or directory"
            " (a relative path starts at the web.config.file)"
        ),
    ),
    (
        "tls_server_config: {cert_file: folder.pem, key_file: server.key}",
        "line 1: tls_server_config.cert_file: not a regular file",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: loop.key}",
        "line 1: tls_server_config.key_file: Too many levels of symbolic links",
    ),
    (
        "tls_server_config: {cert_file: text.txt, key_file: server.key}",
        "line 1: tls_server_config.cert_file: holds no PEM certificate",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: text.txt}",
        "line 1: tls_server_config.key_file: holds no PEM private key",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: encrypted.key}",
        "line 1: tls_server_config.key_file: the private key is encrypted; give it without a passphrase",
    ),
    (
        "tls_server_config: {cert_file: server.pem, key_file: other.key}",
        "line 1: tls_server_config: certificate and private key cannot be used (KEY_VALUES_MISMATCH)",
    ),
    (
        TLS + "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: junk.pem",
        "line 5: tls_server_config.client_ca_file: no usable certificate",
    ),
    (
        TLS + "  client_ca_file: ca.pem",
        "line 2: tls_server_config: client_ca_file without a client_auth_type that verifies",
    ),
    (
        TLS + "  client_auth_type: RequireAndVerifyClientCert",
        "line 2: tls_server_config: client_auth_type RequireAndVerifyClientCert needs client_ca_file",
    ),
    (
        TLS + "  client_auth_type: RequireAnyClientCert",
        (
            "line 4: tls_server_config.client_auth_type: RequireAnyClientCert accepts certificates"
            f" without verifying them, which Python's ssl cannot do; use one of {CHOICES}"
        ),
    ),
    (
        TLS + "  client_auth_type: RequestClientCert",
        (
            "line 4: tls_server_config.client_auth_type: RequestClientCert accepts certificates"
            f" without verifying them, which Python's ssl cannot do; use one of {CHOICES}"
        ),
    ),
    (
        TLS + "  client_auth_type: Sometimes",
        f"line 4: tls_server_config.client_auth_type: must be one of {CHOICES}",
    ),
    (
        TLS + "  client_allowed_sans: [a]",
        "line 4: tls_server_config.client_allowed_sans: not supported, Python's ssl cannot check it",
    ),
    (
        TLS + "  min_version: TLS10",
        "line 4: tls_server_config.min_version: TLS10 is switched off in OpenSSL 3; use TLS12 or TLS13",
    ),
    (TLS + "  max_version: 1.3", "line 4: tls_server_config.max_version: must be TLS12 or TLS13"),
    (
        TLS + "  min_version: TLS13\n  max_version: TLS12",
        "line 2: tls_server_config: the cipher suites and versions leave no TLS version to serve",
    ),
    (
        TLS + "  max_version: TLS12\n  cipher_suites: [TLS_AES_128_GCM_SHA256]",
        "line 2: tls_server_config: the cipher suites and versions leave no TLS version to serve",
    ),
    (
        TLS + "  cipher_suites: [TLS_RSA_WITH_RC4_128_SHA]",
        "line 4: tls_server_config.cipher_suites: not one of Go's secure cipher suites",
    ),
    (TLS + "  cipher_suites: all", "line 4: tls_server_config.cipher_suites: must be a list of strings"),
    (
        TLS + '  cipher_suites: [""]',
        "line 4: tls_server_config.cipher_suites: not one of Go's secure cipher suites",
    ),
    (TLS + "  cipher_suites: [[]]", "line 4: tls_server_config.cipher_suites: must be a string"),
    (
        TLS + "  curve_preferences: [X25519, CurveP256]",
        (
            "line 4: tls_server_config.curve_preferences: Python's ssl takes one curve of CurveP256,"
            " CurveP384, CurveP521, or leave it out"
        ),
    ),
    (TLS + "  curve_preferences: [CurveP1]", "line 4: tls_server_config.curve_preferences: unknown curve"),
    (
        TLS + "  prefer_server_cipher_suites: perhaps",
        "line 4: tls_server_config.prefer_server_cipher_suites: must be true or false",
    ),
    ("http_server_config: {http2: 2}", "line 1: http_server_config.http2: must be true or false"),
    (
        "http_server_config: {headers: {Server: x}}",
        "line 1: http_server_config.headers: unknown key Server",
    ),
    (
        "http_server_config: {headers: {X-Frame-Options: allow}}",
        "line 1: http_server_config.headers.X-Frame-Options: must be deny or sameorigin",
    ),
    (
        'http_server_config: {headers: {X-XSS-Protection: "0\\r\\nSet-Cookie: a=b"}}',
        "line 1: http_server_config.headers.X-XSS-Protection: must be printable ASCII on one line",
    ),
    (
        "basic_auth_users:\n  alice: SECRET",
        'line 2: basic_auth_users: not a bcrypt hash; make one with: htpasswd -nBC 10 ""',
    ),
    (
        f"basic_auth_users:\n  alice: {HASH[:-1]}",
        'line 2: basic_auth_users: not a bcrypt hash; make one with: htpasswd -nBC 10 ""',
    ),
    (
        "basic_auth_users:\n  alice:",
        'line 2: basic_auth_users: not a bcrypt hash; make one with: htpasswd -nBC 10 ""',
    ),
    (
        f"basic_auth_users:\n  alice: {HASH.replace('$10$', '$31$')}",
        "line 2: basic_auth_users: the bcrypt cost must be 4 to 15",
    ),
    (f"basic_auth_users:\n  a: {HASH}\n  a: {HASH}", "line 3: basic_auth_users: a key comes twice"),
    (
        f'basic_auth_users: {{"\\ud800": {HASH}}}',
        "line 1: basic_auth_users: a key holds a character that is not text",
    ),
    (
        TLS + '  client_ca_file: "a\\0"',
        "line 4: tls_server_config.client_ca_file: holds a character that is not text",
    ),
    ("basic_auth_users: [alice]", "line 1: basic_auth_users: must be a mapping"),
    ("rate_limit: {interval: 1s}", "line 1: rate_limit: not supported; leave it out or set interval to 0"),
]


@pytest.mark.parametrize(("content", "expected"), BAD_FILES, ids=[expected[:70] for _, expected in BAD_FILES])
def test_a_bad_file_is_refused_with_its_line_and_without_its_values(
    certificates: Path, content: str, expected: str
) -> None:
    errors = errors_of(certificates, content)
    assert len(errors) == 1
    # OpenSSL's own reason at the end differs between its versions.
    assert errors[0] == expected or errors[0].startswith(f"{expected} (")
    assert "SECRET" not in errors[0]
    assert "$2" not in errors[0]


def test_a_missing_file_is_named_by_its_path(tmp_path: Path) -> None:
    with pytest.raises(WebConfigError, match=r"none\.yml: No such file or directory"):
        load(tmp_path / "none.yml")


def test_a_file_that_is_not_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "web.yml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(WebConfigError, match="not UTF-8"):
        load(tmp_path / "web.yml")


def test_all_problems_are_reported_at_once(tmp_path: Path) -> None:
    errors = errors_of(
        tmp_path,
        "tls_server_config:\n  cert_file: none.pem\n  min_version: SSL3\n  colour: red\n"
        "basic_auth_users:\n  a: SECRET\n  b: SECRET\nhttp_server_config:\n  http2: maybe\nmore: {}\n",
    )
    assert len(errors) == 8
    assert "SECRET" not in " ".join(errors)


def test_a_private_key_in_place_of_a_path_is_not_quoted(certificates: Path) -> None:
    key = (certificates / "server.key").read_text().replace("\n", "\\n")
    errors = errors_of(certificates, f'tls_server_config:\n  cert_file: server.pem\n  key_file: "{key}"\n')
    assert "PRIVATE" not in str(errors)


def test_hashes_are_not_in_the_repr_of_a_config(tmp_path: Path) -> None:
    assert HASH not in repr(read(tmp_path, f"basic_auth_users: {{alice: {HASH}}}"))
