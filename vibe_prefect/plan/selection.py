"""Choosing nodes of a plan with the grammar people know from dbt and Cosmos.

An expression is a union of words with spaces between them; a word is one selector, or several with commas, which
choose the nodes that all of them choose. A selector is an id (`intro`), a glob on ids (`shot_*`), or a method with a
value or glob: `type:generate`, `tag:draft`, `tool:file_write`, `below:scene`. `+` before a selector adds everything
upstream, `+` behind it everything downstream; a number at the `+` says how many steps: `2+intro`, `intro+3`, `+intro+`,
`2+intro+1`.

Upstream of a node is what must have finished before it starts, downstream what waits for it, as in dbt: `+cut` names
all that `cut` needs. So the three kinds of edges count. One step upstream are the parent and each dependency with
everything below it, for a dependency on a composite node is one on the whole of it; one step downstream is the same,
read backwards. A composite's descendants are downstream of it and not upstream: `+scene` leaves its children out,
`scene+` takes them in, and also what waits for the scene.

A leading number and `+` are always steps: with a node named `7`, `7+` is that node and everything downstream, but
`7+3` is seven steps upstream of a node `3`; write `0+7+3` for three steps downstream of `7`.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cached_property

from vibe_prefect.core.models import WorkflowNodeType
from vibe_prefect.errors import SelectionError, did_you_mean
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.plan.graph import PlanGraph, Vertex


class Method(StrEnum):
    """Properties of nodes that a selector compares its value with."""

    ID = "id"
    """The node's id; `id:a` is the same as `a`."""

    TYPE = "type"
    """The node's type."""

    TAG = "tag"
    """The tags of its policy, the plan's and its type's included."""

    TOOL = "tool"
    """The tool that runs it, or that it names when something else runs it, such as a simulation."""

    BELOW = "below"
    """The ids of the node and of all that it is below: `below:scene` is the scene with its whole subtree."""


@dataclass(frozen=True, slots=True)
class Selector:
    """One selector, such as `2+tag:draft+`."""

    text: str
    """The selector as written."""

    method: Method
    """Property that the value is compared with."""

    value: str
    """A value or a glob."""

    upstream: int | None = 0
    """Steps upstream; `None` for all."""

    downstream: int | None = 0
    """Steps downstream; `None` for all."""

    @property
    def is_glob(self) -> bool:
        """Whether the value is a pattern rather than one name."""
        return any(sign in self.value for sign in "*?[")

    def matches(self, value: str) -> bool:
        """Return whether a node's value is meant; upper and lower case differ."""
        return value == self.value or (self.is_glob and fnmatchcase(value, self.value))


@dataclass(frozen=True, slots=True)
class Intersection:
    """One word of an expression: the nodes that all of its selectors choose."""

    text: str
    """The word as written."""

    selectors: tuple[Selector, ...]
    """Its selectors; never empty."""


def select(expression: str | Sequence[str], *plans: CompiledPlan) -> frozenset[str]:
    """Return the ids of the nodes that an expression chooses.

    Args:
        expression: What to choose, or several expressions whose union is meant.
        plans: The plan to choose from: as written and, where lists of it are known, with the nodes of their items. A
            node that the plan has for each item stands for those of all items.

    Raises:
        SelectionError: A part of the expression is not written as the grammar wants it, or matches nothing in each of
            them.
    """
    choosers = [_Chooser(compiled) for compiled in {id(compiled): compiled for compiled in plans}.values()]
    chosen = frozenset[str]().union(*(_chosen(word, choosers) for word in parse(expression)))
    of_items = (node for compiled in plans for node in compiled.nodes.values() if node.template)
    return chosen.union(node.id for node in of_items if node.template in chosen)


def _chosen(word: Intersection, choosers: Sequence[_Chooser]) -> set[str]:
    chosen: set[str] = set()
    errors: list[SelectionError] = []
    for chooser in choosers:
        try:
            chosen |= chooser.intersection(word)
        except SelectionError as error:
            errors.append(error)
    if len(errors) == len(choosers):
        raise errors[-1]
    return chosen


