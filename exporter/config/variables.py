"""Reads `DATABRICKS_EXPORTER_*` variables."""

import re
from collections.abc import Mapping

from exporter.config.errors import suggestion
from exporter.config.layers import Layer, Text
from exporter.config.model import CONFIG_FILE, ENVIRONMENT_PREFIX, all_settings

# Kubernetes sets these in every pod for a Service that is called databricks-exporter:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = re.compile(r"(?:SERVICE_(?:HOST|PORT).*|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP).*)?)")


def read_variables(environ: Mapping[str, str]) -> Layer:
    """The settings in the environment. Never raises: errors are in `errors`."""
    layer = Layer()
    settings = {setting.variable: setting for setting in (CONFIG_FILE, *all_settings())}
    for variable, value in sorted(environ.items()):
        if variable in settings:
            layer.texts[settings[variable].name] = Text(f"variable {variable}", value)
        elif variable.startswith(ENVIRONMENT_PREFIX):
            # A name may hold anything but "=", a line break or a terminal's control sequence too.
            shown = variable if variable.isprintable() else ascii(variable)
            layer.errors.append(f"variable {shown}: no such setting{_hint(variable, settings)}")
    return layer


def _hint(variable: str, settings: Mapping[str, object]) -> str:
    if _SERVICE_LINK.fullmatch(variable.removeprefix(ENVIRONMENT_PREFIX)):
        return "; if Kubernetes set it for a Service, set enableServiceLinks: false in the pod"
    return suggestion(variable, settings) or "; unset it, or see --help for the names"
