"""`egressgw operator`: the operator itself, and what its installation needs."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from datetime import timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer

from egressgateway.settings import LeaseSettings, MeshSettings, Settings

operator_app = typer.Typer(help="Run the operator, and what its installation needs.", no_args_is_help=True)

REVISION: Final = "[a-z0-9]([a-z0-9-]{0,54}[a-z0-9])?"
"""Form of a revision's name: with `istiod-` before it, it names a Service."""


class LogFormat(StrEnum):
    """How log lines are written."""

    JSON = "json"
    HUMAN = "human"


class LogLevel(StrEnum):
    """Which log lines are written."""

    DEBUG = "DEBUG"
    INFO = "INFO"
    WARNING = "WARNING"
    ERROR = "ERROR"


def checked_revision(value: str) -> str:
    """
    A revision of Istio's control plane, or an empty one.

    Raises:
        typer.BadParameter: no control plane can have that name.
    """
    if value and not re.fullmatch(REVISION, value):
        raise typer.BadParameter(
            f"{value!r} is not a revision of istiod: lowercase letters, digits and '-', at most 56; see the label "
            "istio.io/rev of its Deployment"
        )
    return value


def checked_proxy(value: str) -> str:
    """
    The URL of an HTTP proxy, or an empty one.

    Raises:
        typer.BadParameter: it is no such URL.
    """
    if value and not re.fullmatch(r"http://[^/\s]+/?", value):
        raise typer.BadParameter(f"{value!r} is not the URL of an HTTP proxy: http://HOST:PORT")
    return value


@operator_app.command()
def run(  # noqa: PLR0913  (one parameter a flag)
    *,
    namespace: Annotated[
        list[str] | None,
        typer.Option(
            "--namespace",
            "-n",
            envvar="EGRESSGATEWAY_NAMESPACES",
            help="Serve only this namespace; repeatable. Default: all.",
        ),
    ] = None,
    gateway_namespace: Annotated[
        list[str] | None,
        typer.Option(help="With --namespace: another namespace, with a shared gateway; repeatable."),
    ] = None,
    identity: Annotated[
        str, typer.Option(envvar="POD_NAME", help="Name of this replica in the Lease. Default: the host's name.")
    ] = "",
    leader_elect: Annotated[bool, typer.Option(help="Let one replica write, by a Lease.")] = True,
    lease_namespace: Annotated[
        str, typer.Option(envvar="POD_NAMESPACE", help="Namespace of the Lease: the operator's own.")
    ] = "default",
    lease_name: Annotated[
        str, typer.Option(help="Its name: replicas of one operator share it.")
    ] = "egressgateway-operator",
    lease_seconds: Annotated[
        float, typer.Option(min=1.5, help="How long a vanished leader blocks its successor.")
    ] = 15.0,
    built_in_class: Annotated[
        bool, typer.Option(help="Serve objects without a class while the cluster has no default class.")
    ] = True,
    trust_domain: Annotated[
        str | None, typer.Option(help="The mesh's trust domain. Default: the mesh's own setting, else cluster.local.")
    ] = None,
    cluster_domain: Annotated[str, typer.Option(help="The cluster's DNS domain.")] = "cluster.local",
    mesh_namespace: Annotated[
        str | None,
        typer.Option(
            help="The mesh's root namespace, where istiod runs. Default: the mesh's own setting, else istio-system."
        ),
    ] = None,
    mesh_revision: Annotated[
        str,
        typer.Option(
            callback=checked_revision,
            help="Revision of istiod whose configuration is read and that injects gateways. Default: the default one.",
        ),
    ] = "",
    gateway_cluster_role: Annotated[
        str,
        typer.Option(help="ClusterRole by which gateways may list Secrets. Default: a Role for each that needs it."),
    ] = "",
    push_grace_seconds: Annotated[
        float, typer.Option(min=0.0, help="How long istiod may take to push a change to every proxy.")
    ] = 2.0,
    workers: Annotated[int, typer.Option(min=1, help="EgressGateways reconciled at once.")] = 16,
    max_in_flight: Annotated[int, typer.Option(min=1, help="Calls to the API server at once.")] = 32,
    namespace_memory_mib: Annotated[
        int,
        typer.Option(min=8, help="Memory for the cached objects of one namespace; objects beyond it count as empty."),
    ] = 64,
    pods_proxy: Annotated[
        str,
        typer.Option(
            callback=checked_proxy,
            help="HTTP proxy by which gateways' pods are asked, for an operator outside their network. Default: none.",
        ),
    ] = "",
    metrics_host: Annotated[str, typer.Option(help="Address of /healthz, /readyz and /metrics.")] = "0.0.0.0",  # noqa: S104
    metrics_port: Annotated[int, typer.Option(min=0, max=65535, help="Their port; 0 takes a free one.")] = 8080,
    log_format: Annotated[LogFormat, typer.Option(help="Form of log lines.")] = LogFormat.JSON,
    log_level: Annotated[LogLevel, typer.Option(help="Least level of log lines.")] = LogLevel.INFO,
) -> None:
    """
    Run the operator in the foreground, against $KUBECONFIG or from inside a pod.

    Example: KUBECONFIG=~/.kube/config egressgw operator run --log-format human
    """
    from egressgateway.cli.run import run_operator

    settings = Settings(
        identity=identity or socket.gethostname(),
        namespaces=tuple(namespace or ()),
        gateway_namespaces=tuple(gateway_namespace or ()),
        built_in_class=built_in_class,
        workers=workers,
        max_in_flight=max_in_flight,
        namespace_memory=namespace_memory_mib << 20,
        pods_proxy=pods_proxy,
        metrics_host=metrics_host,
        metrics_port=metrics_port,
        log_format=log_format.value,
        log_level=log_level.value,
        lease=replace(lease_of(leader_elect, lease_namespace, lease_seconds), name=lease_name),
        mesh=replace(
            mesh_of(trust_domain, cluster_domain, mesh_namespace, push_grace_seconds),
            revision=mesh_revision,
            gateway_cluster_role=gateway_cluster_role,
        ),
    )
    raise typer.Exit(run_operator(settings))


