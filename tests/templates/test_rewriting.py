"""Templates of a part in the plan that uses it: they yield what the part alone would, under the longer names."""

from __future__ import annotations

from typing import Any

import pytest

from vibe_prefect.templates.language import render
from vibe_prefect.templates.names import references
from vibe_prefect.templates.rewriting import Rewriting
from vibe_prefect.templates.texts import InvalidTemplateError

IDS = {"draft": "social.draft", "a-b": "social.a-b"}
GIVEN: dict[str, Any] = {
    "product": "Tea",
    "count": 3,
    "below": -2,
    "on": True,
    "none": None,
    "list": ["x", {"k": "y"}],
    "plain": 'a "b" \\ }}',
    "blank": " a\n",
    "title": "The {{ outputs.head.text }}, {{ inputs.brand }}",
    "brand": "{{ inputs.brand }}",
    "deep": [{"of": "{{ inputs.brand }}"}, 1],
    "brace": "x{",
    "loop": "{% for n in [1, 2] %}{{ n }}{% endfor %}",
}
OUTER = {
    "outputs": {"head": {"text": "News"}, "social.draft": {"text": "D"}, "social.a-b": 5},
    "inputs": {"brand": "B"},
}


@pytest.mark.parametrize(
    ("text", "written", "value"),
    [
        ("no template", "no template", "no template"),
        ("{{ 1 + 1 }}", "{{ 1 + 1 }}", 2),
        ("About {{ inputs.product }}.", "About Tea.", "About Tea."),
        ("{{ inputs.product }}", "Tea", "Tea"),
        ("{{inputs['product']}}", "Tea", "Tea"),
        ("{{- inputs.product -}} ", '{{- "Tea" -}} ', "Tea"),
        ("{{ inputs.product | upper }}", '{{ "Tea" | upper }}', "TEA"),
        ("{{ inputs.count }}", "{{ 3 }}", 3),
        ("{{ 1 - inputs.below }}", "{{ 1 - (-2) }}", 3),
        ("{{ inputs.on and not inputs.none }}", "{{ true and not none }}", True),
        ("{{ inputs.list[1].k }}", '{{ ["x", {"k": "y" }][1].k }}', "y"),
        ("{{ inputs.blank }}", " a\n", " a\n"),
        ("{{ inputs.blank }}!", '{{ " a\\n" }}!', " a\n!"),
        ("{{ inputs.brand }}", "{{ inputs.brand }}", "B"),
        ("{{ inputs.title }}!", "The {{ outputs.head.text }}, {{ inputs.brand }}!", "The News, B!"),
        (
            "{{ inputs.title | lower }}",
            '{{ ("The " ~ (outputs.head.text) ~ ", " ~ (inputs.brand)) | lower }}',
            "the news, b",
        ),
        ("{{ inputs.deep }}", '{{ [{"of": (inputs.brand) }, 1] }}', [{"of": "B"}, 1]),
        ("{{ inputs.brace }}{ ok", '{{ "x{" }}{ ok', "x{{ ok"),
        ("{{ inputs.loop }}", "{% for n in [1, 2] %}{{ n }}{% endfor %}", "12"),
        ("{{ outputs.draft.text }}", '{{ outputs["social.draft"].text }}', "D"),
        ("{% if outputs['a-b'] > inputs.count %}y{% endif %}", '{% if outputs["social.a-b"] > 3 %}y{% endif %}', "y"),
        ("{% raw %}{{ inputs.on }}{% endraw %}", "{% raw %}{{ inputs.on }}{% endraw %}", "{{ inputs.on }}"),
        ("{{ inputs.plain ~ '' }}", """{{ "a \\"b\\" \\\\ }}" ~ '' }}""", 'a "b" \\ }}'),
        ("{{ {'inputs': 1}.inputs }}", "{{ {'inputs': 1}.inputs }}", 1),
        ("{{ outputs | length }}", "{{ outputs | length }}", 3),
    ],
)  # fmt: skip
def test_a_template_of_a_part_yields_the_same_in_the_outer_plan(text: str, written: str, value: Any) -> None:
    assert Rewriting(IDS, GIVEN).of(text) == written
    assert render(written, OUTER) == value


def test_a_template_that_its_inputs_would_blow_up_is_refused() -> None:
    with pytest.raises(InvalidTemplateError, match="with its inputs, the template has more than 10,000,000 characters"):
        Rewriting({}, {"long": "x" * 1_000_000}).of("{{ inputs.long | upper }}" * 1_000)


def test_all_inputs_at_once_are_a_mapping() -> None:
    written = Rewriting(IDS, {"a": "{{ inputs.brand }}", "b": 2}).of("{{ inputs.items() | list }}{{ inputs[x] }}")
    assert written == '{{ {"a": (inputs.brand), "b": 2 }.items() | list }}{{ {"a": (inputs.brand), "b": 2 }[x] }}'
    assert references(written).inputs.names == ("brand",)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{{ outputs[name] }}", "a part names outputs literally, as in outputs.draft or outputs['draft']"),
        (
            "{{ inputs.loop | upper }}",
            "the value of an input that stands within a larger expression takes {{ expressions }} only",
        ),
        ("{{ 'inputs }}", "unexpected char"),
        ("{% set inputs = 1 %}{{ inputs }}", "the template gives 'inputs' a meaning of its own; use another name"),
    ],
)
def test_a_template_that_cannot_be_rewritten_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidTemplateError) as caught:
        Rewriting(IDS, GIVEN).of(text)
    assert str(caught.value).startswith(message)
