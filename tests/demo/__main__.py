"""
`python -m demo`: runs the steps, checks each, and says how it ended.

Exit code 0 when every fact was observed, 1 when one was not, 130 when interrupted. Nothing is left running, but for
`--keep`.
"""

from __future__ import annotations

import argparse
import signal
import sys

from demo import routing, trouble
from demo.show import FAILURES, Screen
from demo.stage import DIRECTORY, SAMPLE, Stage, stop_everything
from harness.gateways import Gateways
from harness.tools import ToolsMissing


def main() -> int:
    """Run the demo; returns its exit code."""
    arguments = _parser().parse_args()
    screen = Screen()
    if arguments.stop:
        screen.text("stopped" if stop_everything() else "nothing is running")
        return 0
    # A killed demo cleans up as an interrupted one does.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    stage = Stage(keep=arguments.keep)
    try:
        return _run(screen, stage)
    except KeyboardInterrupt:
        screen.text("\ninterrupted; cleaning up")
        stage.keep = False
        return 130
    finally:
        stage.close()


def _run(screen: Screen, stage: Stage) -> int:
    namespace = routing.read_sample()["metadata"]["namespace"]
    try:
        _show_all(screen, stage, namespace)
    except ToolsMissing as error:
        screen.text(f"✗ the control plane cannot be had: {error}")
        return 1
    except FAILURES as error:
        screen.text(f"\n{stage.dump(namespace)}")
        screen.text(f"\n✗ not as it should be, see above: {type(error).__name__}: {error}")
        return 1
    screen.text("\nAll of this was observed, not assumed.")
    if stage.keep:
        stage.cluster.kubectl("apply", "-f", str(SAMPLE))
        screen.text(_how_to_use(stage))
    return 0


def _show_all(screen: Screen, stage: Stage, namespace: str) -> None:
    routing.start_control_plane(screen, stage)
    gateways = Gateways(stage.cluster, namespace)
    routing.start_operator(screen, stage)
    routing.apply_sample(screen, stage, gateways)
    routing.show_object(screen, stage, gateways)
    routing.edit(screen, stage, gateways)
    trouble.delete_a_child(screen, stage, gateways)
    trouble.edit_a_child(screen, stage, gateways)
    trouble.refuse(screen, stage, gateways)
    trouble.restart(screen, stage, gateways)
    trouble.delete_object(screen, stage, gateways)


def _how_to_use(stage: Stage) -> str:
    return f"""
The control plane and the operator keep running, with the sample applied once more:

  export KUBECONFIG={stage.plane.kubeconfig}
  alias kubectl={stage.plane.kubectl_binary}
  kubectl get egressgateways -A -o wide
  tail -f {DIRECTORY / "operator.log"}

Stop both with: PYTHONPATH=tests {sys.executable} -m demo --stop"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demo", description="The operator's main job, end to end.")
    parser.add_argument("--keep", action="store_true", help="leave everything running, and say how to use it")
    parser.add_argument("--stop", action="store_true", help="stop what an earlier --keep left running")
    return parser


if __name__ == "__main__":
    sys.exit(main())
