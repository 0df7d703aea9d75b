"""Writes the CustomResourceDefinitions that the models describe: `python -m egressgateway.cli.crds crds/`."""

from __future__ import annotations

import sys
from pathlib import Path

import yaml

from egressgateway.api.crd import egress_gateway_class_crd, egress_gateway_crd
from egressgateway.refs import Manifest

HEADER = "# Generated from the models in operator/egressgateway/api by `make crds`: do not edit.\n"


def crd_text(crd: Manifest) -> str:
    """The file for one CustomResourceDefinition; the same models always give the same text."""
    return HEADER + yaml.dump(crd, Dumper=_Dumper, sort_keys=True, width=140, allow_unicode=True)


def write_crds(directory: Path) -> list[Path]:
    """Writes one file for each kind into `directory`, and returns their paths."""
    directory.mkdir(parents=True, exist_ok=True)
    paths = []
    for crd in (egress_gateway_crd(), egress_gateway_class_crd()):
        spec = crd["spec"]
        path = directory / f"{spec['group']}_{spec['names']['plural']}.yaml"
        path.write_text(crd_text(crd), encoding="utf-8")
        paths.append(path)
    return paths


class _Dumper(yaml.SafeDumper):
    """Writes every value out, where YAML would refer back to an equal one."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def main() -> int:
    """Writes into the directory that the one argument names."""
    if len(sys.argv) != 2:
        print("usage: python -m egressgateway.cli.crds DIRECTORY", file=sys.stderr)
        return 2
    for path in write_crds(Path(sys.argv[1])):
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
