"""Composites that run their children for each item of a list: the nodes of the items, as a run comes to know them.

The nodes as written are templates: they are checked, and never run themselves. Once the list is there, each item gets
a copy of them, an *instance*, whose ids are `<composite>.<name of the item>.<id as written>`.
"""

from __future__ import annotations

import hashlib
import re
from collections import ChainMap, Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from vibe_prefect.core.models import WorkflowNode
from vibe_prefect.core.progress import AddedNode
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan, parts_in_key
from vibe_prefect.plan.graph import DEFAULT_ITEM, GraphNode, PlanGraph, PlanLimits, Vertex, grown_graph, plan_waits
from vibe_prefect.plan.keys import canonical_json, node_key

DEFAULT_MAX_ITEMS = 1_000
"""The longest list, where the composite does not say."""

MAX_INSTANCE_ID = 180
"""Characters of an instance's id: it is part of the name of a file, beside a key of 64."""

_HASH_LENGTH = 10
"""Hexadecimal digits that tell items apart which nothing names."""


class ItemsError(UsageError, ValueError):
    """A list of items that cannot be run as it is; the message says why. Trying again cannot help."""


@dataclass(frozen=True, slots=True)
class Item:
    """One item of a list."""

    name: str
    """Its name in the ids of its instance."""

    value: Any
    """The item: JSON data."""

    is_named: bool
    """Whether a template named it; else its name is its place in the list."""


@dataclass(frozen=True)
class Instance:
    """The nodes of one item."""

    item: Item
    """The item."""

    nodes: Mapping[str, CompiledNode]
    """Its nodes in plan order, by id."""

    graph: Mapping[str, GraphNode]
    """Their places in the tree, by id."""

    waits: Mapping[Vertex, tuple[Vertex, ...]]
    """What each of them waits for within the instance."""

    roots: tuple[str, ...]
    """Those right below the composite."""


