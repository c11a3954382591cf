from __future__ import annotations

import pytest

from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, WorkflowNodeType
from vibe_prefect.plan.graph_checks import build_graph
from vibe_prefect.reporting.times.eta import NodeTime, seconds_left

GENERATE, VALIDATE = WorkflowNodeType.GENERATE, WorkflowNodeType.VALIDATE
DONE, RUNNING, WAITING = ExecutionStatus.COMPLETED, ExecutionStatus.RUNNING, ExecutionStatus.PENDING
FAILED, SKIPPED = ExecutionStatus.FAILED, ExecutionStatus.SKIPPED

CHAIN = build_graph(plan(node("a"), node("b", needs=["a"]), node("c", needs=["b"])))
WIDE = build_graph(plan(node("a"), node("b"), node("c")))


def of(
    status: ExecutionStatus,
    expected: float | None = None,
    spent: float | None = None,
    kind: WorkflowNodeType = GENERATE,
) -> NodeTime:
    return NodeTime(kind, status, expected, spent)


@pytest.mark.parametrize(
    ("nodes", "left"),
    [
        pytest.param([of(WAITING, 10), of(WAITING, 5), of(WAITING, 1)], 16, id="estimates add up along the chain"),
        pytest.param([of(RUNNING, 10, 4), of(WAITING, 5), of(WAITING, 1)], 12, id="what runs has done a part"),
        pytest.param([of(RUNNING, 10, 99), of(WAITING, 5), of(WAITING, 1)], 6, id="late is not less than nothing"),
        pytest.param([of(DONE, 10, 20), of(WAITING, 5), of(WAITING, 1)], 12, id="at the pace of what is done"),
        pytest.param([of(DONE, None, 3), of(WAITING), of(WAITING)], 6, id="without estimates as long as the others"),
        pytest.param([of(DONE, None, 3), of(WAITING, 7), of(WAITING)], 10, id="estimate and measure together"),
        pytest.param([of(DONE, None, 3, VALIDATE), of(DONE, None, 9), of(WAITING)], 9, id="its own type counts first"),
        pytest.param(
            [of(DONE, None, 3, VALIDATE), of(WAITING), of(WAITING)], 6, id="any other type is better than none"
        ),
        pytest.param([of(WAITING), of(WAITING, 5), of(WAITING, 1)], None, id="nothing is known of one"),
        pytest.param([of(DONE), of(WAITING), of(WAITING)], None, id="a reused node measures nothing"),
        pytest.param([of(FAILED, 2, 50), of(SKIPPED, 5), of(SKIPPED, 1)], 0, id="nothing is left"),
        pytest.param([of(FAILED, 2, 50), of(WAITING, 5), of(WAITING, 1)], 6, id="a failure sets no pace"),
        pytest.param([of(DONE, 0, 2), of(WAITING, 5), of(WAITING, 0)], 5, id="an estimate of nothing sets no pace"),
    ],
)
def test_a_chain(nodes: list[NodeTime], left: float | None) -> None:
    assert seconds_left(CHAIN, dict(zip("abc", nodes, strict=True))) == left


@pytest.mark.parametrize(("slots", "left"), [(None, 10), (1, 18), (2, 10), (3, 10)])
def test_side_by_side_as_far_as_there_are_slots(slots: int | None, left: float) -> None:
    nodes = {"a": of(WAITING, 10), "b": of(WAITING, 5), "c": of(WAITING, 3)}
    assert seconds_left(WIDE, nodes, slots) == left


@pytest.mark.parametrize(
    ("done", "elapsed", "left"),
    [
        pytest.param(of(DONE, None, 0), 0.04, 0.08, id="no work, so all of it was the engine's"),
        pytest.param(of(DONE, 3, 3), 3, 6, id="all of it was the work of nodes"),
        pytest.param(of(DONE, 3, 3), 3.05, 6.1, id="the engine's share comes on top"),
        pytest.param(of(DONE), 0.05, None, id="nothing is known of the others"),
        pytest.param(of(SKIPPED, 3), 0.05, 6.1, id="a skipped node costs the engine, too"),
        pytest.param(of(DONE, 3, 3), 3600, 6.4, id="a person's answer took most of it"),
        pytest.param(of(DONE, 3, 3), 2, 6, id="less than the work is not less than nothing"),
        pytest.param(of(RUNNING, 3, 1), 10, 8, id="nothing has ended yet"),
    ],
)
def test_the_engine_counts_for_each_node(done: NodeTime, elapsed: float, left: float | None) -> None:
    expected = done.expected
    nodes = {"a": done, "b": of(WAITING, expected), "c": of(WAITING, expected)}
    assert seconds_left(CHAIN, nodes, elapsed=elapsed) == (None if left is None else pytest.approx(left))


def test_thousands_of_nodes_without_work_take_as_long_as_the_engine_does() -> None:
    graph = build_graph(plan(*(node(f"n{index}") for index in range(5_000))))
    nodes = {f"n{index}": of(DONE if index < 500 else WAITING, None, 0.001) for index in range(5_000)}
    assert seconds_left(graph, nodes, 32, elapsed=10.0) == pytest.approx(90, rel=0.05)


def test_what_is_below_a_dependency_is_waited_for() -> None:
    graph = build_graph(plan(node("a", children=[node("child")]), node("b", needs=["a"])))
    nodes = {"a": of(DONE, 1, 1), "child": of(WAITING, 4), "b": of(WAITING, 2)}
    assert seconds_left(graph, nodes) == 6
