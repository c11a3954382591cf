"""From a plan to what the engine runs: a frozen, picklable `CompiledPlan`, or every problem at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from itertools import chain, islice
from typing import Any, NamedTuple
from uuid import uuid4

from vibe_prefect.core.models import NodePolicy, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.core.plan_tree import tree_nodes
from vibe_prefect.core.policies import MAX_RETRY_DELAY, PLACE_FIELDS, ExecutionPolicy, resolve_policy
from vibe_prefect.core.run_values import NOTHING_NAMED, RunFacts, RunValues
from vibe_prefect.errors import InputsError, PlanError, Position, Problem
from vibe_prefect.plan.backing import Backing, Bindings, NodeBinding, Simulate
from vibe_prefect.plan.checks.work import CheckedNode, WorkChecks, unfit_to_be_fresh
from vibe_prefect.plan.garbage import collection_paused
from vibe_prefect.plan.graph import Edge, PlanGraph, PlanLimits, PlanSource
from vibe_prefect.plan.graph_checks import check_graph
from vibe_prefect.plan.inputs.given import fitting_inputs, given_problems, input_values, known_values
from vibe_prefect.plan.inputs.named import named_values
from vibe_prefect.plan.keys import KeyParts, canonical_json, node_key
from vibe_prefect.plan.reading.plan_file import PlanShapeError
from vibe_prefect.templates.names import references
from vibe_prefect.templates.texts import is_template
from vibe_prefect.tools.base import tool_version
from vibe_prefect.tools.registry import ForeignRegistry, ToolRegistry, adapted

__all__ = [
    "MAX_RETRY_DELAY",
    "Backing",
    "CompiledNode",
    "CompiledPlan",
    "ExecutionPolicy",
    "Simulate",
    "compile_plan",
    "resolve_policy",
    "whole_error",
]


_NOTHING: Mapping[str, Any] = {}
"""Stands for the inputs, and for the items, of all nodes that have none."""


class CompiledNode(NamedTuple):
    """A node, ready to run."""

    node: WorkflowNode
    """The node as written."""

    key: str
    """Content key: same key, same result."""

    backing: Backing
    """Runner kind."""

    tool: str | None
    """The tool's name, when a tool runs it."""

    policy: ExecutionPolicy
    """Options of its execution."""

    dependencies: tuple[str, ...]
    """Ids whose outputs it is given."""

    inputs: Mapping[str, Any] = _NOTHING
    """Inputs of its tool as written, and those that its description fills; templates are not filled in."""

    template: str = ""
    """Of a node that runs for an item, the id as written; empty for a node that stands in the plan itself."""

    scope: Mapping[str, Any] = _NOTHING
    """The items that it runs for, by the names that templates have for them."""

    names: Mapping[str, str] = _NOTHING
    """Ids of the nodes that run for the same item, by their ids as written."""

    kept_as: str = ""
    """The id under which its record and its files are kept, where that is not its own; see `record_id`."""

    scorer: str | None = None
    """Name of the tool that scores the node's variations; `None` where it makes none."""

    @property
    def id(self) -> str:
        """The node's id."""
        return self.node.id

    @property
    def written(self) -> tuple[str, ...]:
        """Ids of its dependencies as its templates name them."""
        written = {id: name for name, id in self.names.items()}
        return tuple(written.get(id, id) for id in self.dependencies)

    def id_of(self, name: str) -> str:
        """Return the id of a node that its templates name."""
        return self.names.get(name, name)

    @property
    def record_id(self) -> str:
        """The id under which its record and its files are kept. It does not change when an item gets another place."""
        return self.kept_as or self.node.id


