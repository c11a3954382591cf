"""A plan as a picture: mermaid text and a self-contained SVG.

Both show the same things: nodes by type or, where statuses are given, by status; data edges solid, hierarchy edges
dotted, order edges dashed. A plan can have a million edges, and a picture of them cannot be read: nodes and edges
above the limits are left out and counted in the drawing.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

from vibe_prefect.characters import UNSENDABLE
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.drawing.layout import Layout, Orientation, Point, arrange
from vibe_prefect.drawing.status_style import STATUS_STYLES
from vibe_prefect.plan.graph import Edge, EdgeKind, GraphNode, PlanGraph
from vibe_prefect.results import ExecutionStatus

Statuses = Mapping[str, ExecutionStatus]

MERMAID_MAX_EDGES = 500
"""Mermaid's own default: with an edge more, GitHub and Prefect's UI draw an error instead."""

MERMAID_MAX_NODES = 400
MERMAID_MAX_LENGTH = 50_000
"""Number of characters that mermaid takes by default; where ids are long, fewer nodes and edges are drawn."""

SVG_MAX_EDGES = 2_000
SVG_MAX_NODES = 2_000

EDGE_RANK = {EdgeKind.DATA: 0, EdgeKind.HIERARCHY: 1, EdgeKind.ORDER: 2}


@dataclass(frozen=True, slots=True)
class _Shown:
    """The part of a graph that is drawn."""

    nodes: tuple[GraphNode, ...]
    edges: tuple[Edge, ...]
    nodes_left_out: int
    edges_left_out: int

    @property
    def note(self) -> str:
        """Missing nodes and edges, in words; empty when nothing is missing."""
        counts = (_counted(self.nodes_left_out, "node"), _counted(self.edges_left_out, "edge"))
        missing = " and ".join(count for count in counts if count)
        return f"{missing} left out of this drawing" if missing else ""


def _counted(count: int, word: str) -> str:
    return f"{count:,} {word}{'s' if count != 1 else ''}" if count else ""


def _shown(graph: PlanGraph, max_nodes: int, max_edges: int) -> _Shown:
    """Choose the part to draw: the first nodes in plan order, and data edges before the others."""
    nodes = tuple(graph.nodes.values())[:max_nodes]
    ids = {node.node.id for node in nodes}
    edges = graph.edges
    drawable = [edge for edge in edges if edge.source in ids and edge.target in ids]
    if len(drawable) > max_edges:
        drawable = sorted(drawable, key=lambda edge: EDGE_RANK[edge.kind])[:max_edges]
    return _Shown(nodes, tuple(drawable), len(graph.nodes) - len(nodes), len(edges) - len(drawable))


def one_line(text: str) -> str:
    """Return text without the characters that XML and mermaid cannot hold, on one line."""
    return " ".join(UNSENDABLE.sub(" ", text).split())


# --- mermaid ---------------------------------------------------------------------------------

_SAFE_ID = re.compile(r"[A-Za-z][A-Za-z0-9_]*(-[A-Za-z0-9_]+)*")
_RESERVED = frozenset(
    {
        "call",
        "class",
        "classdef",
        "click",
        "default",
        "direction",
        "end",
        "flowchart",
        "graph",
        "href",
        "interpolate",
        "linkstyle",
        "style",
        "subgraph",
    }
)
EDGE_ARROWS = {EdgeKind.DATA: "-->", EdgeKind.HIERARCHY: "-.->", EdgeKind.ORDER: "==>"}
_MERMAID_CLASSES = {
    "analyze": "fill:#dbeafe,stroke:#2563eb,color:#0f172a",
    "generate": "fill:#dcfce7,stroke:#16a34a,color:#0f172a",
    "transform": "fill:#fef3c7,stroke:#d97706,color:#0f172a",
    "validate": "fill:#fae8ff,stroke:#a21caf,color:#0f172a",
    "composite": "fill:#e2e8f0,stroke:#475569,color:#0f172a",
} | {status.value: style.mermaid for status, style in STATUS_STYLES.items()}
_SHAPES = {
    WorkflowNodeType.COMPOSITE: ("[[", "]]"),
    WorkflowNodeType.VALIDATE: ("{{", "}}"),
}


def mermaid(graph: PlanGraph, statuses: Statuses | None = None) -> str:
    """Return a mermaid flowchart of a plan.

    Args:
        graph: The plan's graph.
        statuses: Status of each node; without them, nodes are coloured by type.
    """
    nodes, edges = MERMAID_MAX_NODES, MERMAID_MAX_EDGES
    text = _flowchart(_shown(graph, nodes, edges), statuses)
    while len(text) > MERMAID_MAX_LENGTH:
        nodes, edges = nodes // 2, edges // 2
        text = _flowchart(_shown(graph, nodes, edges), statuses)
    return text


def _flowchart(shown: _Shown, statuses: Statuses | None) -> str:
    ids = mermaid_ids([node.node.id for node in shown.nodes])
    classes = {node.node.id: _colour_word(node, statuses) for node in shown.nodes}
    lines = ["flowchart LR"]
    lines += [
        f"    {_mermaid_node(ids[node.node.id], node, statuses)}:::{classes[node.node.id]}" for node in shown.nodes
    ]
    lines += [f"    {ids[edge.source]} {EDGE_ARROWS[edge.kind]} {ids[edge.target]}" for edge in shown.edges]
    if shown.note:
        lines.append(f'    left_out["{shown.note}"]')
    used = dict.fromkeys(classes.values())
    lines += [f"    classDef {class_name} {_MERMAID_CLASSES[class_name]}" for class_name in used]
    return "\n".join(lines) + "\n"


def _colour_word(node: GraphNode, statuses: Statuses | None) -> str:
    """Return the meaning of a node's colour: its status where there are statuses, else its type."""
    if statuses is None:
        return node.node.type.value
    return statuses.get(node.node.id, ExecutionStatus.PENDING).value


