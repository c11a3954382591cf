from __future__ import annotations

import re
from itertools import cycle
from xml.etree import ElementTree as ET

import pytest

from tests.paths import DATA
from vibe_prefect import EdgeKind, ExecutionStatus, PlanGraph, Vibe, WorkflowNode, WorkflowPlan, build_graph, load_plan
from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.drawing.layout import Orientation, arrange
from vibe_prefect.drawing.plan_picture import (
    MERMAID_MAX_EDGES,
    MERMAID_MAX_LENGTH,
    MERMAID_MAX_NODES,
    SVG_MAX_EDGES,
    SVG_MAX_NODES,
    mermaid,
    svg,
)

PLANS = ["sci-fi-trailer", "web-feature", "mixed-55"]
SVG = "{http://www.w3.org/2000/svg}"

MERMAID_NODE = re.compile(r'    ([\w-]+)(?:\["(.*)"\]|\[\["(.*)"\]\]|\{\{"(.*)"\}\}):::(\w+)')
MERMAID_EDGE = re.compile(r"    ([\w-]+) (-->|-\.->|==>) ([\w-]+)")


def graph_of(*nodes: WorkflowNode) -> PlanGraph:
    return build_graph(WorkflowPlan(id="plan", source_vibe=Vibe(description="x"), root_nodes=list(nodes)))


def leaf(id: str, *dependencies: str, description: str = "x", children: tuple[WorkflowNode, ...] = ()) -> WorkflowNode:
    kind = WorkflowNodeType.COMPOSITE if children else WorkflowNodeType.GENERATE
    return WorkflowNode(
        id=id, type=kind, description=description, dependencies=list(dependencies), children=list(children)
    )


def wide(count: int) -> PlanGraph:
    """Two layers in which each node waits for all of the other: count * count edges."""
    first = [f"a{index}" for index in range(count)]
    return graph_of(*(leaf(id) for id in first), *(leaf(f"b{index}", *first) for index in range(count)))


def loaded(name: str) -> PlanGraph:
    return build_graph(load_plan(DATA / f"{name}.json").plan)


def statuses(graph: PlanGraph) -> dict[str, ExecutionStatus]:
    return dict(zip(graph.nodes, cycle(ExecutionStatus), strict=False))


def parts(drawing: str) -> ET.Element:
    return ET.fromstring(drawing)  # noqa: S314 - our own drawing


@pytest.mark.parametrize("name", PLANS)
def test_mermaid_has_every_node_and_edge_and_nothing_else(name: str) -> None:
    graph = loaded(name)
    head, *lines = mermaid(graph).splitlines()
    assert head == "flowchart LR"
    nodes = [line for line in lines if MERMAID_NODE.fullmatch(line)]
    edges = [line for line in lines if MERMAID_EDGE.fullmatch(line)]
    classes = [line for line in lines if line.startswith("    classDef ")]
    assert (len(nodes), len(edges)) == (len(graph.nodes), len(graph.edges))
    assert len(nodes) + len(edges) + len(classes) == len(lines)


def test_mermaid_kinds_of_edges_look_different() -> None:
    graph = graph_of(leaf("p", children=(leaf("c"),)), leaf("x", "p"))
    assert {edge.kind for edge in graph.edges} == set(EdgeKind)
    text = mermaid(graph)
    assert "    p -.-> c\n" in text
    assert "    p --> x\n" in text
    assert "    c ==> x\n" in text


def test_mermaid_maps_ids_that_it_would_misread() -> None:
    ids = ["end", "a-b", "a--b", "a.b", "a_b", "9lives", "Graph", "style-guide", "n_a_b", "left_out", "x", "o"]
    text = mermaid(graph_of(*(leaf(id) for id in ids)))
    found = [match for match in map(MERMAID_NODE.fullmatch, text.splitlines()) if match]
    names = [match[1] for match in found]
    assert len(set(names)) == len(ids)
    assert not {"end", "Graph", "style-guide", "left_out"} & set(names)
    assert all(re.fullmatch(r"[A-Za-z]\w*(-\w+)*", name) for name in names)
    assert [match[2].split("<br/>")[0] for match in found] == ids


def test_mermaid_shows_statuses() -> None:
    graph = loaded("web-feature")
    text = mermaid(graph, {"gather": ExecutionStatus.FAILED})
    assert 'gather["gather<br/><small>analyze, failed</small>"]:::failed' in text
    assert ":::pending" in text
    assert "classDef failed" in text


