"""What the mesh says of itself, and what is concluded where it says nothing."""

from __future__ import annotations

from typing import Any

import pytest

from egressgateway.engine.cache.meshconfig import MeshCache, MeshReading, config_map_name, read_mesh, version_of
from egressgateway.facts import MeshConfig
from egressgateway.refs import Manifest
from egressgateway.settings import MeshSettings

FULL = """
accessLogFile: /dev/stdout
outboundTrafficPolicy: {mode: REGISTRY_ONLY}
trustDomain: mesh.example
rootNamespace: istio-config
extensionProviders:
- name: opa
  envoyExtAuthzGrpc: {service: opa.opa.svc.cluster.local, port: 9191}
- name: gatekeeper
  envoyExtAuthzHttp: {service: auth.auth.svc.cluster.local, port: 80}
- name: jaeger
  opentelemetry: {service: jaeger.observability.svc.cluster.local, port: 4317}
defaultConfig:
  proxyMetadata: {ISTIO_META_DNS_CAPTURE: "true"}
trustDomainAliases: [old.example, ""]
pathNormalization: {normalization: DECODE_AND_MERGE_SLASHES}
"""


def config_map(text: str, version: int = 1) -> Manifest:
    metadata = {"namespace": "istio-system", "name": "istio", "resourceVersion": f"{version}"}
    return {"metadata": metadata, "data": {"mesh": text}}


def istiod(
    image: str = "docker.io/istio/pilot:1.30.3", *, env: dict[str, Any] | None = None, **labels: str
) -> Manifest:
    container = {"name": "discovery", "image": image, "env": [{"name": k, "value": v} for k, v in (env or {}).items()]}
    metadata = {"namespace": "istio-system", "name": "istiod", "labels": labels, "resourceVersion": "1"}
    return {"metadata": metadata, "spec": {"template": {"spec": {"containers": [container]}}}}


def test_whole_configuration_is_read() -> None:
    """Authorizers by the kind of calls that they get; other providers are none."""
    assert read_mesh(config_map(FULL), [istiod()]) == MeshReading(
        MeshConfig(
            outbound_policy="REGISTRY_ONLY",
            authorizers={"opa": "grpc", "gatekeeper": "http"},
            dns_capture=True,
            context_propagation=True,
            normalizes_slashes=True,
            trust_domain_aliases=("old.example",),
        ),
        "mesh.example",
        "istio-config",
    )


@pytest.mark.parametrize("text", ["", "{}", "accessLogFile: /dev/stdout", "outboundTrafficPolicy: {}"])
def test_what_a_configuration_leaves_out_has_istios_default(text: str) -> None:
    """Every host is open, and there are no authorizers: that is known, not unknown."""
    assert read_mesh(config_map(text), []).config == MeshConfig(outbound_policy="ALLOW_ANY", authorizers={})


@pytest.mark.parametrize(
    "found", [None, {"metadata": {}}, config_map("a: [b"), config_map("- a"), config_map("text")], ids=str
)
def test_what_cannot_be_read_is_unknown(found: Manifest | None) -> None:
    """No configuration, another key, broken YAML: nothing is concluded."""
    assert read_mesh(found, []) == MeshReading()


def test_odd_values_are_no_reason_to_fail() -> None:
    """Istiod refuses them; the operator goes on."""
    odd = (
        "{extensionProviders: {a: b}, defaultConfig: [], outboundTrafficPolicy: x, trustDomain: 5, rootNamespace: {}, "
        "trustDomainAliases: x}"
    )
    assert read_mesh(config_map(odd), []) == MeshReading(MeshConfig("ALLOW_ANY", {}))


@pytest.mark.parametrize(
    ("deployment", "version"),
    [
        (istiod("docker.io/istio/pilot:1.30.3"), (1, 30)),
        (istiod("registry.example:5000/istio/pilot:1.29.0-distroless"), (1, 29)),
        (istiod("pilot:1.32-alpha.86c9f01"), (1, 32)),
        (istiod("pilot@sha256:1234.5678"), None),
        (istiod("pilot:latest"), None),
        (istiod("pilot:latest", **{"app.kubernetes.io/version": "1.31.0"}), (1, 31)),
        (istiod("pilot:latest", **{"helm.sh/chart": "istiod-1.28.1"}), (1, 28)),
        ({"metadata": {}}, None),
    ],
)
def test_version_of_the_control_plane(deployment: Manifest, version: tuple[int, int] | None) -> None:
    """From labels, else from the image's tag."""
    assert version_of(deployment) == version


@pytest.mark.parametrize(
    ("images", "known"),
    [
        ([], False),
        (["pilot:1.30.0"], True),
        (["pilot:2.0.0"], True),
        (["pilot:1.9.0"], False),
        (["pilot:1.29.4"], False),
        (["pilot:latest"], False),
        (["pilot:1.31.0", "pilot:1.29.4"], False),
    ],
)
def test_context_propagation_needs_every_control_plane(images: list[str], known: bool) -> None:
    """A gateway may be configured by any of them; what is not known to be young enough is not."""
    assert read_mesh(None, [istiod(image) for image in images]).config.context_propagation is known


@pytest.mark.parametrize(("value", "scoped"), [("true", True), ("True", True), ("false", False), (None, False)])
def test_scope_of_gateways_is_an_environment_variable(value: str | None, scoped: bool) -> None:
    """Of istiod; one with a source in place of a value is not known."""
    found = istiod(env={"OTHER": "true", "PILOT_SCOPE_GATEWAY_TO_NAMESPACE": value})
    assert read_mesh(None, [found]).config.scopes_gateways is scoped


def test_mesh_refines_what_no_flag_has_set() -> None:
    """A flag is somebody's decision; the mesh's word counts before our default."""
    reading = read_mesh(config_map(FULL), [])
    assert (reading.refine(MeshSettings()).trust_domain, reading.refine(MeshSettings()).root_namespace) == (
        "mesh.example",
        "istio-config",
    )
    told = MeshSettings(trust_domain="told.example", fixed=frozenset({"trust_domain"}))
    assert reading.refine(told).trust_domain == "told.example"
    assert MeshReading().refine(told) == told


def test_cache_reads_anew_only_what_changed() -> None:
    """Istiod's Deployment changes its status often; a document of a megabyte is not parsed for that."""
    cache = MeshCache("istio-system")
    assert cache.reading() == MeshReading()
    cache.config_maps.put(config_map(FULL))
    first = cache.reading()
    assert first.trust_domain == "mesh.example"
    assert cache.reading() is first
    cache.control_planes.put(istiod() | {"status": {"readyReplicas": 1}})
    assert cache.reading().config.context_propagation
    assert [each.get("status") for each in cache.control_planes] == [None]


def test_cache_keeps_what_was_right_as_istiod_does() -> None:
    """A document that cannot be read, or is gone for a moment, must not give every policy another trust domain."""
    cache = MeshCache("istio-system")
    cache.config_maps.put(config_map(FULL))
    good = cache.reading()
    for number, text in enumerate(("a: [", "a: 2020-13-45", "- a"), 2):
        cache.config_maps.put(config_map(text, number))
        assert cache.reading() == good
    cache.config_maps.remove(config_map(FULL, 9))
    assert cache.reading() == good


def test_revision_names_its_own_configuration() -> None:
    """As Istio's charts do."""
    assert (config_map_name(), config_map_name("1-30")) == ("istio", "istio-1-30")
    assert config_map_name("default") == "istio"
