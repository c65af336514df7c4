"""The `ssl.SSLContext` of TLS settings: reads certificate, key and CA."""

import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from exporter.server.web_config.document import Problems, read_file
from exporter.server.web_config.tls_settings import SECTION, Pem, TlsSettings


def server_context(settings: TlsSettings, problems: Problems) -> ssl.SSLContext:
    """The TLS context of new connections; of use only when `problems` stays empty."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = settings.min_version
    context.maximum_version = settings.max_version
    context.options |= ssl.OP_NO_RENEGOTIATION
    if not settings.prefer_server_ciphers:
        context.options &= ~ssl.OP_CIPHER_SERVER_PREFERENCE
    # aiohttp speaks HTTP/1.1 only, whatever http_server_config.http2 says.
    context.set_alpn_protocols(["http/1.1"])
    if settings.ciphers:
        _attempt(lambda: context.set_ciphers(settings.ciphers), f"{SECTION}.cipher_suites", problems)
    if settings.curve:
        _attempt(lambda: context.set_ecdh_curve(settings.curve), f"{SECTION}.curve_preferences", problems)
    _load_certificate(context, settings, problems)
    _load_client_ca(context, settings, problems)
    return context


def _load_certificate(context: ssl.SSLContext, settings: TlsSettings, problems: Problems) -> None:
    cert, key = settings.cert, settings.key
    cert_is_good = cert is not None and _is_pem(cert, b"CERTIFICATE-----", "certificate", problems)
    key_is_good = key is not None and _is_pem(key, b"PRIVATE KEY-----", "private key", problems)
    if cert is None or key is None or not (cert_is_good and key_is_good):
        return
    with _as_file(cert) as certfile, _as_file(key) as keyfile:
        # Without a password callback, OpenSSL would ask for a passphrase on the terminal.
        _attempt(
            lambda: context.load_cert_chain(certfile, keyfile, password=lambda: ""),
            f"line {cert.line}: {SECTION}: certificate and private key cannot be used",
            problems,
        )


def _load_client_ca(context: ssl.SSLContext, settings: TlsSettings, problems: Problems) -> None:
    ca = settings.client_ca
    if ca is None or not _is_pem(ca, b"CERTIFICATE-----", "certificate", problems):
        return
    with _as_file(ca) as cafile:
        _attempt(
            lambda: context.load_verify_locations(cafile),
            f"line {ca.line}: {ca.name}: no usable certificate",
            problems,
        )
    # Go trusts every certificate of the file, an intermediate one too.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.verify_mode = settings.client_auth


def _is_pem(pem: Pem, marker: bytes, what: str, problems: Problems) -> bool:
    where = f"line {pem.line}: {pem.name}"
    try:
        content = _pem_bytes(pem)
    except OSError as error:
        hint = (
            " (a relative path starts at the web.config.file)" if isinstance(error, FileNotFoundError) else ""
        )
        problems.append(f"{where}: {error.strerror or 'cannot be read'}{hint}")
        return False
    if b"ENCRYPTED" in content:
        problems.append(f"{where}: the private key is encrypted; give it without a passphrase")
    elif marker not in content:
        problems.append(f"{where}: holds no PEM {what}")
    else:
        return True
    return False


def _pem_bytes(pem: Pem) -> bytes:
    return pem.inline if pem.path is None else read_file(pem.path)


@contextmanager
def _as_file(pem: Pem) -> Iterator[str]:
    """A file name, which OpenSSL needs. The text of an inline document stays in memory."""
    if pem.path is not None:
        yield str(pem.path)
        return
    with os.fdopen(os.memfd_create(pem.name), "wb", buffering=0) as file:
        file.write(pem.inline)
        yield f"/proc/self/fd/{file.fileno()}"


def _attempt(action: Callable[[], object], what: str, problems: Problems) -> None:
    try:
        action()
    except ssl.SSLError as error:
        # OpenSSL's reason is one of its constants, such as KEY_VALUES_MISMATCH. It quotes nothing.
        problems.append(f"{what} ({error.reason or 'refused by OpenSSL'})")
    except (OSError, ValueError):
        problems.append(what)
