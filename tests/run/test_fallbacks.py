"""Fallbacks: what stands in for the output of a node that failed, and how the run tells it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.plans import node, plan
from tests.reference_model import COMPLETED, FAILED
from vibe_prefect import ExecutionResult, WorkflowNode, default_registry
from vibe_prefect.testing import RecordingTool, run_offline

ERROR = "Tool execution failed: HTTP 503"
NOTED = {"error_type": "RuntimeError", "error": ERROR}


def failing(*nodes: WorkflowNode, **fields: Any) -> ExecutionResult:
    """Run `draft`, `costly`, which needs it and fails, and other nodes."""
    tools = default_registry()
    tools.register(RecordingTool("good", {"text": "Tea is warm."}))
    tools.register(RecordingTool("bad", error="HTTP 503"))
    draft = node("draft", parameters={"tool": "good"})
    costly = node("costly", needs=["draft"], parameters={"tool": "bad"}, **fields)
    return asyncio.run(run_offline(plan(draft, costly, *nodes), tools))


def fill(id: str, template: str, **fields: Any) -> WorkflowNode:
    parameters = {"tool": "template_fill", "tool_inputs": {"template": template}}
    return node(id, "transform", parameters=parameters, **fields)


def test_the_output_of_a_dependency_stands_in_and_the_feedback_says_so() -> None:
    page = fill("page", "{{ outputs.costly.text }}", needs=["costly"])
    result = failing(page, on_error={"use": "draft"}, policy={"retries": 1})
    costly = result.node_results["costly"]
    assert (result.status, costly.status, costly.error) == (COMPLETED, COMPLETED, None)
    assert costly.result == {
        "type": "generation",
        "description": "do costly",
        "result": {"text": "Tea is warm."},
        "metadata": {"fallback": {**NOTED, "use": "draft"}},
    }
    assert result.node_results["page"].result["result"]["text"] == "Tea is warm."
    feedback = result.feedback_data["costly"]
    assert feedback["fallback"] == {**NOTED, "use": "draft"}
    assert feedback["replan_indicators"] == ["execution_error"]
    assert costly.provenance is not None
    assert [attempt.error for attempt in costly.provenance.attempts] == [ERROR, ERROR], "retries come first"


def test_a_value_stands_in_also_nothing_at_all() -> None:
    values: tuple[Any, ...] = ({"text": "soon"}, "soon", None, [], False)
    for value in values:
        result = failing(on_error={"value": value}).node_results["costly"]
        assert (result.status, result.result["result"]) == (COMPLETED, value)


def test_a_node_that_needs_a_failed_one_is_skipped_whatever_its_own_fallback() -> None:
    result = failing(fill("page", "x", needs=["costly"], on_error={"value": "y"}))
    assert result.status is FAILED
    assert result.node_results["page"].error == "Dependencies not satisfied: costly failed"


def test_a_skipped_dependency_cannot_stand_in() -> None:
    spare = fill("spare", "x", when="{{ 1 > 2 }}")
    last = node("last", parameters={"tool": "bad"}, optional_dependencies=["spare"], on_error={"use": "spare"})
    result = failing(spare, last)
    assert (result.node_results["last"].status, result.node_results["last"].error) == (FAILED, ERROR)


def test_a_fallback_covers_a_condition_that_cannot_be_evaluated() -> None:
    odd = fill("odd", "x", needs=["draft"], when="{{ outputs.draft.text }}", on_error={"value": "y"})
    result = failing(odd).node_results["odd"]
    assert (result.status, result.result["result"]) == (COMPLETED, "y")
    assert result.result["metadata"]["fallback"]["error_type"] == "InvalidTemplateError"