MAX_EXPRESSION = 20_000
"""Characters of a selection, which is one of a run's parameters."""


def parse(expression: str | Sequence[str]) -> tuple[Intersection, ...]:
    """Parse an expression into its words; no plan is needed.

    Args:
        expression: What to choose, or several expressions whose union is meant.

    Raises:
        SelectionError: A part of the expression is not written as the grammar wants it.
    """
    expressions = [expression] if isinstance(expression, str) else list(expression)
    if not expressions:
        raise SelectionError("", _EMPTY)
    if (length := sum(map(len, expressions))) > MAX_EXPRESSION:
        message = f"it has {length:,} characters; {MAX_EXPRESSION:,} are read: use a pattern, a tag or a type"
        raise SelectionError(expressions[0], message)
    return tuple(_intersection(word) for text in expressions for word in _words(text))


# --- from text to selectors ------------------------------------------------------------------

_FORM = re.compile(r"(?:([0-9]{0,9})\+)?([^+]+)(?:\+([0-9]{0,9}))?")
_EMPTY = "it is empty; name nodes, as in 'intro', 'shot_*', 'tag:draft' or '+intro'"
_STRAY_COMMA = "stray ','; an intersection is written without spaces, as in 'tag:draft,type:generate'"
_STRAY_PLUS = "stray '+'; it stands before or behind one selector, as in '+intro', 'intro+3' or '2+intro+1'"
_NO_AT = "the operator '@' is not supported; use '+' before a selector for upstream, behind it for downstream"


def _words(expression: str) -> list[str]:
    words = expression.split()
    if not words:
        raise SelectionError(expression, _EMPTY)
    return words


def _intersection(word: str) -> Intersection:
    parts = word.split(",")
    if not all(parts):
        raise SelectionError(word, _STRAY_COMMA)
    return Intersection(word, tuple(_selector(text) for text in parts))


def _selector(text: str) -> Selector:
    form = _FORM.fullmatch(text)
    if form is None:
        raise SelectionError(text, _STRAY_PLUS)
    ancestors, name, descendants = form.groups()
    if name.startswith("@"):
        raise SelectionError(text, _NO_AT)
    method, value = _method_and_value(text, name)
    return Selector(text, method, value, _steps(ancestors), _steps(descendants))


def _steps(digits: str | None) -> int | None:
    if digits is None:
        return 0
    return int(digits) if digits else None


def _method_and_value(text: str, selected: str) -> tuple[Method, str]:
    name, colon, value = selected.partition(":")
    if not colon:
        return Method.ID, selected
    method = _method(text, name)
    if not value:
        raise SelectionError(text, f"expected a value behind '{method}:'")
    selector = Selector(text, method, value)
    if method is Method.TYPE and not selector.is_glob and value not in set(WorkflowNodeType):
        raise SelectionError(text, f"unknown type {value!r}; types: {', '.join(WorkflowNodeType)}")
    return method, value


def _method(text: str, name: str) -> Method:
    try:
        return Method(name)
    except ValueError:
        hint = did_you_mean(name, [method.value for method in Method]) or f"; methods: {', '.join(Method)}"
        raise SelectionError(text, f"unknown method {name!r}{hint}") from None


# --- from selectors to nodes -----------------------------------------------------------------


def _tools(node: CompiledNode) -> tuple[str, ...]:
    tool_name: object = node.node.parameters.get("tool")
    if node.tool is not None:
        return (node.tool,)
    return (tool_name,) if isinstance(tool_name, str) else ()


_VALUES: Mapping[Method, Callable[[CompiledPlan, CompiledNode], tuple[str, ...]]] = {
    Method.ID: lambda _, node: (node.id,),
    Method.TYPE: lambda _, node: (node.node.type.value,),
    Method.TAG: lambda _, node: node.policy.tags,
    Method.TOOL: lambda _, node: _tools(node),
    Method.BELOW: lambda compiled, node: (node.id, *compiled.graph.ancestors(node.id)),
}


