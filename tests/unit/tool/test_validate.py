"""Files are judged as the cluster would judge them, all together; what files cannot tell is said, and not made up."""

from __future__ import annotations

from pathlib import Path

import pytest

from egressgateway.api.validation import parse_class_spec
from egressgateway.tool.diagnostic import Report
from egressgateway.tool.world import _UNKNOWN_CLASS
from harness.pki import Authority
from unit.tool.files import MUTUAL, TIMEOUT, gateway, gateway_class, only, report_of, told


def not_checked(report: Report) -> list[str]:
    return [str(each) for each in report.not_checked]


def namespace(name: str, **labels: str) -> str:
    return f"apiVersion: v1\nkind: Namespace\nmetadata: {{name: {name}, labels: {labels}}}\n"


def test_a_right_file_has_no_finding() -> None:
    report = report_of(a=gateway())
    assert told(report) == []
    assert (report.files, [str(each) for each in report.objects]) == (1, ["EgressGateway shop/partners"])


def test_two_files_that_want_one_host_conflict_and_each_is_named() -> None:
    """The finding stands at the host, and says in which file the other object is."""
    found = only(report_of(a=gateway("first"), b=gateway("second")))
    assert told(report_of(a=gateway("first"), b=gateway("second"))) == ["b.yaml:7:13 EGW3001 HostConflict"]
    assert found.field == "spec.destinations[0].hosts"
    assert [(str(each.object), str(each.place)) for each in found.related] == [
        ("EgressGateway shop/first", "a.yaml:3:18")
    ]
    assert "which of shop/first and shop/second is older" in "".join(
        not_checked(report_of(a=gateway("first"), b=gateway("second")))
    )


def test_two_files_whose_class_is_elsewhere_conflict_all_the_same() -> None:
    """What a class that is not there forbids is not known; two claims of one host are."""
    named = gateway("first") + "  className: elsewhere\n", gateway("second") + "  className: elsewhere\n"
    assert told(report_of(a=named[0], b=named[1])) == ["b.yaml:7:13 EGW3001 HostConflict"]


def test_objects_of_two_namespaces_may_have_one_host() -> None:
    assert told(report_of(a=gateway(namespace="shop"), b=gateway(namespace="bank"))) == []


def test_the_older_object_has_the_host_where_files_say_it() -> None:
    """An export of a cluster holds times and claims, which decide there."""
    old = gateway("second").replace("namespace: shop}", "namespace: shop, creationTimestamp: 2020-01-01T00:00:00Z}")
    new = gateway("first").replace("namespace: shop}", "namespace: shop, creationTimestamp: 2021-01-01T00:00:00Z}")
    assert told(report_of(a=new, b=old)) == ["a.yaml:7:13 EGW3001 HostConflict"]


def test_a_secret_that_is_not_among_the_files_is_not_checked() -> None:
    report = report_of(a=gateway(port=MUTUAL))
    assert told(report) == []
    assert "Secret shop/bank-client: not among the files" in not_checked(report)


def test_a_secret_that_is_nowhere_else_does_not_exist() -> None:
    found = only(report_of(a=gateway(port=MUTUAL), complete=True))
    assert found.code.code == "EGW2001"
    assert found.message.startswith("spec.destinations[0].ports[0].tls.credentialName: there is no Secret bank-client")
    assert found.place == ("a.yaml", 8, 93)


def test_a_secret_among_the_files_is_judged() -> None:
    """Without keys it is no client certificate, whatever else there is in the cluster."""
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: bank-client, namespace: shop}\n"
    assert told(report_of(a=gateway(port=MUTUAL), b=secret)) == ["a.yaml:8:93 EGW2002 SecretInvalid"]


def test_a_secret_in_plain_text_is_read_as_the_api_server_reads_it(tmp_path: Path) -> None:
    """`stringData`, as people write it."""
    authority = Authority(tmp_path)
    authority.create()
    pair = authority.issue("client")
    texts = {"tls.crt": pair.certificate, "tls.key": pair.key, "ca.crt": authority.certificate_file.read_bytes()}
    lines = "".join(
        f"  {key}: |\n" + "".join(f"    {line}\n" for line in text.decode().splitlines()) for key, text in texts.items()
    )
    secret = "apiVersion: v1\nkind: Secret\nmetadata: {name: bank-client, namespace: shop}\nstringData:\n" + lines
    assert told(report_of(a=gateway(port=MUTUAL), b=secret)) == []


def test_a_class_among_the_files_judges() -> None:
    denies = gateway_class(spec="{allowedHosts: ['*.example.org']}")
    assert told(report_of(a=gateway(), c=denies)) == ["a.yaml:7:13 EGW3003 HostNotAllowed"]


