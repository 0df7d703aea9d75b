"""No value changes the structure of a document, and no template of ours gives it the chance."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from jinja2 import DictLoader

from egressgateway.errors import InvariantError, TemplateError
from egressgateway.plan.ir import Child
from egressgateway.refs import Key, ObjectRef
from egressgateway.render.digest import digest_of
from egressgateway.render.environment import Renderer
from egressgateway.render.manifests import RenderCache, render_child
from egressgateway.stages import Stage
from unit.golden.cases import case_names, run_named
from unit.render.attacks import ATTACKS

LONGEST_LINE = 120  # but for names of Envoy's types, which cannot be broken
TEMPLATES = Path(__file__).parents[3] / "templates"
SOURCES = sorted(str(path.relative_to(TEMPLATES)) for path in TEMPLATES.rglob("*.j2"))

TEXT = st.text(st.characters(exclude_categories=["Cs"])) | st.sampled_from(ATTACKS)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def _children() -> list[Child]:
    """One child for each template, as the golden cases plan it."""
    found: dict[str, Child] = {}
    for name in case_names():
        for child in run_named(name).plan.children:
            found.setdefault(child.template, child)
    return [found[template] for template in sorted(found)]


CHILDREN = _children()
RENDERER = Renderer()


def renderer_of(source: str) -> Renderer:
    return Renderer(DictLoader({"t": source}))


def test_every_template_is_used_by_a_golden_case() -> None:
    """The tests below see every template."""
    assert [child.template for child in CHILDREN] == SOURCES


Place = tuple[str | int, ...]
"""Way to a value of a child: its name, the number of an item that a template walks through, an attribute."""


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: child.template)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_a_value_comes_out_as_itself_and_changes_nothing_else(child: Child, data: st.DataObject) -> None:
    """Any value in any place of any template: it stands there as it was given, and the rest is as before."""
    shape = _Shape((TEMPLATES / child.template).read_text())
    place = data.draw(st.sampled_from(sorted(shape.places(child.values), key=str)))
    before = RENDERER.render(child.template, dict(child.values))
    mark, value = f"mark {child.template}", data.draw(VALUES.filter(bool))
    marked = RENDERER.render(child.template, shape.changed(child.values, place, mark))
    filled = RENDERER.render(child.template, shape.changed(child.values, place, value))
    assert _with(marked, mark, value) == filled
    assert before.keys() == filled.keys()


class _Shape:
    """What a template reads: of which names attributes, and through which lists it walks."""

    def __init__(self, source: str) -> None:
        expressions = " ".join(re.findall(r"\{[{%].*?[%}]\}", source))
        self._items = {list_: item for item, list_ in re.findall(r"for (\w+) in (\w+)", expressions)}
        self._attributes: dict[str, set[str]] = {}
        for name, attribute in re.findall(r"\b(\w+)\.(\w+)", expressions):
            self._attributes.setdefault(name, set()).add(attribute)

    def places(self, values: Mapping[str, Any]) -> Iterator[Place]:
        """Every place of a value that the template may write down."""
        for name, value in values.items():
            if name in self._items:
                for index in range(len(value)):
                    yield from self._within((name, index), self._items[name])
            else:
                yield from self._within((name,), name)

    def changed(self, values: Mapping[str, Any], place: Place, new: Any) -> dict[str, Any]:
        """`values` with another one at `place`; what the template looks into is opened for that."""
        name, *rest = place
        assert isinstance(name, str)
        return {**values, name: self._changed(values[name], name, rest, new)}

    def _within(self, place: Place, name: str) -> Iterator[Place]:
        attributes = self._attributes.get(name)
        yield from ((*place, attribute) for attribute in attributes) if attributes else (place,)

    def _changed(self, value: Any, name: str, rest: Sequence[str | int], new: Any) -> Any:
        if not rest:
            return new
        step, *deeper = rest
        if isinstance(step, int):
            items = list(value)
            items[step] = self._changed(items[step], self._items[name], deeper, new)
            return items
        opened = {
            each: value[each] if isinstance(value, dict) else getattr(value, each) for each in self._of(name, value)
        }
        return {**opened, step: new}

    def _of(self, name: str, value: Any) -> set[str]:
        known = self._attributes[name]
        return known & value.keys() if isinstance(value, dict) else known


def _with(node: Any, mark: str, value: Any) -> Any:
    if node == mark:
        return value
    if isinstance(node, dict):
        return {key: _with(item, mark, value) for key, item in node.items()}
    if isinstance(node, list):
        return [_with(item, mark, value) for item in node]
    return node


@given(name=TEXT, hosts=st.lists(TEXT, max_size=4), labels=st.dictionaries(TEXT, TEXT, max_size=3))
@settings(max_examples=200, deadline=None)
@example("x", list(ATTACKS), dict.fromkeys(ATTACKS, "x"))
def test_texts_in_a_loop_stay_texts(name: str, hosts: list[str], labels: dict[str, str]) -> None:
    """A list, a mapping and a name of any text are exactly these in the document."""
    source = "kind: X\nname: {{ name }}\nlabels: {{ labels }}\nlast: [{{ name }}]\n"
    source += "hosts:\n{% for h in hosts %}\n- {{ h }}\n{% endfor %}\n"
    assert renderer_of(source).render("t", {"name": name, "hosts": hosts, "labels": labels}) == {
        "kind": "X",
        "name": name,
        "labels": labels,
        "hosts": hosts or None,
        "last": [name],
    }


@pytest.mark.parametrize("value", [0, False, None, "", [], {}, 1.5, {"a": [{"b": None}]}, ["x"]])
def test_a_value_keeps_its_type(value: object) -> None:
    """What is false or empty is as good a value as any."""
    assert renderer_of("a: {{ x }}").render("t", {"x": value}) == {"a": value}


@pytest.mark.parametrize(
    "source",
    [
        "a: pre-{{ x }}",
        "a: {{ x }}-post",
        "a: {{ x }}{{ x }}",
        "a: 'it is {{ x }}'",
        "{{ x }}: 1",
        "a: |\n  {{ x }}\n  more",
    ],
)
def test_a_value_as_part_of_a_scalar_is_refused(source: str) -> None:
    """Composing belongs to the planner: in a template it could mean anything."""
    with pytest.raises(TemplateError, match="value"):
        renderer_of(source).render("t", {"x": "v"})


@pytest.mark.parametrize(
    "source",
    [
        "a: {{ missing }}",
        "a: {{ x.missing }}",
        "{% if missing %}{% endif %}a: 1",
        "{% for i in missing %}{% endfor %}a: 1",
    ],
)
def test_a_missing_value_is_refused(source: str) -> None:
    """A misspelt name must not become an empty field."""
    with pytest.raises(TemplateError, match="missing"):
        renderer_of(source).render("t", {"x": {}})


@pytest.mark.parametrize(
    "source",
    [
        "a: {{ x.__class__.__mro__ }}",
        "a: {{ ''.__class__ }}",
        "a: {{ cycler.__init__.__globals__ }}",
        "a: {{ x.append(1) }}",
        "a: {% for s in [].__class__.__base__.__subclasses__() %}{% endfor %}",
    ],
)
def test_a_template_cannot_leave_its_sandbox(source: str) -> None:
    """Even a template of ours reaches nothing but its values, and changes none of them."""
    values: dict[str, Any] = {"x": []}
    with pytest.raises(TemplateError):
        renderer_of(source).render("t", values)
    assert values == {"x": []}


@pytest.mark.parametrize(
    "source", ["", "- a", "text", "a: 1\n---\nb: 2", "a: [", "a: !!python/object:os.x {}", "a: {{ x", "1: a"]
)
def test_what_is_no_single_mapping_is_refused(source: str) -> None:
    """One template, one object."""
    with pytest.raises(TemplateError):
        renderer_of(source).render("t", {"x": 1})


def test_an_error_names_template_and_line() -> None:
    """Whoever reads the log finds the place."""
    with pytest.raises(TemplateError, match=r"^t:2: ") as caught:
        renderer_of("a: 1\nb: {{ x").render("t", {})
    assert (caught.value.template, caught.value.line) == ("t", 2)


def test_a_missing_template_is_refused() -> None:
    """Nothing outside the package's templates is read."""
    with pytest.raises(TemplateError, match="nowhere"):
        RENDERER.render("nowhere.yaml.j2", {})