class UnfoldedPlan:
    """A plan as far as a run knows it: templates left out, and the instances that have come to be known."""

    def __init__(self, compiled: CompiledPlan, limits: PlanLimits | None = None) -> None:
        """Begin without instances.

        Args:
            compiled: The plan as written.
            limits: How large it may become.
        """
        self._written = compiled
        self._limits = limits or PlanLimits()
        graph = compiled.graph
        self._inside = frozenset(part for id, node in graph.nodes.items() if node.gathers for part in graph.below(id))
        self.nodes: dict[str, CompiledNode] = {
            id: node for id, node in compiled.nodes.items() if id not in self._inside
        }
        """Its nodes by id, those of an instance after all that were known before."""
        places = {id: node for id, node in graph.nodes.items() if id not in self._inside}
        places |= {id: node._replace(children=()) for id, node in places.items() if node.gathers}
        self.graph = PlanGraph(places, {}, ()) if self._inside else graph
        """Its structure. The order of its nodes and what they wait for are those of the plan as written."""
        self._places = places
        self.instances: dict[str, tuple[Instance, ...]] = {}
        """The instances of each composite that was unfolded, by its id."""
        self._made: dict[tuple[int, bool], CompiledPlan] = {}

    @property
    def written(self) -> CompiledPlan:
        """The plan as written."""
        return self._written

    @property
    def waits(self) -> Mapping[Vertex, tuple[Vertex, ...]]:
        """What each start and end waits for before anything is unfolded.

        A composite with `for_each` waits for all that its children wait for, and for none of these.
        """
        written = self._written.graph.waits
        if not self._inside:
            return written
        outer = {id: self._outermost(id) for id in self._inside}
        waits: dict[Vertex, dict[Vertex, None]] = {}
        for (id, is_end), before in written.items():
            own = waits.setdefault((outer.get(id, id), is_end and id not in outer), {})
            own |= dict.fromkeys(vertex for vertex in before if vertex[0] not in self._inside)
        for vertex, before in waits.items():
            before.pop(vertex, None)
        return {vertex: tuple(before) for vertex, before in waits.items()}

    def _outermost(self, id: str) -> str:
        return self._written.graph.gatherers(id)[-1]

    def template(self, node: CompiledNode) -> str:
        """Return the id, as written, of a node."""
        return node.template or node.id

    def outputs(self, node: CompiledNode) -> Iterator[tuple[str, str]]:
        """Yield the dependencies of a node: the id by which its templates name it, and its id."""
        written = self._written.graph.nodes[self.template(node)].dependencies
        return zip(written, node.dependencies, strict=True)

    def unfold(self, composite: CompiledNode, items: Sequence[Item]) -> tuple[Instance, ...]:
        """Add the instances of a composite.

        Args:
            composite: The composite with `for_each`; itself perhaps a node of an instance.
            items: Its items, in their order.

        Returns:
            The instances, in the order of the items.

        Raises:
            ItemsError: There are too many nodes, or an id becomes too long.
        """
        written = self._written.graph
        template = self.template(composite)
        parts = [part for child in written.nodes[template].children for part in (child, *written.parts(child))]
        if (total := len(self.nodes) + len(parts) * len(items)) > self._limits.max_nodes:
            raise ItemsError(
                f"{len(items):,} items of {len(parts):,} nodes make {total:,} nodes in all; a run takes "
                f"{self._limits.max_nodes:,}"
            )
        values = _Values(items)
        instances = tuple(self._instance(composite, parts, item, values.mark(item)) for item in items)
        for instance in instances:
            self.nodes |= instance.nodes
            self._places |= instance.graph
        roots = tuple(root for instance in instances for root in instance.roots)
        self._places[composite.id] = self._places[composite.id]._replace(children=roots)
        self.instances[composite.id] = instances
        return instances

    def _instance(self, composite: CompiledNode, parts: Sequence[str], item: Item, mark: str) -> Instance:
        names = {**composite.names, **{part: f"{composite.id}.{item.name}.{part}" for part in parts}}
        if (longest := max(names.values(), key=len, default="")) and len(longest) > MAX_INSTANCE_ID:
            raise ItemsError(
                f"the id {longest[:60]!r}... has {len(longest)} characters; a node's takes {MAX_INSTANCE_ID}: "
                "give the items shorter names"
            )
        nodes: dict[str, CompiledNode] = {}
        graph: dict[str, GraphNode] = {}
        for part in sorted(parts, key=self._levels.__getitem__):
            id = names[part]
            nodes[id] = self._copy(composite, part, item, mark, names, nodes)
            graph[id] = self._place(composite, part, nodes[id], names)
        in_plan_order = sorted(parts, key=lambda part: self._written.graph.nodes[part].order)
        ordered = {names[part]: nodes[names[part]] for part in in_plan_order}
        roots = tuple(id for id in ordered if graph[id].parent == composite.id)
        return Instance(item, ordered, {id: graph[id] for id in ordered}, plan_waits(graph), roots)

    @cached_property
    def _levels(self) -> Mapping[str, int]:
        return {id: level for level, group in enumerate(self._written.groups) for id in group}

    def _copy(  # noqa: PLR0913 - the parts of one node
        self,
        composite: CompiledNode,
        part: str,
        item: Item,
        mark: str,
        names: Mapping[str, str],
        siblings: dict[str, CompiledNode],
    ) -> CompiledNode:
        written = self._written.nodes[part]
        dependencies = tuple(names.get(id, id) for id in written.dependencies)
        scope = {**composite.scope, composite.node.item_name or DEFAULT_ITEM: item.value}
        fields = {
            name: [names.get(id, id) for id in getattr(written.node, name)]
            for name in ("dependencies", "optional_dependencies")
        }
        node = written.node.model_copy(update={"id": names[part], "children": [], **fields})
        return written._replace(
            node=node,
            key=self._key(written, scope, mark, names, ChainMap(siblings, self.nodes)),
            dependencies=dependencies,
            template=part,
            scope=scope,
            names=names,
            kept_as=f"{composite.record_id}.{item.name if item.is_named else mark}.{part}",
        )

    def _key(
        self,
        written: CompiledNode,
        scope: Mapping[str, Any],
        mark: str,
        names: Mapping[str, str],
        known: Mapping[str, CompiledNode],
    ) -> str:
        parts = self._written.key_parts.get(written.id)
        if parts is None:  # a plan that is only shown has no keys
            return ""
        below = parts_in_key(self._written.graph, written.id)
        named = {name for id in (written.id, *below) for name in self._written.key_parts[id].named.items}
        values = {name: scope[name] for name in sorted(named) if name in scope}
        content = self._written.values.contents.get(written.id) if parts.is_fresh else None
        work = parts.work_with(self._written.values, content)
        if values:
            again = mark.partition("-")[2]
            work += f" with items {canonical_json(values).decode()}{f' again {again}' if again else ''}"
        sources = [known[names.get(id, id)].key for id in written.dependencies]
        sources += [self._written.nodes[id].key for id in below]
        outside = {id for part in below for id in self._written.nodes[part].dependencies} - set(below)
        sources += [known[names[id]].key for id in sorted(outside) if id in names and names[id] in known]
        return node_key(written.node, work, parts.variation, sources)

    def _place(self, composite: CompiledNode, part: str, node: CompiledNode, names: Mapping[str, str]) -> GraphNode:
        written = self._written.graph.nodes[part]
        assert written.parent is not None
        parent = names.get(written.parent, composite.id) if written.parent != self.template(composite) else composite.id
        above = self._written.graph.nodes[self.template(composite)]
        depth = self._places[composite.id].depth + written.depth - above.depth
        children = () if written.gathers else tuple(names[child] for child in written.children)
        return written._replace(
            node=node.node,
            parent=parent,
            depth=depth,
            dependencies=node.dependencies,
            children=children,
            optional=frozenset(node.node.optional_dependencies),
        )

    @property
    def unknown(self) -> tuple[str, ...]:
        """Ids of the composites whose lists are not known."""
        return tuple(id for id, place in self._places.items() if place.gathers and id not in self.instances)

    def compiled(self, *, templates: bool = False) -> CompiledPlan:
        """Return the plan with its instances written out, as far as they are known.

        Args:
            templates: Whether a list that is not known is written out as its templates, instead of nothing.
        """
        if not self._inside:
            return self._written
        state = len(self.instances), templates
        if state not in self._made:
            self._made = {state: self._compiled(templates=templates)}
        return self._made[state]

    def _compiled(self, *, templates: bool) -> CompiledPlan:
        nodes, places = self.nodes, self._places
        if templates:
            written = self._written.graph.nodes
            open_lists = [id for id in self.unknown if id in written]
            added = {part for id in open_lists for part in self._written.graph.below(id)}
            nodes = nodes | {id: self._written.nodes[id] for id in added}
            places = places | {id: written[id] for id in (*open_lists, *added)}
        places = _in_plan_order(places)
        nodes = {id: nodes[id] for id in places}
        plan = self._written.plan.model_copy(update={"root_nodes": _tree(places)})
        parts = self._written.key_parts
        key_parts = {id: parts[self.template(node)] for id, node in nodes.items()} if parts else {}
        return replace(self._written, plan=plan, graph=grown_graph(places), nodes=nodes, key_parts=key_parts)


