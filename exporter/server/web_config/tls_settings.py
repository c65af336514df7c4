"""The settings of `tls_server_config`, which uses the words of Go's crypto/tls. No file is read here."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from exporter.server.web_config.document import Problems, fields, flag, line_of, text, texts

SECTION = "tls_server_config"
_KEYS = frozenset(
    {
        "cert", "key", "client_ca", "cert_file", "key_file", "client_ca_file", "client_auth_type",
        "client_allowed_sans", "min_version", "max_version", "cipher_suites", "prefer_server_cipher_suites",
        "curve_preferences",
    }
)  # fmt: skip

_CLIENT_AUTH = {
    "NoClientCert": ssl.CERT_NONE,
    "VerifyClientCertIfGiven": ssl.CERT_OPTIONAL,
    "RequireAndVerifyClientCert": ssl.CERT_REQUIRED,
}
# These ask for a certificate and do not verify it. Python's ssl verifies every certificate it asks for.
_UNVERIFIED_CLIENT_AUTH = frozenset({"RequestClientCert", "RequireAnyClientCert", "RequireClientCert"})

_VERSIONS = {"TLS12": ssl.TLSVersion.TLSv1_2, "TLS13": ssl.TLSVersion.TLSv1_3}
_OLD_VERSIONS = frozenset({"TLS10", "TLS11"})

# Go's tls.CipherSuites() to OpenSSL. Those of TLS 1.3 cannot be chosen in Go either: they are always on.
_CIPHERS = {
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA": "ECDHE-ECDSA-AES128-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA": "ECDHE-ECDSA-AES256-SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA": "ECDHE-RSA-AES128-SHA",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA": "ECDHE-RSA-AES256-SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256": "ECDHE-ECDSA-AES128-GCM-SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384": "ECDHE-ECDSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256": "ECDHE-RSA-AES128-GCM-SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384": "ECDHE-RSA-AES256-GCM-SHA384",
    "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-RSA-CHACHA20-POLY1305",
    "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256": "ECDHE-ECDSA-CHACHA20-POLY1305",
}
_TLS13_CIPHERS = frozenset(
    {"TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"}
)

_CURVES = {"CurveP256": "prime256v1", "CurveP384": "secp384r1", "CurveP521": "secp521r1"}
_OTHER_CURVES = frozenset({"X25519", "X25519MLKEM768"})


@dataclass(frozen=True, slots=True)
class Pem:
    """A PEM document: the path of its file, or its text. Never printed: it may be a key."""

    name: str
    line: int = field(compare=False)
    path: Path | None
    inline: bytes

    def __repr__(self) -> str:
        return f"Pem({self.name})"


@dataclass(frozen=True, slots=True)
class TlsSettings:
    cert: Pem | None
    key: Pem | None
    client_ca: Pem | None
    client_auth: ssl.VerifyMode
    min_version: ssl.TLSVersion
    max_version: ssl.TLSVersion
    ciphers: str  # in OpenSSL's form; empty means Python's own list
    curve: str  # in OpenSSL's form; empty means OpenSSL's own list
    prefer_server_ciphers: bool

    def files(self) -> tuple[Path, ...]:
        return tuple(pem.path for pem in (self.cert, self.key, self.client_ca) if pem and pem.path)


def read_tls_settings(node: yaml.Node | None, folder: Path, problems: Problems) -> TlsSettings | None:
    """The section's settings, None where it is absent or empty. Relative paths start at `folder`."""
    section = fields(node, SECTION, problems, _KEYS)
    if not section:
        return None
    ciphers, only_tls13 = _ciphers(section.get("cipher_suites"), problems)
    min_version = _version(section, "min_version", ssl.TLSVersion.TLSv1_2, problems)
    settings = TlsSettings(
        cert=_pem(section, "cert", folder, problems),
        key=_pem(section, "key", folder, problems),
        client_ca=_pem(section, "client_ca", folder, problems),
        client_auth=_client_auth(section.get("client_auth_type"), problems),
        # With suites of TLS 1.3 only, Go has no cipher in common with a client of TLS 1.2.
        min_version=ssl.TLSVersion.TLSv1_3 if only_tls13 else min_version,
        max_version=_version(section, "max_version", ssl.TLSVersion.TLSv1_3, problems),
        ciphers=ciphers,
        curve=_curve(section.get("curve_preferences"), problems),
        prefer_server_ciphers=_flag(section, "prefer_server_cipher_suites", problems),
    )
    _check_together(node, section, settings, problems)
    return settings