@pytest.mark.parametrize("template", SOURCES)
def test_template_reads_like_a_manifest(template: str) -> None:
    """It begins with a comment or the API version, and each value is a whole scalar, said by its name alone."""
    source = (TEMPLATES / template).read_text()
    assert re.match(r"(# [^\n]*\n)*apiVersion: ", source)
    for line in source.splitlines():
        for value in re.findall(r"\{\{.*?\}\}", line):
            assert re.fullmatch(r"\{\{ [a-z_]+(\.[a-z_]+)* \}\}", value), value
        rest = re.sub(r"\{\{.*?\}\}", "‹›", line)
        assert re.fullmatch(r"\{% (if|elif|for|else|endif|endfor)\b.*%\}", rest) or "{%" not in rest
        assert all(re.search(r"(^|: |- |\[|, )$", before) for before in rest.split("‹›")[:-1]), line
        assert all(re.match(r"$|[],]", after) for after in rest.split("‹›")[1:]), line
        assert len(line) <= LONGEST_LINE or line.lstrip().startswith('"@type": type.googleapis.com/'), line


@pytest.mark.parametrize("child", CHILDREN, ids=lambda child: child.template)
def test_the_same_child_is_the_same_object_and_digest(child: Child) -> None:
    """Rendering depends on nothing but template and values, and leaves the values as they are."""
    first, second = render_child(Renderer(), child), render_child(Renderer(), child)
    assert first == second
    assert yaml.safe_load(yaml.safe_dump(_plain(first.manifest))) == _plain(second.manifest)


