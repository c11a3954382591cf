from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.plans import node, plan
from tests.reference_model import whole_plans
from vibe_prefect import CompiledPlan, NodePolicy, Simulate, ToolRegistry, WorkflowNode, WorkflowPlan, compile_plan
from vibe_prefect.plan.comparison import VALUE_WIDTH, FieldChange, Move, PlanDiff, changed_fields, diff_plans


def compiled(*nodes: WorkflowNode, **fields: Any) -> CompiledPlan:
    return compile_plan(plan(*nodes, **fields), simulate=Simulate.ALL, tools=ToolRegistry())


def chain(**changed: Any) -> list[WorkflowNode]:
    """`a` feeds `b`, which feeds `c`; `d` stands alone."""
    return [node("a", **changed), node("b", needs=["a"]), node("c", needs=["b"]), node("d")]


CHANGES: list[tuple[WorkflowNode, WorkflowNode, list[tuple[str, str | None, str | None, bool]]]] = [
    (node("a"), node("a"), []),
    (node("a"), node("a", description="other"), [("description", '"do a"', '"other"', True)]),
    (node("a"), node("a", "analyze"), [("type", '"generate"', '"analyze"', True)]),
    (
        node("a", parameters={"tool_inputs": {"text": "x", "n": 1}}),
        node("a", parameters={"tool_inputs": {"text": "y", "n": 1}}),
        [("parameters.tool_inputs.text", '"x"', '"y"', True)],
    ),
    (
        node("a", parameters={"old": None, "same": {}}),
        node("a", parameters={"new": [1], "same": {}}),
        [("parameters.old", "null", None, True), ("parameters.new", None, "[1]", True)],
    ),
    (
        node("a", parameters={"list": [1, {"x": 1}]}),
        node("a", parameters={"list": [1, {"x": 2}]}),
        [("parameters.list[1].x", "1", "2", True)],
    ),
    (
        node("a", parameters={"list": [1, 2]}),
        node("a", parameters={"list": [0, 1, 2]}),
        [("parameters.list", "[1,2]", "[0,1,2]", True)],
    ),
    (node("a", parameters={"n": 1}), node("a", parameters={"n": 1.0}), [("parameters.n", "1", "1.0", True)]),
    (node("a", parameters={"n": 1}), node("a", parameters={"n": True}), [("parameters.n", "1", "true", True)]),
    (node("a", parameters={"n": 0.0}), node("a", parameters={"n": -0.0}), [("parameters.n", "0.0", "-0.0", True)]),
    (node("a", policy={"retries": 1}), node("a", policy={"retries": 2}), [("policy.retries", "1", "2", False)]),
    (node("a"), node("a", policy={"variation": "b"}), [("policy.variation", None, '"b"', True)]),
    (node("a"), node("a", estimated_duration=2), [("estimated_duration", "null", "2.0", False)]),
]


@pytest.mark.parametrize(("old", "new", "expected"), CHANGES)
def test_a_change_is_told_as_narrow_as_it_is(
    old: WorkflowNode, new: WorkflowNode, expected: list[tuple[str, str | None, str | None, bool]]
) -> None:
    a, b = compiled(old), compiled(new)
    changes = changed_fields(a, b, "a")
    assert changes == tuple(FieldChange(*change) for change in expected)
    assert any(change.in_key for change in changes) == (a.nodes["a"].key != b.nodes["a"].key)


def test_a_change_of_dependencies_is_a_change_of_the_node() -> None:
    a = compiled(node("a"), node("b"), node("c", needs=["a", "a"]))
    b = compiled(node("a"), node("b"), node("c", needs=["a", "b"]))
    assert changed_fields(a, b, "c") == (FieldChange("dependencies", '["a"]', '["a","b"]', True),)
    assert diff_plans(a, b).executes == {"c": "changed: dependencies"}


def test_a_long_value_is_shown_where_it_begins_to_differ() -> None:
    old, new = "x" * 500 + "old" + "y" * 500, "x" * 500 + "new" + "y" * 500
    (change,) = changed_fields(compiled(node("a", description=old)), compiled(node("a", description=new)), "a")
    assert change.old == f"...{'x' * 12}old{'y' * 39}..."
    assert change.new == f"...{'x' * 12}new{'y' * 39}..."
    assert len(change.new or "") == VALUE_WIDTH