def _check_together(
    node: yaml.Node | None, section: Mapping[str, yaml.Node], settings: TlsSettings, problems: Problems
) -> None:
    if settings.cert is None:
        problems.add(node, f"{SECTION}: cert_file is missing")
    if settings.key is None:
        problems.add(node, f"{SECTION}: key_file is missing")
    if settings.min_version > settings.max_version:
        problems.add(node, f"{SECTION}: the cipher suites and versions leave no TLS version to serve")
    # A client_auth_type that was refused above says nothing about the CA.
    auth_type = text(section.get("client_auth_type"), SECTION, Problems())
    verifies = settings.client_auth is not ssl.CERT_NONE
    if settings.client_ca is not None and auth_type in {"", "NoClientCert"}:
        problems.add(node, f"{SECTION}: client_ca_file without a client_auth_type that verifies")
    if settings.client_ca is None and verifies:
        # Go would trust every public CA of the machine here.
        problems.add(node, f"{SECTION}: client_auth_type {auth_type} needs client_ca_file")
    if (sans := section.get("client_allowed_sans")) is not None:
        problems.add(sans, f"{SECTION}.client_allowed_sans: not supported, Python's ssl cannot check it")


def _pem(section: Mapping[str, yaml.Node], name: str, folder: Path, problems: Problems) -> Pem | None:
    inline_node, file_node = section.get(name), section.get(f"{name}_file")
    inline = text(inline_node, f"{SECTION}.{name}", problems)
    file = text(file_node, f"{SECTION}.{name}_file", problems)
    if inline and file:
        problems.add(inline_node, f"{SECTION}: {name} and {name}_file exclude each other")
    if file and file_node is not None:
        return Pem(f"{SECTION}.{name}_file", line_of(file_node), folder / file, b"")
    if inline and inline_node is not None:
        return Pem(f"{SECTION}.{name}", line_of(inline_node), None, inline.encode())
    return None


def _client_auth(node: yaml.Node | None, problems: Problems) -> ssl.VerifyMode:
    name = f"{SECTION}.client_auth_type"
    word = text(node, name, problems)
    if word in _UNVERIFIED_CLIENT_AUTH:
        problems.add(
            node,
            f"{name}: {word} accepts certificates without verifying them, which Python's ssl cannot do;"
            f" use one of {', '.join(_CLIENT_AUTH)}",
        )
    elif word and word not in _CLIENT_AUTH:
        problems.add(node, f"{name}: must be one of {', '.join(_CLIENT_AUTH)}")
    return _CLIENT_AUTH.get(word, ssl.CERT_NONE)


def _version(
    section: Mapping[str, yaml.Node], key: str, default: ssl.TLSVersion, problems: Problems
) -> ssl.TLSVersion:
    node, name = section.get(key), f"{SECTION}.{key}"
    word = text(node, name, problems)
    if word in _OLD_VERSIONS:
        problems.add(node, f"{name}: {word} is switched off in OpenSSL 3; use TLS12 or TLS13")
    elif word and word not in _VERSIONS:
        problems.add(node, f"{name}: must be TLS12 or TLS13")
    return _VERSIONS.get(word, default)


def _ciphers(node: yaml.Node | None, problems: Problems) -> tuple[str, bool]:
    """OpenSSL's list, and whether only suites of TLS 1.3 were named."""
    name = f"{SECTION}.cipher_suites"
    chosen = texts(node, name, problems)
    for item, word in chosen:
        if word not in _CIPHERS and word not in _TLS13_CIPHERS:
            problems.add(item, f"{name}: not one of Go's secure cipher suites")
    ciphers = [_CIPHERS[word] for _, word in chosen if word in _CIPHERS]
    return ":".join(ciphers), bool(chosen) and all(word in _TLS13_CIPHERS for _, word in chosen)


def _curve(node: yaml.Node | None, problems: Problems) -> str:
    name = f"{SECTION}.curve_preferences"
    chosen = texts(node, name, problems)
    for item, word in chosen:
        if word not in _CURVES and word not in _OTHER_CURVES:
            problems.add(item, f"{name}: unknown curve")
    if len(chosen) > 1 or any(word in _OTHER_CURVES for _, word in chosen):
        problems.add(node, f"{name}: Python's ssl takes one curve of {', '.join(_CURVES)}, or leave it out")
    return _CURVES.get(chosen[0][1], "") if chosen else ""


def _flag(section: Mapping[str, yaml.Node], key: str, problems: Problems) -> bool:
    return flag(section.get(key), f"{SECTION}.{key}", problems, default=True)
