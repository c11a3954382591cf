"""A plan's tree as lines, for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from vibe_prefect.core.policies import LOCAL
from vibe_prefect.plan.compiler import Backing, CompiledNode
from vibe_prefect.plan.graph import PlanGraph

BRANCH, LAST, THROUGH, NOTHING = "├─ ", "└─ ", "│  ", "   "


def guides(graph: PlanGraph) -> Iterator[tuple[str, str]]:
    """Yield each node's id in plan order, with the lines that lead to it."""
    return guides_of(graph, lambda id: graph.nodes[id].children)


def guides_of(graph: PlanGraph, children_of: Callable[[str], Sequence[str]]) -> Iterator[tuple[str, str]]:
    """Yield each node's id in plan order, with the lines that lead to it, where nodes may have other children.

    Args:
        graph: The plan's graph.
        children_of: Returns the ids of the nodes below one.
    """
    roots = [id for id, graph_node in graph.nodes.items() if graph_node.parent is None]
    stack = [(id, "", "") for id in reversed(roots)]
    while stack:
        id, lead, below = stack.pop()
        yield id, lead
        children = children_of(id)
        for index in range(len(children) - 1, -1, -1):
            last = index == len(children) - 1
            branch, further = (LAST, NOTHING) if last else (BRANCH, THROUGH)
            stack.append((children[index], below + branch, below + further))


def work(node: CompiledNode) -> str:
    """Describe the work of a node in a few words: its type, the tool or the simulation behind it, and its placement."""
    if node.backing is Backing.SIMULATION:
        return f"{node.node.type}, simulated"
    place = f" on {node.policy.run_on}" if node.policy.run_on != LOCAL else ""
    return (f"{node.node.type}, {node.tool}" if node.tool else node.node.type.value) + place
