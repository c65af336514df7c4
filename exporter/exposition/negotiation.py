"""Which format and encoding a request gets, from its `Accept` and `Accept-Encoding` headers. Pure.

Source: RFC 9110, sections 12.5.1 and 12.5.3. OpenMetrics goes to those who name it at least as eagerly as
plain text; to everybody else, a browser too, goes the text format 0.0.4.
"""

from exporter.exposition.snapshot import Format

_OPENMETRICS = "application/openmetrics-text"


def format_for(accept: str) -> Format:
    """The format of a request with this `Accept` header, "" when it has none."""
    openmetrics = text = 0.0
    for media_type, parameters, quality in _entries(accept):
        if media_type == _OPENMETRICS and parameters.get("version", "1.0.0") == "1.0.0":
            openmetrics = max(openmetrics, quality)
        elif media_type == "text/plain" and parameters.get("version", "0.0.4") == "0.0.4":
            text = max(text, quality)
    return Format.OPENMETRICS if openmetrics > 0 and openmetrics >= text else Format.TEXT


def allows_gzip(accept_encoding: str) -> bool:
    """Whether a request with this `Accept-Encoding` header, "" when it has none, takes gzip."""
    qualities = {coding: quality for coding, _, quality in _entries(accept_encoding)}
    return qualities.get("gzip", qualities.get("x-gzip", qualities.get("*", 0.0))) > 0


def _entries(header: str) -> list[tuple[str, dict[str, str], float]]:
    """Each element of a header: its name, its parameters and its quality; a broken one is left out."""
    entries = []
    for element in header.split(","):
        name, *rest = (part.strip() for part in element.split(";"))
        pairs = (part.partition("=") for part in rest)
        parameters = {key.strip().lower(): value.strip().strip('"') for key, _, value in pairs}
        try:
            quality = float(parameters.pop("q", "1"))
        except ValueError:
            continue
        if name:
            entries.append((name.lower(), parameters, quality))
    return entries