def mermaid_ids(ids: Sequence[str]) -> dict[str, str]:
    """Return a name that mermaid takes for each id: the id itself where it is harmless."""
    clean = {id for id in ids if _SAFE_ID.fullmatch(id) and _RESERVED.isdisjoint(id.lower().split("-"))}
    used_names = clean | {"left_out"}
    names: dict[str, str] = {}
    for id in ids:
        name = id if id in clean and id != "left_out" else f"n_{re.sub(r'[^A-Za-z0-9]', '_', id)}"
        base, count = name, 1
        while id != name and name in used_names:
            count += 1
            name = f"{base}_{count}"
        used_names.add(name)
        names[id] = name
    return names


def _mermaid_node(name: str, node: GraphNode, statuses: Statuses | None) -> str:
    opening, closing = _SHAPES.get(node.node.type, ("[", "]"))
    status = f", {_colour_word(node, statuses)}" if statuses is not None else ""
    label = f"{mermaid_text(node.node.id)}<br/><small>{node.node.type}{status}</small>"
    return f'{name}{opening}"{label}"{closing}'


def mermaid_text(text: str) -> str:
    """Escape for a quoted label: mermaid reads HTML entities written `#name;`."""
    text = one_line(text).replace("#", "#35;").replace("&", "#amp;")
    return text.replace('"', "#quot;").replace("<", "#lt;").replace(">", "#gt;")


# --- SVG -------------------------------------------------------------------------------------

_NODE_HEIGHT = 46.0
_MIN_NODE_WIDTH = 116.0
_MIN_NODE_WIDTH_WITH_STATUS = 176.0
_MAX_NODE_WIDTH = 230.0
_MARGIN = 24.0
_HEADER = 54.0
_LEGEND = 44.0
_MIN_WIDTH = 760.0
_WIDE, _NARROW = "MW@mw", "ijl.-tfrI1"

_STYLE = """
svg { color-scheme: light dark; }
.page { fill: #f8fafc; }
text { font-family: system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: #0f172a; }
.heading { font-size: 17px; font-weight: 600; }
.sub, .key { font-size: 12px; fill: #64748b; }
.id { font-size: 13px; font-weight: 600; }
.kind { font-size: 11px; fill: #475569; }
.card { fill: #ffffff; stroke: #cbd5e1; stroke-width: 1; }
.bar { stroke: none; }
.edge { fill: none; stroke-width: 1.5; }
.data { stroke: #64748b; }
.hierarchy { stroke: #94a3b8; stroke-dasharray: 2 4; stroke-linecap: round; }
.order { stroke: #b45309; stroke-dasharray: 7 4; stroke-width: 1.1; opacity: 0.6; }
.tip-data { fill: #64748b; } .tip-hierarchy { fill: #94a3b8; } .tip-order { fill: #b45309; }
.bar.analyze { fill: #3b82f6; } .bar.generate { fill: #22c55e; } .bar.transform { fill: #f59e0b; }
.bar.validate { fill: #c026d3; } .bar.composite { fill: #64748b; }
.status { font-size: 14px; font-weight: 700; }
text.completed { fill: #15803d; } text.failed { fill: #b91c1c; } text.running { fill: #1d4ed8; }
text.pending, text.skipped { fill: #64748b; }
.card.failed { fill: #fef2f2; stroke: #dc2626; stroke-width: 2; }
.card.running { fill: #eff6ff; stroke: #2563eb; stroke-width: 2; }
.card.completed { fill: #f0fdf4; stroke: #4ade80; } .card.skipped { stroke-dasharray: 4 3; }
@media (prefers-color-scheme: dark) {
  .page { fill: #0f172a; } text { fill: #e2e8f0; } .sub, .key, .kind { fill: #94a3b8; }
  .card { fill: #1e293b; stroke: #475569; } .card.completed { fill: #10291f; stroke: #15803d; }
  .card.failed { fill: #3b1219; } .card.running { fill: #172554; }
  .data { stroke: #94a3b8; } .tip-data { fill: #94a3b8; }
  .hierarchy { stroke: #64748b; } .tip-hierarchy { fill: #64748b; }
  .order { stroke: #f59e0b; } .tip-order { fill: #f59e0b; }
  text.completed { fill: #4ade80; } text.failed { fill: #f87171; } text.running { fill: #60a5fa; }
  text.pending, text.skipped { fill: #94a3b8; }
}
"""


