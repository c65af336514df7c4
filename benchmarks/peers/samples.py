"""Whether bodies of different peers hold the same samples, in any order and any way to write numbers."""

import gzip
import urllib.request
from collections import defaultdict
from collections.abc import Mapping

_PREFIXES = (b"databricks_job_", b"databricks_task_")
# Per name of a sample: how many there are, and the sum of their hashes.
Digest = dict[str, tuple[int, int]]


def body_of(address: str, accept: str, encoding: str, *, decoded: bool = True) -> bytes:
    """What a server answers, as it came over the wire or decoded."""
    request = urllib.request.Request(
        f"http://{address}/metrics", headers={"Accept": accept, "Accept-Encoding": encoding}
    )
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        body: bytes = answer.read()
        coding = answer.headers.get("Content-Encoding", "identity")
    if coding != encoding:
        raise SystemExit(f"{address} answers {coding} where {encoding} was asked for")
    return gzip.decompress(body) if decoded and encoding == "gzip" else body


def compared(bodies: Mapping[str, bytes], series: int) -> str:
    """A line that says that all are the same; ends the benchmark with the first difference."""
    digests = {peer: _digest(body) for peer, body in bodies.items()}
    (first, expected), *others = digests.items()
    many = sum(count for count, _ in expected.values())
    if many != series:
        raise SystemExit(f"{first} exposes {many:,} series of {series:,}")
    for peer, digest in others:
        different = sorted(
            name for name in expected.keys() | digest.keys() if expected.get(name) != digest.get(name)
        )
        if different:
            raise SystemExit(f"{first} and {peer} differ in {', '.join(different)}")
    return f"{' and '.join(digests)} expose the same {many:,} samples"


def _digest(body: bytes) -> Digest:
    """No label value of the workload has a comma, a brace or an escape in it."""
    digest: defaultdict[str, tuple[int, int]] = defaultdict(lambda: (0, 0))
    for line in body.splitlines():
        if not line.startswith(_PREFIXES):
            continue
        name, _, rest = line.decode().partition("{")
        labels, _, value = rest.rpartition("} ")
        pairs = (_label(*pair.split("=", 1)) for pair in labels.split(","))
        count, total = digest[name]
        digest[name] = (count + 1, total + hash((name, *sorted(pairs), float(value))))
    return dict(digest)


def _label(name: str, value: str) -> tuple[str, str | float]:
    """Bounds are written as 1 or 1.0."""
    return name, float(value.strip('"')) if name == "le" else value
