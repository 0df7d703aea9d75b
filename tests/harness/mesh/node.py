"""The node, a process within its network namespace: kubelet, Services and cluster DNS side by side."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp

from harness.kubeconfig import Access
from harness.mesh import dns
from harness.mesh.kubelet import Api, Kubelet
from harness.mesh.layout import DNS_IP
from harness.mesh.netns import NetworkError
from harness.mesh.sandbox import Programs
from harness.mesh.services import Services


async def run_node(kubeconfig: Path, prefix: str, directory: Path, programs: Programs) -> None:
    """
    Be the node of a cluster until cancelled; pods get directories below `directory` and namespaces named after
    `prefix`.
    """
    access = Access.read(kubeconfig)
    connector = aiohttp.TCPConnector(ssl=access.ssl_context() or True, limit=0)
    async with aiohttp.ClientSession(access.server, connector=connector, headers=access.headers()) as session:
        api = Api(session)
        services = Services(api, _apply, _log)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(Kubelet(api, prefix, directory, programs, _log).run())
            tasks.create_task(services.run())
            tasks.create_task(dns.serve(DNS_IP, services.resolve))


def _apply(ruleset: str) -> None:
    done = subprocess.run(["nft", "-f", "-"], input=ruleset, capture_output=True, text=True, check=False)
    if done.returncode:
        raise NetworkError(f"nft: {done.stderr}\n{ruleset}")


def _log(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
