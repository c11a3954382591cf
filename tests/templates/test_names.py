from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from vibe_prefect.templates.names import plain_references
from vibe_prefect.templates.reads import FieldAccess, Reads, References
from vibe_prefect.templates.texts import MAX_TOKENS
from vibe_prefect.templates.trees import tree_references

ROOTS = ("outputs", "inputs", "run", "vibe", "description", "item")
STEPS = (".a", "['b-1']", '["c d"]', "[0]", ".items", ".if", ".__class__", " .a", "-1", "[01]", "[-1]", "()", ".1", "")
MARKS = ("{{", "}}", "{", "}", "{%", "%}", "{#", "-", " ", "\n", "é", "'", "\\", "{{ run.date }}", "{{ outputs }}")


def expression(root: str, steps: list[str]) -> str:
    return f"{{{{ {root}{''.join(steps)} }}}}"


expressions = st.builds(expression, st.sampled_from(ROOTS), st.lists(st.sampled_from(STEPS), max_size=4))
templates = st.lists(expressions | st.sampled_from(MARKS), max_size=6).map("".join)


@given(templates)
@example("{{{ outputs.a }}}")
@example("{{ outputs.a.b }} and {{ outputs['a']['b'] }} of {{ inputs }} {{ inputs[0].x }} {{ vibe.style }}")
def test_plain_template_is_read_as_jinja_reads_it(text: str) -> None:
    plain = plain_references(text)

    assert plain is None or plain == tree_references(text)


def test_plain_template_is_read_without_jinja() -> None:
    text = "{{ outputs['a-b'].shots[0] }}, {{outputs.c}} of {{ inputs.product }} on {{ run.date }}: {{ description }}"

    assert plain_references(text) == References(
        ("a-b", "c"),
        (FieldAccess("a-b", ("shots", 0)),),
        {},
        frozenset({"inputs", "run", "description"}),
        any_output=False,
        inputs=Reads(("product",)),
        run=Reads(("date",)),
    )


@pytest.mark.parametrize(
    "text",
    [
        "{{ outputs.a | upper }}",
        "{{ outputs.a-b }}",
        "{{ item }}",
        "{% if inputs.a %}x{% endif %}",
        "{{- outputs.a }}",
        "{{ outputs.a }}" + "x" * MAX_TOKENS,
        "{{ outputs" + ".a" * 21 + " }}",
    ],
)
def test_any_other_template_is_left_to_jinja(text: str) -> None:
    assert plain_references(text) is None
