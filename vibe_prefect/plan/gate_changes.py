"""Gates that an edit of a plan may have weakened: removed, changed, or no longer before what waited for them.

A gate is a node of the type `validate`. Whether a change makes it weaker, such as another threshold, is for a person to
judge: each counts, but that of its time limit, its retries and the like.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from itertools import chain

from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.plan.compiler import CompiledPlan

MAX_NAMED = 5
"""Number of fields or nodes that a change names; of more it only gives the count."""

_HARMLESS = ("policy", "estimated_duration", "work")
"""Beginnings of the paths of fields that decide neither what a gate judges nor how."""


def gate_changes(a: CompiledPlan, b: CompiledPlan, changed: Mapping[str, Collection[str]]) -> dict[str, str]:
    """Describe what became of the gates of a plan, by their ids; a gate that is as it was is left out.

    Args:
        a: The earlier plan.
        b: The later one.
        changed: Paths of the fields that differ, by the ids of the nodes that both plans have.
    """
    gates = [id for id in a.nodes if _is_gate(a, id)]
    if not gates:
        return {}
    before, after = _gates_before(a), _gates_before(b)
    changes: dict[str, str] = {}
    for gate in gates:
        if gate not in b.nodes:
            changes[gate] = "removed"
            continue
        paths = [path for path in changed.get(gate, ()) if not path.startswith(_HARMLESS)]
        freed = [id for id in b.nodes if gate in before.get(id, ()) and gate not in after[id]]
        parts = [f"changed: {listed(paths)}"] if paths else []
        parts += [f"no longer before {listed(freed)}"] if freed else []
        if parts:
            changes[gate] = "; ".join(parts)
    return changes


def _is_gate(compiled: CompiledPlan, id: str) -> bool:
    return compiled.nodes[id].node.type is WorkflowNodeType.VALIDATE


def _gates_before(compiled: CompiledPlan) -> dict[str, frozenset[str]]:
    """Return the gates without whose consent each node does not run, by its id."""
    graph = compiled.graph
    gates: dict[str, frozenset[str]] = {}
    for id in chain.from_iterable(graph.groups):
        required = [source for source in graph.sources(id) if source not in graph.nodes[id].optional]
        own = {source for source in required if _is_gate(compiled, source)}
        gates[id] = frozenset(own.union(*(gates[source] for source in required)))
    return gates


def listed(words: list[str]) -> str:
    """Return the first of some fields or nodes on a line, and the number of the others."""
    unlisted = len(words) - MAX_NAMED
    return ", ".join(words[:MAX_NAMED]) + (f" and {unlisted} more" if unlisted > 0 else "")