@pytest.mark.parametrize("named", ["", "  className: data\n"])
def test_a_class_that_is_not_among_the_files_forbids_nothing_and_is_said(named: str) -> None:
    """Consumers and addresses, too, are a matter of the class."""
    access = "  access: {from: [{namespaces: [billing]}]}\n"
    report = report_of(a=gateway() + access + named)
    subject = "EgressGatewayClass data" if named else "the default class"
    assert told(report) == []
    assert any(each.startswith(f"{subject}: not among the files") for each in not_checked(report))


def test_without_a_cluster_behind_them_the_built_in_class_judges() -> None:
    access = "  access: {from: [{namespaces: [billing]}]}\n"
    assert [each.code.code for each in report_of(a=gateway() + access, complete=True).diagnostics] == ["EGW3006"]
    missing = report_of(a=gateway() + "  className: data\n", complete=True)
    assert [each.code.code for each in missing.diagnostics] == ["EGW3009"]


def test_the_class_that_stands_in_allows_everything_and_is_valid() -> None:
    assert not isinstance(parse_class_spec(_UNKNOWN_CLASS), tuple)


TEAM = "{allowedNamespaces: {from: Selector, selector: {matchLabels: {team: web}}}}"


def test_labels_of_a_namespace_that_is_not_among_the_files_are_not_judged() -> None:
    """And what else there is to say is said."""
    conflict = {"b": gateway("second")}
    report = report_of(a=gateway(), c=gateway_class(spec=TEAM), **conflict)
    assert told(report) == ["b.yaml:7:13 EGW3001 HostConflict"]
    assert any("allowedNamespaces of EgressGatewayClass standard" in each for each in not_checked(report))


def test_labels_of_a_namespace_among_the_files_are_judged() -> None:
    files = {"a": gateway(), "c": gateway_class(spec=TEAM)}
    assert told(report_of(**files, n=namespace("shop", team="web"))) == []
    assert [each.code.code for each in report_of(**files, n=namespace("shop")).diagnostics] == ["EGW3005"]


def test_selected_consumers_without_namespaces_are_not_judged() -> None:
    access = "  access: {from: [{namespaceSelector: {matchLabels: {team: web}}}]}\n"
    report = report_of(a=gateway() + access)
    assert told(report) == []
    assert any(each.startswith("consumers of shop/partners") for each in not_checked(report))
    assert [each.code.code for each in report_of(a=gateway() + access, complete=True).diagnostics] == ["EGW3010"]


def test_a_route_of_somebody_else_is_found_among_the_files() -> None:
    service = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: by-hand, namespace: shop}\n"
        "spec: {hosts: [api.example.com]}\n"
    )
    assert [each.code.code for each in report_of(a=gateway(), v=service).diagnostics] == ["EGW4101"]


def test_the_meshs_configuration_is_read_where_it_is_there() -> None:
    mesh = (
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\n"
        'data: {mesh: "outboundTrafficPolicy: {mode: ALLOW_ANY}"}\n'
    )
    report = report_of(a=gateway(), m=mesh)
    assert [each.code.code for each in report.diagnostics] == ["EGW4008"]
    assert not any("the mesh's configuration" in each for each in not_checked(report))


def test_plain_text_first_on_tls_and_no_timeout_are_said() -> None:
    """Neither is refused by the API server."""
    tls = gateway(port="{port: 5432, protocol: TLS}")
    assert told(report_of(a=tls)) == ["a.yaml:8:13 EGW1107"]
    slow = gateway(port="{port: 80, protocol: HTTP}").replace(TIMEOUT, "")
    assert told(report_of(a=slow)) == ["a.yaml:6:5 EGW1203"]


def test_a_suspended_object_is_left_alone() -> None:
    """As the operator leaves it."""
    suspended = gateway(port="{port: 5432, protocol: TLS}") + "  suspend: true\n"
    assert told(report_of(a=suspended)) == ["a.yaml:9:12 EGW1005 Suspended"]


