"""Which format and encoding a request gets, by the headers that real scrapers and browsers send."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.exposition.negotiation import allows_gzip, format_for
from exporter.exposition.snapshot import Format

PROMETHEUS_2 = (
    "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_2_PROTOBUF = (
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,"
    "application/openmetrics-text;version=1.0.0;q=0.8,application/openmetrics-text;version=0.0.1;q=0.75,"
    "text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
)
PROMETHEUS_3 = (
    "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,"
    "application/openmetrics-text;version=0.0.1;q=0.4,"
    "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
)
PROMETHEUS_3_TEXT_ONLY = "text/plain;version=0.0.4;q=0.5,*/*;q=0.4"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize("accept", [PROMETHEUS_2, PROMETHEUS_2_PROTOBUF, PROMETHEUS_3])
def test_prometheus_gets_openmetrics(accept: str) -> None:
    """What Prometheus 2 and 3 send by default prefers OpenMetrics 1.0.0."""
    assert format_for(accept) is Format.OPENMETRICS


@pytest.mark.parametrize(
    "accept",
    [
        "",
        "*/*",
        "text/*",
        BROWSER,
        PROMETHEUS_3_TEXT_ONLY,
        "text/plain",
        "application/json",
        "application/openmetrics-text;q=0",
        "application/openmetrics-text;version=1.0.0;q=0.0, */*",
        "application/openmetrics-text;version=0.0.1",
        "application/openmetrics-text;version=2.0.0",
        "application/openmetrics-text;q=0.1, text/plain",
        "application/openmetrics-text;q=0.1, text/plain;version=0.0.4;q=0.2",
        "application/openmetrics-text;q=high",
        "application/openmetrics-text;q=nan",
        ";;;,,,=",
    ],
)
def test_everybody_else_gets_plain_text(accept: str) -> None:
    """Without a wish, with another wish or with one that cannot be read, it is the format 0.0.4."""
    assert format_for(accept) is Format.TEXT


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text",
        "Application/OpenMetrics-Text; Version=1.0.0",
        'application/openmetrics-text; version="1.0.0"; charset=utf-8',
        "application/openmetrics-text;q=0.5, text/plain;q=0.5",
        "application/openmetrics-text;q=0.5, text/plain;version=1.0.0",
        "text/plain;q=0.1 , application/openmetrics-text ; version=1.0.0 ; q=0.2",
        "application/openmetrics-text;version=0.0.1, application/openmetrics-text;version=1.0.0;q=0.1",
    ],
)
def test_who_names_openmetrics_as_eagerly_gets_it(accept: str) -> None:
    """Case, blanks, quotes and order do not matter; at equal quality OpenMetrics wins."""
    assert format_for(accept) is Format.OPENMETRICS


@pytest.mark.parametrize(
    ("accept_encoding", "gzip"),
    [
        ("", False),
        ("gzip", True),
        ("GZIP", True),
        ("x-gzip", True),
        ("gzip, deflate, br, zstd", True),
        ("br;q=1.0, gzip;q=0.8, *;q=0.1", True),
        ("*", True),
        ("deflate, *;q=0.1", True),
        ("identity", False),
        ("deflate, br", False),
        ("gzip;q=0", False),
        ("gzip;q=0.000", False),
        ("gzip;q=0, *", False),
        ("*;q=0", False),
        ("gzip;q=x", False),
        ("gzip;q=nan", False),
        ("gzipped", False),
    ],
)
def test_gzip_goes_to_those_who_take_it(accept_encoding: str, gzip: bool) -> None:  # noqa: FBT001  a table
    """A coding is named, meant by a star, or not used; quality 0 refuses it."""
    assert allows_gzip(accept_encoding) is gzip


@settings(deadline=None)
@given(st.text('azAZ09*/;,=." q-+\t'))
def test_any_header_gets_an_answer(header: str) -> None:
    """No header, however broken, is an error, and only one that names OpenMetrics gets it."""
    assert format_for(header) is Format.TEXT
    assert allows_gzip(header) is allows_gzip(header.upper())
