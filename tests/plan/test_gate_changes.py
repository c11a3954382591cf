from __future__ import annotations

import pytest

from tests.plans import node, plan
from vibe_prefect import CompiledPlan, Simulate, ToolRegistry, WorkflowNode, compile_plan
from vibe_prefect.plan.comparison import diff_plans


def compiled(*nodes: WorkflowNode) -> CompiledPlan:
    return compile_plan(plan(*nodes), simulate=Simulate.ALL, tools=ToolRegistry())


def gate(minimum: int = 50, **fields: object) -> WorkflowNode:
    return node("check", "validate", needs=["post"], parameters={"min_words": minimum}, **fields)


POST, SEND = node("post"), node("send", needs=["check"])
CHANGES: list[tuple[str, list[WorkflowNode], dict[str, str]]] = [
    ("nothing", [gate(), SEND], {}),
    ("the node behind it", [gate(), node("send", needs=["check"], description="other")], {}),
    ("its time and retries", [gate(policy={"timeout": 5, "retries": 1}), SEND], {}),
    ("removed", [node("send", needs=["post"])], {"check": "removed"}),
    ("its threshold", [gate(10), SEND], {"check": "changed: parameters.min_words"}),
    ("its condition", [gate(when="{{ inputs.strict }}"), SEND], {"check": "changed: when"}),
    ("passed by", [gate(), node("send", needs=["post"])], {"check": "no longer before send"}),
    (
        "needed no more",
        [gate(), node("send", needs=["post"], optional_dependencies=["check"])],
        {"check": "no longer before send"},
    ),
    ("before it by way of another", [gate(), node("between", needs=["check"]), node("send", needs=["between"])], {}),
    (
        "of another type",
        [node("check", "analyze", needs=["post"], parameters={"min_words": 50}), SEND],
        {"check": "changed: type; no longer before send"},
    ),
]


@pytest.mark.parametrize(("after", "expected"), [change[1:] for change in CHANGES], ids=[name for name, *_ in CHANGES])
def test_gates_that_an_edit_may_have_weakened_are_named(after: list[WorkflowNode], expected: dict[str, str]) -> None:
    inputs = {"strict": {"type": "boolean", "default": True}}
    before = compile_plan(plan(POST, gate(), SEND, inputs=inputs), simulate=Simulate.ALL, tools=ToolRegistry())
    later = compile_plan(plan(POST, *after, inputs=inputs), simulate=Simulate.ALL, tools=ToolRegistry())
    assert diff_plans(before, later).gates == expected


def test_gate_of_a_subtree_is_before_what_waits_for_the_subtree() -> None:
    def whole(needs: list[str]) -> CompiledPlan:
        return compiled(node("part", "composite", children=[POST, gate()]), node("send", needs=needs))

    assert diff_plans(whole(["part"]), whole(["part"])).gates == {}
    assert diff_plans(whole(["part"]), whole(["post"])).gates == {"check": "no longer before send"}
