"""Compressed chunks of the body that can be put together in any order. Pure.

A chunk is raw deflate data that ends with a full flush: on a byte boundary, and nothing after it refers back
to it. So chunks in any order, an end and the combined checksum are ONE gzip member; a body of several members
is as valid (RFC 1952), but curl, wget and httpx stop after the first. Source: RFC 1951, the zlib manual on
`Z_FULL_FLUSH` and `crc32_combine`, which ISA-L has and the standard library has not.
"""

import struct
from array import array
from collections.abc import Iterable, Iterator, Mapping

import msgspec
from isal import isal_zlib

GZIP_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
_LEVEL = 1  # about 18 times smaller; 0 is faster by half and leaves 12 times
_GROUPS_PER_CHECK = 16
# At a million series some 300 kB: large enough to be sent as it is.
_GROUPS_PER_SEGMENT = 512


# No NamedTuples: of tens of thousands the collector would look at each.
class Chunk(msgspec.Struct, frozen=True, gc=False):
    """Some lines, compressed; `crc` and `size` (bytes) are those of the lines themselves."""

    data: bytes
    crc: int
    size: int
    series: int


NOTHING = Chunk(b"", 0, 0, 0)


class Packer:
    """Makes chunks, one at a time."""

    def __init__(self) -> None:
        # One for all chunks: after a full flush it knows nothing of what came before.
        self._compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)

    def pack(self, lines: bytes, series: int) -> Chunk:
        """These lines as a chunk."""
        if not lines:
            return NOTHING
        data = self._compressor.compress(lines) + self._compressor.flush(isal_zlib.Z_FULL_FLUSH)
        return Chunk(data, isal_zlib.crc32(lines), len(lines), series)


class Check(msgspec.Struct, frozen=True, gc=False):
    """What is known of lines without looking at them."""

    crc: int
    size: int
    series: int


class ColumnData:
    """The chunks of one column of the body, one per group: their data joined, and four numbers of each."""

    def __init__(self) -> None:
        # The data of so many groups each, as it will be sent; never changed, so that who sends it keeps it.
        self.segments: tuple[bytes, ...] = ()
        self.check = Check(0, 0, 0)
        self._lengths, self._crcs, self._sizes, self._series = (array("I") for _ in range(4))
        self._checks: list[Check] = []

    def __len__(self) -> int:
        return len(self._lengths)

    def __getitem__(self, group: int) -> Chunk:
        """The chunk of a group."""
        first = group - group % _GROUPS_PER_SEGMENT
        segment, length = self.segments[group // _GROUPS_PER_SEGMENT], self._lengths[group]
        begin = sum(self._lengths[first:group])
        data = segment[begin : begin + length]
        return Chunk(data, self._crcs[group], self._sizes[group], self._series[group])

    def __iter__(self) -> Iterator[Chunk]:
        return map(self.__getitem__, range(len(self)))

    def has(self, group: int, lines: bytes) -> bool:
        """Whether the chunk of a group holds these lines."""
        if group >= len(self):
            return not lines
        if len(lines) != self._sizes[group] or isal_zlib.crc32(lines) != self._crcs[group]:
            return False
        # Equal checksums are no proof; inflating takes a fifth of compressing.
        return b"".join(unpacked([self[group].data], len(lines) + 1)) == lines

    def replace(self, chunks: Mapping[int, Chunk]) -> None:
        """Put these chunks, by group, in the place of the ones before."""
        if not chunks:
            return
        for numbers in (self._lengths, self._crcs, self._sizes, self._series):
            numbers.extend([0] * (max(chunks) + 1 - len(numbers)))
        self._replace_data(chunks)
        for group, chunk in chunks.items():
            self._lengths[group], self._crcs[group] = len(chunk.data), chunk.crc
            self._sizes[group], self._series[group] = chunk.size, chunk.series
        starts = range(0, len(self), _GROUPS_PER_CHECK)
        self._checks.extend([Check(0, 0, 0)] * (len(starts) - len(self._checks)))
        for number in {group // _GROUPS_PER_CHECK for group in chunks}:
            part = slice(starts[number], starts[number] + _GROUPS_PER_CHECK)
            checks = zip(self._crcs[part], self._sizes[part], self._series[part], strict=True)
            self._checks[number] = checked(Check(*numbers) for numbers in checks)
        self.check = checked(self._checks)

    def _replace_data(self, chunks: Mapping[int, Chunk]) -> None:
        segments = list(self.segments)
        segments.extend([b""] * (-(-len(self) // _GROUPS_PER_SEGMENT) - len(segments)))
        by_segment: dict[int, list[int]] = {}
        for group in sorted(chunks):
            by_segment.setdefault(group // _GROUPS_PER_SEGMENT, []).append(group)
        for number, groups in by_segment.items():
            old, done, at = memoryview(segments[number]), number * _GROUPS_PER_SEGMENT, 0
            data: list[bytes | memoryview] = []
            for group in groups:
                kept = sum(self._lengths[done:group])
                data += (old[at : at + kept], chunks[group].data)
                at += kept + self._lengths[group]
                done = group + 1
            segments[number] = b"".join([*data, old[at:]])
        self.segments = tuple(segments)


def checked(parts: Iterable[Chunk | Check]) -> Check:
    """What is known of parts one after another."""
    crc = size = series = 0
    for part in parts:
        if part.size:
            crc = isal_zlib.crc32_combine(crc, part.crc, part.size)
            size += part.size
            series += part.series
    return Check(crc, size, series)


def unpacked(parts: Iterable[bytes], at_most: int) -> Iterator[bytes]:
    """The lines in the data of whole chunks, however cut, so many bytes at a time."""
    decompressor = isal_zlib.decompressobj(-isal_zlib.MAX_WBITS)
    for part in parts:
        left, lines = part, b""
        # With all data taken in there may still be lines to come out.
        while left or len(lines) == at_most:
            lines = decompressor.decompress(left, at_most)
            left = decompressor.unconsumed_tail
            if lines:
                yield lines


def ending(own: bytes, check: Check) -> bytes:
    """The end of a gzip member whose chunks have this check: `own`, then the trailer."""
    compressor = isal_zlib.compressobj(_LEVEL, isal_zlib.DEFLATED, -isal_zlib.MAX_WBITS)
    trailer = struct.pack("<II", isal_zlib.crc32(own, check.crc), (check.size + len(own)) & 0xFFFFFFFF)
    return compressor.compress(own) + compressor.flush() + trailer
