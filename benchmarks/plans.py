"""The plans that the benchmarks run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.shapes import Needs
from vibe_prefect import Vibe, WorkflowNode, WorkflowPlan, build_graph

VIBE = Vibe(description="A benchmark")


def node(
    id: str,
    seconds: float = 0.0,
    needs: list[str] | None = None,
    children: list[WorkflowNode] | None = None,
    kind: str = "generate",
) -> WorkflowNode:
    values: dict[str, Any] = {"id": id, "type": kind, "description": id, "parameters": {"seconds": seconds}}
    return WorkflowNode(**values, dependencies=needs or [], children=children or [])


def plan(id: str, nodes: list[WorkflowNode]) -> WorkflowPlan:
    return WorkflowPlan(id=id, source_vibe=VIBE, root_nodes=nodes)


def of_needs(needs: Needs, seconds: float) -> WorkflowPlan:
    """Return the plan of a shape, each node of which takes so long."""
    return plan(f"shape-{len(needs)}", [node(id, seconds, before) for id, before in needs.items()])


def straggler() -> WorkflowPlan:
    """One slow node at the head of a short branch, beside four chains of quick ones: barriers would add them up."""
    nodes = [node("slow", 3.0), node("after-slow", 0.2, ["slow"])]
    for branch in range(4):
        for step in range(8):
            needs = [f"b{branch}-{step - 1}"] if step else []
            nodes.append(node(f"b{branch}-{step}", 0.35, needs))
    ends = [f"b{branch}-7" for branch in range(4)]
    return plan("straggler", [*nodes, node("join", 0.1, ["after-slow", *ends])])


def realistic() -> WorkflowPlan:
    """Thirty nodes as a trailer production has them: analysis, three branches under composites, a cut, reviews."""
    branches = [_branch(name, count) for name, count in (("story", 5), ("look", 6), ("sound", 5))]
    frames = [node(f"frame-{index}", 0.5, ["look-3", "story-2"]) for index in range(6)]
    return plan(
        "realistic",
        [
            node("brief", 0.4, kind="analyze"),
            *branches,
            node("frames", 0.0, ["look"], frames, kind="composite"),
            node("cut", 0.6, ["frames", "sound"], kind="transform"),
            node("review", 0.3, ["cut", "story"], kind="validate"),
            node("publish", 0.2, ["review"]),
        ],
    )


def _branch(name: str, count: int) -> WorkflowNode:
    steps = [
        node(f"{name}-{step}", 0.2 + 0.1 * (step % 3), [f"{name}-{step - 1}"] if step else []) for step in range(count)
    ]
    return node(name, 0.0, ["brief"], steps, kind="composite")


def large(count: int) -> WorkflowPlan:
    """Composites of 99 nodes each, every one with a tool and a template that names the composite before."""
    branches: list[WorkflowNode] = []
    for branch in range(count // 100):
        before = [f"b{branch - 1}"] if branch else []
        text = f"{{{{ outputs.b{branch - 1} }}}}" if branch else "the first"
        inputs = {"tool": "combine", "tool_inputs": {"parts": [text]}}
        leaves = [
            WorkflowNode.model_validate(
                {"id": f"b{branch}-{leaf}", "type": "transform", "description": "x", "dependencies": before}
                | {"parameters": inputs}
            )
            for leaf in range(99)
        ]
        branches.append(node(f"b{branch}", needs=before, children=leaves, kind="composite"))
    return plan(f"large-{count}", branches)


BY_NAME: Mapping[str, Callable[[], WorkflowPlan]] = {"straggler": straggler, "realistic": realistic}


def needs_of(plan: WorkflowPlan) -> tuple[Needs, dict[str, float]]:
    """Return what each node of a plan waits for, those first that come first, and the seconds that it takes."""
    graph = build_graph(plan)
    needs: Needs = {id: [] for group in graph.groups for id in group}
    for edge in graph.edges:
        needs[edge.target].append(edge.source)
    return needs, {id: float(graph.nodes[id].node.parameters["seconds"]) for id in needs}


def critical_path(plan: WorkflowPlan) -> float:
    """Return the longest sum of work, in seconds, along the edges of a plan."""
    needs, seconds = needs_of(plan)
    ends: dict[str, float] = {}
    for id, before in needs.items():
        ends[id] = max((ends[source] for source in before), default=0.0) + seconds[id]
    return max(ends.values(), default=0.0)
