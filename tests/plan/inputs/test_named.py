"""Inputs and facts in the content keys: those of the nodes that name them, and of what depends on these."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, RunFacts, Simulate, WorkflowNode, WorkflowPlan, compile_plan
from vibe_prefect.plan.comparison import diff_plans
from vibe_prefect.testing import RecordingTool, ScriptedModel, run_offline

DUE = datetime(2026, 11, 26, 23, 30, tzinfo=UTC)
INPUTS: dict[str, Any] = {"product": {"type": "string", "default": "Tea"}, "words": {"type": "integer", "default": 9}}


def fill(id: str, template: str, needs: list[str] | None = None, **inputs: Any) -> WorkflowNode:
    tool = {"tool": "template_fill", "tool_inputs": {"template": template, **inputs}}
    return node(id, "transform", needs=needs, parameters=tool)


def page() -> WorkflowPlan:
    return plan(
        fill("named", "{{ inputs.product }}"),
        fill("below", "{{ outputs.named.text }}", ["named"]),
        fill("other", "{{ inputs.words }}"),
        fill("dated", "{{ run.date }}"),
        fill("free", "nothing"),
        inputs=INPUTS,
    )


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {id for id in before if before[id] != after[id]}


def keys(subject: WorkflowPlan, facts: RunFacts | None = None, **given: Any) -> dict[str, str]:
    compiled = compile_plan(subject).with_inputs(given)
    compiled = compiled.for_run(facts) if facts else compiled
    return {id: compiled_node.key for id, compiled_node in compiled.nodes.items()}


def test_an_input_enters_the_keys_of_the_nodes_that_name_it_and_of_no_others() -> None:
    assert changed(keys(page()), keys(page(), product="Coffee")) == {"named", "below"}
    assert changed(keys(page()), keys(page(), words=10)) == {"other"}
    assert keys(page()) == keys(page(), product="Tea", words=9)


def test_a_default_and_the_value_alike_make_the_same_key() -> None:
    edited = page().model_copy(update={"inputs": {**INPUTS, "product": {"type": "string", "title": "P"}}})
    assert keys(edited, product="Tea") == keys(page())


def test_a_fact_enters_the_keys_of_the_nodes_that_name_it_and_of_no_others() -> None:
    night, later = RunFacts("a", DUE), RunFacts("b", DUE + timedelta(minutes=1))
    assert changed(keys(page()), keys(page(), night)) == {"dated"}
    assert changed(keys(page(), night), keys(page(), later)) == set()
    assert changed(keys(page(), night), keys(page(), RunFacts("a", DUE + timedelta(hours=1)))) == {"dated"}


def test_a_plan_without_inputs_keeps_its_keys() -> None:
    subject = plan(fill("a", "{{ inputs.x }} {{ run.date }}", values={"inputs": {"x": 1}, "run": {"date": 2}}))
    compiled = compile_plan(subject)
    assert compiled.nodes["a"].key == "adc7aa52be735757b9ea1d6e4ab182fc8263f4990eea63dd5fa4fea86c06310f"
    assert compiled.for_run(RunFacts("a", DUE)).nodes["a"].key == compiled.nodes["a"].key


@pytest.mark.parametrize(
    "text",
    [
        "{{ inputs['product'] }}",
        "{% for name in inputs %}{{ inputs[name] }}{% endfor %}",
        "{{ inputs | tojson }}",
        "{% if inputs.product is defined %}yes{% endif %}",
        "{{ inputs.get('product') }}",
    ],
)
def test_every_way_to_name_an_input_is_seen(text: str) -> None:
    subject = plan(fill("a", text), inputs=INPUTS)
    assert changed(keys(subject), keys(subject, product="Coffee")) == {"a"}


def test_a_prompt_and_a_description_name_inputs() -> None:
    model = ScriptedModel("x")
    subject = plan(node("a").model_copy(update={"description": "Praise {{ inputs.product }}"}), inputs=INPUTS)
    compiled = compile_plan(subject, tools=model.registry)
    assert compiled.with_inputs({"product": "Coffee"}).nodes["a"].key != compiled.nodes["a"].key


def test_a_simulated_plan_compares_as_the_real_one() -> None:
    compiled = compile_plan(page(), simulate=Simulate.ALL)
    difference = diff_plans(compiled, compiled.with_inputs({"product": "Coffee"}))
    assert dict(difference.executes) == {"named": "changed: inputs.product", "below": "depends on named, which runs"}
    assert [(change.path, change.old, change.new) for change in difference.changed["named"]] == [
        ("inputs.product", '"Tea"', '"Coffee"')
    ]


async def test_templates_prompts_and_files_get_the_values(folder: Path) -> None:
    model = ScriptedModel("words")
    subject = plan(
        node("praise").model_copy(update={"description": "Praise {{ inputs.product }} in {{ inputs.words }} words"}),
        fill("list", "{{ inputs.names | join('+') }} {{ run.date }} {{ run.scheduled_for }} {{ run.name }}"),
        inputs={**INPUTS, "names": {"type": "array", "items": {"type": "string"}}},
    )
    facts = RunFacts("calm-otter", DUE, "Europe/Berlin")
    result = await run_offline(subject, model.registry, inputs={"product": "Mate", "names": ["a", "b"]}, facts=facts)
    assert result.status is ExecutionStatus.COMPLETED, result.node_results
    assert "Praise Mate in 9 words" in model.questions[0].prompt
    assert result.node_results["list"].result["result"]["text"] == (
        "a+b 2026-11-27 2026-11-27T00:30:00+01:00 calm-otter"
    )


async def test_a_node_is_given_the_inputs_that_it_names_alone(folder: Path) -> None:
    tool, tools = RecordingTool("see", {"ok": True}), ScriptedModel("x").registry
    tools.register(tool)
    parameters = {"tool": "see", "tool_inputs": {"text": "{{ inputs.product }}"}}
    await run_offline(plan(node("a", parameters=parameters), inputs=INPUTS), tools)
    assert tool.contexts[0].get("inputs") == {"product": "Tea"}
    assert "run" not in tool.contexts[0]


def test_facts_are_told_in_the_zone_of_the_schedule() -> None:
    east = DUE.astimezone(timezone(timedelta(hours=5)))
    assert RunFacts("n", east).values() == {
        "date": "2026-11-26",
        "name": "n",
        "scheduled_for": "2026-11-26T23:30:00+00:00",
        "timezone": "UTC",
    }
    assert RunFacts("n", east, "Asia/Tokyo").values()["scheduled_for"] == "2026-11-27T08:30:00+09:00"
