"""
What the mesh's own configuration and its control plane say: from ConfigMap and Deployments to `MeshConfig`.

Pure. What cannot be read stays unknown; nothing is concluded from an object that does not exist.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

import yaml

from egressgateway.cluster.store import Store
from egressgateway.facts import MeshConfig
from egressgateway.refs import Manifest
from egressgateway.settings import MeshSettings

MESH_KEY: Final = "mesh"
"""Key of the ConfigMap under which the configuration stands, as YAML."""

ISTIOD_SELECTOR: Final = "app=istiod"
"""Labels of the control plane's Deployments, from Istio's charts and from istioctl."""

_AUTHORIZERS: Final = {"envoyExtAuthzGrpc": "grpc", "envoyExtAuthzHttp": "http"}
_ALLOW_ANY: Final = "ALLOW_ANY"
_DECODES_SLASHES: Final = "DECODE_AND_MERGE_SLASHES"
_SCOPES_GATEWAYS: Final = "PILOT_SCOPE_GATEWAY_TO_NAMESPACE"
_VERSION_LABELS: Final = ("app.kubernetes.io/version", "operator.istio.io/version", "helm.sh/chart")
_VERSION: Final = re.compile(r"(?:^|[^0-9.])v?(\d+)\.(\d+)(?:[.-]|$)")
_CONTEXT_PROPAGATION_SINCE: Final = (1, 30)
_DEFAULT_REVISION: Final = "default"

# libyaml's parser if available: the other one takes a tenth of a second for the configuration of a large mesh.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True, slots=True)
class MeshReading:
    """What was read; `trust_domain` and `root_namespace` are None where no source gives them."""

    config: MeshConfig = field(default_factory=MeshConfig)
    trust_domain: str | None = None
    root_namespace: str | None = None

    def refine(self, settings: MeshSettings) -> MeshSettings:
        """`settings` with what the mesh says of itself, except for values that a flag has set."""
        trust_domain, root_namespace = settings.trust_domain, settings.root_namespace
        if self.trust_domain and "trust_domain" not in settings.fixed:
            trust_domain = self.trust_domain
        if self.root_namespace and "root_namespace" not in settings.fixed:
            root_namespace = self.root_namespace
        if (trust_domain, root_namespace) == (settings.trust_domain, settings.root_namespace):
            return settings
        return replace(settings, trust_domain=trust_domain, root_namespace=root_namespace)


def config_map_name(revision: str = "") -> str:
    """Name of the ConfigMap of a control plane's revision; the default revision is empty, or called `default`."""
    return "istio" if revision in {"", _DEFAULT_REVISION} else f"istio-{revision}"


def read_mesh(config_map: Manifest | None, control_planes: Iterable[Manifest]) -> MeshReading:
    """
    The reading of both.

    Args:
        config_map: the mesh's configuration, None when it does not exist or may not be read.
        control_planes: istiod's Deployments, of every revision that the configuration is for.
    """
    control_planes = tuple(control_planes)
    document = _parse(config_map)
    reading = MeshReading() if document is None else _read_document(document)
    config = replace(
        reading.config,
        scopes_gateways=any(_environment(each).get(_SCOPES_GATEWAYS, "").lower() == "true" for each in control_planes),
        context_propagation=bool(control_planes)
        and all((version_of(each) or (0, 0)) >= _CONTEXT_PROPAGATION_SINCE for each in control_planes),
    )
    return replace(reading, config=config)


def version_of(control_plane: Manifest) -> tuple[int, int] | None:
    """
    Istio's major and minor version, from the Deployment's labels, otherwise its image's tag; None when neither has it.
    """
    template = ((control_plane.get("spec") or {}).get("template") or {}).get("metadata") or {}
    labels = {**(template.get("labels") or {}), **(control_plane["metadata"].get("labels") or {})}
    tags = (image.partition("@")[0].rpartition("/")[2].partition(":")[2] for image in _images(control_plane))
    for text in (*(labels.get(name, "") for name in _VERSION_LABELS), *tags):
        found = _VERSION.search(text)
        if found is not None:
            return int(found[1]), int(found[2])
    return None


