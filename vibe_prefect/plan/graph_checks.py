"""Checks of a plan's structure: ids, dependencies and cycles, each problem with its place; the graph of a sound one."""

from __future__ import annotations

from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.plan_tree import DataPath, TreeNode, declared_dependencies, dotted, tree_nodes
from vibe_prefect.errors import Finding, PlanError, Position, Problem, did_you_mean
from vibe_prefect.plan.graph import (
    ID_FORM,
    ID_RULE,
    NO_DOUBTS,
    Doubts,
    GraphNode,
    PlanGraph,
    PlanLimits,
    PlanSource,
    Vertex,
    plan_groups,
    plan_waits,
    vertex_levels,
)

MAX_CYCLES = 10
"""Cycles of one plan that are reported at most."""

MAX_HINTS = 20
"""Unknown nodes for which a similar name is looked up at most: the search reads every id."""


def build_graph(plan: WorkflowPlan, source: PlanSource | None = None, limits: PlanLimits | None = None) -> PlanGraph:
    """Check a plan's structure and return its graph.

    Args:
        plan: The plan.
        source: Where its data stand in a file, for the places in messages.
        limits: How large it may be.

    Raises:
        PlanError: The plan does not hang together, with every problem.
    """
    graph, problems = check_graph(plan, source, limits)
    if graph is None:
        raise PlanError(problems, source.name if source else plan.id)
    return graph


def check_graph(
    plan: WorkflowPlan,
    source: PlanSource | None = None,
    limits: PlanLimits | None = None,
    doubts: Doubts = NO_DOUBTS,
) -> tuple[PlanGraph | None, list[Problem]]:
    """Check a plan's structure: the graph, or `None` with every problem; see `build_graph` for the arguments."""
    checker = _Checker(plan, source, limits or PlanLimits(), doubts)
    return checker.graph(), checker.problems


def too_deep(levels: int) -> Finding:
    """Return the finding that a tree is nested more levels deep than is allowed."""
    return Finding.advised(f"nested more than {levels} levels deep", "flatten the tree and use dependencies")


