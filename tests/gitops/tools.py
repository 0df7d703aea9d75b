"""
What Argo CD, Flux and kstatus make of an object, each by its own rules.

Argo CD: the Lua of `deploy/gitops/argocd`, run as Lua 5.1 with the few libraries that Argo CD opens. Flux: the CEL
expressions of `deploy/gitops/flux`, in the order in which Flux asks them. kstatus, which Helm 4 uses, too, and Flux
without expressions: its rules are written down anew from kubernetes-sigs/cli-utils `pkg/kstatus/status`.

All three were compared, state by state, with the real ones: cli-utils 0.37.2, fluxcd/pkg/runtime 0.69.0 (`cel`), and
gopher-lua 1.1.1 with the libraries of Argo CD.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional
from lupa.lua51 import LuaRuntime, lua_type

ROOT = Path(__file__).parent.parent.parent
ARGOCD = ROOT / "deploy" / "gitops" / "argocd"
CUSTOMIZATIONS = ARGOCD / "resource_customizations" / "egressgateway.dev"
HEALTH_CHECKS = ROOT / "deploy" / "gitops" / "flux" / "health-checks.yaml"

Object = dict[str, Any]
FIELDS = ("apiVersion", "kind", "metadata", "spec", "status")

# Argo CD opens package, base, table and two functions of os: argo-cd `util/lua/lua.go`.
_WITHOUT_LIBRARIES = """
function(object, source)
  local chunk = assert(loadstring(source))
  local names = { obj = object, ipairs = ipairs, pairs = pairs, type = type, tostring = tostring, table = table }
  names.os = { time = os.time, date = os.date }
  setfenv(chunk, names)
  return chunk()
end
"""


def argocd(manifest: Object) -> tuple[str, str]:
    """Health and message by Argo CD."""
    # Argo CD answers for what is being deleted itself (gitops-engine `pkg/health`).
    if "deletionTimestamp" in manifest["metadata"]:
        return "Progressing", "Pending deletion"
    found = run_lua((CUSTOMIZATIONS / manifest["kind"] / "health.lua").read_text(), manifest)
    return found["status"], found["message"]


def run_lua(source: str, manifest: Object) -> Any:
    """What a script of Argo CD returns for an object, as lists and maps."""
    lua = LuaRuntime(unpack_returned_tuples=True)
    return _from_lua(lua.eval(_WITHOUT_LIBRARIES)(_as_lua(lua, manifest), source))


def flux(manifest: Object) -> str:
    """Status by Flux with the expressions of `health-checks.yaml`."""
    metadata, status = manifest["metadata"], manifest.get("status", {})
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        return "InProgress"
    checks = expressions()[manifest["kind"]]
    for name, verdict in (("inProgress", "InProgress"), ("failed", "Failed"), ("current", "Current")):
        if name in checks and _holds(checks[name], manifest):
            return verdict
    return "InProgress"


def kstatus(manifest: Object) -> str:
    """Status by kstatus: what Flux's `wait: true` without expressions, Helm 4 and `kpt` see."""
    metadata, status = manifest["metadata"], manifest.get("status") or {}
    if "deletionTimestamp" in metadata:
        return "Terminating"
    if "observedGeneration" in status and status["observedGeneration"] != metadata["generation"]:
        return "InProgress"
    conditions = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    if conditions.get("Reconciling") == "True":
        return "InProgress"
    if conditions.get("Stalled") == "True":
        return "Failed"
    if conditions.get("Ready", "True") != "True":
        return "InProgress"
    return "Current"


def expressions() -> dict[str, dict[str, str]]:
    """The expressions for Flux, by kind."""
    checks = yaml.safe_load(HEALTH_CHECKS.read_text())["spec"]["healthCheckExprs"]
    return {each["kind"]: each for each in checks}


def _holds(expression: str, manifest: Object) -> bool:
    variables = dict.fromkeys(FIELDS, cel.Type.DYN)
    environment = cel.NewEnv(variables=variables, extensions=[ext_optional.ExtOptional()])
    data = {name: manifest.get(name, {}) for name in FIELDS}
    return environment.compile(expression).eval(data=data).value() is True


def _as_lua(lua: Any, value: Any) -> Any:
    if isinstance(value, dict):
        return lua.table_from({key: _as_lua(lua, each) for key, each in value.items()})
    if isinstance(value, list):
        return lua.table_from([_as_lua(lua, each) for each in value])
    return value


def _from_lua(value: Any) -> Any:
    if lua_type(value) != "table":
        return value
    keys = list(value)
    if keys and keys == list(range(1, len(keys) + 1)):
        return [_from_lua(value[key]) for key in keys]
    return {key: _from_lua(value[key]) for key in keys}
