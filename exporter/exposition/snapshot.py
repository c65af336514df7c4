"""One whole rendering as compressed bytes, in the text formats that are asked for. Never changes once made.

The job families come first and may be large; the exporter's own metrics are made at the scrape and come last.
A plain body is inflated from the same chunks while it is sent, so it costs no memory.
"""

from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from itertools import chain
from typing import NamedTuple

from exporter.exposition.chunks import GZIP_HEAD, Check, checked, ending, unpacked

# What is sent at a time: large enough to cost few calls, small enough to leave the loop free.
_PART_BYTES = 256 * 1024


class Format(Enum):
    """The two text formats; the value is the content type."""

    TEXT = "text/plain; version=0.0.4; charset=utf-8"
    OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"


class Rendering(NamedTuple):
    """The job families in one format: compressed, in the parts it will be sent in, and their check."""

    parts: tuple[bytes, ...]
    check: Check

    @classmethod
    def of(cls, columns_data: Iterable[tuple[Iterable[bytes], Check]]) -> "Rendering":
        """The data of columns_data one after another, each with the check of the whole column_data."""
        whole = list(columns_data)
        parts = _in_parts(chain.from_iterable(data for data, _ in whole))
        return cls(tuple(parts), checked(check for _, check in whole))


class Body(NamedTuple):
    """A body to be sent: how long it is, and its bytes in parts."""

    length: int
    parts: Iterable[bytes]


class Snapshot:
    """What scrapes see until the next one is there."""

    def __init__(self, renderings: Mapping[Format, Rendering], series: int) -> None:
        self.series = series
        self.renderings = renderings

    def gzipped(self, form: Format, own: bytes) -> Body:
        """The body as one gzip member; `own` holds the exporter's own metrics in the same format."""
        rendering = self.renderings[form]
        parts = (GZIP_HEAD, *rendering.parts, ending(own, rendering.check))
        return Body(sum(map(len, parts)), parts)

    def plain(self, form: Format, own: bytes) -> Body:
        """The body as it is; each part is inflated when it is asked for."""
        rendering = self.renderings[form]
        return Body(rendering.check.size + len(own), chain(unpacked(rendering.parts, _PART_BYTES), (own,)))


def _in_parts(data: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in parts of a good size to send; what is large enough stays as it is."""
    part: list[bytes] = []
    size = 0
    for each in data:
        if size + len(each) > _PART_BYTES and part:
            yield b"".join(part)
            part, size = [], 0
        part.append(each)
        size += len(each)
    if part:
        yield b"".join(part)


EMPTY = Snapshot({form: Rendering.of(()) for form in Format}, 0)
