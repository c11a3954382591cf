from __future__ import annotations

import pytest

from tests.plans import node, plan
from vibe_prefect import EdgeKind, PlanError, PlanLimits, WorkflowNode, WorkflowPlan, build_graph

DATA, ORDER, HIERARCHY = EdgeKind.DATA, EdgeKind.ORDER, EdgeKind.HIERARCHY


def edges(subject: WorkflowPlan) -> set[tuple[str, str, EdgeKind]]:
    return {(edge.source, edge.target, edge.kind) for edge in build_graph(subject).edges}


def trailer() -> WorkflowPlan:
    story = node("story", "composite", needs=["brief"], children=[node("plot"), node("beats", needs=["plot"])])
    return plan(node("brief"), story, node("cut", needs=["story"]))


def test_groups_are_topological_levels_in_plan_order() -> None:
    assert build_graph(trailer()).groups == (("brief",), ("story",), ("plot",), ("beats",), ("cut",))


def test_an_empty_plan_has_no_groups() -> None:
    graph = build_graph(plan())
    assert (graph.groups, graph.edges) == ((), ())


def test_edges_name_why_a_node_waits() -> None:
    assert edges(trailer()) == {
        ("brief", "story", DATA),
        ("story", "plot", HIERARCHY),
        ("story", "beats", HIERARCHY),
        ("plot", "beats", DATA),
        ("story", "cut", DATA),
        ("beats", "cut", ORDER),
    }


def test_order_edges_come_from_the_nodes_that_end_a_subtree() -> None:
    inner = node("inner", "composite", children=[node("leaf")])
    outer = node("outer", "composite", children=[inner, node("last", needs=["inner"]), node("other")])
    assert {edge for edge in edges(plan(outer, node("after", needs=["outer"]))) if edge[1] == "after"} == {
        ("outer", "after", DATA),
        ("last", "after", ORDER),
        ("other", "after", ORDER),
    }


def test_a_dependency_on_an_ancestor_waits_for_the_ancestor_alone() -> None:
    subject = plan(node("top", "composite", children=[node("a"), node("b", needs=["top"])]))
    graph = build_graph(subject)
    assert graph.groups == (("top",), ("a", "b"))
    assert ("top", "b", DATA) in edges(subject)
    assert graph.awaited("b") == ()


def test_a_repeated_dependency_counts_once() -> None:
    assert build_graph(plan(node("a"), node("b", needs=["a", "a"]))).nodes["b"].dependencies == ("a",)


@pytest.mark.parametrize(
    ("nodes", "message"),
    [
        ([node("a", needs=["b"]), node("b", needs=["a"])], "a cycle: a -> b -> a"),
        (
            [node("x", needs=["p"]), node("p", "composite", children=[node("c", needs=["x"])])],
            "a cycle: x -> p -> c -> x",
        ),
        ([node("a", needs=["a"])], "depends on itself: a cycle (a -> a)"),
        (
            [node("a", "composite", needs=["c"], children=[node("b", "composite", children=[node("c")])])],
            "depends on its own descendant 'c': a cycle (a -> c -> b -> a)",
        ),
    ],
)
def test_a_cycle_is_printed_as_a_path(nodes: list[WorkflowNode], message: str) -> None:
    with pytest.raises(PlanError) as caught:
        build_graph(plan(*nodes))
    assert [problem.message for problem in caught.value.problems] == [message]


def test_every_cycle_is_reported() -> None:
    nodes = [node("a", needs=["b"]), node("b", needs=["a"]), node("c", needs=["d"]), node("d", needs=["c"])]
    with pytest.raises(PlanError) as caught:
        build_graph(plan(*nodes))
    assert {problem.message for problem in caught.value.problems} == {
        "a cycle: a -> b -> a",
        "a cycle: c -> d -> c",
    }


def deep(levels: int) -> WorkflowNode:
    top = node("n0", "composite")
    for level in range(1, levels):
        top = WorkflowNode(id=f"n{level}", type=top.type, description="deep", children=[top])
    return top


def test_a_thousand_levels_are_an_error_and_no_recursion() -> None:
    with pytest.raises(PlanError, match="nested more than 64 levels deep"):
        build_graph(plan(deep(1000)))


def test_a_thousand_levels_work_where_the_limit_allows_them() -> None:
    graph = build_graph(plan(deep(1000)), limits=PlanLimits(max_depth=1000))
    assert len(graph.groups) == 1000
    assert len(graph.edges) == 999


def test_too_many_nodes_are_an_error() -> None:
    with pytest.raises(PlanError, match="more than 3 nodes; split the plan"):
        build_graph(plan(*(node(f"n{index}") for index in range(4))), limits=PlanLimits(max_nodes=3))
