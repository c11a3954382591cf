"""Conditions and optional dependencies: which nodes run, and what the others get of those that were skipped."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plans import node, plan
from tests.reference_model import COMPLETED, FAILED, SKIPPED, Model, choosing_plans
from vibe_prefect import ExecutionResult, WorkflowNode, WorkflowPlan, compile_plan, default_registry
from vibe_prefect.testing import RecordingTool, run_offline

LOW = "{{ outputs.check.score < 0.8 }}"


def checked(*nodes: WorkflowNode, score: object = 0.9) -> ExecutionResult:
    """Run nodes behind a check that gives a score."""
    tools = default_registry()
    tools.register(RecordingTool("score", {"score": score}))
    check = node("check", "analyze", parameters={"tool": "score"})
    return asyncio.run(run_offline(plan(check, *nodes), tools))


def fill(id: str, template: str = "made", **fields: Any) -> WorkflowNode:
    parameters = {"tool": "template_fill", "tool_inputs": {"template": template}}
    return node(id, "transform", parameters=parameters, **fields)


def statuses(result: ExecutionResult) -> dict[str, str]:
    return {id: one.status.value for id, one in result.node_results.items()}


def test_a_condition_skips_a_node_with_all_that_needs_it_and_the_run_completes() -> None:
    result = checked(fill("fix", needs=["check"], when=LOW, children=[fill("sub")]), fill("after", needs=["fix"]))
    assert result.status is COMPLETED
    assert statuses(result) == {"check": "completed", "fix": "skipped", "sub": "skipped", "after": "skipped"}
    assert {id: one.error for id, one in result.node_results.items() if one.error} == {
        "fix": f"Condition not met: {LOW}",
        "sub": f"Condition of fix not met: {LOW}",
        "after": f"Condition of fix not met: {LOW}",
    }
    assert result.feedback_data.keys() == {"check"}
    assert statuses(checked(fill("fix", needs=["check"], when=LOW), score=0.5))["fix"] == "completed"


def test_an_optional_dependency_that_was_skipped_is_none_in_templates_and_absent_elsewhere() -> None:
    text = "{{ outputs.fix is none }} {{ (outputs.fix or outputs.draft).text }}"
    combined = node("all", "transform", parameters={"tool": "combine"}, needs=["draft"], optional_dependencies=["fix"])
    result = checked(
        fill("draft", "first"),
        fill("fix", "better", needs=["check"], when=LOW),
        fill("best", text, needs=["draft"], optional_dependencies=["fix"]),
        combined,
    )
    assert result.status is COMPLETED
    assert result.node_results["best"].result["result"]["text"] == "True first"
    assert result.node_results["all"].result["result"]["text"] == "first"
    both = checked(
        fill("draft", "first"), fill("fix", "better", needs=["check"], when=LOW), combined, score=0.1
    ).node_results["all"]
    assert both.result["result"]["text"] == "first\n\nbetter"


def test_a_failed_optional_dependency_blocks_and_a_skip_for_two_reasons_is_none_by_condition() -> None:
    result = checked(
        fill("bad", "{{ outputs.check.none.sense }}", needs=["check"]),
        fill("fix", needs=["check"], when=LOW),
        fill("both", needs=["bad", "fix"]),
        fill("last", optional_dependencies=["bad"]),
        fill("further", optional_dependencies=["both"]),
    )
    errors = {id: one.error for id, one in result.node_results.items() if one.status is SKIPPED}
    assert errors == {
        "fix": f"Condition not met: {LOW}",
        "both": "Dependencies not satisfied: bad failed, fix skipped",
        "last": "Dependencies not satisfied: bad failed",
        "further": "Dependencies not satisfied: both skipped",
    }


ODD: dict[object, str] = {
    0.9: "0.9",
    "yes": "'yes'",
    None: "None",
}


@pytest.mark.parametrize("score", ODD)
def test_a_condition_that_is_neither_true_nor_false_fails_its_node(score: object) -> None:
    result = checked(fill("fix", needs=["check"], when="{{ outputs.check.score }}"), score=score)
    assert result.node_results["fix"].error == (
        f"when: the condition yields {ODD[score]}, and true or false is needed: "
        "compare it, as in {{ ... == 'yes' }} or {{ ... | length > 0 }}"
    )
    assert result.feedback_data["fix"]["failure_kind"] == "input"


def test_a_condition_that_cannot_be_evaluated_fails_its_node_alone() -> None:
    result = checked(fill("fix", needs=["check"], when="{{ outputs.check.scoer > 1 }}"), fill("other"))
    error = result.node_results["fix"].error or ""
    assert (statuses(result)["fix"], statuses(result)["other"]) == ("failed", "completed")
    assert error.startswith("when: 'dict object' has no attribute 'scoer'"), error


def test_a_condition_on_simulated_outputs_counts_as_met() -> None:
    subject = plan(node("check", "analyze"), fill("fix", needs=["check"], when=LOW))
    result = asyncio.run(run_offline(subject, default_registry(), simulate="all"))
    assert set(statuses(result).values()) == {"completed"}


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_plans_with_conditions_end_as_the_model_says(data: st.DataObject) -> None:
    subject = data.draw(choosing_plans())
    model = Model(subject)
    failing = data.draw(st.sets(st.sampled_from(sorted(model.nodes)), max_size=3))
    tools = default_registry()
    tools.register(RecordingTool("good", {"text": "made"}))
    tools.register(RecordingTool("bad", error="no"))
    _equip(subject, failing)
    result = asyncio.run(run_offline(subject, tools))
    expected = model.statuses(failing)
    assert {id: one.status for id, one in result.node_results.items()} == expected
    assert (result.status is FAILED) == (FAILED in expected.values())


def _equip(subject: WorkflowPlan, failing: set[str]) -> None:
    for id, member in Model(subject).nodes.items():
        member.parameters = {"tool": "bad" if id in failing else "good"}


def test_a_condition_reads_the_facts_of_the_run() -> None:
    subject = plan(fill("daily", when="{{ run.name == 'offline' }}"), fill("never", when="{{ run.name == 'x' }}"))
    assert statuses(asyncio.run(run_offline(subject, default_registry()))) == {"daily": "completed", "never": "skipped"}
    assert compile_plan(subject, tools=default_registry()).names_facts
