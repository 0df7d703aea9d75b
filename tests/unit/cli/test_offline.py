"""Commands that need no cluster: exit codes, one line for what they cannot read, no library that they do not need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
from typer.testing import CliRunner, Result

from egressgateway import __version__
from egressgateway.api.conditions import Reason
from egressgateway.cli.main import app, main
from egressgateway.errors import SourceError
from egressgateway.tool.codes import BY_REASON, CODES
from egressgateway.tool.explain import section_of
from unit.tool.files import TIMEOUT, gateway

SCHEMA = json.loads((Path(__file__).parents[3] / "docs" / "reference" / "cli.schema.json").read_text())
HEAVY = ("kopf", "kubernetes", "aiohttp", "prometheus_client", "uvloop", "rich")


def invoke(*argv: str, text: str | None = None) -> Result:
    return CliRunner().invoke(app, argv, input=text)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """A directory with one right file."""
    (tmp_path / "a.yaml").write_text(gateway())
    return tmp_path


def test_right_files_end_with_0(files: Path) -> None:
    done = invoke("validate", str(files))
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "1 file, 1 object, 0 errors, 0 warnings")


def test_a_finding_ends_with_1_and_what_is_asked_for_is_the_threshold(files: Path) -> None:
    (files / "b.yaml").write_text(gateway("other", "web", port="{port: 80, protocol: HTTP}").replace(TIMEOUT, ""))
    assert invoke("validate", str(files)).exit_code == 0
    assert invoke("validate", str(files), "--fail-on", "warning").exit_code == 1
    (files / "c.yaml").write_text(gateway("second"))
    assert invoke("validate", str(files)).exit_code == 1
    assert invoke("validate", str(files), "--fail-on", "never").exit_code == 0
    assert invoke("validate", str(files), "--skip", "egw3001").exit_code == 0


def test_standard_input_is_read() -> None:
    """As `kustomize build` writes it."""
    done = invoke("validate", "-", text=gateway() + "---\n" + gateway("second"))
    assert done.exit_code == 1
    assert done.stdout.startswith("<stdin>:16:13: error EGW3001")


def test_classes_may_be_elsewhere(files: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    class_ = tmp_path_factory.mktemp("classes") / "class.yaml"
    class_.write_text(
        "apiVersion: egressgateway.dev/v1alpha1\nkind: EgressGatewayClass\n"
        'metadata: {name: standard, annotations: {egressgateway.dev/is-default-class: "true"}}\n'
        "spec: {deniedFeatures: [TCP], allowedHosts: []}\n"
    )
    done = invoke("validate", str(files), "--class", str(class_), "-o", "json")
    assert [each["reason"] for each in json.loads(done.stdout)["items"]] == ["HostNotAllowed"]


@pytest.mark.parametrize("form", ["wide", "json", "yaml", "name", "markdown", "sarif", "github", "junit"])
def test_every_form_can_be_asked_for(files: Path, form: str) -> None:
    assert invoke("validate", str(files), "-o", form).exit_code == 0


@pytest.mark.parametrize(
    "argv",
    [
        ["validate"],
        ["validate", "a", "-o", "xml"],
        ["validate", "a", "--fail-on", "never-ever"],
        ["validate", "a", "--skip", "EGW9999"],
        ["validate", "a", "--colour"],
        ["valdate", "a"],
        ["completion", "tcsh"],
    ],
)
def test_wrong_usage_ends_with_2(argv: list[str]) -> None:
    assert invoke(*argv).exit_code == 2


def run(*argv: str, text: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """The command as a process."""
    return subprocess.run(
        [sys.executable, "-m", "egressgateway", *argv],
        input=text,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "no such file or directory"),
        ("replicas: 1\n", "there is no EgressGateway and no EgressGatewayClass in it"),
        ("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n", "there is no EgressGateway"),
        ("", "there is no EgressGateway"),
    ],
)
def test_what_cannot_be_looked_at_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, content: str | None, words: str
) -> None:
    """No traceback, and exit code 3: the files are neither right nor wrong."""
    file = tmp_path / "a.yaml"
    if content is not None:
        file.write_text(content)
    monkeypatch.setattr("sys.argv", ["egressgw", "validate", str(file)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert (ended.value.code, said.out, said.err.count("\n")) == (3, "", 1)
    assert said.err.startswith("egressgw: ")
    assert words in said.err


def test_files_of_others_are_fine_where_that_is_said(tmp_path: Path) -> None:
    """A hook is run for every YAML file that changed."""
    (tmp_path / "a.yaml").write_text("replicas: 1\n")
    assert invoke("validate", str(tmp_path / "a.yaml"), "--allow-empty").exit_code == 0


def test_what_is_no_yaml_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: [\n")
    done = invoke("validate", str(tmp_path))
    assert done.exit_code == 1
    assert "a.yaml:2:1: error EGW1901" in done.stdout


@pytest.mark.parametrize("argv", [["--help"], ["--version"], ["validate", "--help"]])
def test_help_needs_no_model_and_no_client(argv: list[str]) -> None:
    """Whoever asks for help waits for nothing that another command needs."""
    assert _imported(argv, (*HEAVY, "egressgateway.api.spec", "jinja2", "yaml", "cryptography")) == []


def test_an_answer_from_files_needs_no_client(files: Path) -> None:
    """Neither the operator's framework nor any client of an API server is imported."""
    assert _imported(["validate", str(files)], HEAVY) == []