@dataclass(frozen=True)
class CompiledPlan:
    """A plan, ready to run: checked, flat and keyed."""

    plan: WorkflowPlan
    """The plan as written."""

    graph: PlanGraph
    """Its structure."""

    nodes: Mapping[str, CompiledNode]
    """Its nodes in plan order, by id."""

    tools: Mapping[str, str]
    """The version of each tool that it uses, by the tool's name."""

    key_parts: Mapping[str, KeyParts] = field(default_factory=dict[str, KeyParts], repr=False)
    """Parts of the keys that do not depend on a run, by node id."""

    values: RunValues = field(default_factory=RunValues)
    """Values that a run brings to it; before these are known, the defaults of its inputs."""

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Ids by topological level, each group in plan order."""
        return self.graph.groups

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Edges between nodes, each with its kind."""
        return self.graph.edges

    def with_inputs(self, given: Mapping[str, Any]) -> CompiledPlan:
        """Return this plan with the inputs of a run; the keys of the nodes that name them follow.

        Args:
            given: The values, by name; an input that is left out has the plan's default.

        Raises:
            InputsError: An input is unknown, missing, or has a value that does not fit.
        """
        inputs = input_values(self.plan, given)
        return self._with_values(replace(self.values, given=dict(given), inputs=inputs))

    def with_given_inputs(self, given: Mapping[str, Any]) -> CompiledPlan:
        """Return this plan with the inputs that are given; required ones may be missing yet.

        Raises:
            InputsError: An input is unknown, or has a value that does not fit.
        """
        if problems := given_problems(self.plan, given):
            raise InputsError(problems, self.plan.id)
        return self.with_known_inputs({**self.values.given, **given})

    def with_known_inputs(self, given: Mapping[str, Any]) -> CompiledPlan:
        """Return this plan with those inputs that it declares and that fit; others may be missing."""
        inputs = known_values(self.plan, given)
        return self._with_values(replace(self.values, given=fitting_inputs(self.plan, given), inputs=inputs))

    def for_run(self, facts: RunFacts) -> CompiledPlan:
        """Return this plan with the facts of a run; the keys of the nodes that name them follow."""
        return self._with_values(replace(self.values, facts=facts.values()))

    def with_contents(self, contents: Mapping[str, str]) -> CompiledPlan:
        """Return this plan with the hashes of what nodes read from outside, by id; keys follow. See `fresh_nodes`."""
        return self._with_values(replace(self.values, contents=dict(contents)))

    @property
    def fresh_nodes(self) -> tuple[str, ...]:
        """Ids of the nodes whose keys need a hash of what they read from outside, in plan order."""
        return tuple(id for id, parts in self.key_parts.items() if parts.is_fresh)

    @property
    def names_facts(self) -> bool:
        """Whether a node names a fact of its run, so that its key or condition is known only when the run begins."""
        conditions = (node.node.when for node in self.nodes.values() if node.node.when is not None)
        is_named = any(parts.named.facts for parts in self.key_parts.values())
        return is_named or any("run" in references(condition).names for condition in conditions)

    def _with_values(self, values: RunValues) -> CompiledPlan:
        if values == self.values:
            return self
        known = {id: node.key for id, node in self.nodes.items()}
        keys = _keys(self.graph, self.key_parts, values, known) if self.key_parts else known
        changed = {id: self.nodes[id]._replace(key=key) for id, key in keys.items() if key != known[id]}
        return replace(self, nodes={**self.nodes, **changed}, values=values)


def compile_plan(  # noqa: PLR0913 - options by keyword
    plan: WorkflowPlan,
    *,
    tools: ToolRegistry | ForeignRegistry | None = None,
    handled_types: Collection[WorkflowNodeType] = (),
    simulate: Simulate | str = Simulate.NEVER,
    type_policies: Mapping[WorkflowNodeType, NodePolicy] | None = None,
    source: PlanSource | None = None,
    limits: PlanLimits | None = None,
) -> CompiledPlan:
    """Check a plan and make it ready to run.

    Args:
        plan: The plan; it is not changed, and must not be until the run has ended.
        tools: The tools that its nodes may name; the built-in and installed ones by default.
        handled_types: Node types for which the caller has a handler of their own; it runs every node of the type.
        simulate: Which nodes the simulation stands in for.
        type_policies: Defaults for each node type, below the plan's own policy.
        source: Where the plan's data stand in a file, for the places in messages.
        limits: How large the plan may be.

    Raises:
        PlanError: The plan cannot run as written, with every problem that was found.
    """
    if tools is None:
        from vibe_prefect.tools.installed import default_registry

        tools = default_registry()
    options = adapted(tools), frozenset(handled_types), Simulate(simulate), plan.policy, dict(type_policies or {})
    with collection_paused():  # what is only needed to compile is gone when it ends
        return _checked_and_compiled(plan, Bindings(*options), source, limits)


