"""The plan's tree as a flat graph: checked, ordered and grouped.

Each node has a *start* and, where it has children, an *end*: the moment when everything below it has finished. A node
starts after its parent has completed and after the end of each dependency, unless the dependency is its own ancestor:
that one's completion holds already. A composite with `for_each` is the other way round: its children come first, as
soon as it could start, and it gathers what they made. Nothing here recurses, so depth costs no stack.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple, Protocol

from vibe_prefect.core.models import WorkflowNode, WorkflowPlan
from vibe_prefect.core.plan_tree import DataPath, tree_nodes
from vibe_prefect.errors import Position

ID_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
ID_RULE = "letters, digits, '.', '_' and '-', at most 100, the first a letter or a digit"


@dataclass(frozen=True, slots=True)
class PlanLimits:
    """Limits of a plan's size."""

    max_nodes: int = 20_000
    """Nodes in all."""

    max_depth: int = 64
    """Levels of nesting; a root node is at level 1."""


@dataclass(frozen=True, slots=True)
class Doubts:
    """Unreadable parts of a plan; no check reports what may follow from them."""

    ids: frozenset[str] | None = frozenset()
    """Ids that nodes may have which could not be read; `None` when they may have any."""

    nodes: frozenset[str] = frozenset()
    """Ids of nodes of whose work, type or dependencies not all could be read."""

    inputs: bool = False
    """Whether the inputs that the plan declares could not all be read."""

    def may_exist(self, id: str) -> bool:
        """Tell whether a node of that id may be among those that could not be read."""
        return self.ids is None or id in self.ids


NO_DOUBTS = Doubts()
"""Everything could be read."""


DEFAULT_ITEM = "item"
"""Name of an item in the templates of the nodes that run for it, where their composite gives none."""


class EdgeKind(StrEnum):
    """Reason why one node waits for another."""

    DATA = "data"
    """A declared dependency, or a node that runs for an item: the output is passed on."""

    ORDER = "order"
    """The end of a dependency's subtree: only its completion matters."""

    HIERARCHY = "hierarchy"
    """A parent: its children start when it has completed."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One node that another waits for."""

    source: str
    """Id of the node that comes first."""

    target: str
    """Id of the node that waits."""

    kind: EdgeKind
    """Kind of the wait."""


class PlanSource(Protocol):
    """Places of a plan's data in a file."""

    @property
    def name(self) -> str:
        """The file's name."""
        ...

    def position(self, path: DataPath) -> Position | None:
        """Return where the value at a path stands."""
        ...


class GraphNode(NamedTuple):
    """A node with its place in the tree."""

    node: WorkflowNode
    """The node itself."""

    order: int
    """Its place in plan order: parents before children, siblings as written."""

    parent: str | None
    """Its parent's id."""

    depth: int
    """Its level; 1 for a root node."""

    path: DataPath
    """Path within the plan's data."""

    dependencies: tuple[str, ...]
    """Its declared dependencies without repetitions, the optional ones last."""

    children: tuple[str, ...]
    """Its children's ids."""

    optional: frozenset[str] = frozenset()
    """Those of its dependencies that a condition may skip."""

    @property
    def gathers(self) -> bool:
        """Whether its children run for each item of a list, and it gathers what they made."""
        return self.node.for_each is not None

    @property
    def has_end(self) -> bool:
        """Whether it ends later than it completes, since its children do."""
        return bool(self.children) and not self.gathers


Vertex = tuple[str, bool]
"""A node's start (`False`) or its end (`True`)."""