class _Checker:
    """One pass over a plan; `problems` grows, and the graph is there when it stayed empty."""

    def __init__(self, plan: WorkflowPlan, source: PlanSource | None, limits: PlanLimits, doubts: Doubts) -> None:
        self.problems: list[Problem] = []
        self._plan = plan
        self._source = source
        self._limits = limits
        self._doubts = doubts
        self._nodes: dict[str, GraphNode] = {}
        self._refused: set[tuple[str, str]] = set()
        self._lines: dict[str, frozenset[str]] = {}

    def graph(self) -> PlanGraph | None:
        self._check_id(self._plan.id, None, ("id",), "id")
        if not self._flatten():
            return None
        for node in self._nodes.values():
            if node.dependencies and not self._are_beside(node):
                self._check_dependencies(node)
        waits = plan_waits(self._nodes, self._refused)
        levels = vertex_levels(waits)
        if len(levels) < len(waits):
            self._report_cycles(waits)
        if self.problems or self._refused:
            return None
        return PlanGraph(self._nodes, waits, plan_groups(self._nodes, levels))

    def _problem(self, finding: Finding, node: str | None, path: DataPath, field: str | None) -> None:
        self.problems.append(Problem(finding.message, node, field, self._position(path), finding.hint))

    def _position(self, path: DataPath) -> Position | None:
        return self._source.position(path) if self._source else None

    def _check_id(self, id: str, node: str | None, path: DataPath, field: str) -> None:
        if not ID_FORM.fullmatch(id):
            excerpt = repr(id) if len(id) <= 120 else f"{id[:40]!r}... ({len(id)} characters)"
            self._problem(Finding.advised(f"{excerpt} is not a valid id", f"use {ID_RULE}"), node, path, field)

    def _flatten(self) -> bool:
        """Collect the nodes in plan order; `False` when a limit stops it."""
        for count, tree_node in enumerate(tree_nodes(self._plan.root_nodes), start=1):
            if count > self._limits.max_nodes:
                finding = Finding.advised(f"more than {self._limits.max_nodes:,} nodes", "split the plan")
                self._problem(finding, None, ("root_nodes",), "root_nodes")
                return False
            if tree_node.depth > self._limits.max_depth:
                finding = too_deep(self._limits.max_depth)
                self._problem(finding, tree_node.node.id, tree_node.path, None)
                return False
            self._add(tree_node)
        return True

    def _add(self, tree_node: TreeNode) -> None:
        node, parent, depth, path = tree_node
        id = node.id
        if not ID_FORM.fullmatch(id):
            self._check_id(id, id, (*path, "id"), "id")
        if (earlier_node := self._nodes.get(id)) is not None:
            earlier_position = self._position((*earlier_node.path, "id")) or dotted(earlier_node.path)
            self._problem(Finding(f"duplicate id; the first is at {earlier_position}"), id, (*path, "id"), "id")
            return
        dependencies, optional = tuple(dict.fromkeys(tree_node.dependencies)), frozenset(node.optional_dependencies)
        children = tuple(dict.fromkeys([child.id for child in node.children])) if node.children else ()
        self._nodes[id] = GraphNode(node, len(self._nodes), parent, depth, path, dependencies, children, optional)

    def _are_beside(self, node: GraphNode) -> bool:
        """Return whether a node depends on siblings of its own or of its ancestors alone.

        This is the quick answer for nearly all nodes: no check but that for cycles can refuse such a dependency.
        """
        if node.optional:
            return False
        above = self._above(node.parent)
        for id in node.dependencies:
            other = self._nodes.get(id)
            if other is None or other is node or id in above or not (other.parent is None or other.parent in above):
                return False
        return True

    def _above(self, parent: str | None) -> frozenset[str]:
        """Return the ids of a parent and of its ancestors; they are the same for all of its children."""
        if parent is None:
            return frozenset()
        if parent not in self._lines:
            self._lines[parent] = frozenset([parent, *self._ancestors(parent)])
        return self._lines[parent]

    def _check_dependencies(self, node: GraphNode) -> None:
        for field, index, dependency in declared_dependencies(node.node):
            if dependency not in self._nodes and self._doubts.may_exist(dependency):
                self._refused.add((node.node.id, dependency))
                continue
            finding = self._dependency_problem(node, dependency)
            if finding is None and field == "optional_dependencies":
                finding = self._optional_problem(node, dependency)
            if finding:
                self._refused.add((node.node.id, dependency))
                self._problem(finding, node.node.id, (*node.path, field, index), f"{field}[{index}]")

    def _optional_problem(self, node: GraphNode, dependency: str) -> Finding | None:
        if dependency in node.node.dependencies:
            return Finding.advised(f"{dependency!r} is among the dependencies already", "name it in one of the two")
        if dependency in self._ancestors(node.node.id):
            hint = "name it in 'dependencies', or leave it out"
            return Finding.advised(f"{dependency!r} is above this node, which is skipped with it", hint)
        return None

    def _dependency_problem(self, node: GraphNode, dependency: str) -> Finding | None:
        id = node.node.id
        if dependency == id:
            return Finding(f"depends on itself: a cycle ({id} -> {id})")
        if dependency not in self._nodes:
            hint = did_you_mean(dependency, self._nodes) if len(self._refused) < MAX_HINTS else ""
            return Finding.advised(f"unknown node {dependency!r}", hint)
        if self._nodes[dependency].parent == node.parent:
            return None
        chain = [dependency, *self._ancestors(dependency)]
        if id in chain:
            path = " -> ".join([id, *chain[: chain.index(id) + 1]])
            return Finding(f"depends on its own descendant {dependency!r}: a cycle ({path})")
        own = [id, *self._ancestors(id)]
        if dependency in own and self._nodes[dependency].gathers:
            text = f"depends on {dependency!r}, which gathers what it makes: a cycle"
            return Finding.advised(text, "name the item in place of the list")
        outer = next((above for above in chain[1:] if self._nodes[above].gathers and above not in own), None)
        if outer is not None:
            text = f"depends on {dependency!r}, which runs once for each item of {outer!r}"
            return Finding.advised(text, f"depend on {outer!r}, whose output is the list of all of them")
        return None

    def _ancestors(self, id: str) -> Iterator[str]:
        while (parent := self._nodes[id].parent) is not None:
            yield parent
            id = parent

    def _report_cycles(self, waits: dict[Vertex, tuple[Vertex, ...]]) -> None:
        open_waits = dict(waits)
        for _ in range(MAX_CYCLES):
            try:
                TopologicalSorter(open_waits).prepare()
            except CycleError as error:
                cycle: list[Vertex] = error.args[1]
                self._report_cycle(cycle)
                before, after = self._cut(cycle)
                open_waits[after] = tuple(vertex for vertex in open_waits[after] if vertex != before)
            else:
                return

    def _cut(self, cycle: list[Vertex]) -> tuple[Vertex, Vertex]:
        """Return the step of a cycle that a declared dependency makes."""
        for before, after in pairwise(cycle):
            if not after[1] and before[0] in self._nodes[after[0]].dependencies:
                return before, after
        return cycle[0], cycle[1]

    def _report_cycle(self, cycle: list[Vertex]) -> None:
        path = list(dict.fromkeys(id for id, _ in reversed(cycle)))
        start = min(range(len(path)), key=lambda index: self._nodes[path[index]].order)
        path = path[start:] + path[:start]
        before, after = self._cut(cycle)
        node = self._nodes[after[0]]
        text = " -> ".join([*path, path[0]])
        # A cycle that is left when another one was cut may run through subtrees alone: it has no place of its own.
        places = ((field, index) for field, index, id in declared_dependencies(node.node) if id == before[0])
        field_path: DataPath = next(places, ("dependencies",))
        self._problem(Finding(f"a cycle: {text}"), after[0], (*node.path, *field_path), dotted(field_path))
