"""The contract's drawings of a plan, as text for a terminal and as mermaid.

They draw any plan, also an invalid plan. `plan_picture` draws checked plans, each edge by its kind.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from enum import StrEnum

from vibe_prefect.core.models import WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.plan_tree import declared_dependencies, tree_nodes
from vibe_prefect.drawing.plan_picture import mermaid_ids, mermaid_text, one_line
from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.results import ExecutionResult, ExecutionStatus

Statuses = Mapping[str, ExecutionStatus]

MAX_LABEL = 30
"""Characters of a description that a mermaid node shows."""

_SHAPES = {
    WorkflowNodeType.ANALYZE: ("([", "])"),
    WorkflowNodeType.GENERATE: ("[", "]"),
    WorkflowNodeType.TRANSFORM: ("{{", "}}"),
    WorkflowNodeType.VALIDATE: ("((", "))"),
    WorkflowNodeType.COMPOSITE: ("[[", "]]"),
}
_BARE_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9 .,_-]*")
"""Labels that mermaid takes without quotes."""


class VisualizationFormat(StrEnum):
    """Format of a drawing."""

    ASCII = "ascii"
    """A tree of lines for a terminal; its branches and symbols are Unicode, as in the reference."""

    MERMAID = "mermaid"
    """A mermaid graph."""


class WorkflowVisualizer:
    """Draws plans."""

    @staticmethod
    def generate_diagram(
        plan: WorkflowPlan,
        execution_result: ExecutionResult | None = None,
        format: VisualizationFormat = VisualizationFormat.ASCII,  # noqa: A002 - the contract's name
    ) -> str:
        """Draw a plan.

        Args:
            plan: The plan; it is not checked.
            execution_result: Result of a run of it, for the status of each node; without one, all are pending.
            format: Form of the drawing, also as its value, `ascii` or `mermaid`.

        Raises:
            ValueError: There is no such format.
        """
        if format not in list(VisualizationFormat):
            raise ValueError(f"Unsupported format: {format}; expected {' or '.join(VisualizationFormat)}")
        nodes = execution_result.node_results.values() if execution_result is not None else ()
        statuses = {node.node_id: ExecutionStatus(node.status) for node in nodes}
        if format == VisualizationFormat.MERMAID:
            return "\n".join(_graph(plan, statuses))
        return "\n".join([*_heading(plan), *_tree(plan.root_nodes, statuses), *_summary(execution_result)])

    @staticmethod
    def _collect_all_nodes(root_nodes: Sequence[WorkflowNode]) -> list[WorkflowNode]:
        """Return all nodes of a tree in plan order."""
        return [tree_node.node for tree_node in tree_nodes(root_nodes)]


def _heading(plan: WorkflowPlan) -> Iterator[str]:
    yield f"Workflow Plan: {plan.id}"
    yield "=" * 50
    yield f"Source Vibe: {one_line(plan.source_vibe.description)}"
    if plan.estimated_total_duration:
        yield f"Estimated Duration: {plan.estimated_total_duration:g}s"
    yield ""


def _tree(nodes: list[WorkflowNode], statuses: Statuses, indent: str = "") -> Iterator[str]:
    for node in nodes:
        last = node is nodes[-1]
        below = f"{indent}{'    ' if last else '│   '}"
        description = one_line(node.description)
        symbol = STATUS_STYLES[statuses.get(node.id, ExecutionStatus.PENDING)].emoji
        name = f" ({node.id})" if node.id != description else ""
        yield f"{indent}{'└── ' if last else '├── '}{symbol} [{node.type.value}] {description}{name}"
        if node.when is not None:
            yield f"{below}└─ When: {one_line(node.when)}"
        if node.dependencies:
            yield f"{below}└─ Depends on: {', '.join(node.dependencies)}"
        if node.optional_dependencies:
            yield f"{below}└─ Depends on, unless skipped: {', '.join(node.optional_dependencies)}"
        yield from _tree(node.children, statuses, below)


def _summary(result: ExecutionResult | None) -> Iterator[str]:
    if result is None:
        return
    summary = result.get_summary()
    yield from ("", "Execution Summary:", "-" * 30)
    yield f"Status: {summary['status']}"
    yield f"Completed: {summary['completed']}/{summary['total_nodes']}"
    yield f"Duration: {sum(node.duration for node in result.node_results.values()):.2f}s"
    yield f"Parallel Efficiency: {summary['parallel_efficiency']:.1%}"


def _graph(plan: WorkflowPlan, statuses: Statuses) -> Iterator[str]:
    nodes = [tree_node.node for tree_node in tree_nodes(plan.root_nodes)]
    edges = [(dependency, node.id) for node in nodes for _, _, dependency in declared_dependencies(node)]
    edges += [(node.id, child.id) for node in nodes for child in node.children]
    names = mermaid_ids(list(dict.fromkeys([*(node.id for node in nodes), *(source for source, _ in edges)])))
    yield "graph TD"
    for node in nodes:
        status = statuses.get(node.id, ExecutionStatus.PENDING)
        opening, closing = _SHAPES[node.type]
        yield f"    {names[node.id]}{opening}{_label(node.description)}{closing}:::{status}"
    yield from (f"    {names[source]} --> {names[target]}" for source, target in dict.fromkeys(edges))
    yield ""
    yield from (f"    classDef {status} {style.plain_mermaid}" for status, style in STATUS_STYLES.items())


def _label(description: str) -> str:
    text = one_line(description)
    text = f"{text[:MAX_LABEL]}..." if len(text) > MAX_LABEL else text
    return text if _BARE_LABEL.fullmatch(text) and "end" not in text.lower().split() else f'"{mermaid_text(text)}"'
