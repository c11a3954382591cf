"""Templates against what is known before the run: fields of outputs, names, braces and descriptions."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel
from typing_extensions import TypedDict

from tests.plans import node, plan
from vibe_prefect import PlanError, ToolRegistry, WorkflowNode, WorkflowNodeType, compile_plan, tool
from vibe_prefect.schemas.schema import mismatches
from vibe_prefect.templates.texts import LITERAL_BRACES
from vibe_prefect.testing import ScriptedModel, run_offline
from vibe_prefect.tools.builtin.registered import builtin_tools


class Part(BaseModel):
    name: str
    size: int = 0


class Report(TypedDict):
    text: str
    parts: list[Part]
    best: Part | None


@tool(version="1")
def report() -> Report:
    """Make a report."""
    return Report(text="t", parts=[Part(name="p")], best=None)


@tool(version="1")
def anything() -> dict[str, Any]:
    """Make anything."""
    return {"any": {"thing": 1}}


def registry() -> ToolRegistry:
    return ToolRegistry([*builtin_tools(), report, anything])


def maker(name: str = "report", kind: str = "analyze") -> WorkflowNode:
    return node("a", kind, parameters={"tool": name})


def reader(template: str, *needs: str) -> WorkflowNode:
    inputs = {"path": "x.txt", "content": template}
    return node("r", "transform", needs=list(needs or ("a",)), parameters={"tool": "write_file", "tool_inputs": inputs})


def problems_of(*nodes: WorkflowNode, tools: ToolRegistry | None = None, **options: Any) -> list[str]:
    try:
        compile_plan(plan(*nodes), tools=tools or registry(), **options)
    except PlanError as error:
        return [str(problem) for problem in error.problems]
    return []


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{{ outputs.a.txt }}", "outputs.a has no 'txt'; did you mean 'text'?"),
        ("{{ outputs['a']['txt'] }}", "outputs.a has no 'txt'; did you mean 'text'?"),
        ("{{ outputs.a['zzz'] | upper }}", "outputs.a has no 'zzz'; it has text, parts, best"),
        ("{{ outputs.a.parts[0].nam }}", "outputs.a.parts[0] has no 'nam'; did you mean 'name'?"),
        ("{{ outputs.a.parts.name }}", "outputs.a.parts is a list and has no 'name'"),
        ("{{ outputs.a.best.nam }}", "outputs.a.best has no 'nam'; did you mean 'name'?"),
        ("{{ outputs.a.text.title_ }}", "outputs.a.text is text and has no 'title_'"),
        (
            "{% for part in outputs.a.parts if part.size %}{{ part.nam }}{% endfor %}",
            "outputs.a.parts[...] has no 'nam'; did you mean 'name'?",
        ),
        ("{% if outputs.a.txt %}x{% endif %}", "outputs.a has no 'txt'; did you mean 'text'?"),
        ("{{ outputs.a.txt or 'x' }} {{ outputs.a.txt }}", "outputs.a has no 'txt'; did you mean 'text'?"),
        ("{{ outputs.a.txt.x | default('y') }}{{ outputs.a.txt }}", "outputs.a has no 'txt'; did you mean 'text'?"),
    ],
)
def test_a_field_that_the_tool_does_not_state_is_refused(template: str, said: str) -> None:
    expected = f"node 'r', parameters.tool_inputs.content: {said} (the output of the tool 'report')"
    assert problems_of(maker(), reader(template)) == [expected]


@pytest.mark.parametrize(
    "template",
    [
        "{{ outputs.a }}{{ outputs.a.text }}{{ outputs.a.parts[0].size }}{{ outputs.a.best.name }}",
        "{{ outputs.a.text.split()[0].upper() }}",
        "{{ outputs.a.parts[-1].name }}{{ outputs.a.parts[1:][0].nam }}",
        "{{ outputs.a.txt | default('x') }}{{ outputs.a.txt }}",
        "{% if outputs.a.txt is defined %}{{ outputs.a.txt }}{% endif %}",
        "{% if 'txt' in outputs.a %}{{ outputs.a.txt }}{% endif %}",
        "{{ outputs.a.get('txt') }}",
        "{% for key, value in outputs.a.items() %}{{ key }}{{ value.x }}{% endfor %}",
        "{% for id, output in outputs.items() %}{{ id }}{{ output.txt }}{% endfor %}",
        "{% for part in outputs.a.parts %}{% set part = vibe %}{{ part.nam }}{% endfor %}",
        "{% for part in outputs.a.parts recursive %}{{ part.nam }}{% endfor %}",
        "{% for name in outputs.a %}{{ name.upper() }}{% endfor %}",
        "{% set outputs = {'a': {'txt': 1}} %}{{ outputs.a.txt }}",
        "{% macro m(part) %}{{ part.nam }}{% endmacro %}{% for part in outputs.a.parts %}{{ m(part) }}{% endfor %}",
        "{{ outputs.a[vibe.style].x }}{{ (outputs.a.parts | first).x }}{{ outputs.a.parts | map(attribute='x') }}",
    ],
)
def test_what_may_be_there_is_no_problem(template: str) -> None:
    assert problems_of(maker(), reader(template)) == []


@pytest.mark.parametrize(
    ("made", "options"),
    [
        (maker("anything"), {}),
        (maker(), {"simulate": "all"}),
        (maker(), {"handled_types": [WorkflowNodeType.ANALYZE]}),
        (node("a", "analyze"), {"simulate": "unbacked"}),
    ],
)
def test_nothing_is_said_where_nothing_is_stated(made: WorkflowNode, options: dict[str, Any]) -> None:
    assert problems_of(made, reader("{{ outputs.a.txt }}"), **options) == []


def test_a_composite_without_a_tool_has_a_text_and_no_fields() -> None:
    made = node("a", "composite", children=[node("c", "analyze", parameters={"tool": "report"})])
    assert problems_of(made, reader("{{ outputs.a }}")) == []
    assert problems_of(made, reader("{{ outputs.a.text }}")) == [
        (
            "node 'r', parameters.tool_inputs.content: outputs.a is text and has no 'text' "
            "(the output of a composite, whose children do the work)"
        )
    ]


SCHEMA: dict[str, Any] = {
    "type": "object",
    "properties": {"titles": {"type": "array", "items": {"$ref": "#/$defs/Title"}}},
    "additionalProperties": False,
    "$defs": {"Title": {"type": "object", "properties": {"short": {"type": "string"}}, "additionalProperties": False}},
}


@pytest.mark.parametrize(
    ("inputs", "template", "said"),
    [
        ({}, "{{ outputs.a.text }}", None),
        ({}, "{{ outputs.a.data.x }}", "outputs.a has no 'data'"),
        ({"output_schema": SCHEMA}, "{{ outputs.a.data.titles[0].short }}{{ outputs.a.text }}", None),
        (
            {"output_schema": SCHEMA},
            "{{ outputs.a.data.titels }}",
            "outputs.a.data has no 'titels'; did you mean 'titles'?",
        ),
        ({"output_schema": SCHEMA}, "{{ outputs.a.data.titles[0].shrt }}", "outputs.a.data.titles[0] has no 'shrt'"),
        ({"output_schema": SCHEMA}, "{{ outputs.a.titles }}", "outputs.a has no 'titles'; it has text, data"),
        ({"output_schema": {"type": "object"}}, "{{ outputs.a.data.any.thing }}", None),
        ({"output_schema": {**SCHEMA, "title": "{{ vibe.style }}"}}, "{{ outputs.a.data.any }}", None),
        ({"output_schema": "{{ vibe.metadata.schema }}"}, "{{ outputs.a.data.any }}", None),
    ],
)
def test_what_a_model_writes_is_known_by_the_nodes_own_schema(
    inputs: dict[str, Any], template: str, said: str | None
) -> None:
    made = node("a", parameters={"tool": "llm_generate", "tool_inputs": inputs})
    found = problems_of(made, reader(template), tools=ScriptedModel("x").registry)
    assert len(found) == (said is not None)
    assert said is None or said in found[0]


async def test_the_built_in_tools_make_what_they_state(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Some words [here](b.txt).")
    (tmp_path / "b.txt").write_text("More words.")
    text = {"text": "Some words."}
    calls: list[tuple[str, dict[str, Any]]] = [
        ("read_text", {"path": "*.txt"}),
        ("template_fill", {"template": "x"}),
        ("combine", {"parts": ["a", "b"]}),
        ("write_file", {"path": "made.txt", "content": "x"}),
        ("check_text", text | {"min_words": 1}),
        ("check_json", {"data": "[1]"}),
        ("image_card", {"title": "Tea"}),
        ("llm_or_template", {"prompt": "x", "template": "y"}),
        ("judge_or_pass", text | {"criteria": ["good"]}),
    ]
    subject = plan(*(node(name, parameters={"tool": name, "tool_inputs": inputs}) for name, inputs in calls))
    result = await run_offline(subject, registry(), input_root=tmp_path, output=tmp_path / "out")
    for name, _ in calls:
        outcome, found = result.node_results[name], registry().get(name)
        assert found is not None
        assert outcome.result is not None, outcome.error
        assert mismatches(found.spec.output_schema, outcome.result["result"]) == []


@pytest.mark.parametrize(
    ("content", "written"),
    [
        ("## Setup {#setup}\n\nText {#id-2 .class}\n", None),
        ("A {#x} and C# {C#} end #}", None),
        ("{# never closed", None),
        ("{#- {{ node_id }} -#}", "{#- w -#}"),
        ("{% raw %}{{ name }} {#id}{% endraw %} {{ '{{' }}", "{{ name }} {#id} {{"),
    ],
)
async def test_heading_ids_and_the_like_are_text(content: str, written: str | None, tmp_path: Path) -> None:
    inputs = {"path": "a.md", "content": content}
    subject = plan(node("w", parameters={"tool": "write_file", "tool_inputs": inputs}))
    result = await run_offline(subject, registry(), output=tmp_path)
    assert result.node_results["w"].error is None
    assert (tmp_path / "a.md").read_text() == (written or content)


@pytest.mark.parametrize(
    "content",
    ["run: ${{ secrets.TOKEN }}", "{% include_relative a.md %}", "{{ github.event. }}", "{{", "{{< shortcode >}}"],
)
def test_a_message_on_braces_says_how_to_write_them(content: str) -> None:
    found = problems_of(maker(), reader(content))
    assert found
    assert all(one.endswith(LITERAL_BRACES) for one in found)


def with_report(model: ScriptedModel) -> ToolRegistry:
    tools = model.registry
    tools.register(report)
    return tools


def model_plan(kind: str, description: str, **inputs: Any) -> WorkflowNode:
    return node("m", kind, needs=["a"], parameters={"tool_inputs": inputs}).model_copy(
        update={"description": description}
    )


@pytest.mark.parametrize("kind", ["analyze", "generate", "transform", "validate"])
def test_a_description_is_a_template_wherever_a_model_is_given_it(kind: str) -> None:
    tools = with_report(ScriptedModel("x"))
    wrong = model_plan(kind, "Explain ${{ secrets.TOKEN }} and {{ outputs.a.txt }}")
    assert problems_of(maker(), wrong, tools=tools) == [
        "node 'm', description: outputs.a has no 'txt'; did you mean 'text'? (the output of the tool 'report')",
        (
            "node 'm', description: the template names 'secrets', which is not defined; a template can name "
            f"description, inputs, node_id, outputs, plan_id, run, vibe{LITERAL_BRACES}"
        ),
    ]
    own = {"criteria": ["good"]} if kind == "validate" else {"prompt": "Write"}
    assert problems_of(maker(), model_plan(kind, "Explain ${{ secrets.TOKEN }}", **own), tools=tools) == []
    assert problems_of(maker(), model_plan(kind, "Explain {% raw %}{{ x }}{% endraw %} {#id}"), tools=tools) == []


def test_a_description_is_text_where_no_model_runs_the_node() -> None:
    plain = maker().model_copy(update={"description": "Explain {{ x }} and {% y %}"})
    assert problems_of(plain) == []


async def test_a_judge_is_given_the_description_filled_in(tmp_path: Path) -> None:
    model = ScriptedModel('{"criteria": []}')
    tools = with_report(model)
    judged = model_plan("validate", "Is it about {{ outputs.a.text }}, {{ node_id }}?", text="tttttttt")
    await run_offline(plan(maker(), judged, policy={"retries": 0}), tools, output=tmp_path)
    assert "1. Is it about t, m?" in model.questions[0].prompt


KEY_OF_0_1_0 = "c2bf82f79eb00a2e36046a6fd1f34acd30dd2177909dcf1634d3078d69219b73"


def test_keys_change_only_where_the_meaning_of_braces_did() -> None:
    def key(content: str) -> str:
        return compile_plan(plan(maker(), reader(content)), tools=registry()).nodes["r"].key

    assert key("plain {{ outputs.a.text }}") == KEY_OF_0_1_0
    assert len({key("A"), key("A {# remark #}"), key("A {#x}")}) == 3