def lease_of(enabled: bool, namespace: str, seconds: float) -> LeaseSettings:
    """The three times of a Lease in client-go's proportions: 15, 10 and 2 seconds."""
    return LeaseSettings(
        enabled=enabled,
        namespace=namespace,
        duration=timedelta(seconds=seconds),
        renew_deadline=timedelta(seconds=seconds * 10 / 15),
        retry_period=timedelta(seconds=seconds * 2 / 15),
    )


def mesh_of(
    trust_domain: str | None, cluster_domain: str, root_namespace: str | None, push_grace_seconds: float
) -> MeshSettings:
    """Settings of the mesh; for a flag that is not set (None) the mesh's own value may apply."""
    default = MeshSettings()
    given = {"trust_domain": trust_domain, "root_namespace": root_namespace}
    return MeshSettings(
        trust_domain=trust_domain or default.trust_domain,
        cluster_domain=cluster_domain,
        root_namespace=root_namespace or default.root_namespace,
        push_grace=timedelta(seconds=push_grace_seconds),
        fixed=frozenset(name for name, value in given.items() if value),
    )


class Objects(StrEnum):
    """What happens to EgressGateways that are released."""

    KEEP = "keep"
    DELETE = "delete"


@operator_app.command()
def drain(  # noqa: PLR0913  (one parameter a flag)
    *,
    objects: Annotated[
        Objects, typer.Option(help="Keep them and their working gateways, or delete them.")
    ] = Objects.KEEP,
    namespace: Annotated[
        list[str] | None, typer.Option("--namespace", "-n", help="Only this namespace; repeatable. Default: all.")
    ] = None,
    lease_namespace: Annotated[
        str | None, typer.Option(help="Namespace of the operator's Lease. Default: all of them are searched.")
    ] = None,
    lease_name: Annotated[
        str | None, typer.Option(help="Its name; needs --lease-namespace. Default: it is found by its label.")
    ] = None,
    deployment: Annotated[
        str | None,
        typer.Option(
            help="The operator's Deployment; needs --lease-namespace, where it is. With it, a leader whose pod is gone "
            "is not waited for."
        ),
    ] = None,
    timeout_seconds: Annotated[float, typer.Option(min=1.0, help="How long it may take.")] = 120.0,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be done, and do nothing.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do it without asking.")] = False,
) -> None:
    """
    Release every EgressGateway before the operator is gone for good.

    With `--objects keep` the operator must have been stopped, with `--objects delete` it must run. It names the cluster
    and what will become of what, and asks before it changes anything.

    Example: egressgw operator drain --objects keep --dry-run
    """
    import asyncio

    from egressgateway.cli.drain import Drain, run_drain
    from egressgateway.cli.leases import Place

    if lease_name is not None and lease_namespace is None:
        raise typer.BadParameter("needs --lease-namespace: a Lease is in a namespace", param_hint="--lease-name")
    if deployment is not None and lease_namespace is None:
        raise typer.BadParameter("needs --lease-namespace: the Deployment is there", param_hint="--deployment")
    wanted = Drain(
        lease=Place(lease_namespace, lease_name, deployment),
        namespaces=tuple(namespace or ()),
        timeout=timeout_seconds,
        delete=objects is Objects.DELETE,
        dry_run=dry_run,
    )
    asyncio.run(run_drain(wanted, say=typer.echo, ask=lambda question: yes or _agreed(question)))


def _agreed(question: str) -> bool:
    """
    The answer of the user at the terminal.

    Raises:
        DrainError: there is none, as in a script.
    """
    from egressgateway.cli.drain import DrainError

    try:
        return typer.confirm(question)
    except typer.Abort:
        raise DrainError("nothing was changed: the question was not answered; in a script, use --yes") from None


@operator_app.command()
def crds(directory: Annotated[Path, typer.Argument(help="Directory to write to.")] = Path("crds")) -> None:
    """
    Write the CustomResourceDefinitions.

    Example: egressgw operator crds crds/ && kubectl apply -f crds/
    """
    from egressgateway.cli.crds import write_crds

    for path in write_crds(directory):
        typer.echo(path)
