"""Reads `DATABRICKS_EXPORTER_*` variables."""

import re
from collections.abc import Mapping

from exporter.config.characters import visible
from exporter.config.names import CONFIG_FILE, ENVIRONMENT_PREFIX, all_settings, suggestion
from exporter.config.place import Place

# Kubernetes sets these in every pod for a Service that is called databricks-exporter:
# https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
_SERVICE_LINK = re.compile(r"(?:SERVICE_(?:HOST|PORT).*|PORT(?:_[0-9]+_(?:TCP|UDP|SCTP).*)?)")


def read_variables(environ: Mapping[str, str]) -> Place:
    """The settings in the environment. Never raises: errors are in `errors`."""
    place = Place()
    settings = {setting.variable: setting for setting in (CONFIG_FILE, *all_settings())}
    for variable, value in sorted(environ.items()):
        setting = settings.get(variable)
        if setting is None:
            if variable.upper().startswith(ENVIRONMENT_PREFIX):
                # A name may hold anything but "=", a line break or a terminal's control sequence too.
                place.errors.append(f"variable {visible(variable)}: no such setting{_hint(variable)}")
        # Compose files and pod templates leave a variable empty that was not filled in.
        elif value or setting.written.empty_says_none:
            place.write(setting, f"variable {variable}", value)
    return place


def _hint(variable: str) -> str:
    if _SERVICE_LINK.fullmatch(variable.removeprefix(ENVIRONMENT_PREFIX)):
        return "; if Kubernetes set it for a Service, set enableServiceLinks: false in the pod"
    known = {setting.variable: setting for setting in (CONFIG_FILE, *all_settings())}
    return suggestion(variable, known) or "; unset it, or see --help for the names"
