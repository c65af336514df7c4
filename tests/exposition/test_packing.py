"""Compressed pieces: whole in any order, one gzip member, as checked by the standard library's zlib."""

import zlib

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.exposition.packing import (
    GZIP_HEAD,
    NOTHING,
    Check,
    Packer,
    Piece,
    Strip,
    checked,
    ending,
    unpacked,
)
from tests.exposition import lines_of
from tests.exposition import unpacked as inflated

# A busy machine is no reason to fail.
unhurried = settings(deadline=None, max_examples=100, suppress_health_check=list(HealthCheck))
texts = st.text(max_size=50) | st.builds(
    lambda text, times: text * times, st.text(max_size=40), st.integers(1, 900)
)


def member(pieces: list[Piece], own: bytes) -> bytes:
    return b"".join([GZIP_HEAD, *(piece.data for piece in pieces), ending(own, checked(pieces))])


@unhurried
@given(st.lists(texts, max_size=8), st.binary(max_size=100), st.data())
def test_pieces_in_any_order_inflate_to_their_lines(some: list[str], own: bytes, data: st.DataObject) -> None:
    """One packer's pieces, put together in another order, twice or not at all, are one whole member."""
    packer = Packer()
    pieces = [packer.pack(text, 1) for text in some]
    order = data.draw(st.lists(st.integers(0, len(some) - 1), max_size=10) if some else st.just([]))
    wanted = "".join(some[number] for number in order).encode() + own
    assert inflated(member([pieces[number] for number in order], own)) == wanted
    for piece, text in zip(pieces, some, strict=True):
        assert lines_of(piece) == text.encode()
        assert (piece.crc, piece.size) == (zlib.crc32(text.encode()), len(text.encode()))


@unhurried
@given(st.lists(texts, max_size=8), st.integers(1, 500), st.integers(1, 3000))
def test_what_is_sent_inflates_to_the_lines_however_it_is_cut(
    some: list[str], part: int, at_most: int
) -> None:
    """Data of several pieces, cut anywhere, comes out in bits of at most so many bytes, with one check."""
    packer = Packer()
    pieces = [packer.pack(text, 2) for text in some]
    plain = "".join(some).encode()
    data = b"".join(piece.data for piece in pieces)
    bits = list(unpacked((data[at : at + part] for at in range(0, len(data), part)), at_most))
    assert b"".join(bits) == plain
    assert max(map(len, bits), default=0) <= at_most
    assert checked(pieces) == Check(zlib.crc32(plain), len(plain), 2 * sum(map(bool, some)))


def test_the_same_lines_are_the_piece_before() -> None:
    """Equal lines give back the very piece; others of the same length do not, nor does nothing."""
    packer = Packer()
    before = packer.pack("a 1\n", 1)
    assert packer.pack("a 1\n", 1, before) is before
    assert lines_of(packer.pack("a 2\n", 1, before)) == b"a 2\n"
    assert packer.pack("", 0, before) is NOTHING
    assert packer.pack("", 0) is NOTHING


def test_lines_with_the_same_checksum_are_told_apart() -> None:
    """Two texts of the same length and CRC-32 are packed each for itself."""
    one, other = "plumless", "buckeroo"
    assert zlib.crc32(one.encode()) == zlib.crc32(other.encode())
    packer = Packer()
    assert lines_of(packer.pack(other, 1, packer.pack(one, 1))) == other.encode()


def test_a_packer_lasts() -> None:
    """Hundreds of megabytes later a packer's pieces still refer to nothing but themselves."""
    packer = Packer()
    first = packer.pack("a line of the body 1\n" * 50_000, 1)
    for number in range(200):
        piece = packer.pack(f"a line of the body {number}\n" * 50_000, 1)
    assert lines_of(piece) == b"a line of the body 199\n" * 50_000
    assert inflated(member([piece, first, piece], b"")) == lines_of(piece) + lines_of(first) + lines_of(piece)


@pytest.mark.parametrize("groups", [[0], [15], [16], [40], [0, 15, 16, 17, 40]])
def test_a_strip_keeps_its_check_by_the_pieces_that_change(groups: list[int]) -> None:
    """Whichever groups get a new piece, the check is that of all lines, and the other pieces stay."""
    packer, strip = Packer(), Strip()
    strip.replace({group: packer.pack(f"{group} 1\n", 1) for group in range(41)})
    before = strip.pieces
    strip.replace({group: packer.pack(f"{group} 2\n", 1) for group in groups})
    changed = {group for group in range(41) if strip.pieces[group] is not before[group]}
    assert changed == set(groups)
    plain = "".join(f"{group} {2 if group in groups else 1}\n" for group in range(41)).encode()
    assert b"".join(map(lines_of, strip.pieces)) == plain
    assert strip.check == Check(zlib.crc32(plain), len(plain), 41)


def test_a_strip_that_gets_what_it_has_stays_as_it_is() -> None:
    """The same pieces again, or none where there was none, make nothing new."""
    packer, strip = Packer(), Strip()
    pieces = {0: packer.pack("a 1\n", 1), 3: packer.pack("b 1\n", 1)}
    strip.replace(pieces)
    before = strip.pieces
    strip.replace(pieces)
    strip.replace({1: NOTHING, 99: NOTHING})
    assert strip.pieces is before