def test_the_digest_is_blind_to_the_order_of_keys_alone() -> None:
    """The order of a list is a difference, that of keys is none."""
    assert digest_of({"a": 1, "b": [1, 2]}) == digest_of({"b": [1, 2], "a": 1})
    assert digest_of({"a": [1, 2]}) != digest_of({"a": [2, 1]})


def test_the_digest_is_the_one_of_earlier_versions() -> None:
    """Another one would have every child of every cluster written again; no golden case shows a digest."""
    assert digest_of({"a": 1, "b": [1, 2]}) == "bba7f0f516ab1a2e"


def test_a_template_of_another_object_is_a_bug() -> None:
    """What the plan names and what the template describes must be one."""
    child = CHILDREN[0]
    wrong = Child(ObjectRef("Secret", "shop", "x"), Stage.FOUNDATION, child.template, child.values)
    with pytest.raises(InvariantError, match="Secret shop/x"):
        render_child(RENDERER, wrong)


def test_the_cache_renders_again_only_what_changed() -> None:
    """An equal child costs nothing; another one under the same name is rendered, and so is one that was forgotten."""
    cache, child = RenderCache(Renderer()), CHILDREN[0]
    [first] = cache.render(Key("shop", "partners"), [child])
    [again] = cache.render(
        Key("shop", "partners"), [Child(child.ref, child.stage, child.template, dict(child.values), child.section)]
    )
    assert again is first
    changed = Child(child.ref, child.stage, child.template, {**child.values, "labels": {}}, child.section)
    [other] = cache.render(Key("shop", "partners"), [changed])
    assert other.digest != first.digest
    cache.forget(Key("shop", "partners"))
    [anew] = cache.render(Key("shop", "partners"), [child])
    assert anew == first
    assert anew is not first


def _plain(value: Any) -> Any:
    """Without the subclasses of str and tuple that YAML's safe dumper does not know."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return str(value) if isinstance(value, str) else value


def test_render_cache_is_bounded() -> None:
    """What was rendered for the EgressGateways that were not looked at for longest is forgotten first."""
    cache, child = RenderCache(Renderer(), most=2), CHILDREN[0]
    keys = [Key("shop", name) for name in "abc"]
    first = [cache.render(key, [child])[0] for key in keys]
    assert cache.render(keys[2], [child])[0] is first[2]
    assert cache.render(keys[1], [child])[0] is first[1]
    assert cache.render(keys[0], [child])[0] is not first[0]
    cache.forget(keys[1])
    cache.forget(keys[1])
    assert cache.render(keys[0], [child])[0] is cache.render(keys[0], [child])[0]