def svg(
    graph: PlanGraph,
    statuses: Statuses | None = None,
    title: str = "Plan",
    links: Mapping[str, str] | None = None,
) -> str:
    """Return a plan as an SVG document: layers are the topological groups, edges run from one to a later one.

    Args:
        graph: The plan's graph.
        statuses: Status of each node, for a symbol on it.
        title: The drawing's heading, such as the plan's id.
        links: Address that a click on a node opens, by the node's id.
    """
    shown = _shown(graph, SVG_MAX_NODES, SVG_MAX_EDGES)
    return _Svg(graph, shown, statuses, one_line(title), links or {}).document()


class _Svg:
    """A drawing in the making."""

    def __init__(
        self, graph: PlanGraph, shown: _Shown, statuses: Statuses | None, title: str, links: Mapping[str, str]
    ) -> None:
        self._graph = graph
        self._links = links
        self._shown = shown
        self._statuses = statuses
        self._title = title
        widths = [_text_width(node.node.id) + self._extra for node in shown.nodes]
        least = _MIN_NODE_WIDTH if statuses is None else _MIN_NODE_WIDTH_WITH_STATUS
        self._width = min(_MAX_NODE_WIDTH, max([least, *widths]))
        ids = {node.node.id for node in shown.nodes}
        groups = [[id for id in group if id in ids] for group in graph.groups]
        pairs = [(edge.source, edge.target) for edge in shown.edges]
        self._layout = arrange([group for group in groups if group], pairs, self._width, _NODE_HEIGHT)

    @property
    def _extra(self) -> float:
        """Width of a node beside its id, in pixels."""
        return 30.0 if self._statuses is None else 52.0

    def document(self) -> str:
        layout = self._layout
        width = max(_MIN_WIDTH, layout.width + 2 * _MARGIN)
        height = layout.height + _HEADER + _LEGEND + 2 * _MARGIN
        left = (width - layout.width) / 2
        parts = [
            _opening(width, height, "group" if self._links else "img"),
            f'<title id="title">{escape(self._title)}</title>',
            f'<desc id="desc">{escape(self._description())}</desc>',
            f"<style>{_STYLE}</style>",
            _markers(),
            f'<rect class="page" width="{width:.0f}" height="{height:.0f}"/>',
            f'<text class="heading" x="{_MARGIN:g}" y="38">{escape(self._title)}</text>',
            f'<text class="sub" x="{_MARGIN:g}" y="58">{escape(self._subtitle())}</text>',
            f'<g transform="translate({left:.1f} {_HEADER + _MARGIN:g})">',
            *(self._edge(edge) for edge in self._shown.edges),
            *(self._linked(node) for node in self._shown.nodes),
            "</g>",
            *self._legend(height - _MARGIN),
            "</svg>",
        ]
        return "\n".join(parts) + "\n"

    def _subtitle(self) -> str:
        graph = self._graph
        counts = (
            f"{_counted(len(graph.nodes), 'node') or 'no nodes'}, {_counted(len(graph.groups), 'group') or 'no groups'}"
        )
        return f"{counts}; {self._shown.note}" if self._shown.note else counts

    def _description(self) -> str:
        counter = Counter(_colour_word(node, self._statuses) for node in self._graph.nodes.values())
        counts = ", ".join(f"{count} {word}" for word, count in counter.items())
        return f"A graph of {self._subtitle()}{': ' if counts else ''}{counts}. Arrows lead to what waits."

    def _linked(self, node: GraphNode) -> str:
        link, drawn = self._links.get(node.node.id), self._node(node)
        return drawn if link is None else f'<a href="{escape(link)}">{drawn}</a>'

    def _node(self, node: GraphNode) -> str:
        id, kind = node.node.id, node.node.type.value
        at, width = self._layout.places[id], self._width
        status = _colour_word(node, self._statuses) if self._statuses is not None else ""
        sign = STATUS_STYLES[ExecutionStatus(status)].symbol if status else ""
        symbol = f'<text class="status {status}" x="{width - 24:.1f}" y="28">{sign}</text>' if status else ""
        hint = f"{id} ({kind}{f', {status}' if status else ''}): {one_line(node.node.description)}"
        detail = f"{kind}{f' · {status}' if status else ''}"
        return (
            f'<g transform="translate({at.x:.1f} {at.y:.1f})"><title>{escape(hint[:300])}</title>'
            f'<rect class="card {status}" width="{width:.1f}" height="{_NODE_HEIGHT:g}" rx="7"/>'
            f'<path class="bar {kind}" d="M7 0h-0a7 7 0 0 0-7 7v{_NODE_HEIGHT - 14:g}a7 7 0 0 0 7 7z"/>'
            f'<text class="id" x="16" y="20">{escape(_cut(id, width - self._extra))}</text>'
            f'<text class="kind" x="16" y="36">{detail}</text>{symbol}</g>'
        )

    def _edge(self, edge: Edge) -> str:
        path = _curve(self._layout, self._layout.routes[(edge.source, edge.target)])
        label = f"{edge.source} → {edge.target} ({edge.kind})"
        return (
            f'<path class="edge {edge.kind}" marker-end="url(#tip-{edge.kind})" d="{path}">'
            f"<title>{escape(label)}</title></path>"
        )

    def _legend(self, y: float) -> list[str]:
        x = _MARGIN
        parts: list[str] = []
        types = {node.node.type for node in self._shown.nodes}
        for kind in (kind for kind in WorkflowNodeType if kind in types):
            parts.append(
                f'<rect class="bar {kind}" x="{x:.0f}" y="{y - 10:.0f}" width="11" height="11" rx="3"/>'
                f'<text class="key" x="{x + 17:.0f}" y="{y:.0f}">{kind}</text>'
            )
            x += 34 + 6.6 * len(kind)
        x += 12
        kinds = {edge.kind for edge in self._shown.edges}
        for kind in (kind for kind in EdgeKind if kind in kinds):
            parts.append(
                f'<path class="edge {kind}" marker-end="url(#tip-{kind})" '
                f'd="M{x:.0f} {y - 4:.0f}h26"/>'
                f'<text class="key" x="{x + 36:.0f}" y="{y:.0f}">{kind}</text>'
            )
            x += 54 + 6.6 * len(kind)
        return parts


