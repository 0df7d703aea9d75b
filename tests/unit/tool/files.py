"""Texts of files, and what is found in them."""

from __future__ import annotations

from datetime import UTC, datetime

from egressgateway.tool.diagnostic import Diagnostic, Report
from egressgateway.tool.documents import Reading, read_text
from egressgateway.tool.validate import validate
from egressgateway.tool.world import Scope

NOW = datetime(2026, 1, 1, tzinfo=UTC)

GATEWAY = """\
apiVersion: egressgateway.dev/v1alpha1
kind: EgressGateway
metadata: {{name: {name}, namespace: {namespace}}}
spec:
  destinations:
  - name: api
    hosts: [{host}]
    ports: [{port}]
"""
TIMEOUT = "    traffic: {timeout: 5s}\n"
MUTUAL = "{port: 80, protocol: HTTP, targetPort: 443, tls: {mode: Mutual, credentialName: bank-client}}"


def gateway(
    name: str = "partners",
    namespace: str = "shop",
    host: str = "api.example.com",
    port: str = "{port: 443, protocol: TLS}",
) -> str:
    """A file with an EgressGateway of one destination, about which there is nothing to say."""
    text = GATEWAY.format(name=name, namespace=namespace, host=host, port=port)
    return text + TIMEOUT if "HTTP" in port else text


def gateway_class(name: str = "standard", spec: str = "{}") -> str:
    return (
        "apiVersion: egressgateway.dev/v1alpha1\nkind: EgressGatewayClass\n"
        f'metadata: {{name: {name}, annotations: {{egressgateway.dev/is-default-class: "true"}}}}\nspec: {spec}\n'
    )


def read(**files: str) -> Reading:
    """Files by name, without their suffix."""
    readings = [read_text(text, f"{name}.yaml") for name, text in files.items()]
    return Reading(
        tuple(document for each in readings for document in each.documents),
        tuple(mistake for each in readings for mistake in each.mistakes),
        len(readings),
    )


def report_of(*, complete: bool = False, namespace: str = "default", **files: str) -> Report:
    return validate(read(**files), Scope(namespace, complete), NOW)


def told(report: Report) -> list[str]:
    """The diagnostics, each as `file:line:column code reason`."""
    return [f"{each.place} {each.code.code} {each.code.reason or ''}".strip() for each in report.diagnostics]


def only(report: Report) -> Diagnostic:
    [found] = report.diagnostics
    return found