def open_lists(compiled: CompiledPlan) -> frozenset[str]:
    """Return the ids of the composites of a plan whose lists are not known, so that templates stand in for items."""
    places = compiled.graph.nodes
    return frozenset(
        id
        for id, place in places.items()
        if place.gathers and any(not compiled.nodes[child].template for child in place.children)
    )


class ListedNodes:
    """Finds out by its id which node of an item a task run shows, where nothing else is known of a run's lists."""

    def __init__(self, compiled: CompiledPlan) -> None:
        self._compiled = compiled
        graph = compiled.graph
        self._forms = {id: re.compile(_form(graph, id)) for id in graph.nodes if graph.gatherers(id)}

    def added(self, id: str) -> AddedNode | None:
        """Return a node that runs for an item; `None` where no list of the plan can have a node of that id."""
        for template, form in self._forms.items():
            if (match := form.fullmatch(id)) is not None:
                node = self._compiled.nodes[template].node.model_copy(update={"id": id, "children": []})
                return AddedNode(node, match["parent"], template, "")
        return None


def _form(graph: PlanGraph, id: str) -> str:
    innermost, *outer = graph.gatherers(id)
    before = "".join(rf"{re.escape(gatherer)}\.[A-Za-z0-9_-]+\." for gatherer in reversed(outer))
    return rf"(?P<parent>{before}{re.escape(innermost)})\.[A-Za-z0-9_-]+\.{re.escape(id)}"


class _Values:
    """The marks of items that nothing names: by what they hold, so that another item beside them changes none."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._marks: dict[int, str] = {}
        seen = Counter[str]()
        for item in items:
            digest = hashlib.sha256(canonical_json(item.value)).hexdigest()[:_HASH_LENGTH]
            self._marks[id(item)] = f"{digest}-{seen[digest]}" if seen[digest] and not item.is_named else digest
            seen[digest] += 1

    def mark(self, item: Item) -> str:
        """Return the mark of an item: a hash, and the count of equal items before it where there are any."""
        return self._marks[id(item)]


def _in_plan_order(places: Mapping[str, GraphNode]) -> dict[str, GraphNode]:
    ordered: dict[str, GraphNode] = {}
    stack = [id for id, place in reversed(list(places.items())) if place.parent is None]
    while stack:
        id = stack.pop()
        ordered[id] = places[id]._replace(order=len(ordered))
        stack.extend(reversed(places[id].children))
    return ordered


def _tree(places: Mapping[str, GraphNode]) -> list[WorkflowNode]:
    """Return the nodes of a graph as a tree."""
    made: dict[str, WorkflowNode] = {}
    for id, place in reversed(list(places.items())):
        made[id] = place.node.model_copy(update={"children": [made[child] for child in place.children]})
    return [made[id] for id, place in places.items() if place.parent is None]
