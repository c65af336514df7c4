"""The `web.config.file`: TLS, basic auth and headers, in the format of Prometheus' exporter-toolkit.

https://github.com/prometheus/exporter-toolkit/blob/master/docs/web-configuration.md
What Python's ssl cannot do is an error, never ignored: a server that looks locked must be locked.
"""

from exporter.server.web_config.basic_auth import BasicAuth, TooManyChecks
from exporter.server.web_config.config import WebConfig, load
from exporter.server.web_config.document import WebConfigError
from exporter.server.web_config.live import WebConfigFile

__all__ = [
    "BasicAuth",
    "TooManyChecks",
    "WebConfig",
    "WebConfigError",
    "WebConfigFile",
    "load",
]
