"""What Argo CD, Flux and kstatus say of each state: whoever waits must not wait for ever, nor too short."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from gitops.states import as_yaml, class_states, gateway_states
from gitops.tools import ARGOCD, CUSTOMIZATIONS, HEALTH_CHECKS, argocd, expressions, flux, kstatus
from harness.conditions import violations
from harness.golden import Golden

PAGE = Path(__file__).parent.parent.parent / "docs" / "gitops.md"
KINDS = {"EgressGateway": gateway_states(), "EgressGatewayClass": class_states()}
STATES = [pytest.param(each, id=f"{kind}-{name}") for kind, states in KINDS.items() for name, each in states.items()]

JUST_EDITED = {"edited", "resumed"}
"""States that a user makes: the spec is newer than what the operator has seen."""

FAILS = {"Failed", "Degraded"}
PASSES = {"Current", "Healthy"}


def verdicts(manifest: dict[str, Any]) -> tuple[str, str, str]:
    """By kstatus, Flux and Argo CD."""
    return kstatus(manifest), flux(manifest), argocd(manifest)[0]


def matrix() -> str:
    """The table of the page."""
    lines = ["| kind | state | kstatus | Flux | Argo CD |", "|---|---|---|---|---|"]
    for kind, states in KINDS.items():
        for name, manifest in states.items():
            lines.append(f"| {kind} | {name.replace('-', ' ')} | {' | '.join(verdicts(manifest))} |")
    return "\n".join(lines)


def test_matrix_is_that_of_the_page(golden: Golden, capsys: pytest.CaptureFixture[str]) -> None:
    """Every state's three verdicts are what `docs/gitops.md` says."""
    with capsys.disabled():
        print(f"\n{matrix()}")
    text = PAGE.read_text()
    head, _, rest = text.partition("<!-- matrix -->\n")
    _, end, tail = rest.partition("<!-- end of the matrix -->")
    assert end
    Golden(golden.update, PAGE.parent)(PAGE.name, f"{head}<!-- matrix -->\n{matrix()}\n{end}{tail}")


@pytest.mark.parametrize("name", sorted(KINDS["EgressGateway"].keys() - JUST_EDITED))
def test_states_are_possible(name: str) -> None:
    """No state of the table breaks a rule for conditions: each could have been written by the operator."""
    assert violations(KINDS["EgressGateway"][name]) == []


@pytest.mark.parametrize("state", STATES)
def test_no_tool_passes_what_another_fails(state: dict[str, Any]) -> None:
    """A state is not good for one tool and bad for another."""
    found = set(verdicts(state))
    assert not (found & PASSES and found & FAILS), found


def test_only_what_serves_passes() -> None:
    """Ready and suspended while Ready pass; nothing else does, a new or just edited object least of all."""
    passing = {name for name, each in KINDS["EgressGateway"].items() if set(verdicts(each)) & PASSES}
    assert passing == {"ready", "ready-one-destination-expired", "suspended"}


def test_what_waiting_cannot_heal_fails_everywhere() -> None:
    """With `wait: true` alone Flux fails at once on what Stalled stands for."""
    failing = {name for states in KINDS.values() for name, each in states.items() if set(verdicts(each)) <= FAILS}
    assert failing == {"refused", "cannot-be-done", "invalid"}


@pytest.mark.parametrize("kind", KINDS)
def test_test_data_for_argo_cd_is_up_to_date(kind: str, golden: Golden) -> None:
    """`health_test.yaml` and its inputs, in Argo CD's own layout, are what the operator writes and the Lua answers."""
    compare = Golden(golden.update, CUSTOMIZATIONS / kind)
    tests = []
    for name, manifest in KINDS[kind].items():
        status, message = argocd(manifest)
        if message == "Pending deletion":  # Argo CD's own answer, the Lua is not asked
            continue
        path = f"testdata/{status.lower()}_{name.replace('-', '_')}.yaml"
        compare(path, as_yaml(manifest))
        tests.append({"healthStatus": {"status": status, "message": message}, "inputPath": path})
    compare("health_test.yaml", as_yaml({"tests": tests}))
    inputs = {f"testdata/{each.name}" for each in (CUSTOMIZATIONS / kind / "testdata").iterdir()}
    assert inputs == {str(each["inputPath"]) for each in tests}


def test_config_map_of_argo_cd_holds_the_lua(golden: Golden) -> None:
    """Who takes the ConfigMap instead of the files gets the same rules and buttons."""
    data = {
        f"resource.customizations.health.egressgateway.dev_{kind}": (CUSTOMIZATIONS / kind / "health.lua").read_text()
        for kind in KINDS
    }
    actions = CUSTOMIZATIONS / "EgressGateway" / "actions"
    definitions = [
        {"name": path.parent.name, "action.lua": path.read_text()} for path in sorted(actions.glob("*/action.lua"))
    ]
    buttons = {"discovery.lua": (actions / "discovery.lua").read_text(), "definitions": definitions}
    data["resource.customizations.actions.egressgateway.dev_EgressGateway"] = _as_text(buttons)
    metadata = {"name": "argocd-cm", "namespace": "argocd", "labels": {"app.kubernetes.io/part-of": "argocd"}}
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}
    head = "# Health checks and actions for Argo CD, to merge into its ConfigMap. Made from resource_customizations.\n"
    Golden(golden.update, ARGOCD)("argocd-cm.yaml", head + _as_text(manifest))


def test_flux_has_expressions_for_every_kind() -> None:
    """A kind without them would be judged by kstatus alone."""
    assert expressions().keys() == KINDS.keys()
    assert yaml.safe_load(HEALTH_CHECKS.read_text())["spec"]["wait"] is True


def _as_text(value: object) -> str:
    text: str = yaml.dump(value, Dumper=_Literal, sort_keys=False)
    return text


class _Literal(yaml.SafeDumper):
    """Writes texts of several lines as they are."""


_Literal.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None),
)
