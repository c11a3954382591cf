"""From a plan to what the engine runs: a frozen, picklable `CompiledPlan`, or every problem at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from vibe_prefect.backing import Backing, Backings, Simulate
from vibe_prefect.errors import PlanError, Position, Problem
from vibe_prefect.graph import Edge, GraphNode, PlanGraph, PlanLimits, PlanSource, check_graph
from vibe_prefect.handlers import tool_inputs, tool_of
from vibe_prefect.keys import canonical_json, node_key
from vibe_prefect.models import NodePolicy, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.planfile import PlanShapeError
from vibe_prefect.template_names import references
from vibe_prefect.templates import is_template, walk_templates
from vibe_prefect.tools.base import tool_version
from vibe_prefect.tools.registry import ForeignRegistry, ToolRegistry, adapted
from vibe_prefect.work_checks import CheckedNode, WorkChecks, loose_nodes

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

MAX_RETRY_DELAY = 600.0
"""Seconds that no delay before a retry exceeds."""


@dataclass(frozen=True, slots=True)
class ExecutionPolicy:
    """How a node is executed, all layers resolved."""

    retries: int = 0
    """How many more times a failing node is tried."""

    retry_delays: tuple[float, ...] = ()
    """Seconds before each retry."""

    retry_jitter: float = 0.0
    """How far a delay may stray, as a part of it."""

    timeout: float | None = None
    """Seconds that one attempt may take."""

    limits: tuple[str, ...] = ()
    """Names of Prefect global concurrency limits to hold a slot of."""

    tags: tuple[str, ...] = ()
    """Prefect tags of the author's."""

    cache: Literal["default", "recompute", "disable"] = "default"
    """Whether a record is reused, the node runs again in every run, or no record is kept."""


@dataclass(frozen=True, slots=True)
class CompiledNode:
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
    """How it is executed."""

    dependencies: tuple[str, ...]
    """Ids whose outputs it is given."""

    @property
    def id(self) -> str:
        """The node's id."""
        return self.node.id


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

    @property
    def groups(self) -> tuple[tuple[str, ...], ...]:
        """Ids by topological level, each group in plan order."""
        return self.graph.groups

    @property
    def edges(self) -> tuple[Edge, ...]:
        """Edges between nodes, each with its kind."""
        return self.graph.edges


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
    tools = adapted(tools)
    graph, problems = check_graph(plan, source, limits)
    backings = Backings(tools, frozenset(handled_types), Simulate(simulate))
    problems += WorkChecks(plan, backings, source).problems(_nodes_of(plan, graph, limits))
    if graph is None or problems:
        raise PlanError(_sorted(problems), source.name if source else plan.id)
    return _Compiler(plan, backings, dict(type_policies or {})).compile(graph)


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
    part = error.part if isinstance(error, PlanShapeError) else None
    if part is None:
        return error
    plan, doubts = part.repaired.plan, part.repaired.doubts
    graph, found = check_graph(plan, part.source, limits, doubts)
    backings = Backings(tools, frozenset(handled_types), Simulate(simulate))
    found += WorkChecks(plan, backings, part.source, doubts).problems(_nodes_of(plan, graph, limits))
    return PlanError(_sorted([*part.problems, *part.repaired.named(found)]), error.name)


def _nodes_of(plan: WorkflowPlan, graph: PlanGraph | None, limits: PlanLimits | None) -> list[CheckedNode]:
    return list(graph.nodes.values() if graph else loose_nodes(plan, limits))


def _sorted(problems: Iterable[Problem]) -> list[Problem]:
    nowhere = Position("", 0, 0)
    return sorted(problems, key=lambda problem: problem.position or nowhere)