@pytest.mark.parametrize(
    ("old", "new", "line", "words"),
    [
        ("v1alpha1", "v2", 1, "'egressgateway.dev/v2' is not known; use egressgateway.dev/v1alpha1"),
        ("kind: EgressGateway", "kind: EgressGate", 2, "has no kind 'EgressGate'"),
        ("name: partners, ", "", 3, "metadata.name: Required value"),
        ("spec:", "specs:", 4, 'specs: unknown field "specs"'),
        ("name: partners", "name: 1", 3, "metadata.name: must be of type string"),
        ("namespace: shop", "labels: {a: 1}", 3, "metadata.labels: must be a map of strings"),
        ("hosts:", "host:", 7, 'unknown field "spec.destinations[0].host"'),
        ("protocol: TLS", "protocol: FTP", 8, 'Unsupported value: supported values: "HTTP"'),
        ("name: partners", "name: Partners", 3, "must be a DNS label"),
    ],
)
def test_what_the_api_server_refuses_is_refused_with_its_line(old: str, new: str, line: int, words: str) -> None:
    found = report_of(a=gateway().replace(old, new, 1)).diagnostics
    assert any(words in each.message and each.place.line == line for each in found), [each.message for each in found]
    assert {each.code.code for each in found} == {"EGW1001"}


def test_an_invalid_class_is_said_where_it_stands() -> None:
    report = report_of(c=gateway_class(spec="{provider: APISIX}"))
    assert told(report) == ["c.yaml:4:7 EGW1001 Invalid"]


def test_one_object_in_two_files_is_said() -> None:
    """As with an overlay beside its base: on a cluster one of them would win."""
    assert told(report_of(a=gateway(), b=gateway())) == ["b.yaml:3:18 EGW1902"]


def test_an_object_without_a_namespace_is_in_the_one_that_is_asked_for() -> None:
    file = gateway().replace(", namespace: shop", "")
    report = report_of(a=file, b=gateway("second", namespace="web"), namespace="web")
    assert [each.code.code for each in report.diagnostics] == ["EGW3001"]


@pytest.mark.parametrize(
    "file",
    [
        "kind: Secret\nmetadata: []\n",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: [a]}\n",
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: 1}\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: [b]}\nspec: []\n",
        "apiVersion: v1\nkind: Service\nmetadata: {name: a}\nspec: {type: ExternalName, ports: [1]}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: []\n",
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec: {hosts: {}}\n",
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a, labels: []}\nspec: 1\n",
        "apiVersion: v1\nkind: Secret\nmetadata: {name: bank-client, namespace: shop}\ndata: {tls.crt: 1}\n",
        "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: a, labels: {app: istiod}}\nspec: {template: 1}\n",
    ],
)
def test_an_object_of_any_shape_beside_it_changes_nothing(file: str) -> None:
    """It is somebody else's, and not what was asked about."""
    codes = [each.code.code for each in report_of(a=gateway(port=MUTUAL), b=file).diagnostics]
    assert codes in ([], ["EGW2002"])


@pytest.mark.parametrize("spec", ['{"foo bar": 1, destinations: 5}', "{destinations: [x]}", "5", "[1]"])
def test_a_spec_of_any_shape_is_a_finding(spec: str) -> None:
    """The place of a mistake is looked for in what is broken."""
    text = gateway().partition("spec:")[0] + f"spec: {spec}\n"
    assert {line.rpartition(" ")[2] for line in told(report_of(a=text))} == {"Invalid"}


@pytest.mark.parametrize(
    ("changed", "to", "field"),
    [
        ("namespace: shop}", "namespace: shop, creationTimestamp: 5}", "metadata.creationTimestamp"),
        ("namespace: shop}", "namespace: shop, creationTimestamp: foo}", "metadata.creationTimestamp"),
        ("namespace: shop}", "namespace: shop, foo: bar}", "metadata.foo"),
        ("apiVersion: egressgateway.dev/v1alpha1\n", "", "apiVersion"),
        ("egressgateway.dev/v1alpha1", "egressgateways.dev/v1alpha1", "apiVersion"),
        ("kind: EgressGateway\n", "", "kind"),
    ],
)
def test_what_means_to_be_ours_is_never_left_out(changed: str, to: str, field: str) -> None:
    """A file that nobody looks at would pass for a right one."""
    assert only(report_of(a=gateway().replace(changed, to, 1))).field == field


def test_the_kind_of_another_project_is_not_ours() -> None:
    text = gateway().replace("egressgateway.dev/v1alpha1", "egressgateway.spidernet.io/v1beta1", 1)
    assert told(report_of(a=text)) == []


def test_ages_that_files_tell_are_known() -> None:
    old = gateway("second").replace("namespace: shop}", "namespace: shop, creationTimestamp: 2020-01-01T00:00:00Z}")
    new = gateway("first").replace("namespace: shop}", "namespace: shop, creationTimestamp: 2021-01-01T00:00:00Z}")
    assert "is older" not in "".join(not_checked(report_of(a=new, b=old)))


def test_a_configmap_of_the_mesh_that_holds_no_text_is_not_read() -> None:
    mesh = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: istio-system}\ndata: {mesh: 5}\n"
    assert told(report_of(a=gateway(), b=mesh)) == []
