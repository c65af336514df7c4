"""How the values of a workspace become blobs of the state file, and back: by the names of their fields.

A field that a later release adds has a default, one that it drops is passed over: so a record of any release
can be read by any later one.
"""

from array import array

import msgspec

from exporter.runs.layout import StoredLayout
from exporter.runs.records import ActiveRun, Job, PendingRun, Progress
from exporter.runs.totals import WordCounts

encode = msgspec.msgpack.Encoder().encode
decode_progress = msgspec.msgpack.Decoder(Progress).decode
decode_active = msgspec.msgpack.Decoder(ActiveRun).decode
decode_pending = msgspec.msgpack.Decoder(PendingRun).decode
decode_job = msgspec.msgpack.Decoder(Job).decode
decode_layout = msgspec.msgpack.Decoder(StoredLayout).decode
_decode_words = msgspec.msgpack.Decoder(dict[str, list[tuple[tuple[str, ...], int]]]).decode


def encode_words(words: WordCounts) -> bytes:
    """The counts of open words, by the names of their families."""
    return encode({name: list(counts.items()) for name, counts in words.items()})


def decode_words(blob: bytes) -> WordCounts:
    """What `encode_words` made a blob of."""
    return {name: dict(counts) for name, counts in _decode_words(blob).items()}


def decode_row(blob: bytes, length: int) -> "array[float]":
    """A row of totals. Raises ValueError where it has another length."""
    row = array("d")
    row.frombytes(blob)
    if len(row) != length:
        raise ValueError(f"a row of {len(row)} numbers")
    return row
