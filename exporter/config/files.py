"""Files that settings and credentials name: a bundle of CA certificates, and secrets.

What must stay true: no error repeats the content of a file, and a path is shown only where it cannot be a
secret that was written into the wrong variable.
"""

import errno
import os
import ssl
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.config.characters import stray_in_value, stray_in_word, trimmed
from exporter.config.errors import Problems

# The longest tokens have some kilobytes; what is larger is another kind of file.
MAX_SECRET_BYTES = 16 * 1024
MAX_CA_BYTES = 4 * 2**20

SYSTEM_TRUST_VARIABLES = ("SSL_CERT_FILE", "SSL_CERT_DIR")


def parse_ca_file(text: str) -> Path | None:
    """The path of a PEM file with one certificate or more, None for an empty text.

    Raises:
        ValueError: the file cannot be used; the message never repeats the path.
    """
    if not text:
        return None
    path = Path(text)
    content = read_file(path, MAX_CA_BYTES)
    try:
        trusting(content)
    except (ssl.SSLError, ValueError):
        raise ValueError("is no file of CA certificates in PEM (-----BEGIN CERTIFICATE-----)") from None
    return path


def system_trust_errors(environ: Mapping[str, str]) -> list[str]:
    """What is wrong with the variables that tell OpenSSL where the system's CAs are.

    OpenSSL takes them as they are written, and does not report that a file is missing:
    https://docs.openssl.org/master/man3/SSL_CTX_load_verify_locations/
    """
    problems = Problems()
    of_file, of_folders = SYSTEM_TRUST_VARIABLES
    file, folders = environ.get(of_file), environ.get(of_folders)
    if file:
        problems.attempt(lambda: read_file(Path(file), MAX_CA_BYTES), _origin(of_file, file))
    if folders and not any(_is_folder(Path(folder)) for folder in folders.split(os.pathsep)):
        problems.append(f"{_origin(of_folders, folders)}names no directory")
    return [f"{problem}; unset it, or set api.ca-file" for problem in problems]


def _origin(variable: str, written: str) -> str:
    stray = stray_in_value(written)
    return f"variable {variable}: " + (f"the value has {stray}; " if stray else "")


def trusting(pem: bytes) -> ssl.SSLContext:
    """A context that trusts these certificates and no others: roots, issuing CAs, or the server's own.

    Raises:
        ssl.SSLError, ValueError: the text has no certificate, or a broken one.
    """
    text = pem.decode("ascii", "ignore")
    if "-----BEGIN" not in text:  # for an empty one the library would take the system's
        raise ValueError("no certificate")
    context = ssl.create_default_context(cadata=text)
    # Python does so from 3.13 on: each certificate of the file is trusted, also where its issuer is not.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    # From Python 3.13 on. The CAs that companies make for themselves often lack an extension that RFC 5280
    # demands; chain, names and times are verified all the same, as by curl and by Go.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return context


def read_file(path: Path, most: int) -> bytes:
    """The content of a regular file of at most `most` bytes. A pipe is refused, not waited for.

    Raises:
        ValueError: the file cannot be read; the message never repeats the path.
    """
    try:
        # Without O_NONBLOCK, opening a pipe that has no writer waits for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISDIR(mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
            if not stat.S_ISREG(mode):
                raise ValueError("the file cannot be read: it is not a regular file")
            with open(descriptor, "rb", closefd=False) as file:
                content = file.read(most + 1)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None
    if len(content) > most:
        raise ValueError(f"the file is larger than {most} bytes")
    return content


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that holds one secret. `variable`: the variable that names the file."""

    variable: str
    path: Path

    def read(self) -> str:
        """The secret, without white space and quotes around it.

        Raises:
            ValueError: the file is missing or holds no secret; the message names variable and file.
        """
        try:
            return _word(read_file(self.path, MAX_SECRET_BYTES))
        except ValueError as error:
            raise ValueError(f"variable {self.variable}{self._shown()}: {error}") from None

    def stamp(self) -> tuple[int, int, int, int] | None:
        """A value that changes with the file; None while the file is missing."""
        try:
            status = self.path.stat()  # through links: Kubernetes swaps one to change a mounted secret
        except (OSError, ValueError):
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

    def _shown(self) -> str:
        """The path, unless it may be the secret itself, written into the wrong variable."""
        folder = self.path.parent
        known = self.stamp() is not None or (len(folder.parts) > 1 and _is_folder(folder))
        return f", {self.path}" if known else ""


def _word(content: bytes) -> str:
    try:
        text = trimmed(content.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 text") from None
    if not text:
        raise ValueError("the file is empty")
    if stray := stray_in_word(text):
        raise ValueError(f"the file has {stray}; it must hold the secret alone")
    return text


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
