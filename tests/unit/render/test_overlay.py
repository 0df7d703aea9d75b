"""What a class's `podTemplate` does to a Deployment: merged as Kubernetes merges strategically."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressgateway.render.overlay import overlaid

KEYS = st.sampled_from(["a", "b", "labels", "name"])
JSON = st.recursive(
    st.booleans() | st.integers(-3, 3) | st.text("xy", max_size=2),
    lambda inner: st.dictionaries(KEYS, inner, max_size=3) | st.lists(inner, max_size=2),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, JSON, max_size=4)


@given(base=OBJECTS)
def test_an_empty_overlay_changes_nothing(base: dict[str, Any]) -> None:
    """Whoever has no podTemplate has what the template says."""
    assert overlaid(base, {}) == base


@given(base=OBJECTS)
def test_an_object_laid_over_itself_is_itself(base: dict[str, Any]) -> None:
    """And a second time changes nothing more."""
    assert overlaid(base, base) == base


def container(name: str, **fields: Any) -> dict[str, Any]:
    return {"name": name, **fields}


PROXY = container(
    "istio-proxy",
    image="auto",
    ports=[{"containerPort": 15443, "name": "tls"}],
    env=[{"name": "A", "value": "1"}],
    volumeMounts=[{"mountPath": "/etc/a", "name": "a"}],
    resources={"limits": {"cpu": "2", "memory": "1Gi"}},
)
BASE: dict[str, Any] = {
    "metadata": {"labels": {"app": "ours"}, "annotations": {"inject": "gateway"}},
    "spec": {
        "containers": [PROXY],
        "volumes": [{"name": "a", "emptyDir": {}}],
        "terminationGracePeriodSeconds": 30,
        "nodeSelector": {"pool": "egress"},
        "tolerations": [{"key": "a"}],
    },
}


def spec_with(**fields: Any) -> dict[str, Any]:
    merged: dict[str, Any] = overlaid(BASE, {"spec": fields})["spec"]
    return merged


def proxy_with(**fields: Any) -> dict[str, Any]:
    [merged] = spec_with(containers=[container("istio-proxy", **fields)])["containers"]
    result: dict[str, Any] = merged
    return result


def test_containers_are_merged_by_name() -> None:
    """Ours keeps what the overlay does not say; another one stands behind it."""
    opa = container("opa", image="opa")
    merged = spec_with(containers=[opa, container("istio-proxy", image="mine")])["containers"]
    assert merged == [{**PROXY, "image": "mine"}, opa]


@pytest.mark.parametrize(
    ("field", "more", "expected"),
    [
        ("env", [{"name": "B", "value": "2"}], [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]),
        ("env", [{"name": "A", "value": "9"}], [{"name": "A", "value": "9"}]),
        ("ports", [{"containerPort": 15443, "name": "x"}], [{"containerPort": 15443, "name": "x"}]),
        ("ports", [{"containerPort": 1}], [{"containerPort": 15443, "name": "tls"}, {"containerPort": 1}]),
        (
            "volumeMounts",
            [{"mountPath": "/etc/a", "readOnly": True}],
            [{"mountPath": "/etc/a", "name": "a", "readOnly": True}],
        ),
        ("resources", {"limits": {"cpu": "4"}}, {"limits": {"cpu": "4", "memory": "1Gi"}}),
        ("command", ["a", "b"], ["a", "b"]),
    ],
)
def test_fields_of_a_container_are_merged_by_their_keys(field: str, more: Any, expected: Any) -> None:
    """Kubernetes' `patchMergeKey` where there is one, maps by key, all else is replaced."""
    assert proxy_with(**{field: more})[field] == expected


def test_volumes_are_merged_by_name_and_lists_without_a_key_are_replaced() -> None:
    """As `kubectl patch --type strategic` does."""
    merged = spec_with(volumes=[{"name": "b", "emptyDir": {}}], tolerations=[{"key": "b"}])
    assert [volume["name"] for volume in merged["volumes"]] == ["a", "b"]
    assert merged["tolerations"] == [{"key": "b"}]
    assert merged["nodeSelector"] == {"pool": "egress"}


def test_null_takes_a_field_out() -> None:
    """Whether it is there or not."""
    merged = spec_with(terminationGracePeriodSeconds=None, nodeSelector={"pool": None}, priority=None)
    assert "terminationGracePeriodSeconds" not in merged
    assert merged["nodeSelector"] == {}
    assert "priority" not in merged
    assert "image" not in proxy_with(image=None)


def test_labels_and_annotations_of_ours_win() -> None:
    """They select the pods and tell the injector what to do; others may stand beside them."""
    metadata = {"labels": {"app": "theirs", "team": "x"}, "annotations": {"inject": "none", "note": "y"}}
    merged = overlaid(BASE, {"metadata": metadata})["metadata"]
    assert merged == {"labels": {"app": "ours", "team": "x"}, "annotations": {"inject": "gateway", "note": "y"}}


@pytest.mark.parametrize("containers", [[False], ["istio-proxy"], [container("istio-proxy", ports=[15443])]])
def test_what_is_no_pod_template_is_left_to_the_server_to_refuse(containers: list[Any]) -> None:
    """A class's schema does not look inside; its objects say what the server says, and nothing breaks here."""
    assert spec_with(containers=containers)["nodeSelector"] == {"pool": "egress"}


@given(overlay=OBJECTS)
def test_neither_object_is_changed(overlay: dict[str, Any]) -> None:
    """The base is a template's parsed document, which serves the next object, too."""
    base, before = deepcopy(BASE), deepcopy(overlay)
    overlaid(base, {"spec": {**overlay, "containers": [container("istio-proxy", env=[{"name": "B"}])]}})
    assert (base, overlay) == (BASE, before)
