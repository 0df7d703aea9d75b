"""The page of codes, made from the catalogue: `python -m docs.reference` writes it with the others."""

from __future__ import annotations

from egressgateway.api.conditions import CATALOGUE
from egressgateway.tool.codes import CODES, Code
from egressgateway.tool.output.words import acts, name_of

INTRODUCTION = """<!-- Written by `make docs` from operator/egressgateway/tool/codes.py: do not edit. -->
# Codes

What [`egressgw`](../cli.md) finds has a code, which never changes its meaning: 1xxx is about the spec, 2xxx about what
it refers to, 3xxx about the class and other tenants, 4xxx about mesh and gateway, 5xxx about clients, 6xxx about the
operator. Where the status has a reason for it, [Troubleshooting](../troubleshooting.md) says more. In a terminal:
`egressgw explain EGW3001`.

| code | | severity | who acts |
|---|---|---|---|"""


def codes_page() -> str:
    """The page: a table, and a section for each code."""
    rows = [
        f"| [{each.code}](#{each.code.lower()}) | {name_of(each)} | {each.severity} | {acts(each)} |" for each in CODES
    ]
    return "\n".join([INTRODUCTION, *rows, "", *map(_section, CODES)])


def _section(code: Code) -> str:
    words = [f"{code.title.capitalize()}."]
    if code.reason is not None:
        conditions = ", ".join(f"`{each}`" for each in CATALOGUE[code.reason].conditions) or "an event"
        words.append(f"Reason [`{code.reason}`](../troubleshooting.md#{code.reason.lower()}) of {conditions}.")
    return f"## {code.code}\n\n{' '.join(words)}\n\n{code.fix}\n"
