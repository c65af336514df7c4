"""Compressed chunks: whole in any order, one gzip member, as checked by the standard library's zlib."""

import zlib

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.exposition.chunks import (
    GZIP_HEAD,
    Check,
    Chunk,
    ColumnData,
    Packer,
    checked,
    ending,
    unpacked,
)
from tests.unit.exposition import lines_of
from tests.unit.exposition import unpacked as inflated

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
texts = st.text(max_size=50) | st.builds(
    lambda text, times: text * times, st.text(max_size=40), st.integers(1, 900)
)


def member(chunks: list[Chunk], own: bytes) -> bytes:
    return b"".join([GZIP_HEAD, *(chunk.data for chunk in chunks), ending(own, checked(chunks))])


@unhurried
@given(st.lists(texts, max_size=8), st.binary(max_size=100), st.data())
def test_pieces_in_any_order_inflate_to_their_lines(some: list[str], own: bytes, data: st.DataObject) -> None:
    """One packer's chunks, put together in another order, twice or not at all, are one whole member."""
    packer = Packer()
    chunks = [packer.pack(text.encode(), 1) for text in some]
    order = data.draw(st.lists(st.integers(0, len(some) - 1), max_size=10) if some else st.just([]))
    wanted = "".join(some[number] for number in order).encode() + own
    assert inflated(member([chunks[number] for number in order], own)) == wanted
    for chunk, text in zip(chunks, some, strict=True):
        assert lines_of(chunk) == text.encode()
        assert (chunk.crc, chunk.size) == (zlib.crc32(text.encode()), len(text.encode()))


@unhurried
@given(st.lists(texts, max_size=8), st.integers(1, 500), st.integers(1, 3000))
def test_what_is_sent_inflates_to_the_lines_however_it_is_cut(
    some: list[str], part: int, at_most: int
) -> None:
    """Data of several chunks, cut anywhere, comes out in bits of at most so many bytes, with one check."""
    packer = Packer()
    chunks = [packer.pack(text.encode(), 2) for text in some]
    plain = "".join(some).encode()
    data = b"".join(chunk.data for chunk in chunks)
    bits = list(unpacked((data[at : at + part] for at in range(0, len(data), part)), at_most))
    assert b"".join(bits) == plain
    assert max(map(len, bits), default=0) <= at_most
    assert checked(chunks) == Check(zlib.crc32(plain), len(plain), 2 * sum(map(bool, some)))


def test_a_strip_knows_the_lines_it_has() -> None:
    """Equal lines are there already; others of the same length are not, nor are lines of another group."""
    packer, column_data = Packer(), ColumnData()
    assert column_data.has(0, b"")
    assert not column_data.has(0, b"a 1\n")
    column_data.replace({0: packer.pack(b"a 1\n", 1), 2: packer.pack(b"c 1\n", 1)})
    assert column_data.has(0, b"a 1\n")
    assert column_data.has(1, b"")
    assert column_data.has(2, b"c 1\n")
    assert not column_data.has(0, b"a 2\n")
    assert not column_data.has(0, b"")
    assert not column_data.has(0, b"c 1\n")
    assert not column_data.has(1, b"a 1\n")


def test_lines_with_the_same_checksum_are_told_apart() -> None:
    """Two texts of the same length and CRC-32 are not taken for each other."""
    one, other = b"plumless", b"buckeroo"
    assert zlib.crc32(one) == zlib.crc32(other)
    column_data = ColumnData()
    column_data.replace({0: Packer().pack(one, 1)})
    assert column_data.has(0, one)
    assert not column_data.has(0, other)


def test_a_packer_lasts() -> None:
    """Hundreds of megabytes later a packer's chunks still refer to nothing but themselves."""
    packer = Packer()
    first = packer.pack(("a line of the body 1\n" * 50_000).encode(), 1)
    for number in range(200):
        chunk = packer.pack((f"a line of the body {number}\n" * 50_000).encode(), 1)
    assert lines_of(chunk) == b"a line of the body 199\n" * 50_000
    assert inflated(member([chunk, first, chunk], b"")) == lines_of(chunk) + lines_of(first) + lines_of(chunk)


@unhurried
@given(st.lists(st.dictionaries(st.integers(0, 1100), texts, max_size=6), max_size=6))
def test_a_strip_holds_what_it_was_given_last(updates: list[dict[int, str]]) -> None:
    """Whatever groups are replaced, however often: data, chunks and check are those of all lines in order."""
    packer, column_data = Packer(), ColumnData()
    wanted: dict[int, str] = {}
    for update in updates:
        column_data.replace({group: packer.pack(text.encode(), 1) for group, text in update.items()})
        wanted |= update
    ordered = [wanted.get(group, "").encode() for group in range(len(column_data))]
    assert [lines_of(chunk) for chunk in column_data] == ordered
    plain = b"".join(ordered)
    assert b"".join(unpacked(column_data.segments, 1000)) == plain
    assert column_data.check == Check(zlib.crc32(plain), len(plain), sum(map(bool, ordered)))
    assert all(column_data.has(group, lines) for group, lines in enumerate(ordered))


def test_segments_without_a_change_stay_the_very_same() -> None:
    """Of three segments of 512 groups one is made again, and who sends the old one keeps it."""
    packer, column_data = Packer(), ColumnData()
    column_data.replace({group: packer.pack(f"{group} 1\n".encode(), 1) for group in range(1100)})
    before = column_data.segments
    column_data.replace({600: packer.pack(b"600 2\n", 1)})
    assert [new is old for new, old in zip(column_data.segments, before, strict=True)] == [True, False, True]
    assert b"600 1\n" in b"".join(unpacked(before, 1000))


def test_a_strip_that_gets_nothing_stays_as_it_is() -> None:
    """No chunk, no change."""
    column_data = ColumnData()
    column_data.replace({0: Packer().pack(b"a 1\n", 1)})
    before = column_data.segments
    column_data.replace({})
    assert column_data.segments is before
