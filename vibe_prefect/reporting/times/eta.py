"""Estimate of a run's remaining time, from the expected and the measured durations of its nodes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.plan.graph import PlanGraph
from vibe_prefect.plan.node_forecast import critical_path
from vibe_prefect.results import FINISHED, ExecutionStatus

MAX_ENGINE_SECONDS = 0.2
"""Longest time of the engine for a node: what a run took beyond that went by otherwise, as until a person's answer."""


@dataclass(frozen=True, slots=True)
class NodeTime:
    """Expected and spent time of a node."""

    type: WorkflowNodeType
    """Kind of work."""

    status: ExecutionStatus
    """Status of the node."""

    expected: float | None = None
    """Seconds that the plan expects."""

    spent: float | None = None
    """Seconds that it took in this run, or has been running; `None` for a node that was not worked on."""


def seconds_left(
    graph: PlanGraph, nodes: Mapping[str, NodeTime], slots: int | None = None, elapsed: float = 0.0
) -> float | None:
    """Estimate how many seconds a run still takes; `None` when it cannot be estimated.

    It is the longest chain of waits among the remaining work, and never less than all of it shared out to the slots;
    and what the engine itself takes for each node. An estimate counts at the pace of the run: where nodes took twice as
    long as expected, so will the others. A node without an estimate counts as long as those of its type took, or else
    as long as any did.

    Args:
        graph: The plan's graph.
        nodes: Every node of the plan, by id.
        slots: Number of nodes that may run at once; `None` for no limit.
        elapsed: Seconds since the run began.
    """
    guess = _Guess(nodes.values())
    remaining: dict[str, float] = {}
    for id, node in nodes.items():
        if node.status in FINISHED:
            continue
        total = guess.seconds(node)
        if total is None:
            return None
        spent = node.spent or 0.0 if node.status is ExecutionStatus.RUNNING else 0.0
        remaining[id] = max(0.0, total - spent)
    return _length(graph, remaining, slots) + len(remaining) * _engine_seconds(graph, nodes, slots, elapsed)


def _length(graph: PlanGraph, work: Mapping[str, float], slots: int | None) -> float:
    """Return how many seconds work takes at least."""
    return max(critical_path(graph, work).seconds, sum(work.values()) / slots if slots else 0.0)


def _engine_seconds(graph: PlanGraph, nodes: Mapping[str, NodeTime], slots: int | None, elapsed: float) -> float:
    """Return the engine's own seconds for a node: what the run took so far without need for the nodes' work."""
    ended = sum(node.status in FINISHED for node in nodes.values())
    if not ended:
        return 0.0
    work = {id: node.spent for id, node in nodes.items() if node.spent is not None}
    return min(MAX_ENGINE_SECONDS, max(0.0, elapsed - _length(graph, work, slots)) / ended)


class _Guess:
    """Expected durations of nodes, from those that have completed."""

    def __init__(self, nodes: Iterable[NodeTime]) -> None:
        measured: list[float] = []
        by_type: defaultdict[WorkflowNodeType, list[float]] = defaultdict(list)
        actual, expected = 0.0, 0.0
        for node in nodes:
            if node.status is not ExecutionStatus.COMPLETED or node.spent is None:
                continue
            measured.append(node.spent)
            by_type[node.type].append(node.spent)
            if node.expected:
                actual, expected = actual + node.spent, expected + node.expected
        self._pace = actual / expected if expected else 1.0
        self._by_type = {kind: sum(times) / len(times) for kind, times in by_type.items()}
        self._any = sum(measured) / len(measured) if measured else None

    def seconds(self, node: NodeTime) -> float | None:
        if node.expected is not None:
            return node.expected * self._pace
        return self._by_type.get(node.type, self._any)
