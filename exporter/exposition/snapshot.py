"""One whole rendering as bytes, in either text format, plain or compressed. Never changes once made.

The job families come first and may be large; the exporter's own metrics are made at the scrape and come
last. A gzip body is one member (RFC 1952): curl, wget and httpx stop after the first of several.
"""

import struct
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from exporter.families import Family

_GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_COMPRESSION_LEVEL = 1  # 17 times smaller already; 9 takes 7 times as long for a fifth more


class Format(Enum):
    """The two text formats; the value is the content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Deflated(NamedTuple):
    """Raw deflate data that ends on a byte boundary, with what gzip needs to know of the plain data."""

    data: bytes
    crc: int
    size: int


class Snapshot:
    """The lines of every family that has any, and how many they are."""

    def __init__(self, families: tuple[tuple[Family, bytes], ...], series: int) -> None:
        self.series = series
        self._families = families
        self._deflated: dict[Format, Deflated] = {}

    def plain(self, form: Format, own: bytes) -> list[bytes]:
        """The body in pieces; `own` holds the exporter's own metrics in the same format."""
        return [*self._pieces(form), own]

    def gzipped(self, form: Format, own: bytes) -> list[bytes]:
        """The body in pieces that make one gzip member."""
        deflated = self.deflated(form)
        compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
        tail = compressor.compress(own) + compressor.flush()
        crc = zlib.crc32(own, deflated.crc)
        return [
            _GZIP_HEAD,
            deflated.data,
            tail,
            struct.pack("<II", crc, (deflated.size + len(own)) & 0xFFFFFFFF),
        ]

    def deflated(self, form: Format) -> Deflated:
        """The job families compressed, once per format; slow for a large body the first time."""
        known = self._deflated.get(form)
        if known is None:
            compressor = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
            crc, size, chunks = 0, 0, []
            for piece in self._pieces(form):
                chunks.append(compressor.compress(piece))
                crc = zlib.crc32(piece, crc)
                size += len(piece)
            chunks.append(compressor.flush(zlib.Z_FULL_FLUSH))
            known = self._deflated[form] = Deflated(b"".join(chunks), crc, size)
        return known

    def has_deflated(self, form: Format) -> bool:
        """Whether a gzip body is ready."""
        return form in self._deflated

    def _pieces(self, form: Format) -> Iterator[bytes]:
        for family, lines in self._families:
            name = family.openmetrics_name if form is Format.OPENMETRICS else family.name
            # The table's help texts hold nothing that must be escaped; a test says so.
            yield f"# HELP {name} {family.help}\n# TYPE {name} {family.kind}\n".encode()
            yield lines


EMPTY = Snapshot((), 0)