@dataclass(frozen=True)
class PlanGraph:
    """A plan that hangs together: no cycle, no unknown or repeated id."""

    nodes: Mapping[str, GraphNode]
    """All nodes in plan order, by id."""

    waits: Mapping[Vertex, tuple[Vertex, ...]]
    """For each vertex, the vertices that come before it."""

    groups: tuple[tuple[str, ...], ...]
    """Ids by topological level, each group in plan order."""

    @cached_property
    def edges(self) -> tuple[Edge, ...]:
        """All edges, by target in plan order.

        Of a dependency's subtree only the nodes that no other node of that subtree waits for are named: when they
        have finished, all of it has.
        """
        subtree_ends: dict[str, tuple[str, ...]] = {}
        return tuple(edge for node in self.nodes.values() for edge in self._edges_to(node, subtree_ends))

    @cached_property
    def order(self) -> tuple[Vertex, ...]:
        """Begins and ends of the nodes, each after those that it waits for."""
        return tuple(vertex_levels(self.waits))

    def sources(self, node_id: str) -> tuple[str, ...]:
        """Return the ids of the nodes from which an edge leads to a node."""
        return tuple(edge.source for edge in self._edges_to(self.nodes[node_id], {}))

    def ancestors(self, node_id: str) -> Iterator[str]:
        """Yield a node's ancestors, the parent first."""
        parent = self.nodes[node_id].parent
        while parent is not None:
            yield parent
            parent = self.nodes[parent].parent

    def below(self, node_id: str) -> Iterator[str]:
        """Yield all descendants of a node in plan order."""
        stack = list(reversed(self.nodes[node_id].children))
        while stack:
            current = stack.pop()
            yield current
            stack.extend(reversed(self.nodes[current].children))

    def parts(self, node_id: str) -> Iterator[str]:
        """Yield the descendants of a node in plan order, without those whose outputs another one gathers."""
        stack = [node_id]
        while stack:
            current = stack.pop()
            if current != node_id:
                yield current
            if not self.nodes[current].gathers:
                stack.extend(reversed(self.nodes[current].children))

    def gatherers(self, node_id: str) -> tuple[str, ...]:
        """Return the ancestors of a node that run it for each of their items, the innermost first."""
        return tuple(id for id in self.ancestors(node_id) if self.nodes[id].gathers)

    def item_names(self, node_id: str) -> tuple[str, ...]:
        """Return the names of the items that a node runs for, the innermost first."""
        return tuple(self.nodes[id].node.item_name or DEFAULT_ITEM for id in self.gatherers(node_id))

    def awaited(self, node_id: str) -> tuple[str, ...]:
        """Return the dependencies that a node waits for with their subtrees: all but its own ancestors."""
        dependencies = self.nodes[node_id].dependencies
        ancestors = set(self.ancestors(node_id)) if dependencies else set[str]()
        return tuple(id for id in dependencies if id not in ancestors)

    def _edges_to(self, node: GraphNode, subtree_ends: dict[str, tuple[str, ...]]) -> Iterator[Edge]:
        id = node.node.id
        sources = dict.fromkeys(node.dependencies, EdgeKind.DATA)
        start = self._start(node)
        if start.parent is not None and not self.nodes[start.parent].gathers:
            sources.setdefault(start.parent, EdgeKind.HIERARCHY)
        for dependency in self.awaited(start.node.id):
            sources.setdefault(dependency, EdgeKind.ORDER)
        if node.gathers:
            sources |= dict.fromkeys(self._ends(node.children), EdgeKind.DATA)
        for dependency in (*self.awaited(id), *self.awaited(start.node.id)):
            if dependency not in subtree_ends:
                subtree_ends[dependency] = self._subtree_ends(dependency)
            for end in subtree_ends[dependency]:
                sources.setdefault(end, EdgeKind.ORDER)
        yield from (Edge(source, id, kind) for source, kind in sources.items())

    def _start(self, node: GraphNode) -> GraphNode:
        """Return the node whose start decides when a node starts: its composite where it is the first of an item."""
        while not node.dependencies and node.parent is not None and self.nodes[node.parent].gathers:
            node = self.nodes[node.parent]
        return node

    def _subtree_ends(self, node_id: str) -> tuple[str, ...]:
        return self._ends_among(dict.fromkeys(self.parts(node_id)))

    def _ends(self, ids: Iterable[str]) -> tuple[str, ...]:
        """Return the nodes, of some subtrees, that no other node of them waits for."""
        return self._ends_among(dict.fromkeys(part for id in ids for part in (id, *self.parts(id))))

    def _ends_among(self, ids: Mapping[str, None]) -> tuple[str, ...]:
        awaited = {id for member in ids for id in self.awaited(member) if id in ids}
        covered = awaited.union(*(self.parts(id) for id in awaited))
        return tuple(id for id in ids if not self.nodes[id].has_end and id not in covered)


