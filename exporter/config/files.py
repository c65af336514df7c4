"""Files that settings and credentials name: a bundle of CA certificates, and secrets.

What must stay true: no error repeats what stands in a file; and a path is shown only where it cannot be a
secret that was written into the wrong variable.
"""

import os
import ssl
import stat
from dataclasses import dataclass
from pathlib import Path

# The longest tokens have some kilobytes; what is larger is another kind of file.
MAX_SECRET_BYTES = 16 * 1024
MAX_CA_BYTES = 4 * 2**20


def parse_ca_file(text: str) -> Path | None:
    """The path of a PEM file with one certificate or more, None for an empty text.

    Raises:
        ValueError: it cannot be used; the message never repeats the path.
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
    """The content of a file of at most so many bytes; one that is not a regular file is not waited for.

    Raises:
        ValueError: it cannot be read, or is no such file; the message never repeats the path.
    """
    try:
        # Opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0))
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise ValueError("the file cannot be read: it is no regular file")
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
    """A file that holds one secret; `variable` names it."""

    variable: str
    path: Path

    def read(self) -> str:
        """Its text, without the line break at its end.

        Raises:
            ValueError: there is none, or it is none; the message names the variable and the file.
        """
        try:
            return _word(read_file(self.path, MAX_SECRET_BYTES))
        except ValueError as error:
            raise ValueError(f"variable {self.variable}{self._shown()}: {error}") from None

    def stamp(self) -> tuple[int, int, int, int] | None:
        """What changes when the file does; None while it is not there."""
        try:
            status = self.path.stat()  # through links: Kubernetes swaps one to change a mounted secret
        except (OSError, ValueError):
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino

    def _shown(self) -> str:
        """The path, but where it may be the secret itself, written into the wrong variable."""
        folder = self.path.parent
        known = self.stamp() is not None or (len(folder.parts) > 1 and _is_folder(folder))
        return f", {self.path}" if known else ""


def _word(content: bytes) -> str:
    text = content.decode("ascii", "replace").strip()
    if not text:
        raise ValueError("the file is empty")
    if not (text.isascii() and text.isprintable() and " " not in text):
        raise ValueError("the file has more than one word, control or non-ASCII characters")
    return text


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except (OSError, ValueError):
        return False