def resolve_policy(*layers: NodePolicy) -> ExecutionPolicy:
    """Return the policy that the layers make together, a later layer before an earlier one."""
    merged: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: value for name, value in layer if value is not None}
    retries: int = merged.get("retries", 0)
    delay: float = merged.get("retry_delay", 1.0)
    factor: float = merged.get("retry_backoff", 2.0)
    return ExecutionPolicy(
        retries=retries,
        retry_delays=tuple(min(MAX_RETRY_DELAY, delay * factor**attempt) for attempt in range(retries)),
        retry_jitter=merged.get("retry_jitter", 0.3),
        timeout=merged.get("timeout"),
        limits=tuple(merged.get("limits", ())),
        tags=tuple(merged.get("tags", ())),
        cache=merged.get("cache", "default"),
    )


class _Compiler:
    """One plan's way through the compiler."""

    def __init__(
        self,
        plan: WorkflowPlan,
        backings: Backings,
        type_policies: Mapping[WorkflowNodeType, NodePolicy],
    ) -> None:
        self._plan = plan
        self._backings = backings
        self._type_policies = type_policies
        self._policies: dict[tuple[WorkflowNodeType, NodePolicy, NodePolicy | None], ExecutionPolicy] = {}
        self._salt = uuid4().hex

    def compile(self, graph: PlanGraph) -> CompiledPlan:
        """Return the plan's compiled form; it has been checked."""
        used = {tool_of(place.node, self._backings.tools) for place in graph.nodes.values()}
        versions = {
            name: tool_version(tool) for name in sorted(filter(None, used)) if (tool := self._backings.tools.get(name))
        }
        keys: dict[str, str] = {}
        for id in (id for group in graph.groups for id in group):
            place = graph.nodes[id]
            dependency_keys = [keys[dependency] for dependency in place.dependencies]
            keys[id] = node_key(place.node, self._work(place.node, versions), self._variation(place), dependency_keys)
        nodes = {id: self._compiled(place, keys[id]) for id, place in graph.nodes.items()}
        return CompiledPlan(self._plan, graph, nodes, versions)

    def _compiled(self, place: GraphNode, key: str) -> CompiledNode:
        node, backing = place.node, self._backings.of(place.node)
        assert backing is not None
        return CompiledNode(node, key, backing, self._backings.tool_name(node), self._policy(node), place.dependencies)

    def _policy(self, node: WorkflowNode) -> ExecutionPolicy:
        tool = self._backings.tool(node)
        own: NodePolicy | None = getattr(tool, "default_policy", None)
        layer = (node.type, node.policy, own)
        if layer not in self._policies:
            defaults = self._type_policies.get(node.type, NodePolicy())
            self._policies[layer] = resolve_policy(own or NodePolicy(), defaults, self._plan.policy, node.policy)
        return self._policies[layer]

    def _variation(self, place: GraphNode) -> str | int | None:
        return self._plan.policy.variation if place.node.policy.variation is None else place.node.policy.variation

    def _work(self, node: WorkflowNode, versions: Mapping[str, str]) -> str:
        backing = self._backings.of(node)
        name = tool_of(node, self._backings.tools)
        work = f"tool {name} {versions[name]}" if backing is Backing.TOOL and name else str(backing)
        if backing is Backing.TOOL and (_names_vibe(node) or getattr(self._backings.tool(node), "uses_vibe", False)):
            work = f"{work} for {canonical_json(self._plan.source_vibe.model_dump()).decode()}"
        if backing is Backing.TOOL and name and self._reads_otherwise(node, name):
            work = f"{work} (templates 2)"
        # A key of this compilation alone: the node is found in no record, and its dependents follow.
        return work if self._policy(node).cache == "default" else f"{work} anew {self._salt}"

    def _reads_otherwise(self, node: WorkflowNode, name: str) -> bool:
        """Tell whether 0.1.0 read a node's inputs otherwise: `{#` began a comment, and a task to judge was text."""
        inputs = tool_inputs(node, name, self._backings.tools.get(name))
        written: Mapping[str, Any] = node.parameters.get("tool_inputs") or {}
        task = None if "task" in written else inputs.get("task")
        return is_template(task) or b"{#" in canonical_json(inputs)


def _names_vibe(node: WorkflowNode) -> bool:
    inputs = node.parameters.get("tool_inputs")
    return any("vibe" in text and "vibe" in references(text).names for _, text in walk_templates(inputs))