def _checked_and_compiled(
    plan: WorkflowPlan, bindings: Bindings, source: PlanSource | None, limits: PlanLimits | None
) -> CompiledPlan:
    graph, problems = check_graph(plan, source, limits)
    checks = WorkChecks(plan, bindings, source)
    problems += checks.problems(_nodes_of(plan, graph, limits))
    if graph is None or problems:
        raise PlanError(_sorted(problems), source.name if source else plan.id)
    return _Compiler(plan, bindings, may_have_comments=checks.may_have_comments).compile(graph, checks.bindings)


def whole_error(
    error: PlanError,
    *,
    tools: ToolRegistry,
    handled_types: Collection[WorkflowNodeType] = (),
    simulate: Simulate | str = Simulate.NEVER,
    limits: PlanLimits | None = None,
) -> PlanError:
    """Return the error of a plan file with the problems that compiling what could be read of the plan shows besides.

    Args:
        error: What reading the plan raised; returned as it is when nothing of the plan could be read.
        tools: The tools that its nodes may name.
        handled_types: Node types for which the caller has a handler.
        simulate: Which nodes the simulation stands in for.
        limits: How large the plan may be.
    """
    plan_part = error.part if isinstance(error, PlanShapeError) else None
    if plan_part is None:
        return error
    plan, doubts = plan_part.repaired.plan, plan_part.repaired.doubts
    graph, problems = check_graph(plan, plan_part.source, limits, doubts)
    bindings = Bindings(tools, frozenset(handled_types), Simulate(simulate))
    problems += WorkChecks(plan, bindings, plan_part.source, doubts).problems(_nodes_of(plan, graph, limits))
    return PlanError(_sorted([*plan_part.problems, *plan_part.repaired.named(problems)]), error.name)


def _nodes_of(plan: WorkflowPlan, graph: PlanGraph | None, limits: PlanLimits | None) -> list[CheckedNode]:
    if graph is not None:
        return list(graph.nodes.values())
    return list(islice(tree_nodes(plan.root_nodes), (limits or PlanLimits()).max_nodes))


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    nowhere = Position("", 0, 0)
    return sorted(problems, key=lambda problem: problem.position or nowhere)


class _Compiler:
    """One plan's way through the compiler."""

    def __init__(self, plan: WorkflowPlan, bindings: Bindings, *, may_have_comments: bool) -> None:
        self._plan = plan
        self._bindings = bindings
        self._may_have_comments = may_have_comments
        self._salt = uuid4().hex
        self._versions: dict[str, str] = {}
        self._tool_works: dict[str, str] = {}
        self._ordinary_parts = lru_cache(maxsize=None, typed=True)(KeyParts)  # most nodes share theirs

    def compile(self, graph: PlanGraph, bound_nodes: Sequence[NodeBinding]) -> CompiledPlan:
        """Return the plan's compiled form; it has been checked.

        Args:
            graph: Its structure.
            bound_nodes: What runs each of its nodes, in plan order.
        """
        bindings = dict(zip(graph.nodes, bound_nodes, strict=True))
        named = {binding.named for binding in bound_nodes} | {binding.scorer for binding in bound_nodes}
        tool_names = sorted(name for name in named if name is not None)
        self._versions = {name: tool_version(tool) for name in tool_names if (tool := self._bindings.tools.get(name))}
        self._tool_works = {name: f"tool {name} {version}" for name, version in self._versions.items()}
        has_lists = any(binding.node.for_each is not None for binding in bound_nodes)
        parts = {
            id: self._key_parts(binding, graph.item_names(id) if has_lists else ()) for id, binding in bindings.items()
        }
        values = RunValues(inputs=known_values(self._plan, {}))
        keys = _keys(graph, parts, values)
        policies = _policies(graph, bindings)
        nodes: dict[str, CompiledNode] = {}
        for id, binding in bindings.items():
            assert binding.backing is not None
            nodes[id] = CompiledNode(
                binding.node,
                keys[id],
                binding.backing,
                binding.tool_name,
                policies[id],
                graph.nodes[id].dependencies,
                binding.inputs,
                scorer=binding.scorer,
            )
        return CompiledPlan(self._plan, graph, nodes, self._versions, parts, values)

    @cached_property
    def _vibe(self) -> str:
        return canonical_json(self._plan.source_vibe.model_dump()).decode()

    def _key_parts(self, binding: NodeBinding, items: tuple[str, ...]) -> KeyParts:
        own_variation = binding.node.policy.variation
        variation = self._plan.policy.variation if own_variation is None else own_variation
        is_fresh = binding.policy.fresh is not None and not unfit_to_be_fresh(binding)
        named = named_values(binding, self._plan.inputs, items)
        if named is NOTHING_NAMED and not is_fresh:
            return self._ordinary_parts(self._work(binding), variation)
        return KeyParts(self._work(binding), variation, named, is_fresh)

    def _work(self, binding: NodeBinding) -> str:
        """Return what stands in the key for the doing of the node's work."""
        name, node, choice = binding.tool_name, binding.node, binding.node.best_of
        work = self._tool_works[name] if name is not None else str(binding.backing)
        uses_vibe = binding.bound.traits.uses_vibe or _names_vibe(binding)
        if node.for_each is not None:
            items = [node.for_each, node.item_name, node.key, node.max_items, node.min_completed]
            work = f"{work} for each {canonical_json(items).decode()}"
        if binding.scorer is not None and choice is not None:
            chosen = canonical_json(choice.model_dump(exclude_defaults=True)).decode()
            work = f"{work}, best of {chosen} by {self._versions[binding.scorer]}"
            uses_vibe = uses_vibe or self._bindings.traits(binding.scorer).uses_vibe
        if uses_vibe:
            work = f"{work} for {self._vibe}"
        if (self._may_have_comments or binding.bound.is_described) and _reads_otherwise(binding):
            work = f"{work} (templates 2)"
        # A key of this compilation alone: the node is found in no record, and its dependents follow.
        return work if binding.policy.cache == "default" else f"{work} anew {self._salt}"