class _Waits:
    """What each start and end waits for."""

    def __init__(self, nodes: Mapping[str, GraphNode], refused: Collection[tuple[str, str]]) -> None:
        self._nodes = nodes
        self._refused = refused
        self._starts: dict[str, Vertex] = {id: (id, False) for id in nodes}
        self._ends = self._starts | {id: (id, True) for id, node in nodes.items() if node.children and node.has_end}
        self._below: dict[str | None, tuple[tuple[Vertex, ...], frozenset[str]]] = {}

    def all(self) -> dict[Vertex, tuple[Vertex, ...]]:
        waits: dict[Vertex, tuple[Vertex, ...]] = {}
        for id, node in self._nodes.items():
            start, before = self._starts[id], self._before(node)
            if not node.children:
                waits[start] = before
                continue
            ends = [self._ends[child] for child in node.children if child in self._ends]
            waits[start] = tuple(dict.fromkeys([*before, *ends])) if node.gathers else before
            if node.has_end:
                waits[self._ends[id]] = (start, *ends)
        return waits

    def _before(self, node: GraphNode) -> tuple[Vertex, ...]:
        """Return what the start of a node waits for."""
        if node.parent not in self._below:
            self._below[node.parent] = self._before_children(node)
        before, ancestors = self._below[node.parent]
        if not node.dependencies:
            return before
        awaited = [*before]
        for id in node.dependencies:
            end = self._ends.get(id)
            if end is not None and id not in ancestors and (node.node.id, id) not in self._refused:
                awaited.append(end)
        return tuple(awaited)

    def _before_children(self, child: GraphNode) -> tuple[tuple[Vertex, ...], frozenset[str]]:
        """Return what a child and its siblings wait for besides their dependencies, and the ids of their ancestors."""
        parent = self._nodes.get(child.parent) if child.parent is not None else None
        if parent is None:
            return (), frozenset()
        before = self._before(parent) if parent.gathers else (self._starts[parent.node.id],)
        return before, frozenset(self._ancestors(child))

    def _ancestors(self, node: GraphNode) -> Iterator[str]:
        while node.parent is not None and node.parent in self._nodes:
            yield node.parent
            node = self._nodes[node.parent]


def plan_waits(
    nodes: Mapping[str, GraphNode], refused: Collection[tuple[str, str]] = ()
) -> dict[Vertex, tuple[Vertex, ...]]:
    """Return what each start and end waits for.

    Args:
        nodes: The nodes; what is not among them is not waited for.
        refused: Pairs of a node and a dependency of it that is not waited for.
    """
    return _Waits(nodes, refused).all()


def graph_of_run(plan: WorkflowPlan) -> PlanGraph:
    """Return the graph of a plan that was run, with the nodes that ran for the items of lists: it was checked then."""
    nodes: dict[str, GraphNode] = {}
    for index, item in enumerate(tree_nodes(plan.root_nodes)):
        children = tuple(child.id for child in item.node.children)
        dependencies = tuple(dict.fromkeys(item.dependencies))
        optional = frozenset(item.node.optional_dependencies)
        nodes[item.node.id] = GraphNode(
            item.node, index, item.parent, item.depth, item.path, dependencies, children, optional
        )
    return grown_graph(nodes)


def grown_graph(nodes: Mapping[str, GraphNode]) -> PlanGraph:
    """Return the graph of nodes that hang together by the way they were made.

    Args:
        nodes: The nodes in plan order, by id.
    """
    waits = plan_waits(nodes)
    return PlanGraph(nodes, waits, plan_groups(nodes, vertex_levels(waits)))


def vertex_levels(waits: Mapping[Vertex, tuple[Vertex, ...]]) -> dict[Vertex, int]:
    """Return the topological level of each start and end.

    Args:
        waits: What each start and end waits for.

    Returns:
        The levels from 0, an end on that of the last that it waits for. Those in a cycle or behind one have none.
    """
    vertices = list(waits)
    places = {vertex: place for place, vertex in enumerate(vertices)}
    followers: list[list[int]] = [[] for _ in vertices]
    for place, before in enumerate(waits.values()):
        for awaited in before:
            followers[places[awaited]].append(place)
    open_waits = list(map(len, waits.values()))
    levels = [0] * len(vertices)
    ready = [place for place, count in enumerate(open_waits) if not count]
    for place in ready:  # grows while it is read
        level = levels[place]
        for follower in followers[place]:
            least = level if vertices[follower][1] else level + 1
            if levels[follower] < least:
                levels[follower] = least
            open_waits[follower] -= 1
            if not open_waits[follower]:
                ready.append(follower)
    return {vertices[place]: levels[place] for place in ready}


def plan_groups(nodes: Mapping[str, GraphNode], levels: Mapping[Vertex, int]) -> tuple[tuple[str, ...], ...]:
    """Return the ids of nodes by topological level, each group in plan order.

    Args:
        nodes: The nodes in plan order, by id.
        levels: The level of each start and end.
    """
    groups: list[list[str]] = [[] for _ in range(max(levels.values(), default=-1) + 1)]
    for id in nodes:
        groups[levels[id, False]].append(id)
    return tuple(map(tuple, groups))
