"""
Parts of Kubernetes' pod API that a gateway passes on.

Typed where a typo would otherwise surface only in a Deployment that never starts; affinity terms and the
pod template stay opaque below their first level, because the API server checks them when it gets the Deployment.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, PlainValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from egressgateway.api.model import ApiModel
from egressgateway.api.rules import ATOMIC, SET, Rule, keys_form
from egressgateway.api.scalars import Annotations, Integer, LabelKey, Labels, LabelValue, Opaque, without_nulls
from egressgateway.api.selector import LabelSelector

# k8s.io/apimachinery, pkg/api/resource, without a sign: pods take no negative amounts.
_QUANTITY = "([0-9]+([.][0-9]*)?|[.][0-9]+)([KMGTPE]i|[numkMGTPE]|[eE][+-]?[0-9]+)?"
_QUANTITY_COMPILED = re.compile(_QUANTITY)
QUANTITY_FORM: Rule[int | str] = Rule(
    cel=f"type(self) == int ? int(self) >= 0 : string(self).matches('^({_QUANTITY})$')",
    message="must be an amount such as 100m, 0.5 (in quotes), 2 or 256Mi",
    holds=lambda amount: bool(_QUANTITY_COMPILED.fullmatch(str(amount))),
)


def _int_or_string(value: Any) -> int | str:
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise PydanticCustomError("int_or_string", "must be of type integer or string")
    if isinstance(value, str) and len(value) > 32:
        raise PydanticCustomError("string_too_long", "", {"max_length": 32})
    return value


Quantity = Annotated[
    int | str,
    PlainValidator(_int_or_string),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32}),
    QUANTITY_FORM,
]
"""An amount of a resource."""

ResourceAmounts = Annotated[
    dict[str, Quantity],
    Field(max_length=16),
    BeforeValidator(without_nulls),
    keys_form(
        "cpu|memory|ephemeral-storage|hugepages-[0-9A-Za-z]{1,32}|[a-z0-9.-]{1,253}/[A-Za-z0-9._-]{1,63}",
        "keys must be resources: cpu, memory, ephemeral-storage, hugepages-2Mi, or a device such as example.com/nic",
    ),
]


class Resources(ApiModel):
    """Amounts of the gateway's container."""

    requests: ResourceAmounts | None = None
    """What the scheduler sets aside, such as `cpu: 100m`."""

    limits: ResourceAmounts | None = None
    """What the container may use at most, such as `memory: 512Mi`."""


class TolerationOperator(StrEnum):
    """How a taint is compared."""

    EXISTS = "Exists"
    EQUAL = "Equal"


class TaintEffect(StrEnum):
    """What a taint does to pods."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class Toleration(ApiModel):
    """Lets the gateway's pods run on nodes with a taint, as in Kubernetes."""

    key: LabelKey | None = None
    """The taint's key. Default: every key, which needs operator `Exists`."""

    operator: TolerationOperator | None = None
    """`Equal` (default) compares `value`, `Exists` does not."""

    value: LabelValue | None = None
    """The taint's value, with operator `Equal`."""

    effect: TaintEffect | None = None
    """The taint's effect. Default: every effect."""

    toleration_seconds: Annotated[Integer, Field(ge=0, le=31_536_000, json_schema_extra={"format": "int64"})] | None = (
        None
    )
    """Seconds that a pod stays after a `NoExecute` taint appears. Default: for ever."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["Toleration"](
            cel="has(self.key) || (has(self.operator) && self.operator == 'Exists')",
            message="operator Exists is required without a key",
            holds=lambda self: self.key is not None or self.operator is TolerationOperator.EXISTS,
            field=".operator",
        ),
        Rule["Toleration"](
            cel="!has(self.value) || self.value == '' || !has(self.operator) || self.operator != 'Exists'",
            message="value is not compared with operator Exists: remove one of the two",
            holds=lambda self: not self.value or self.operator is not TolerationOperator.EXISTS,
            field=".value",
        ),
        Rule["Toleration"](
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="tolerationSeconds needs effect NoExecute",
            holds=lambda self: self.toleration_seconds is None or self.effect is TaintEffect.NO_EXECUTE,
            field=".tolerationSeconds",
        ),
    )


class Affinity(ApiModel):
    """Where the gateway's pods prefer or must run, as in Kubernetes."""

    node_affinity: Opaque | None = None
    """Attraction to nodes, as in Kubernetes."""

    pod_affinity: Opaque | None = None
    """Attraction to pods, as in Kubernetes."""

    pod_anti_affinity: Opaque | None = None
    """Distance from pods, as in Kubernetes."""