def test_a_variation_of_the_plan_is_told_at_each_node_that_has_none() -> None:
    nodes = [node("a"), node("b", policy={"variation": "own"})]
    found = diff_plans(compiled(*nodes), compiled(*nodes, policy=NodePolicy(variation=2)))
    assert found.plan == (FieldChange("policy.variation", "null", "2", False),)
    assert found.executes == {"a": "changed: policy.variation"}


@pytest.mark.parametrize("word", ["recompute", "disable"])
def test_a_node_that_is_never_kept_is_the_cause_of_what_runs(word: str) -> None:
    nodes = chain(policy={"cache": word})
    found = diff_plans(compiled(*nodes), compiled(*nodes))
    assert (found.changed, found.through) == ({}, ("b", "c"))
    assert found.executes["a"] == f"cache: {word}"
    assert found.executes["b"] == "depends on a, which runs"


def test_another_mode_of_work_is_told() -> None:
    shown = plan(node("a", "composite"))
    a = compile_plan(shown, tools=ToolRegistry())
    b = compile_plan(shown, tools=ToolRegistry(), simulate=Simulate.ALL)
    assert diff_plans(a, b).executes == {"a": "changed: work"}


def test_what_runs_through_a_dependency_is_told_apart() -> None:
    found = diff_plans(compiled(*chain()), compiled(*chain(description="edited")))
    assert list(found.changed) == ["a"]
    assert found.through == ("b", "c")
    assert found.executes == {
        "a": "changed: description",
        "b": "depends on a, which runs",
        "c": "depends on b, which runs",
    }
    assert not found.is_empty


def test_added_removed_and_moved_nodes() -> None:
    a = compiled(node("top", "composite", children=[node("x")]), node("old"), node("y"))
    b = compiled(node("top", "composite", children=[node("y")]), node("x"), node("new"))
    found = diff_plans(a, b)
    assert (found.added, found.removed) == (("new",), ("old",))
    assert found.moved == {"y": Move(None, "top"), "x": Move("top", None)}
    assert (found.changed, found.through) == ({}, ())
    assert found.executes == {"new": "new in the plan"}


def test_fields_of_the_plan_itself() -> None:
    old, new = plan(node("a")), plan(node("a"))
    new.source_vibe.style = "loud"
    new.source_vibe.metadata["odd"] = {"what": [1, None]}
    before, after = (compile_plan(side, simulate=Simulate.ALL) for side in (old, new))
    found = diff_plans(before, after)
    assert [change.path for change in found.plan] == ["source_vibe.metadata.odd", "source_vibe.style"]
    assert (found.executes, found.total) == ({}, 1)


def test_many_fields_and_nodes_are_counted() -> None:
    many = {f"p{index}": index for index in range(9)}
    sources = [node(f"n{index}") for index in range(7)]
    others = [node(f"n{index}", description="edited") for index in range(7)]
    end = node("end", needs=[source.id for source in sources])
    a, b = compiled(*sources, end, node("z")), compiled(*others, end, node("z", parameters=many))
    found = diff_plans(a, b)
    assert found.executes["z"] == (
        "changed: parameters.p0, parameters.p1, parameters.p2, parameters.p3, parameters.p4 and 4 more"
    )
    assert found.executes["end"] == "depends on n0, n1, n2, n3, n4 and 2 more, which run"


def test_equal_plans_do_not_differ() -> None:
    found = diff_plans(compiled(*chain()), compiled(*chain()))
    assert found.is_empty
    assert found == PlanDiff((), (), (), {}, {}, (), {}, 4)


@settings(max_examples=300, deadline=None)
@given(whole_plans(), st.data())
def test_what_a_resume_executes_is_what_changed_and_what_depends_on_it(
    subject: WorkflowPlan, data: st.DataObject
) -> None:
    a = compile_plan(subject, simulate=Simulate.ALL, tools=ToolRegistry())
    changed = set(data.draw(st.lists(st.sampled_from(list(a.nodes)))))
    edited = subject.model_copy(deep=True)
    b = compile_plan(edited, simulate=Simulate.ALL, tools=ToolRegistry())
    for id in changed:
        b.nodes[id].node.description += ", edited"
    b = compile_plan(edited, simulate=Simulate.ALL, tools=ToolRegistry())
    expected = set(changed)
    for id in (id for group in b.groups for id in group):
        if expected & set(b.nodes[id].dependencies):
            expected.add(id)
    found = diff_plans(a, b)
    assert set(found.executes) == expected
    assert set(found.changed) == changed
    assert set(found.through) == expected - changed
    assert all(reason == "changed: description" for id, reason in found.executes.items() if id in changed)
    assert all("which run" in found.executes[id] for id in found.through)