def test_mermaid_of_an_empty_plan() -> None:
    assert mermaid(graph_of()) == "flowchart LR\n"


@pytest.mark.parametrize("name", PLANS)
@pytest.mark.parametrize("with_statuses", [False, True])
def test_svg_is_well_formed_self_contained_and_complete(name: str, with_statuses: bool) -> None:
    graph = loaded(name)
    text = svg(graph, statuses(graph) if with_statuses else None, title=name)
    root = parts(text)
    assert root.findtext(f"{SVG}title") == name
    assert f"{len(graph.nodes)} nodes" in (root.findtext(f"{SVG}desc") or "")
    shown = [label.text for label in root.iter(f"{SVG}text") if label.get("class") == "id"]
    assert shown == list(graph.nodes)
    edges = [path for path in root.iter(f"{SVG}path") if path.find(f"{SVG}title") is not None]
    assert len(edges) == len(graph.edges)
    assert "script" not in text
    assert "href" not in text
    assert "prefers-color-scheme: dark" in text


def test_svg_escapes_what_a_plan_says() -> None:
    graph = graph_of(leaf("a", description='<script>alert("&")</script> \x00\x1b[31m ]]> \ufffe'))
    root = parts(svg(graph, title="<b>&\x07"))
    assert root.findtext(f"{SVG}title") == "<b>&"
    hints = [title.text or "" for title in root.iter(f"{SVG}title")]
    assert any('<script>alert("&")</script>' in hint for hint in hints)


def test_svg_cuts_long_ids_and_keeps_them_in_the_hint() -> None:
    id = "w" * 100
    root = parts(svg(graph_of(leaf(id))))
    label = next(text.text or "" for text in root.iter(f"{SVG}text") if text.get("class") == "id")
    assert label.endswith("…")
    assert any(id in (title.text or "") for title in root.iter(f"{SVG}title"))


def test_what_exceeds_the_caps_is_counted() -> None:
    graph = wide(60)
    text = mermaid(graph)
    assert sum(bool(MERMAID_EDGE.fullmatch(line)) for line in text.splitlines()) == MERMAID_MAX_EDGES
    assert f"{3600 - MERMAID_MAX_EDGES:,} edges left out of this drawing" in text
    assert f"{3600 - SVG_MAX_EDGES:,} edges left out of this drawing" in svg(graph)


def test_a_huge_plan_is_drawn_in_part() -> None:
    graph = graph_of(*(leaf(f"n{index}") for index in range(3000)))
    assert f"{3000 - MERMAID_MAX_NODES:,} nodes left out" in mermaid(graph)
    assert f"{3000 - SVG_MAX_NODES:,} nodes left out" in svg(graph)


def test_mermaid_stays_as_short_as_mermaid_takes() -> None:
    ids = [f"{'n' * 90}{index}" for index in range(500)]
    graph = graph_of(leaf(ids[0]), *(leaf(id, ids[0]) for id in ids[1:]))
    text = mermaid(graph)
    assert len(text) <= MERMAID_MAX_LENGTH
    assert " nodes and " in text
    assert " edges left out of this drawing" in text


def test_few_layers_follow_to_the_right_and_many_downwards() -> None:
    few = arrange([[f"n{index}"] for index in range(5)], [], 100, 40)
    many = arrange([[f"n{index}"] for index in range(40)], [], 100, 40)
    assert (few.orientation, many.orientation) == (Orientation.RIGHT, Orientation.DOWN)
    assert many.height > many.width


@pytest.mark.parametrize("name", PLANS)
def test_nodes_do_not_overlap_and_edges_point_forward(name: str) -> None:
    graph = loaded(name)
    pairs = [(edge.source, edge.target) for edge in graph.edges]
    layout = arrange(graph.groups, pairs, 120, 46)
    places = sorted(layout.places.values())
    for index, place in enumerate(places):
        for other in places[index + 1 :]:
            assert abs(place.x - other.x) >= 120 or abs(place.y - other.y) >= 46
    for points in layout.routes.values():
        assert [point.x for point in points] == sorted(point.x for point in points)
        assert all(0 <= point.y <= layout.height and 0 <= point.x <= layout.width for point in points)


def test_an_edge_that_passes_a_layer_runs_beside_its_nodes() -> None:
    layout = arrange([["a"], ["b"], ["c"]], [("a", "b"), ("b", "c"), ("a", "c")], 100, 40)
    _, enter, leave, _ = layout.routes[("a", "c")]
    top = layout.places["b"].y
    assert enter.y == leave.y
    assert not top <= enter.y <= top + 40