def _imported(argv: list[str], names: tuple[str, ...]) -> list[str]:
    program = (
        "import sys\nfrom egressgateway.cli.main import main\n"
        f"sys.argv = {['egressgw', *argv]!r}\n"
        "try:\n    main()\nexcept SystemExit as ended:\n    assert not ended.code, ended.code\n"
        f"print('imported:', *[each for each in {names!r} if each in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1].split()[1:]


def test_no_color_is_honoured_and_a_pipe_gets_none(files: Path) -> None:
    assert "\x1b" not in invoke("validate", str(files)).stdout


def test_the_version_is_said() -> None:
    assert invoke("--version").stdout == f"egressgw {__version__}\n"
    assert invoke("version").stdout == f"{__version__}\n"


def test_the_operators_commands_have_a_place_and_their_old_names() -> None:
    """Images and charts start it by the old name; people find it under the new one."""
    shown = invoke("--help").stdout
    assert "operator" in shown
    assert not [line for line in shown.splitlines() if line.split()[:1] in (["run"], ["drain"], ["crds"])]
    for command in ("run", "drain", "crds"):
        old, new = invoke(command, "--help"), invoke("operator", command, "--help")
        assert (old.exit_code, new.exit_code) == (0, 0)
        assert old.stdout.split("Options")[1] == new.stdout.split("Options")[1]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_a_shells_script_asks_the_command(shell: str) -> None:
    assert "_EGRESSGW_COMPLETE" in invoke("completion", shell).stdout


def test_commands_are_completed_in_a_shell_and_behind_kubectl() -> None:
    """kubectl wants a directive after the completions (kubectl, "Plugins", completion)."""
    bash = {"_EGRESSGW_COMPLETE": "complete_bash", "COMP_WORDS": "egressgw val", "COMP_CWORD": "1"}
    assert run(**bash).stdout.split() == ["validate"]
    program = "import sys; from egressgateway.cli.completion import for_kubectl; for_kubectl()"
    done = subprocess.run([sys.executable, "-c", program, "val"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["validate", ":4"]


def test_render_prints_objects_and_says_what_is_wrong_beside_them(files: Path) -> None:
    """What goes to kubectl goes to standard output, alone."""
    (files / "b.yaml").write_text(gateway("second"))
    done = invoke("render", str(files), "-o", "name")
    assert done.exit_code == 1
    assert "deployment/partners-egress" in done.stdout.splitlines()
    assert "deployment/second-egress" not in done.stdout.splitlines()
    assert "EGW3001 HostConflict" in done.stderr


def test_render_writes_a_file_for_each_object_and_none_outside(files: Path) -> None:
    out = files / "out" / "objects"
    done = invoke("render", str(files / "a.yaml"), "--split", str(out), "--kind", "Deployment")
    assert done.stdout.splitlines() == [str(out / "shop_deployment_partners-egress.yaml")]
    assert [each.name for each in out.iterdir()] == ["shop_deployment_partners-egress.yaml"]
    (files / "taken").write_text("")
    with pytest.raises(SourceError, match="taken"):
        CliRunner().invoke(
            app, ["render", str(files / "a.yaml"), "--split", str(files / "taken")], catch_exceptions=False
        )


def test_render_can_show_what_templates_get(files: Path) -> None:
    done = invoke("render", str(files), "--values-only", "--kind", "Deployment", "-o", "json")
    [shown] = json.loads(done.stdout)["items"]
    assert (shown["template"], shown["values"]["namespace"]) == ("workload/deployment.yaml.j2", "shop")


@pytest.mark.parametrize("word", ["HostConflict", "egw3001"])
def test_explain_says_what_the_catalogue_and_the_page_say(word: str) -> None:
    done = invoke("explain", word)
    assert done.exit_code == 0
    assert done.stdout.startswith("EGW3001 HostConflict: host conflict\nseverity: error\nconditions: Accepted, Ready\n")
    assert "acts: the platform's admins" in done.stdout
    assert len(done.stdout.splitlines()) > 8


def test_explain_knows_reasons_without_a_code_and_lists_all_codes() -> None:
    assert invoke("explain", "Steered").stdout.startswith("Steered\n")
    assert len(invoke("explain").stdout.splitlines()) == len(CODES)
    assert json.loads(invoke("explain", "-o", "json").stdout)["kind"] == "Codes"


@pytest.mark.parametrize("reason", [each for each in Reason if each in BY_REASON])
def test_every_reason_with_a_code_has_a_page(reason: Reason) -> None:
    assert section_of(reason)


def test_diff_ends_with_1_where_there_is_a_difference(files: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    old = tmp_path_factory.mktemp("old")
    (old / "a.yaml").write_text(gateway(host="old.example.com"))
    assert invoke("diff", str(files), "--from", str(files)).stdout == "no difference\n"
    assert invoke("diff", str(files), "--from", str(files)).exit_code == 0
    done = invoke("diff", str(files), "--from", str(old))
    assert done.exit_code == 1
    assert "  ~ destination api: host + api.example.com; host - old.example.com" in done.stdout.splitlines()
    assert invoke("diff", str(files), "--from", str(old), "--no-exit-code").exit_code == 0
    assert invoke("diff", str(files), "--from", str(old), "--summary").stdout == "0 added, 1 changed, 0 removed\n"
    answer = json.loads(invoke("diff", str(files), "--from", str(old), "-o", "json").stdout)
    assert [each["change"] for each in answer["items"]] == ["changed"]
    for document in (answer, json.loads(invoke("explain", "EGW3001", "-o", "json").stdout)):
        jsonschema.Draft202012Validator(SCHEMA).validate(document)


@pytest.mark.parametrize(
    ("argv", "code"),
    [
        (["render", "nowhere.yaml"], 3),
        (["render"], 2),
        (["render", "a", "-o", "table"], 2),
        (["explain", "NoSuchReason"], 2),
        (["diff", "nowhere.yaml", "--from", "nowhere.yaml"], 3),
        (["diff", "a"], 2),
        (["new"], 2),
        (["new", "api.example.com"], 2),
        (["new", "gopher://example.com"], 2),
    ],
)
def test_bad_input_of_other_commands(
    argv: list[str], code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """No traceback; where there is nothing to look at, one line."""
    monkeypatch.setattr("sys.argv", ["egressgw", *argv])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    assert ended.value.code == code
    assert "Traceback" not in said.err
    assert said.err.count("\n") == 1 or code == 2


def test_new_writes_what_validate_accepts() -> None:
    done = invoke("new", "https://api.stripe.com", "-n", "shop")
    assert done.exit_code == 0
    assert invoke("validate", "-", text=done.stdout).exit_code == 0


def test_diff_takes_no_misspelled_object_for_a_removed_one(
    files: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A reviewer would be told that a gateway goes away."""
    changed = tmp_path_factory.mktemp("changed")
    (changed / "a.yaml").write_text(gateway().replace("spec:", "spek:"))
    done = invoke("diff", str(changed), "--from", str(files))
    assert isinstance(done.exception, SourceError)
    assert 'unknown field "spek"' in str(done.exception)


@pytest.mark.parametrize("argument", ["--namespace", "--secret", "--for"])
def test_new_takes_names_of_kubernetes_only(argument: str) -> None:
    """They are written into a file and into a command to paste."""
    done = invoke("new", "https://api.stripe.com", argument, "a;rm -rf")
    assert done.exit_code == 2
    assert "no name of Kubernetes" in done.output
