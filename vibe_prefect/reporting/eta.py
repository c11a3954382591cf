"""How long a run may still take, by what its nodes were expected to take and by what they took."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.plan.graph import PlanGraph
from vibe_prefect.plan.node_forecast import critical_path
from vibe_prefect.results import FINISHED, ExecutionStatus


@dataclass(frozen=True, slots=True)
class NodeTime:
    """One node, as far as its time goes."""

    type: WorkflowNodeType
    """What kind of work it does."""

    status: ExecutionStatus
    """How far it is."""

    expected: float | None = None
    """Seconds that the plan expects."""

    spent: float | None = None
    """Seconds that it took in this run, or that it has been running; `None` for one that was not worked on."""


def seconds_left(graph: PlanGraph, nodes: Mapping[str, NodeTime], slots: int | None = None) -> float | None:
    """Return about how many seconds a run still takes; `None` when nobody can tell.

    It is the longest chain of waits among what is left, and never less than all that is left shared out to the slots.
    An estimate counts at the pace of the run: where nodes took twice as long as expected, so will the others. A node
    without an estimate counts as long as those of its type took, or else as long as any did.

    Args:
        graph: The plan's graph.
        nodes: Every node of the plan, by id.
        slots: How many nodes may run at once; `None` for no limit.
    """
    guess = _Guess(nodes.values())
    left: dict[str, float] = {}
    for id, node in nodes.items():
        if node.status in FINISHED:
            continue
        whole = guess.seconds(node)
        if whole is None:
            return None
        begun = node.spent or 0.0 if node.status is ExecutionStatus.RUNNING else 0.0
        left[id] = max(0.0, whole - begun)
    return max(critical_path(graph, left).seconds, sum(left.values()) / slots if slots else 0.0)


class _Guess:
    """How long nodes take, by those that have completed."""

    def __init__(self, nodes: Iterable[NodeTime]) -> None:
        measured: list[float] = []
        by_type: defaultdict[WorkflowNodeType, list[float]] = defaultdict(list)
        took, expected = 0.0, 0.0
        for node in nodes:
            if node.status is not ExecutionStatus.COMPLETED or node.spent is None:
                continue
            measured.append(node.spent)
            by_type[node.type].append(node.spent)
            if node.expected:
                took, expected = took + node.spent, expected + node.expected
        self._pace = took / expected if expected else 1.0
        self._by_type = {kind: sum(times) / len(times) for kind, times in by_type.items()}
        self._any = sum(measured) / len(measured) if measured else None

    def seconds(self, node: NodeTime) -> float | None:
        if node.expected is not None:
            return node.expected * self._pace
        return self._by_type.get(node.type, self._any)