def _keys(
    graph: PlanGraph, parts: Mapping[str, KeyParts], values: RunValues, known: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return the keys of all nodes, by id.

    Args:
        graph: The plan's structure.
        parts: Parts of the keys that do not depend on a run, by id.
        values: Values of the run.
        known: The keys with other values of a run: those of nodes that name none, and depend on none that does, stay.
    """
    keys: dict[str, str] = {}
    changed: set[str] = set()
    for id in chain.from_iterable(graph.groups):
        graph_node, own = graph.nodes[id], parts[id]
        gathers = graph_node.gathers
        if known is not None:
            if own.is_fixed and not gathers and changed.isdisjoint(graph_node.dependencies):
                keys[id] = known[id]
                continue
            changed.add(id)
        dependency_keys = [keys[source] for source in graph_node.dependencies]
        if gathers:
            dependency_keys += [keys[part] for part in parts_in_key(graph, id)]
        content = values.contents.get(id) if own.is_fresh else None
        keys[id] = node_key(graph_node.node, own.work_with(values, content), own.variation, dependency_keys)
    return keys


def parts_in_key(graph: PlanGraph, id: str) -> tuple[str, ...]:
    """Return the nodes below one that enter its key: all, where it gathers what they make, else none."""
    return tuple(graph.below(id)) if graph.nodes[id].gathers else ()


def _policies(graph: PlanGraph, bindings: Mapping[str, NodeBinding]) -> dict[str, ExecutionPolicy]:
    """Return the execution policy of each node, by id; where it runs is inherited from its parent, too."""
    stated: dict[str | None, dict[str, Any]] = {}
    policies: dict[str, ExecutionPolicy] = {}
    for id, graph_node in graph.nodes.items():
        binding = bindings[id]
        policy, places = binding.policy, stated.get(graph_node.parent)
        if binding.states_policy:
            own = graph_node.node.policy
            places = (places or {}) | {
                name: place for name in PLACE_FIELDS if (place := getattr(own, name)) is not None
            }
        if places:
            stated[id], policy = places, replace(policy, **places)
        policies[id] = policy
    return policies


def _names_vibe(binding: NodeBinding) -> bool:
    node, named = binding.node, [named.names for _, named in binding.naming]
    if node.for_each is not None:
        named += [references(text).names for text in (node.for_each, node.key) if text is not None]
    return any("vibe" in names for names in named)


def _reads_otherwise(binding: NodeBinding) -> bool:
    """Tell whether 0.1.0 read a node's inputs otherwise: `{#` began a comment, and a task to judge was text.

    It is not asked where no text of the plan has a comment, and the description fills no input.
    """
    is_task_template = is_template(binding.inputs.get("task")) and "task" in binding.described
    return is_task_template or b"{#" in canonical_json(binding.inputs)
