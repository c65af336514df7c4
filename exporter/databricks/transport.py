"""How the workspace is reached: the outgoing session, TLS, and the error for an exchange that failed.

What must stay true: no error repeats the text of a server, which the library may have cut; the reason that a
proxy gives is the one exception. An error about a certificate names its remedy.
"""

import os
import ssl
from pathlib import Path

import aiohttp
import structlog

from exporter import __version__
from exporter.config import trusting
from exporter.databricks.bodies import one_line
from exporter.databricks.errors import AccessRefused, TryAgain, WorkspaceError

# Gateways add headers of their own; a header that is larger than this is a mistake.
MAX_HEADER_LINE_BYTES = 64 * 1024
MAX_HEADER_LINES = 256

# OpenSSL's X509_V_ERR_*: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_HOST, _OTHER_ADDRESS = 62, 64
_NO_KNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})

_log = structlog.stdlib.get_logger(__name__)


def open_session(
    base_url: str, *, ca_file: Path | None, timeout_seconds: float, concurrency: int
) -> aiohttp.ClientSession:
    """The session for all requests to a workspace; the caller closes it. Raises OSError."""
    context = tls_context(ca_file)
    if ca_file is None and base_url.startswith("https:") and (problem := _missing_trust(context)):
        _log.warning("CA certificates are missing, so that the workspace may not be trusted", cause=problem)
    return aiohttp.ClientSession(
        base_url=base_url,
        connector=aiohttp.TCPConnector(limit=concurrency, ssl=context),
        timeout=aiohttp.ClientTimeout(total=timeout_seconds),
        headers={"Accept": "application/json", "User-Agent": f"databricks-jobs-exporter/{__version__}"},
        max_line_size=MAX_HEADER_LINE_BYTES,
        max_field_size=MAX_HEADER_LINE_BYTES,
        max_headers=MAX_HEADER_LINES,
        cookie_jar=aiohttp.DummyCookieJar(),
        # The settings say which proxy is used; with True, the library would also send what ~/.netrc says.
        trust_env=False,
    )


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What verifies certificates: by the certificates of a file alone, or by the system's. Raises OSError."""
    return ssl.create_default_context() if ca_file is None else trusting(ca_file.read_bytes())


def _missing_trust(context: ssl.SSLContext) -> str | None:
    """What is wrong with the system's CA certificates, None where there are some.

    OpenSSL says nothing when a file or folder of them is missing, and goes on without it.
    """
    if context.cert_store_stats()["x509"]:
        return None
    if path := os.environ.get("SSL_CERT_FILE"):
        problem = "has no readable certificate" if Path(path).exists() else "does not exist"
        return f"SSL_CERT_FILE names {path}, which {problem}"
    folders = os.environ.get("SSL_CERT_DIR") or ssl.get_default_verify_paths().openssl_capath
    if any(map(_has_files, folders.split(os.pathsep))):
        return None
    return f"there are no CA certificates in {folders}; install the system's (ca-certificates)"


def _has_files(folder: str) -> bool:
    try:
        return any(Path(folder).iterdir())
    except OSError:
        return False


def transport_error(error: Exception, proxy: str | None, ca_file: Path | None = None) -> WorkspaceError:
    """The error for an exchange that failed; `proxy` is the address of the proxy it went through."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return AccessRefused(_distrust(error, proxy, ca_file))
    if isinstance(error, aiohttp.ClientHttpProxyError):
        return _refused_by_proxy(error, proxy)
    if isinstance(error, aiohttp.ClientConnectorError):
        if _is_of_proxy(error, proxy):
            return TryAgain(f"can't reach the proxy {proxy} of HTTPS_PROXY: {_cause(error.os_error)}")
        # The library's own text shows the TLS context by its address in memory.
        return TryAgain(
            f"can't connect to {error.host}:{error.port}: {_cause(error.os_error)}; "
            "check the network, DNS and DATABRICKS_HOST"
        )
    return TryAgain(_broken_off(error))


def _broken_off(error: Exception) -> str:
    """What happened to an answer. The library's own texts repeat parts of it."""
    kind = type(_first_cause(error)).__name__
    if isinstance(error, aiohttp.ClientResponseError):
        return (
            f"the answer can't be read as HTTP ({kind}): a header line has more than "
            f"{MAX_HEADER_LINE_BYTES // 1024} kB, or there are more than {MAX_HEADER_LINES}, or a proxy or "
            "gateway answers in the workspace's place"
        )
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"the body of the answer is cut off or damaged ({kind})"
    if isinstance(error, aiohttp.ServerDisconnectedError):
        return "the server closed the connection before its answer was complete"
    if isinstance(error, OSError):
        return f"the connection broke: {_cause(error)}"
    return f"the exchange failed ({kind})"


def _first_cause(error: BaseException) -> BaseException:
    while error.__cause__ is not None:
        error = error.__cause__
    return error


def _is_of_proxy(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, proxy: str | None
) -> bool:
    host = f"[{error.host}]" if ":" in error.host else error.host
    return proxy is not None and proxy.endswith(f"://{host}:{error.port}")


def _distrust(error: aiohttp.ClientConnectorCertificateError, proxy: str | None, ca_file: Path | None) -> str:
    cause = error.certificate_error
    who = f"the certificate of {error.host}:{error.port} is not trusted: {cause}"
    code = cause.verify_code if isinstance(cause, ssl.SSLCertVerificationError) else None
    if code in {_EXPIRED, _NOT_YET_VALID}:
        return f"{who}; it has to be renewed there, or the clock of this machine is wrong"
    if code in {_OTHER_HOST, _OTHER_ADDRESS}:
        variable, what = (
            ("HTTPS_PROXY", "proxy") if _is_of_proxy(error, proxy) else ("DATABRICKS_HOST", "workspace")
        )
        return f"{who}; set {variable} to the {what}'s own name"
    if code not in _NO_KNOWN_ISSUER:
        return f"{who}; see api.ca-file"
    if ca_file is not None:
        return f"{who}; neither it nor a CA that signed it is in api.ca-file: {ca_file}"
    if problem := _missing_trust(ssl.create_default_context()):
        return f"{who}; {problem}"
    return f"{who}; set api.ca-file to the CA that signed it, if that is the company's own"


def _refused_by_proxy(error: aiohttp.ClientHttpProxyError, proxy: str | None) -> WorkspaceError:
    who = f"the proxy {proxy} of HTTPS_PROXY"
    said = f"HTTP {error.status} {one_line(error.message)}".strip()
    if error.status == 407:
        return AccessRefused(f"{who} wants other credentials: {said}; set them there: http://user:password@…")
    if error.status in {400, 401, 403, 404, 405}:
        return AccessRefused(
            f"{who} refuses the connection: {said}; let it CONNECT to the workspace, or see NO_PROXY"
        )
    return TryAgain(f"{who} can't reach the workspace: {said}")


def _cause(error: OSError) -> str:
    return error.strerror or type(error).__name__
