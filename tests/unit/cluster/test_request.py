"""A call as data."""

from __future__ import annotations

import orjson

from egressgateway.cluster import request
from egressgateway.refs import CHILD_BY_KIND, EGRESS_GATEWAY, EGRESS_GATEWAY_CLASS, NAMESPACE

SERVICE = CHILD_BY_KIND["Service"]


def test_list_of_all_namespaces_asks_for_pages() -> None:
    """A list names the collection, the selector and the page size, and nothing that was not asked for."""
    call = request.list_objects(EGRESS_GATEWAY, label_selector="a=b,c")
    assert call.target == "/apis/egressgateway.dev/v1alpha1/egressgateways?labelSelector=a%3Db%2Cc&limit=500"
    assert (call.verb, call.method, call.resource, call.body) == ("list", "GET", "egressgateways", None)
    assert call.call == "list egressgateways"


def test_list_of_one_namespace_continues_a_page() -> None:
    """The next page carries the server's token, quoted."""
    call = request.list_objects(SERVICE, "shop", continue_="a+b", limit=10)
    assert call.target == "/api/v1/namespaces/shop/services?limit=10&continue=a%2Bb"
    assert call.call == "list services in shop"


def test_watch_asks_for_bookmarks() -> None:
    """A watch resumes after a version, with bookmarks."""
    call = request.watch_objects(NAMESPACE, resource_version="7", timeout_seconds=290)
    assert call.target == "/api/v1/namespaces?watch=1&allowWatchBookmarks=true&resourceVersion=7&timeoutSeconds=290"


def test_one_object_is_listed_and_watched_by_its_name() -> None:
    """A field selector: the server then asks for no more than the right to that one object."""
    listed = request.list_objects(SERVICE, "shop", field_selector="metadata.name=web", limit=None)
    assert listed.target == "/api/v1/namespaces/shop/services?fieldSelector=metadata.name%3Dweb"
    watched = request.watch_objects(SERVICE, "shop", field_selector="metadata.name=web", resource_version="7")
    assert "fieldSelector=metadata.name%3Dweb" in watched.target


def test_names_are_quoted() -> None:
    """No name can leave its place in the path or add to the query."""
    call = request.get_object(SERVICE, "a/b", "../c?watch=1")
    assert call.target == "/api/v1/namespaces/a%2Fb/services/..%2Fc%3Fwatch%3D1"


def test_apply_forces_under_its_field_manager() -> None:
    """Server-side apply sends the given bytes as they are."""
    call = request.apply_object(SERVICE, "shop", "web", b'{"a":1}', "egress operator")
    assert call.target == "/api/v1/namespaces/shop/services/web?fieldManager=egress+operator&force=true"
    assert (call.method, call.body) == ("PATCH", b'{"a":1}')
    assert call.content_type == "application/apply-patch+yaml"
    assert call.call == "apply Service shop/web"


def test_merge_patch_of_status_names_the_subresource() -> None:
    """A status patch goes to the subresource and is counted as such."""
    call = request.merge_patch(EGRESS_GATEWAY, "shop", "out", {"status": {}}, subresource="status", field_manager="m")
    assert call.target.endswith("/namespaces/shop/egressgateways/out/status?fieldManager=m")
    assert (call.resource, call.content_type) == ("egressgateways/status", "application/merge-patch+json")
    assert call.call == "patch EgressGateway shop/out (status)"


def test_delete_with_uid_spares_a_successor() -> None:
    """The uid goes along as a precondition."""
    call = request.delete_object(SERVICE, "shop", "web", uid="u1")
    assert call.method == "DELETE"
    assert orjson.loads(call.body or b"") == {
        "kind": "DeleteOptions",
        "apiVersion": "v1",
        "propagationPolicy": "Background",
        "preconditions": {"uid": "u1"},
    }


def test_create_and_replace_address_collection_and_object() -> None:
    """Create posts to the collection, replace puts the object."""
    body = {"metadata": {"name": "std"}}
    create = request.create_object(EGRESS_GATEWAY_CLASS, None, body)
    replace = request.replace_object(EGRESS_GATEWAY_CLASS, None, "std", body)
    root = "/apis/egressgateway.dev/v1alpha1/egressgatewayclasses"
    assert (create.method, create.target, create.call) == ("POST", root, "create EgressGatewayClass std")
    assert (replace.method, replace.target, replace.body) == ("PUT", f"{root}/std", create.body)
