"""A run's plan as a mermaid flowchart, coloured by status, with composites around their children.

`plan_picture` draws plans; this flowchart is for a page that must never fail to draw. So nodes have generated names,
labels hold no markup, and a plan too large to be read is drawn as its groups.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from vibe_prefect.drawing.plan_picture import EDGE_ARROWS, EDGE_RANK, MERMAID_MAX_EDGES
from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.plan.graph import Edge, EdgeKind
from vibe_prefect.reporting.report import NodeReport, RunReport
from vibe_prefect.reporting.words import STATUS_ORDER, SYMBOLS, duration
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.text.escape import mermaid
from vibe_prefect.text.units import counted

MAX_NODES = 150
"""Number of nodes beyond which the groups are drawn instead; also the largest number of groups."""

MAX_OPEN = 40
"""Number of nodes beyond which the inner composites are drawn closed, each as one box."""

MAX_LABEL = 100
_REUSED = "fill:#ccfbf1,stroke:#0f766e,stroke-dasharray:1 3,color:#0f172a"
_CLASSES = {status.value: style.mermaid for status, style in STATUS_STYLES.items()} | {"reused": _REUSED}


def flowchart(report: RunReport) -> tuple[str, str]:
    """Return a mermaid flowchart, and a note of what it leaves out; the note is empty when nothing is left out.

    A plan of more than `MAX_OPEN` nodes is drawn with its inner composites closed, as far down as it stays readable.
    """
    depth = _depth(report)
    if sum(node.depth <= depth for node in report.nodes) > MAX_NODES:
        return _groups(report)
    return _nodes(report, depth)


def _depth(report: RunReport) -> int:
    """Return the level down to which nodes are drawn: all of a small plan, else as many as `MAX_OPEN` allows."""
    levels = Counter(node.depth for node in report.nodes)
    deepest = max(levels, default=1)
    fitting = [depth for depth in range(1, deepest + 1) if sum(levels[d] for d in range(1, depth + 1)) <= MAX_OPEN]
    return max(fitting, default=1)


def _nodes(report: RunReport, depth: int) -> tuple[str, str]:
    shown = [node for node in report.nodes if node.depth <= depth]
    holders = _holders(report, depth)
    names = {node.id: f"n{index}" for index, node in enumerate(shown)}
    parents = {node.parent for node in shown}
    edges = _edges(report, holders, parents)
    drawn = sorted(edges, key=lambda edge: EDGE_RANK[edge.kind])[:MERMAID_MAX_EDGES]
    lines = ["flowchart LR", *_boxes(shown, names, parents, _closed(report, holders))]
    lines += [f"    {names[edge.source]} {EDGE_ARROWS[edge.kind]} {names[edge.target]}" for edge in drawn]
    lines += _class_lines({_word(node) for node in report.nodes})
    missing, hidden = len(edges) - len(drawn), len(report.nodes) - len(shown)
    notes = [f"{counted(hidden, 'node')} within composites drawn closed"] if hidden else []
    notes += [f"{counted(missing, 'edge')} left out of the drawing"] if missing else []
    return "\n".join(lines), "; ".join(notes)


def _holders(report: RunReport, depth: int) -> dict[str, str]:
    """Return the node that is drawn for each node: itself, or the closed composite around it."""
    holders: dict[str, str] = {}
    for node in report.nodes:  # a parent comes before its children
        holders[node.id] = node.id if node.depth <= depth or node.parent is None else holders[node.parent]
    return holders


def _edges(report: RunReport, holders: Mapping[str, str], parents: set[str | None]) -> list[Edge]:
    """Return the edges between the nodes that are drawn, of each pair the one that says most."""
    edges: dict[tuple[str, str], Edge] = {}
    for edge in sorted(report.edges, key=lambda edge: EDGE_RANK[edge.kind]):
        ends = holders[edge.source], holders[edge.target]
        is_drawn_as_box = edge.kind is EdgeKind.HIERARCHY and edge.source in parents
        if ends[0] != ends[1] and not is_drawn_as_box:
            edges.setdefault(ends, Edge(*ends, edge.kind))
    return list(edges.values())


def _closed(report: RunReport, holders: Mapping[str, str]) -> dict[str, Counter[ExecutionStatus]]:
    """Return the number of nodes by status in each closed composite, itself not counted."""
    closed: dict[str, Counter[ExecutionStatus]] = {}
    for node in report.nodes:
        if holders[node.id] != node.id:
            closed.setdefault(holders[node.id], Counter())[node.status] += 1
    return closed


def _boxes(
    shown: Sequence[NodeReport],
    names: Mapping[str, str],
    parents: set[str | None],
    closed: Mapping[str, Counter[ExecutionStatus]],
) -> Iterator[str]:
    """Yield the nodes; around a composite and what lies below it goes a box, opened and closed in plan order."""
    open_boxes: list[NodeReport] = []
    for node in shown:
        while open_boxes and node.depth <= open_boxes[-1].depth:
            yield f"{'    ' * len(open_boxes)}end"
            open_boxes.pop()
        if node.id in parents:
            yield f'{"    " * (len(open_boxes) + 1)}subgraph g{names[node.id]}["{mermaid(node.id, MAX_LABEL)}"]'
            open_boxes.append(node)
        yield f"{'    ' * (len(open_boxes) + 1)}{_node(node, names[node.id], closed.get(node.id))}"
    yield from (f"{'    ' * depth}end" for depth in range(len(open_boxes), 0, -1))


def _node(node: NodeReport, name: str, closed: Counter[ExecutionStatus] | None) -> str:
    if closed is not None:
        statuses = closed if node.is_group else closed + Counter([node.status])
        worst = next(status for status in STATUS_ORDER if statuses[status])
        detail = f"{counted(closed.total(), 'node')} within: {_counts(closed)}"
        return f'{name}["{SYMBOLS[worst]} {mermaid(node.id, MAX_LABEL)}<br/><small>{detail}</small>"]:::{worst.value}'
    time_taken = f" · {duration(node.duration)}" if node.duration is not None else ""
    label = f"{SYMBOLS[node.status]} {mermaid(node.id, MAX_LABEL)}<br/><small>{_word(node)}{time_taken}</small>"
    return f'{name}["{label}"]:::{_word(node)}'


def _counts(statuses: Counter[ExecutionStatus]) -> str:
    return ", ".join(f"{statuses[status]:,} {status}" for status in STATUS_ORDER if statuses[status])


def _word(node: NodeReport) -> str:
    return "reused" if node.reused and node.status is ExecutionStatus.COMPLETED else node.status.value


def _groups(report: RunReport) -> tuple[str, str]:
    drawn = report.groups[:MAX_NODES]
    lines, class_names = ["flowchart LR"], set[str]()
    for index, group in enumerate(drawn):
        statuses = Counter(report.by_id[id].status for id in group)
        worst = next(status for status in STATUS_ORDER if statuses[status])
        counts = _counts(statuses)
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