class UnsatisfiableAction(StrEnum):
    """What happens to a pod that would break the spread."""

    DO_NOT_SCHEDULE = "DoNotSchedule"
    SCHEDULE_ANYWAY = "ScheduleAnyway"


class NodeInclusion(StrEnum):
    """Whether a node property is considered when pods are counted."""

    HONOR = "Honor"
    IGNORE = "Ignore"


class TopologySpreadConstraint(ApiModel):
    """How the gateway's pods are spread over zones or nodes, as in Kubernetes."""

    max_skew: Annotated[Integer, Field(ge=1, le=1000)]
    """Largest difference of pods between two domains: 1 to 1000."""

    topology_key: LabelKey
    """The node label that names a domain, such as `topology.kubernetes.io/zone`."""

    when_unsatisfiable: UnsatisfiableAction
    """`DoNotSchedule` or `ScheduleAnyway`."""

    label_selector: LabelSelector | None = None
    """The pods that are counted. Default: the gateway's own."""

    min_domains: Annotated[Integer, Field(ge=1, le=1000)] | None = None
    """Domains that must exist; only with `DoNotSchedule`. Default: 1."""

    node_affinity_policy: NodeInclusion | None = None
    """Whether nodes that affinity excludes are counted: `Honor` (default: they are not) or `Ignore`."""

    node_taints_policy: NodeInclusion | None = None
    """Whether nodes whose taints are not tolerated are left out: `Honor` or `Ignore` (default)."""

    match_label_keys: Annotated[tuple[LabelKey, ...], Field(max_length=16), SET] = ()
    """Labels by whose values pods are counted apart, such as `pod-template-hash`."""

    rules: ClassVar[tuple[Rule[Any], ...]] = (
        Rule["TopologySpreadConstraint"](
            cel="!has(self.minDomains) || self.whenUnsatisfiable == 'DoNotSchedule'",
            message="minDomains needs whenUnsatisfiable DoNotSchedule",
            holds=lambda self: (
                self.min_domains is None or self.when_unsatisfiable is UnsatisfiableAction.DO_NOT_SCHEDULE
            ),
            field=".minDomains",
        ),
    )


Tolerations = Annotated[tuple[Toleration, ...], Field(max_length=32), ATOMIC]
TopologySpreadConstraints = Annotated[tuple[TopologySpreadConstraint, ...], Field(max_length=16), ATOMIC]


class TrafficDistribution(StrEnum):
    """Which gateway pods clients prefer."""

    PREFER_CLOSE = "PreferClose"
    PREFER_SAME_ZONE = "PreferSameZone"
    PREFER_SAME_NODE = "PreferSameNode"


class TemplateMetadata(ApiModel):
    """Metadata of the gateway's pods."""

    labels: Labels | None = None
    """Labels added to the pods, any key but those of the operator's own selectors."""

    annotations: Annotations | None = None
    """Annotations added to the pods, any key."""


class PodTemplate(ApiModel):
    """A partial PodTemplateSpec, merged strategically into the operator's."""

    metadata: TemplateMetadata | None = None
    """Labels and annotations of the gateway's pods."""

    spec: Opaque | None = None
    """A partial PodSpec, as in Kubernetes. The gateway's container is called `istio-proxy`."""
