"""The Prometheus operator's resources as far as ours use them, strictly: a field not written here is refused.

Written after monitoring.coreos.com/v1 of the operator's API reference, whose names these are: no package that
Python projects use ships the schemas.
"""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

_Name = Annotated[str, Meta(pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", max_length=63)]
# Go's durations in the operator's pattern; the empty one is of no use to us.
_Duration = Annotated[
    str,
    Meta(
        pattern=r"^(0|(([0-9]+)y)?(([0-9]+)w)?(([0-9]+)d)?(([0-9]+)h)?(([0-9]+)m)?(([0-9]+)s)?(([0-9]+)ms)?)$"
    ),
]
_MetricName = Annotated[str, Meta(pattern=r"^[a-zA-Z_:][a-zA-Z0-9_:]*$")]
_NotEmpty = Annotated[str, Meta(min_length=1)]


class Strict(Struct, forbid_unknown_fields=True, rename="camel"):
    pass


class Metadata(Strict):
    name: _Name
    labels: dict[str, str]
    namespace: _Name | None = None


class Selector(Strict):
    match_labels: Annotated[dict[str, str], Meta(min_length=1)]


class Relabeling(Strict):
    action: Literal["replace", "keep", "drop", "labeldrop", "labelkeep"]
    target_label: str
    replacement: str


class Endpoint(Strict):
    port: _NotEmpty
    path: str
    interval: _Duration
    scrape_timeout: _Duration
    relabelings: list[Relabeling]


class ServiceMonitorSpec(Strict):
    selector: Selector
    endpoints: Annotated[list[Endpoint], Meta(min_length=1)]


class Rule(Strict):
    """One of `record` and `alert`; `for` is a word of Python."""

    expr: _NotEmpty
    record: _MetricName | None = None
    alert: _NotEmpty | None = None
    for_: _Duration | None = msgspec.field(name="for", default=None)
    keep_firing_for: _Duration | None = msgspec.field(name="keep_firing_for", default=None)
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}

    def __post_init__(self) -> None:
        if (self.record is None) == (self.alert is None):
            raise ValueError("a rule is either recorded or alerted on")
        if self.record is not None and (self.for_ or self.keep_firing_for or self.annotations):
            raise ValueError("a recording rule has no for and no annotations")


class RuleGroup(Strict):
    name: _NotEmpty
    rules: Annotated[list[Rule], Meta(min_length=1)]
    interval: _Duration | None = None
    limit: int | None = None
    labels: dict[str, str] = {}


class PrometheusRuleSpec(Strict):
    groups: Annotated[list[RuleGroup], Meta(min_length=1)]

    def __post_init__(self) -> None:
        names = [group.name for group in self.groups]
        if len(set(names)) != len(names):
            raise ValueError("two groups of one name: the operator's list is keyed by it")


class ServiceMonitor(Strict, tag_field="kind", tag="ServiceMonitor"):
    api_version: Literal["monitoring.coreos.com/v1"]
    metadata: Metadata
    spec: ServiceMonitorSpec


class PrometheusRule(Strict, tag_field="kind", tag="PrometheusRule"):
    api_version: Literal["monitoring.coreos.com/v1"]
    metadata: Metadata
    spec: PrometheusRuleSpec


def operator_resource(document: Any) -> ServiceMonitor | PrometheusRule:
    """A resource of the operator.

    Raises:
        msgspec.ValidationError: it is none, or not as the operator wants it.
    """
    return msgspec.convert(document, ServiceMonitor | PrometheusRule)
