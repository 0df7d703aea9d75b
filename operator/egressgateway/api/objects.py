"""The two kinds as whole objects: what the operator reads of the metadata, the parsed spec, the last status."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.scalars import parse_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.status import EgressGatewayClassStatus, EgressGatewayStatus, StatusModel
from egressgateway.api.validation import SpecError, parse_class_spec, parse_spec
from egressgateway.refs import Key, Manifest

DEFAULT_CLASS_ANNOTATION = "egressgateway.dev/is-default-class"


@dataclass(frozen=True, slots=True)
class NameForm:
    """What `metadata.name` of a kind may be, beyond what the API server asks of every name."""

    pattern: str
    max_length: int
    message: str

    def find(self, name: str) -> tuple[SpecError, ...]:
        """The mistake in `name`, if any."""
        if len(name) > self.max_length:
            words = (
                f"Too long: may not be more than {self.max_length} characters, so that no child's name needs cutting"
            )
            return (SpecError("metadata.name", name, words),)
        return () if re.fullmatch(self.pattern, name) else (SpecError("metadata.name", name, self.message),)


GATEWAY_NAME = NameForm(
    pattern="[a-z]([-a-z0-9]*[a-z0-9])?",
    max_length=50,
    message="must be a DNS label that begins with a letter: lower-case letters, digits and '-', no dots",
)
CLASS_NAME = NameForm(
    pattern="[a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*",
    max_length=253,
    message="must be a Kubernetes name: lower-case letters, digits, '-' and '.', with a letter or digit at both ends",
)


@dataclass(frozen=True, slots=True)
class Metadata:
    """What the operator reads of an object's metadata."""

    name: str
    namespace: str = ""
    uid: str = ""
    generation: int = 0
    resource_version: str = ""
    created_at: datetime | None = None
    deleted_at: datetime | None = None
    """Since when the object is being deleted; None while it is not."""
    finalizers: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EgressGateway:
    """One EgressGateway. `spec` is None while `errors` say why: a stored object may be older than a rule."""

    metadata: Metadata
    spec: EgressGatewaySpec | None
    errors: tuple[SpecError, ...]
    status: EgressGatewayStatus

    @property
    def key(self) -> Key:
        return Key(self.metadata.namespace, self.metadata.name)


@dataclass(frozen=True, slots=True)
class EgressGatewayClass:
    """One EgressGatewayClass. `spec` is None while `errors` say why."""

    metadata: Metadata
    spec: EgressGatewayClassSpec | None
    errors: tuple[SpecError, ...]
    status: EgressGatewayClassStatus

    @property
    def is_default(self) -> bool:
        """Whether the class asks to serve objects that name none."""
        return self.metadata.annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"


def parse_gateway(manifest: Manifest) -> EgressGateway:
    """The EgressGateway that `manifest` holds, valid or not."""
    metadata = _parse_metadata(manifest)
    parsed = parse_spec(manifest.get("spec"))
    errors = GATEWAY_NAME.find(metadata.name) + (parsed if isinstance(parsed, tuple) else ())
    spec = None if errors or isinstance(parsed, tuple) else parsed
    return EgressGateway(metadata, spec, errors, parse_status(EgressGatewayStatus, manifest.get("status")))


def parse_class(manifest: Manifest) -> EgressGatewayClass:
    """The EgressGatewayClass that `manifest` holds, valid or not."""
    metadata = _parse_metadata(manifest)
    parsed = parse_class_spec(manifest.get("spec"))
    errors = CLASS_NAME.find(metadata.name) + (parsed if isinstance(parsed, tuple) else ())
    spec = None if errors or isinstance(parsed, tuple) else parsed
    return EgressGatewayClass(metadata, spec, errors, parse_status(EgressGatewayClassStatus, manifest.get("status")))


Status = TypeVar("Status", bound=StatusModel)


def parse_status(model: type[Status], raw: object) -> Status:
    """The status as far as it can be read; a forged or foreign one counts as none, and is written anew."""
    try:
        return model.model_validate(raw or {})
    except ValidationError:
        return model()


def _parse_metadata(manifest: Manifest) -> Metadata:
    raw: Mapping[str, Any] = manifest.get("metadata") or {}
    return Metadata(
        name=raw.get("name") or "",
        namespace=raw.get("namespace") or "",
        uid=raw.get("uid") or "",
        generation=raw.get("generation") or 0,
        resource_version=raw.get("resourceVersion") or "",
        created_at=_moment(raw.get("creationTimestamp")),
        deleted_at=_moment(raw.get("deletionTimestamp")),
        finalizers=tuple(raw.get("finalizers") or ()),
        labels=raw.get("labels") or {},
        annotations=raw.get("annotations") or {},
    )


def _moment(text: str | None) -> datetime | None:
    return parse_instant(text) if text else None