def _opening(width: float, height: float, role: str) -> str:
    """Return the first tag; links in an `img` cannot be reached, so a drawing with links is a `group`."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}" role="{role}" aria-labelledby="title desc">'
    )


def _markers() -> str:
    tips = (
        f'<marker id="tip-{kind}" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" '
        f'markerHeight="8" markerUnits="userSpaceOnUse" orient="auto">'
        f'<path class="tip-{kind}" d="M0 0.6L8 4L0 7.4z"/></marker>'
        for kind in EdgeKind
    )
    return f"<defs>{''.join(tips)}</defs>"


def _curve(layout: Layout, points: Sequence[Point]) -> str:
    """Draw a smooth path that leaves and enters each point along the direction in which layers follow each other."""
    parts = [f"M{points[0].x:.1f} {points[0].y:.1f}"]
    for index, (a, b) in enumerate(pairwise(points)):
        if index % 2:  # along a layer that the edge passes through
            parts.append(f"L{b.x:.1f} {b.y:.1f}")
        elif layout.orientation is Orientation.RIGHT:
            bend = (b.x - a.x) / 2
            parts.append(f"C{a.x + bend:.1f} {a.y:.1f} {b.x - bend:.1f} {b.y:.1f} {b.x:.1f} {b.y:.1f}")
        else:
            bend = (b.y - a.y) / 2
            parts.append(f"C{a.x:.1f} {a.y + bend:.1f} {b.x:.1f} {b.y - bend:.1f} {b.x:.1f} {b.y:.1f}")
    return "".join(parts)


def _char_width(char: str) -> float:
    if char in _WIDE:
        return 12.0
    return 5.2 if char in _NARROW else 9.6 if char.isupper() else 8.2


def _text_width(text: str) -> float:
    """Estimate the width of a text at 13 px, bold, in pixels; a little too much rather than too little."""
    return sum(map(_char_width, text))


def _cut(text: str, room: float) -> str:
    if _text_width(text) <= room:
        return text
    while text and _text_width(text) + 10 > room:
        text = text[:-1]
    return f"{text}…"