class _Chooser:
    """Chooses nodes of one plan; each selector costs one pass over it."""

    def __init__(self, compiled: CompiledPlan) -> None:
        self._compiled = compiled

    def intersection(self, word: Intersection) -> set[str]:
        """Return the nodes that all of a word's selectors choose."""
        chosen = set[str].intersection(*(self._selected(selector) for selector in word.selectors))
        if not chosen:
            raise SelectionError(word.text, "no node of this plan matches all of its parts")
        return chosen

    def _selected(self, selector: Selector) -> set[str]:
        values = _VALUES[selector.method]
        nodes = self._compiled.nodes.items()
        matching = [id for id, node in nodes if any(map(selector.matches, values(self._compiled, node)))]
        if selector.method is Method.ID and selector.is_glob:
            places = self._compiled.graph.nodes
            matching += [id for id in places if id not in matching and selector.matches(self._of_any_item(id))]
        if not matching:
            raise SelectionError(selector.text, self._nothing(selector))
        chosen = set(matching)
        if selector.upstream != 0:
            chosen |= self._lineage.upstream.reach(matching, selector.upstream)
        if selector.downstream != 0:
            chosen |= self._lineage.downstream.reach(matching, selector.downstream)
        return chosen

    def _of_any_item(self, id: str) -> str:
        """Return the id that a node has for any item of its lists, such as `shots.*.draw`."""
        if self._compiled.nodes[id].template:
            return ""
        gatherers = reversed(self._compiled.graph.gatherers(id))
        return "".join(f"{gatherer}.*." for gatherer in gatherers) + id

    def _nothing(self, selector: Selector) -> str:
        if selector.is_glob:
            return f"no {selector.method} of this plan matches {selector.value!r}"
        hint = self._other_method(selector) or did_you_mean(selector.value, self._known(selector.method))
        return f"no node of this plan has the {selector.method} {selector.value!r}{hint}"

    def _other_method(self, selector: Selector) -> str:
        """Return a hint for who wrote a value as if it were an id, such as `generate` for `type:generate`."""
        if selector.method is not Method.ID:
            return ""
        matching_method = next((method for method in Method if selector.value in self._known(method)), None)
        return f"; did you mean {f'{matching_method}:{selector.value}'!r}?" if matching_method else ""

    def _known(self, method: Method) -> dict[str, None]:
        compiled, values = self._compiled, _VALUES[method]
        return dict.fromkeys(value for node in compiled.nodes.values() for value in values(compiled, node))

    @cached_property
    def _lineage(self) -> _Ancestry:
        return _Ancestry(self._compiled.graph)


@dataclass(frozen=True, slots=True)
class _Direction:
    """The graph's vertices as they follow one another in one direction."""

    far: dict[Vertex, list[Vertex]] = field(default_factory=lambda: defaultdict(list))
    """Vertices one step away."""

    near: dict[Vertex, list[Vertex]] = field(default_factory=lambda: defaultdict(list))
    """Vertices no step away: a node's end and the ends below it are the same moment."""

    def reach(self, ids: Iterable[str], steps: int | None) -> set[str]:
        """Return the nodes at most so many steps away, the first ones included."""
        reached: set[Vertex] = set()
        distance = 0
        level = self._spread([(id, False) for id in ids], reached)
        while level and distance != steps:
            level = self._spread([neighbour for vertex in level for neighbour in self.far.get(vertex, ())], reached)
            distance += 1
        return {id for id, is_end in reached if not is_end}

    def _spread(self, level: list[Vertex], reached: set[Vertex]) -> list[Vertex]:
        """Note a level with all that is no step away from it; return what was not seen before."""
        fresh: list[Vertex] = []
        while level:
            vertex = level.pop()
            if vertex not in reached:
                reached.add(vertex)
                fresh.append(vertex)
                level.extend(self.near.get(vertex, ()))
        return fresh


class _Ancestry:
    """Ancestors and descendants of each node.

    It follows the waits between starts and ends and not `PlanGraph.edges`, whose number can grow with the square of
    the nodes.
    """

    def __init__(self, graph: PlanGraph) -> None:
        self.upstream = _Direction()
        self.downstream = _Direction()
        for later, earlier in _waits(graph):
            is_end = later[1]
            (self.upstream.near if is_end else self.upstream.far)[later].append(earlier)
            (self.downstream.near if is_end else self.downstream.far)[earlier].append(later)


