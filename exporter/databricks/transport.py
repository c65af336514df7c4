"""From what failed on the wire to the error that says who must act, and how TLS is set up.

What must stay true: no error holds a proxy's password; a certificate that cannot be trusted is told with
its remedy.
"""

import ssl
from pathlib import Path

import aiohttp

from exporter.config import trusting
from exporter.databricks.errors import AccessRefused, TryAgain, WorkspaceError

# OpenSSL's X509_V_ERR_*: https://docs.openssl.org/master/man3/X509_STORE_CTX_get_error/
_NOT_YET_VALID, _EXPIRED = 9, 10
_OTHER_HOST, _OTHER_ADDRESS = 62, 64
_NO_KNOWN_ISSUER = frozenset({2, 18, 19, 20, 21})


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """What verifies certificates: by the CAs of a file alone, or by the system's. Raises OSError."""
    return ssl.create_default_context() if ca_file is None else trusting(ca_file.read_bytes())


def transport_error(error: Exception, proxy: str | None) -> WorkspaceError:
    """The error that tells of a failed exchange; `proxy` is the address of the one that was gone through."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return AccessRefused(_distrust(error, proxy))
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
    return TryAgain(f"{type(error).__name__}: {error}")


def _is_of_proxy(
    error: aiohttp.ClientConnectorError | aiohttp.ClientConnectorCertificateError, proxy: str | None
) -> bool:
    host = f"[{error.host}]" if ":" in error.host else error.host
    return proxy is not None and proxy.endswith(f"://{host}:{error.port}")


def _distrust(error: aiohttp.ClientConnectorCertificateError, proxy: str | None) -> str:
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
    if code in _NO_KNOWN_ISSUER:
        return f"{who}; set api.ca-file to the CA that signed it, if that is the company's own"
    return f"{who}; see api.ca-file"


def _refused_by_proxy(error: aiohttp.ClientHttpProxyError, proxy: str | None) -> WorkspaceError:
    who = f"the proxy {proxy} of HTTPS_PROXY"
    told = f"HTTP {error.status} {error.message[:200]}".strip()
    if error.status == 407:
        return AccessRefused(f"{who} wants other credentials: {told}; set them there: http://user:password@…")
    if error.status in {400, 401, 403, 404, 405}:
        return AccessRefused(
            f"{who} refuses the way: {told}; let it CONNECT to the workspace, or see NO_PROXY"
        )
    return TryAgain(f"{who} can't reach the workspace: {told}")


def _cause(error: OSError) -> str:
    return error.strerror or str(error) or type(error).__name__
