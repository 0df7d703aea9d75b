"""Files are read as kubectl reads them, and what is no YAML is said with its line."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

from egressgateway.errors import SourceError
from egressgateway.tool.documents import read_paths, read_text
from unit.tool.files import gateway


def test_documents_and_items_of_lists_are_objects() -> None:
    """What `kubectl get -o yaml` prints is read like a file with several documents; a file of values holds none."""
    text = "kind: A\n---\n---\nreplicas: 1\n---\n[1]\n---\nkind: BList\nitems:\n- kind: B\n  name: x\n- {kind: C}\n"
    found = read_text(text, "f").documents
    assert [each.kind for each in found] == ["A", "B", "C"]
    assert [each.place("name") for each in found[1:]] == [("f", 11, 9), ("f", 12, 3)]


def test_a_time_is_text_and_a_key_is_text() -> None:
    """The API server stores JSON; YAML's own types would be another value."""
    text = "kind: A\nat: 2026-01-01T00:00:00Z\nday: 2026-01-01\n7: one\ntrue: two\n"
    [found] = read_text(text, "f").documents
    assert found.manifest == {"kind": "A", "at": "2026-01-01T00:00:00Z", "day": "2026-01-01", "7": "one", "true": "two"}


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("kind: A\n\tb: 1\n", (2, 1), "tab"),
        ("kind: {{ .Values.kind }}\n", (1, 8), "unhashable"),
        ("a: [1\n", (2, 1), "did not find expected"),
        ("a: !!python/object/apply:os.system [ls]\n", (1, 4), "could not determine a constructor"),
        ("a: !!binary aGk=\n", (1, 4), "could not determine a constructor"),
        ("kind: A\nspec: {a: 1,\n  a: 2}\n", (3, 3), "the key 'a' stands here twice"),
        ("a: 99999999999999999999\n", (1, 1), "a number is too large"),
        (b"a: \xff\n", (1, 1), "invalid"),
        ("a: *b\n", (1, 4), "undefined alias"),
    ],
)
def test_what_is_no_yaml_is_said_with_its_place(text: str | bytes, place: tuple[int, int], words: str) -> None:
    [mistake] = read_text(text, "f").mistakes
    assert mistake.code.code == "EGW1901"
    assert (mistake.place.line, mistake.place.column) == place
    assert words in mistake.message
    assert "\n" not in mistake.message


def test_a_few_lines_that_stand_for_more_than_memory_holds_are_refused() -> None:
    """The billion laughs."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    reading = read_text("kind: A\n" + "\n".join(lines), "f")
    assert reading.documents == ()
    assert "aliases stand for more than" in reading.mistakes[0].message


def test_a_deep_document_ends_no_program() -> None:
    reading = read_text("[" * 5_000 + "]" * 5_000, "f")
    assert [each.code.code for each in reading.mistakes] in ([], ["EGW1901"])


def test_objects_before_a_mistake_are_read() -> None:
    reading = read_text(gateway() + "---\na: [\n", "f")
    assert [each.kind for each in reading.documents] == ["EgressGateway"]
    assert len(reading.mistakes) == 1


def test_directories_are_read_in_order_and_no_file_twice(tmp_path: Path) -> None:
    """Hidden directories and other files are left alone."""
    for name in ("b.yaml", "a/c.yml", "a/d.json", ".git/e.yaml", "a/.f.yaml", "g.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text('{"kind": "A"}')
    reading = read_paths([str(tmp_path), str(tmp_path / "b.yaml")])
    shown = [Path(each.file).relative_to(tmp_path).as_posix() for each in reading.documents]
    assert shown == ["a/c.yml", "a/d.json", "b.yaml"]
    assert reading.files == 3


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(b"kind: A\n")))
    assert [each.file for each in read_paths(["-"]).documents] == ["<stdin>"]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="nowhere: no such file"):
        read_paths([str(tmp_path / "nowhere")])
    with pytest.raises(SourceError, match=r"there is no file named \*\.yaml"):
        read_paths([str(tmp_path)])


@pytest.mark.parametrize("text", ["a: 98765432109876543210\n", "a: !!int hunter4\n", "a: !!float hunter4\n"])
def test_a_value_that_cannot_be_read_is_not_repeated(text: str) -> None:
    """It may be a Secret's, and the answer goes to a pipeline's log."""
    [mistake] = read_text(f"kind: Secret\n{text}", "f").mistakes
    assert "98765" not in mistake.message
    assert "hunter4" not in mistake.message


def test_merged_keys_count_like_aliases() -> None:
    """Each level merges ten of the level before: they would be written out one by one."""
    lines = ["l0: &l0 {a: 1}", *(f"l{n}: &l{n} {{<<: [{', '.join([f'*l{n - 1}'] * 10)}]}}" for n in range(1, 10))]
    reading = read_text("\n".join(lines), "f")
    assert "aliases stand for more than" in reading.mistakes[0].message


@pytest.mark.parametrize(
    "text",
    [
        "[" * 200_000,
        '{"a":' * 200_000,
        "- " * 200_000,
        "".join(f"{' ' * level}a:\n" for level in range(300)),
        "a: &a [*a]\n",
    ],
)
def test_no_depth_ends_the_program(text: str) -> None:
    """The parser of C ends at some depth without a word."""
    assert [each.code.code for each in read_text(text, "f").mistakes] == ["EGW1901"]


def test_one_file_by_two_names_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: A\n")
    (tmp_path / "b.yaml").symlink_to(tmp_path / "a.yaml")
    reading = read_paths([str(tmp_path), f"{tmp_path}/./a.yaml"])
    assert len(reading.documents) == reading.files == 1


def test_closed_input_and_impossible_paths_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SourceError, match="too long"):
        read_paths(["x" * 300])
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(SourceError, match="<stdin>: it is closed"):
        read_paths(["-"])