def _waits(graph: PlanGraph) -> Iterator[tuple[Vertex, Vertex]]:
    """Yield each vertex with each that it waits for.

    The declared dependencies are named again: one on the node's own ancestor is not among the waits.
    """
    for later, awaited in graph.waits.items():
        yield from ((later, earlier) for earlier in awaited)
    for id, node in graph.nodes.items():
        yield from (((id, False), (dependency, False)) for dependency in node.dependencies)


@dataclass(frozen=True, slots=True)
class Choice:
    """Selection of the nodes that may run, and of those that run again although they have a record."""

    select: str | None = None
    """Selectors of the nodes that may be executed; all when left out."""

    exclude: str | None = None
    """Selectors of the nodes that may not, of those."""

    refresh: str | None = None
    """Selectors of the nodes that are executed even where there is a record, of those."""

    def selected(self, *plans: CompiledPlan) -> frozenset[str] | None:
        """Return the nodes that may be executed; `None` for all.

        Args:
            plans: The plan as written and, where lists of it are known, with the nodes of their items.

        Raises:
            SelectionError: A selector does not parse, or matches nothing.
        """
        if self.select is None and self.exclude is None:
            return None
        everything = frozenset[str]().union(*(compiled.nodes for compiled in plans))
        chosen = everything if self.select is None else select(self.select, *plans)
        return chosen if self.exclude is None else chosen - select(self.exclude, *plans)

    def refreshed(self, *plans: CompiledPlan) -> frozenset[str]:
        """Return the nodes that are executed even where there is a record.

        Args:
            plans: See `selected`.

        Raises:
            SelectionError: A selector does not parse, or matches nothing.
        """
        return frozenset() if self.refresh is None else select(self.refresh, *plans)

    def check(self, compiled: CompiledPlan) -> None:
        """Raise `SelectionError` when a selector does not parse, or matches nothing that the plan could have."""
        lists = tuple(f"{id}." for id, place in compiled.graph.nodes.items() if place.gathers)
        for expression in filter(None, (self.select, self.exclude, self.refresh)):
            for word in parse(expression):
                if not any(selector.value.startswith(lists) for selector in word.selectors):  # the run knows its items
                    select(word.text, compiled)

    def nodes(self, *plans: CompiledPlan) -> ChosenNodes:
        """Return both as nodes of a run.

        Args:
            plans: The plan as written, and last with the nodes of the items of those lists that are known.

        Raises:
            SelectionError: A selector does not parse, or matches nothing.
        """
        return ChosenNodes(self.selected(*plans), self.refreshed(*plans), frozenset(plans[-1].nodes))


@dataclass(frozen=True, slots=True)
class ChosenNodes:
    """The nodes of a run that may be executed, and those that are executed even where there is a record."""

    selected: frozenset[str] | None = None
    """The nodes that may be executed; each other one is reused where it has a record, else skipped. `None` for all."""

    refreshed: frozenset[str] = frozenset()
    """The nodes that are executed even where there is a record."""

    chosen_from: frozenset[str] = frozenset()
    """The nodes that these two were chosen from. Any other runs for an item, and they name it as the plan has it."""

    def may_run(self, node: CompiledNode) -> bool:
        """Return whether a node may be executed."""
        return self.selected is None or not self._names(node).isdisjoint(self.selected)

    def refreshes(self, node: CompiledNode) -> bool:
        """Return whether a node is executed even where there is a record."""
        return self.may_run(node) and not self._names(node).isdisjoint(self.refreshed)

    def _names(self, node: CompiledNode) -> set[str]:
        """Return the ids by which a selection may have named a node."""
        return {node.id} if node.id in self.chosen_from else {node.id, node.template or node.id}


ALL_NODES = ChosenNodes()
"""All nodes of a run may be executed, and those with a record are reused."""

EVERYTHING = Choice()
"""All nodes may be executed, and those with a record are reused."""
