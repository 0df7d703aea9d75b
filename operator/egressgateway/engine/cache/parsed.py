"""From raw objects to typed ones: specs and classes, each parsed once per generation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from egressgateway.api.gateway_class import EgressGatewayClassSpec
from egressgateway.api.objects import DEFAULT_CLASS_ANNOTATION, GATEWAY_NAME
from egressgateway.api.scalars import parse_instant
from egressgateway.api.spec import EgressGatewaySpec
from egressgateway.api.validation import SpecError, parse_class_spec, parse_spec
from egressgateway.cluster.store import Store
from egressgateway.contention.interest import ClassReach
from egressgateway.contention.raw import key_of
from egressgateway.engine.cache.keeping import is_left_out
from egressgateway.facts import ClassFacts, GatewayFacts
from egressgateway.refs import Key, Manifest

_BUILT_IN: Final = ClassFacts("", EgressGatewayClassSpec())


class ParsedSpecs:
    """Specs and classes, parsed by the models. Remembers what it parsed."""

    def __init__(self, classes: Store, *, built_in_class: bool) -> None:
        self._classes = classes
        self._built_in_class = built_in_class
        self._specs: dict[Key, tuple[str, int, EgressGatewaySpec | None, tuple[SpecError, ...]]] = {}
        self._class_facts: dict[str, tuple[str, ClassFacts]] = {}

    def gateway(self, manifest: Manifest) -> GatewayFacts:
        """An EgressGateway as planning sees it."""
        key, metadata = key_of(manifest), manifest["metadata"]
        if is_left_out(manifest):
            return GatewayFacts(
                key=key,
                uid=metadata["uid"],
                generation=metadata["generation"],
                created=parse_instant(metadata["creationTimestamp"]),
                spec=None,
                status=manifest.get("status") or {},
                deleting="deletionTimestamp" in metadata,
                left_out=True,
            )
        uid, generation = metadata["uid"], metadata["generation"]
        known = self._specs.get(key)
        if known is None or known[:2] != (uid, generation):
            parsed = parse_spec(manifest.get("spec") or {})
            errors = GATEWAY_NAME.find(key.name) + (parsed if isinstance(parsed, tuple) else ())
            spec = None if errors or isinstance(parsed, tuple) else parsed
            known = self._specs[key] = (uid, generation, spec, errors)
        return GatewayFacts(
            key=key,
            uid=uid,
            generation=generation,
            created=parse_instant(metadata["creationTimestamp"]),
            spec=known[2],
            errors=known[3],
            status=manifest.get("status") or {},
            deleting="deletionTimestamp" in metadata,
        )

    def class_of(self, gateway: Manifest) -> ClassFacts:
        """The class that an EgressGateway asks for; the same object for as long as the class does not change."""
        name = (gateway.get("spec") or {}).get("className")
        if name is None:
            return self._default_class((gateway.get("status") or {}).get("className") or "")
        manifest = self._classes.get("", name)
        return ClassFacts(name, None) if manifest is None else self._facts_of(manifest)

    def last_class_of(self, gateway: Manifest) -> ClassFacts | None:
        """
        The class that served an EgressGateway last by its status; None when it cannot be read.

        Tenants do not write the status. The class that they name in the spec may be deleted, or broken, or never have
        existed.
        """
        manifest = self._classes.get("", (gateway.get("status") or {}).get("className") or "")
        found = None if manifest is None else self._facts_of(manifest)
        return None if found is None or found.spec is None else found

    def forget(self, key: Key) -> None:
        """The EgressGateway `key` is gone."""
        self._specs.pop(key, None)

    def _default_class(self, last: str) -> ClassFacts:
        """
        The class marked as default, else the built-in one.

        Never the built-in one for an object whose last class is `last`: it may allow what that class denied.
        """
        marked = default_class(self._classes)
        if marked is not None:
            return self._facts_of(marked)
        return _BUILT_IN if self._built_in_class and not last else ClassFacts(last, None)

    def _facts_of(self, manifest: Manifest) -> ClassFacts:
        name, version = manifest["metadata"]["name"], manifest["metadata"].get("resourceVersion", "")
        known = self._class_facts.get(name)
        if known is None or known[0] != version:
            parsed = parse_class_spec(manifest.get("spec") or {})
            facts = ClassFacts(name, None, parsed) if isinstance(parsed, tuple) else ClassFacts(name, parsed)
            known = self._class_facts[name] = (version, facts)
        return known[1]


def default_class(classes: Iterable[Manifest]) -> Manifest | None:
    """The class marked as default: of several the oldest, then by name."""
    marked = [class_ for class_ in classes if is_default_class(class_)]
    return min(marked, key=_age, default=None)


def _age(class_: Manifest) -> tuple[str, str]:
    return str(class_["metadata"].get("creationTimestamp", "")), class_["metadata"]["name"]


def is_default_class(class_: Manifest) -> bool:
    """Whether a class is marked as the default one."""
    annotations: Mapping[str, Any] = class_["metadata"].get("annotations") or {}
    return annotations.get(DEFAULT_CLASS_ANNOTATION) == "true"


def reach_of_class(class_: Manifest) -> ClassReach:
    """Which consumers objects of a class reach; only their own namespace where the class cannot be read."""
    spec = parse_class_spec(class_.get("spec") or {})
    if isinstance(spec, tuple):
        return ClassReach()
    consent = spec.allowed_consumers.selector if spec.allowed_consumers else None
    home = spec.allowed_namespaces.selector if spec.allowed_namespaces else None
    return ClassReach(consent, home, in_each_namespace=spec.shared is not None)
