"""A run's plan as a mermaid flowchart, coloured by status, with composites around their children.

`plan_picture` draws plans; this flowchart is for a page that must never fail to draw. So nodes have generated names,
labels hold no markup, and a plan too large to be read is drawn as its groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from vibe_prefect.drawing.plan_picture import EDGE_ARROWS, EDGE_RANK, MERMAID_MAX_EDGES
from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.plan.graph import EdgeKind
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import STATUS_ORDER, SYMBOLS, duration
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.text.escape import mermaid
from vibe_prefect.text.units import counted

MAX_NODES = 150
"""Number of nodes beyond which the groups are drawn instead; also the largest number of groups."""

MAX_LABEL = 100
_REUSED = "fill:#ccfbf1,stroke:#0f766e,stroke-dasharray:1 3,color:#0f172a"
_CLASSES = {status.value: style.mermaid for status, style in STATUS_STYLES.items()} | {"reused": _REUSED}


def flowchart(report: RunReport) -> tuple[str, str]:
    """Return a mermaid flowchart, and a note of what it leaves out; the note is empty when nothing is left out."""
    return _groups(report) if len(report.nodes) > MAX_NODES else _nodes(report)


def _nodes(report: RunReport) -> tuple[str, str]:
    names = {node.id: f"n{index}" for index, node in enumerate(report.nodes)}
    parents = {node.parent for node in report.nodes}
    edges = [edge for edge in report.edges if not (edge.kind is EdgeKind.HIERARCHY and edge.source in parents)]
    drawn = sorted(edges, key=lambda edge: EDGE_RANK[edge.kind])[:MERMAID_MAX_EDGES]
    lines = ["flowchart LR", *_boxes(report, names, parents)]
    lines += [f"    {names[edge.source]} {EDGE_ARROWS[edge.kind]} {names[edge.target]}" for edge in drawn]
    lines += _class_lines({_word(node) for node in report.nodes})
    missing = len(edges) - len(drawn)
    return "\n".join(lines), f"{counted(missing, 'edge')} left out of the drawing" if missing else ""


def _boxes(report: RunReport, names: dict[str, str], parents: set[str | None]) -> Iterator[str]:
    """Yield the nodes; around a composite and what lies below it goes a box, opened and closed in plan order."""
    open_boxes: list[NodeReport] = []
    for node in report.nodes:
        while open_boxes and node.depth <= open_boxes[-1].depth:
            yield f"{'    ' * len(open_boxes)}end"
            open_boxes.pop()
        if node.id in parents:
            yield f'{"    " * (len(open_boxes) + 1)}subgraph g{names[node.id]}["{mermaid(node.id, MAX_LABEL)}"]'
            open_boxes.append(node)
        yield f"{'    ' * (len(open_boxes) + 1)}{_node(node, names[node.id])}"
    yield from (f"{'    ' * depth}end" for depth in range(len(open_boxes), 0, -1))


def _node(node: NodeReport, name: str) -> str:
    time_taken = f" · {duration(node.duration)}" if node.duration is not None else ""
    label = f"{SYMBOLS[node.status]} {mermaid(node.id, MAX_LABEL)}<br/><small>{_word(node)}{time_taken}</small>"
    return f'{name}["{label}"]:::{_word(node)}'


def _word(node: NodeReport) -> str:
    return "reused" if node.reused and node.status is ExecutionStatus.COMPLETED else node.status.value


def _groups(report: RunReport) -> tuple[str, str]:
    drawn = report.groups[:MAX_NODES]
    lines, class_names = ["flowchart LR"], set[str]()
    for index, group in enumerate(drawn):
        statuses = Counter(report.by_id[id].status for id in group)
        worst = next(status for status in STATUS_ORDER if statuses[status])
        counts = ", ".join(f"{statuses[status]:,} {status}" for status in STATUS_ORDER if statuses[status])
        class_names.add(worst.value)
        label = f"{SYMBOLS[worst]} group {index + 1}: {counted(len(group), 'node')}<br/><small>{counts}</small>"
        lines.append(f'    g{index}["{label}"]:::{worst.value}')
    lines += [f"    g{index} --> g{index + 1}" for index in range(len(drawn) - 1)]
    missing = len(report.groups) - len(drawn)
    omission = f"; {counted(missing, 'group')} left out" if missing else ""
    note = f"{counted(len(report.nodes), 'node')} drawn as {counted(len(drawn), 'group')} of nodes that can run at once"
    return "\n".join([*lines, *_class_lines(class_names)]), note + omission


def _class_lines(class_names: set[str]) -> list[str]:
    return [f"    classDef {class_name} {style}" for class_name, style in _CLASSES.items() if class_name in class_names]
