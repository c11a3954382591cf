"""Critical path of a run, by measured times."""

from __future__ import annotations

from collections.abc import Mapping

from vibe_prefect.plan.graph import PlanGraph, Vertex


def measured_path(graph: PlanGraph, spans: Mapping[str, tuple[float, float]]) -> tuple[str, ...]:
    """Return the chain of waits behind the node that ended last, first to last.

    Of all that a node waited for, what finished last held it back. A node that waited longer than that, for a slot
    say, is on the chain all the same: the chain names the waits that the plan asks for.

    Args:
        graph: The plan's graph.
        spans: Begin and end of each node that ran, in seconds from any moment; the others held nothing back.
    """
    finished: dict[Vertex, tuple[float, Vertex]] = {}
    for vertex in graph.order:
        id, is_end = vertex
        if not is_end and id in spans:
            finished[vertex] = (spans[id][1], vertex)
        elif is_end:
            _close(vertex, graph, finished)
    last = max((finished[id, False] for id in spans), default=None, key=lambda end: end[0])
    chain: list[str] = []
    while last is not None:
        vertex = last[1]
        chain.append(vertex[0])
        last = _latest(vertex, graph, finished)
    return tuple(reversed(chain))


def _close(vertex: Vertex, graph: PlanGraph, finished: dict[Vertex, tuple[float, Vertex]]) -> None:
    """Store the end of a subtree: the time, and the vertex, of its start that finished last."""
    latest = _latest(vertex, graph, finished)
    if latest is not None:
        finished[vertex] = latest


def _latest(
    vertex: Vertex, graph: PlanGraph, finished: Mapping[Vertex, tuple[float, Vertex]]
) -> tuple[float, Vertex] | None:
    ends = (finished[wait] for wait in graph.waits[vertex] if wait in finished)
    return max(ends, default=None, key=lambda end: end[0])