def keep_of_control_plane(deployment: Manifest) -> Manifest:
    """What `read_mesh` reads of a Deployment."""
    metadata = deployment["metadata"]
    kept = ("namespace", "name", "uid", "resourceVersion", "labels")
    template = (deployment.get("spec") or {}).get("template") or {}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {name: metadata[name] for name in kept if name in metadata},
        "spec": {
            "template": {
                "metadata": {"labels": (template.get("metadata") or {}).get("labels") or {}},
                "spec": {
                    "containers": [
                        {"image": each.get("image") or "", "env": each.get("env") or []}
                        for each in _containers(deployment)
                    ]
                },
            }
        },
    }


def _parse(config_map: Manifest | None) -> Mapping[str, Any] | None:
    text = ((config_map or {}).get("data") or {}).get(MESH_KEY)
    if text is None:
        return None
    try:
        document = yaml.load(text, Loader=_LOADER)  # noqa: S506  (a safe loader)
    except (yaml.YAMLError, ValueError):
        return None
    return _mapping(document) if document is None or isinstance(document, dict) else None


def _read_document(document: Mapping[str, Any]) -> MeshReading:
    policy = _mapping(document.get("outboundTrafficPolicy")).get("mode") or _ALLOW_ANY
    proxy_metadata = _mapping(_mapping(document.get("defaultConfig")).get("proxyMetadata"))
    normalization = _mapping(document.get("pathNormalization")).get("normalization")
    return MeshReading(
        config=MeshConfig(
            outbound_policy=str(policy),
            authorizers=_authorizers(document.get("extensionProviders")),
            dns_capture=str(proxy_metadata.get("ISTIO_META_DNS_CAPTURE", "")).lower() == "true",
            normalizes_slashes=normalization == _DECODES_SLASHES,
            trust_domain_aliases=_texts(document.get("trustDomainAliases")),
        ),
        trust_domain=_text(document.get("trustDomain")),
        root_namespace=_text(document.get("rootNamespace")),
    )


def _authorizers(providers: Any) -> dict[str, str]:
    listed = [each for each in providers if isinstance(each, dict)] if isinstance(providers, list) else []
    return {
        str(each["name"]): transport
        for each in listed
        if "name" in each
        for kind, transport in _AUTHORIZERS.items()
        if kind in each
    }


def _environment(deployment: Manifest) -> dict[str, str]:
    return {
        each["name"]: str(each.get("value") or "")
        for container in _containers(deployment)
        for each in container.get("env") or ()
        if "name" in each
    }


def _images(deployment: Manifest) -> list[str]:
    return [each.get("image") or "" for each in _containers(deployment)]


def _containers(deployment: Manifest) -> list[Mapping[str, Any]]:
    template = (deployment.get("spec") or {}).get("template") or {}
    containers: list[Mapping[str, Any]] = (template.get("spec") or {}).get("containers") or []
    return containers


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _texts(value: Any) -> tuple[str, ...]:
    return tuple(filter(None, map(_text, value))) if isinstance(value, list) else ()


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


class MeshCache:
    """The objects behind the reading, and the reading, computed again only when they change."""

    def __init__(self, root_namespace: str, revision: str = "") -> None:
        """`revision`: of the control plane whose configuration counts."""
        self.root_namespace = root_namespace
        self.revision = revision
        self.config_name = config_map_name(revision)
        self.config_maps = Store()
        self.control_planes = Store(trim=keep_of_control_plane)
        self._reading: tuple[int, int, MeshReading] | None = None
        self._last_good: Manifest | None = None

    @property
    def has_config(self) -> bool:
        """Whether there is a configuration now."""
        return self.config_maps.get(self.root_namespace, self.config_name) is not None

    def reading(self) -> MeshReading:
        """What the mesh says."""
        versions = self.config_maps.revision, self.control_planes.revision
        if self._reading is None or self._reading[:2] != versions:
            config_map = self.config_maps.get(self.root_namespace, self.config_name)
            if _parse(config_map) is None:
                # Istiod also keeps the old configuration: a mistake there must not change every policy here.
                config_map = self._last_good
            else:
                self._last_good = config_map
            self._reading = (*versions, read_mesh(config_map, self.control_planes))
        return self._reading[2]
