"""What is rendered from files is what the operator would write."""

from __future__ import annotations

import pytest
import yaml

from egressgateway.tool.rendered import as_stream, written_for
from egressgateway.tool.validate import judge_all
from egressgateway.tool.world import Scope, World
from harness.everychild import without_common
from unit.golden.cases import case_named, run_named
from unit.tool.files import MUTUAL, NOW, gateway, read

SAME = ("one-http-host", "tls-passthrough", "tcp", "two-destinations", "wildcard-single-server", "traffic")


def written(*, complete: bool = True, kinds: tuple[str, ...] = (), **files: str) -> list[dict[str, object]]:
    world = World(read(**files).documents, Scope(complete=complete))
    return [each.manifest for each in written_for(judge_all(world, NOW), kinds)]


@pytest.mark.parametrize("name", SAME)
def test_objects_are_those_of_the_golden_case(name: str) -> None:
    """But for the uid of the owner, which no file has."""
    manifest = {"apiVersion": "egressgateway.dev/v1alpha1", "kind": "EgressGateway", **case_named(name).gateway}
    manifest["metadata"] = {**manifest["metadata"], "uid": "0a1b"}
    key = run_named(name).facts.key
    wanted = [without_common(each.manifest, key) for each in run_named(name).desired]
    assert [without_common(each, key) for each in written(a=yaml.safe_dump(manifest))] == wanted  # type: ignore[arg-type]


def test_objects_of_a_kind_alone_can_be_asked_for() -> None:
    assert {each["kind"] for each in written(a=gateway(), kinds=("virtualservice",))} == {"VirtualService"}


def test_a_secret_that_is_not_among_the_files_keeps_nothing_from_being_rendered() -> None:
    """It may be in the cluster. Where it certainly is not, the destination is not served."""
    assert written(a=gateway(port=MUTUAL), complete=False)
    assert written(a=gateway(port=MUTUAL)) == []


def test_a_rejected_or_suspended_object_writes_nothing() -> None:
    assert written(a=gateway() + "  suspend: true\n") == []
    assert written(a=gateway(host="127.0.0.1")) == []


def test_a_stream_is_read_back_as_it_was() -> None:
    objects = written(a=gateway())
    assert list(yaml.safe_load_all(as_stream(objects))) == objects
