"""Templates: what they name, what they yield, and what the sandbox keeps from them."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest

from vibe_prefect import Vibe
from vibe_prefect.templates.filling import fill_in_all
from vibe_prefect.templates.language import MAX_REPEATED, render
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import LITERAL_BRACES, InvalidTemplateError, is_template, walk_templates


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("plain", False),
        ("", False),
        ("{ x }", False),
        ("{{ x }}", True),
        ("a {% if x %}b{% endif %}", True),
        ("{# no remark #}", False),
        ("half {{", True),
        (7, False),
        (["{{ x }}"], False),
        (None, False),
    ],
)
def test_a_template_is_text_that_jinja_would_change(value: object, expected: bool) -> None:
    assert is_template(value) is expected


@pytest.mark.parametrize(
    ("text", "outputs"),
    [
        ("plain", ()),
        ("{{ outputs.digest.text }}", ("digest",)),
        ("{{ outputs['blog-post'].text }}", ("blog-post",)),
        ('{{ outputs["a.b"] }}', ("a.b",)),
        ("{{ outputs.b }} {{ outputs.a }} {{ outputs.b.text }}", ("b", "a")),
        ("{% for line in outputs.notes.lines %}{{ line }}{% endfor %}", ("notes",)),
        ("{% if outputs.a.ok %}x{% endif %}", ("a",)),
        ("{{ outputs.a.text | upper }}", ("a",)),
        ("{{ outputs.a['b'] }}", ("a",)),
        ("{{ outputs[name] }}", ()),
        ("{{ other.outputs.a }}", ()),
        ("{# {{ outputs.a }} #}", ("a",)),
        ("{% raw %}{{ outputs.a }}{% endraw %}", ()),
    ],
)
def test_the_outputs_that_a_template_names(text: str, outputs: tuple[str, ...]) -> None:
    assert references(text).outputs == outputs


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("plain", set[str]()),
        ("{{ outputs.a }}", set[str]()),
        ("{{ vibe.style }} {{ plan_id }}", {"vibe", "plan_id"}),
        ("{% set x = 1 %}{{ x }}", set[str]()),
        ("{% for x in xs %}{{ x }}{{ loop.index }}{% endfor %}", {"xs"}),
        ("{{ range(3) }}", set[str]()),
        ("{{ missing | default('d') }}", {"missing"}),
        ("{{ true and none }}", set[str]()),
    ],
)
def test_the_other_names_that_a_template_expects(text: str, names: set[str]) -> None:
    assert references(text).names == names


@pytest.mark.parametrize(
    ("text", "subtracted"),
    [
        ("{{ outputs.blog-post }}", {"blog": "blog-post"}),
        ("{{ outputs.blog-post.text }}", {"blog": "blog-post"}),
        ("{{ outputs.blog-post.text.title }}", {"blog": "blog-post"}),
        ("{{ outputs.blog - post }}", {"blog": "blog-post"}),
        ("{{ outputs.blog-post-draft.text }}", {"blog": "blog-post-draft"}),
        ("{{ outputs.a-b }} {{ outputs.c-d }}", {"a": "a-b", "c": "c-d"}),
        ("{{ outputs['blog-post'].text }}", {}),
        ("{{ outputs.counts.all - outputs.counts.bad }}", {}),
        ("{{ outputs.count - 1 }}", {}),
        ("{{ total - outputs.count }}", {}),
    ],
)
def test_a_hyphen_in_an_id_is_told_from_a_subtraction(text: str, subtracted: dict[str, str]) -> None:
    assert references(text).subtracted == subtracted


VALUES: dict[str, Any] = {
    "outputs": {
        "list": [1, {"a": 2}],
        "dict": {"text": "hello", "items": [1, 2], "keys": "k", "count": 3, "none": None},
        "blog-post": {"text": "post"},
        "number": 7,
    },
    "title": "Say it",
    "flag": False,
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ outputs.list }}", [1, {"a": 2}]),
        ("{{ outputs.list[1] }}", {"a": 2}),
        ("{{outputs.number}}", 7),
        ("  {{ outputs.number }}\n", 7),
        ("{{- outputs.number -}}", 7),
        ("{{+ outputs.number }}", 7),
        ("{{+ title }}", "Say it"),
        ("{{--outputs.number }}", -7),
        ("{{ outputs.dict.none }}", None),
        ("{{ flag }}", False),
        ("{{ outputs['blog-post'].text }}", "post"),
        ("{{ outputs.number + 1 }}", 8),
        ("{{ 'a' if flag else 'b' }}", "b"),
        ("{{ missing | default('d') }}", "d"),
        ("{{ missing is defined }}", False),
        ("{{ '}}' }}", "}}"),
        ("{{ {'a': [title]} }}", {"a": ["Say it"]}),
        ("{{ 5 }}", 5),
        ("{{ title | upper }}", "SAY IT"),
    ],
)
def test_one_single_expression_yields_its_own_value(text: str, value: Any) -> None:
    found = render(text, VALUES)
    assert found == value
    assert type(found) is type(value)


def test_an_inline_if_without_else_has_no_value_of_its_own() -> None:
    with pytest.raises(InvalidTemplateError, match="evaluated to false and no else section was defined"):
        render("{{ title if flag }}", VALUES)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ outputs.number }}!", "7!"),
        ("{{ outputs.number }}{{ outputs.number }}", "77"),
        ("{{ outputs.number }} and {{ title }}", "7 and Say it"),
        ("{{ outputs.list }}.", "[1, {'a': 2}]."),
        ("{% for one in outputs.dict['items'] %}{{ one }};{% endfor %}", "1;2;"),
        ("{% if flag %}yes{% endif %}", ""),
        ("a {{ title if flag }}b", "a b"),
        ("{# {{ title }} #}", "{# Say it #}"),
        ("## Setup {#setup}\n{{ title }} {#x} and C# {C#} end", "## Setup {#setup}\nSay it {#x} and C# {C#} end"),
        ("{#- {{ title }} -#}", "{#- Say it -#}"),
        ("line\n{{ title }}\n", "line\nSay it\n"),
        ("{% raw %}{{ title }}{% endraw %}", "{{ title }}"),
        ("<{{ '<b>' }}>", "<<b>>"),
    ],
)
def test_any_other_text_yields_text(text: str, value: str) -> None:
    assert render(text, VALUES) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ outputs.list | map('string') }}", ["1", "{'a': 2}"]),
        ("{{ outputs.dict['items'] | reverse }}", [2, 1]),
        ("{{ outputs.dict['items'] | select('odd') }}", [1]),
        ("{{ outputs.dict['items'] | batch(1) }}", [[1], [2]]),
        ("{{ range(3) }}", [0, 1, 2]),
        ("{{ (1, (2, 3)) }}", [1, [2, 3]]),
        ("{{ {'a': range(2)} }}", {"a": [0, 1]}),
        ("{{ {'a': 1}.items() }}", [["a", 1]]),
        ("{{ {'a': 1}.values() }}", [1]),
        ("{{ title | escape }}", "Say it"),
        ("{{ [title | safe] }}", ["Say it"]),
        ("{{ outputs.number | tojson }}", "7"),
    ],
)
def test_what_is_lazy_or_marked_up_becomes_plain_data(text: str, value: Any) -> None:
    found = render(text, VALUES)
    assert found == value
    assert type(found) is type(value)
    assert render(f"> {text}", VALUES) == f"> {value}"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ outputs.dict.items }}", [1, 2]),
        ("{{ outputs.dict.keys }}", "k"),
        ("{{ outputs.dict.count }} of them", "3 of them"),
        ("{% for one in outputs.dict.items %}{{ one }};{% endfor %}", "1;2;"),
        ("{% for id, one in outputs['blog-post'].items() %}{{ id }}={{ one }}{% endfor %}", "text=post"),
    ],
)
def test_data_comes_before_a_method_of_the_same_name(text: str, value: Any) -> None:
    assert render(text, VALUES) == value


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ missing }}", "'missing' is undefined"),
        ("a {{ missing }}", "'missing' is undefined"),
        ("{{ outputs.nope }}", "'dict object' has no attribute 'nope'"),
        ("{{ outputs.dict.nope }} b", "'dict object' has no attribute 'nope'"),
        ("{{ outputs.nope.text }}", "'dict object' has no attribute 'nope'"),
        ("{{ [outputs.nope] }}", "'dict object' has no attribute 'nope'"),
        ("{{ {'a': {'b': missing}} }}", "'missing' is undefined"),
        ("{{ outputs.list | map(attribute='nope') }}", "has no attribute 'nope'"),
        ("{% if missing %}x{% endif %}", "'missing' is undefined"),
        ("{% for one in missing %}x{% endfor %}", "'missing' is undefined"),
        ("{{ lipsum() }}", "'lipsum' is undefined"),
    ],
)
def test_a_name_that_is_not_there_is_an_error(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplateError, match=re.escape(message)) as caught:
        render(text, VALUES)
    assert str(caught.value).endswith(f", in the template {text!r}")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ 1 / 0 }}", "ZeroDivisionError: division by zero"),
        ("{{ 'a' + 1 }}", "TypeError: can only concatenate str"),
        ("{{ 1 | xmlattr }}", "AttributeError: 'int' object has no attribute 'items'"),
        ("{{ 'a'.encode('nope') }}", "LookupError: unknown encoding"),
        ("{% include 'other' %}", "TypeError: no loader"),
        ("{{ title | nope }}", "No filter named 'nope'"),
        ("{{ outputs.list | random }}", "No filter named 'random'"),
        ("{{ title is nope }}", "No test named 'nope'"),
        ("{{ title.upper }}", "the template yields a builtin_function_or_method, which is not data"),
        ("a {{ title.upper }}", "the template yields a builtin_function_or_method, which is not data"),
        ("{{ [namespace()] }}", "the template yields a Namespace, which is not data"),
        ("{{ cycler('a') }}", "the template yields a Cycler, which is not data"),
    ],
)
def test_what_goes_wrong_inside_is_told_as_the_templates_error(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplateError, match=re.escape(message)):
        render(text, VALUES)


MODEL = Vibe(description="secret")


def rendered(text: str) -> Any:
    return render(text, VALUES)


@pytest.mark.parametrize(
    "text",
    [
        "{{ title.__class__ }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ title['__class__'] }}",
        "{{ title | attr('__class__') }}",
        "{{ '{0.__class__}'.format(title) }}",
        "{{ render.__globals__ }}",
        "{{ self.__init__ }}",
        "{{ outputs.list.append(3) }}",
        "{{ outputs.dict.update({'a': 1}) }}",
        "{{ outputs.dict.pop('text') }}",
        "{% set _ = outputs.clear() %}",
        "{{ model.model_dump() }}",
        "{{ model.model_construct }}",
        "{{ model.description }}",
        "{{ ''.join.__self__ }}",
        "{{ (1).__class__ }}",
        "{{ cycler.__init__.__globals__ }}",
        "{{ 2 ** 2 }}",
        "{{ 9 ** 9 ** 9 }}",
        "{{ 'x' * 1000001 }}",
        "{{ 1000001 * 'x' }}",
        "{{ [1, 2] * 500001 }}",
        "{{ ('x' * 1000) * 1001 }}",
        "{{ range(100001) }}",
        "{% for i in range(1000000) %}{% endfor %}",
    ],
)
def test_the_sandbox_refuses(text: str) -> None:
    values = copy.deepcopy(VALUES)
    with pytest.raises(InvalidTemplateError):
        render(text, {**values, "model": MODEL, "render": render})
    assert values == VALUES


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("{{ 'x' * 3 }}", "xxx"),
        ("{{ [0] * 3 }}", [0, 0, 0]),
        ("{{ 6 * 7 }}", 42),
        ("{{ ('x' * 1000000) | length }}", MAX_REPEATED),
        ("{{ range(100000) | length }}", 100_000),
        ("{{ 'a,b'.split(',') }}", ["a", "b"]),
        ("{{ '%s!' | format(title) }}", "Say it!"),
        ("{{ outputs.dict.get('nope', 'none') }}", "none"),
    ],
)
def test_the_sandbox_allows_what_is_harmless(text: str, value: Any) -> None:
    assert render(text, VALUES) == value


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", id="brackets"),
        pytest.param("{{ " + "[" * 5000 + "]" * 5000 + " }}", id="lists"),
        pytest.param("{{ 1" + " + 1" * 5000 + " }}", id="sums"),
        pytest.param("{{ x" + ".y" * 5000 + " }}", id="attributes"),
        pytest.param("{{ x" + " | upper" * 5000 + " }}", id="filters"),
        pytest.param("{% if 1 %}" * 1000 + "x" + "{% endif %}" * 1000, id="blocks"),
    ],
)
def test_a_template_nested_too_deeply_is_an_error_and_no_crash(text: str) -> None:
    for use in (references, rendered):
        with pytest.raises(InvalidTemplateError, match=r"^nested too deeply, in the template '.{57}[.]{3}'$"):
            use(text)


def test_more_loops_than_python_allows_are_an_error_and_no_crash() -> None:
    text = "{% for i in [1] %}" * 30 + "x" + "{% endfor %}" * 30
    try:
        assert render(text, {}) == "x"
    except InvalidTemplateError as error:
        assert str(error).startswith("nested too deeply")  # noqa: PT017 - either will do, nothing else


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ 1", "unexpected end of template, expected 'end of print statement', in the template '{{ 1'"),
        ("{{ (1 }}", "unexpected '}', expected ')', in the template '{{ (1 }}'"),
        ("{% nope %}", "Encountered unknown tag 'nope', in the template '{% nope %}'"),
        (
            "one\ntwo {{ }}\nthree",
            (
                "Expected an expression, got 'end of print statement' (line 2 of the template), "
                "in the template 'one two {{ }} three'"
            ),
        ),
        (
            "one\n\n{% if x %}\nnever closed",
            (
                "Unexpected end of template. Jinja was looking for the following tags: 'elif' or 'else' or 'endif'. "
                "The innermost block that needs to be closed is 'if' (line 3 of the template), "
                "in the template 'one {% if x %} never closed'"
            ),
        ),
        ("a\n{{ x | nope }}", "No filter named 'nope' (line 2 of the template), in the template 'a {{ x | nope }}'"),
        (
            "{% nope %}" + "x" * 80,
            "Encountered unknown tag 'nope', in the template '{% nope %}" + "x" * 47 + "...'",
        ),
    ],
)
def test_a_syntax_error_says_what_and_on_which_line(text: str, message: str) -> None:
    for use in (references, rendered):
        with pytest.raises(InvalidTemplateError) as caught:
            use(text)
        assert str(caught.value) == message + LITERAL_BRACES


@pytest.mark.parametrize("name", ["self", "context", "environment", "result", "args", "kwargs", "loop", "undefined"])
def test_a_value_may_have_any_name_without_hurting_the_others(name: str) -> None:
    values = {name: "own", "x": 1}
    assert render("{{ x }}", values) == 1
    assert render("x={{ x }}", values) == "x=1"
    if name != "self":  # Jinja's own word: it never means a value
        assert render(f"{{{{ {name} }}}}", values) == "own"
        assert render(f"a {{{{ {name} }}}}", values) == "a own"


def test_jinjas_own_self_is_no_data() -> None:
    for text in ("{{ self }}", "a {{ self }}"):
        with pytest.raises(InvalidTemplateError, match="the template yields a TemplateReference, which is not data"):
            render(text, {"self": "own"})


async def test_templates_are_filled_in_at_any_depth_and_the_rest_stays() -> None:
    value = {
        "title": "{{ title }}",
        "plain": "no template",
        "list": ["{{ outputs.list }}", {"deep": "{{ outputs.number }} {{ title }}"}, 5, None, True],
        "pair": ("{{ flag }}", "x"),
        "{{ title }}": "keys stay",
    }
    before = copy.deepcopy(value)
    assert await fill_in_all(value, VALUES) == {
        "title": "Say it",
        "plain": "no template",
        "list": [[1, {"a": 2}], {"deep": "7 Say it"}, 5, None, True],
        "pair": [False, "x"],
        "{{ title }}": "keys stay",
    }
    assert value == before


async def test_what_a_template_yields_is_not_rendered_again() -> None:
    values = {"x": "{{ y }}", "y": "secret"}
    assert await fill_in_all({"a": "{{ x }}", "b": "> {{ x }}"}, values) == {"a": "{{ y }}", "b": "> {{ y }}"}


def test_what_a_template_yields_shares_nothing_with_the_values() -> None:
    values = copy.deepcopy(VALUES)
    render("{{ outputs.list }}", values).append("spoilt")
    render("{{ outputs }}", values)["dict"]["text"] = "spoilt"
    assert values == VALUES


def test_every_template_is_found_with_its_place() -> None:
    value = {"a": "{{ x }}", "b": ["no", "{% if x %}y{% endif %}", {"c": ("{{ z }}",)}], "d": 7}
    assert list(walk_templates(value)) == [
        (("a",), "{{ x }}"),
        (("b", 1), "{% if x %}y{% endif %}"),
        (("b", 2, "c", 0), "{{ z }}"),
    ]
    assert list(walk_templates("{{ x }}", ("top",))) == [(("top",), "{{ x }}")]


def test_the_same_template_with_other_values_yields_other_results() -> None:
    assert [render("{{ x }}!", {"x": value}) for value in (1, 2)] == ["1!", "2!"]
    assert [render("{{ x }}", {"x": value}) for value in ([1], "a")] == [[1], "a"]
