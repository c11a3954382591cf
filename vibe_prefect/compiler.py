"""From a plan to what the engine runs: a frozen, picklable `CompiledPlan`, or every problem at once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, cast
from uuid import uuid4

from vibe_prefect.errors import PlanError, Position, Problem, did_you_mean, shorten
from vibe_prefect.graph import DataPath, Edge, GraphNode, PlanGraph, PlanLimits, PlanSource, check_graph, dotted
from vibe_prefect.handlers import raw_inputs, tool_inputs, tool_of
from vibe_prefect.keys import canonical_json, node_key
from vibe_prefect.llm.config import HOW_TO_CONFIGURE, MODEL_TOOLS
from vibe_prefect.models import NodePolicy, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.templates import TEMPLATE_NAMES, InvalidTemplateError, references, walk_templates
from vibe_prefect.tools.base import Tool, input_problems, tool_version
from vibe_prefect.tools.functions import NodeCheck
from vibe_prefect.tools.keysources import KeySource
from vibe_prefect.tools.registry import ToolRegistry

MAX_RETRY_DELAY = 600.0
"""Seconds that no delay before a retry exceeds."""

_NOWHERE = Position("", 0, 0)

MAX_NAMED = 20
"""How many nodes a message names before it only counts."""


class Simulate(StrEnum):
    """Which nodes the contract's simulation stands in for."""

    NEVER = "never"
    """None: a node that nothing runs is a problem of the plan."""

    UNBACKED = "unbacked"
    """Those that no tool and no handler of the caller's runs."""

    ALL = "all"
    """Every node: no tool and no handler is called, nothing is spent or written."""


class Backing(StrEnum):
    """What runs a node."""

    TOOL = "tool"
    HANDLER = "handler"
    COMPOSITE = "composite"
    SIMULATION = "simulation"


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
    """Whether what finished is kept, made anew in every run, or not kept at all."""


@dataclass(frozen=True, slots=True)
class CompiledNode:
    """A node, ready to run."""

    node: WorkflowNode
    """The node as written."""

    key: str
    """Content key: same key, same result."""

    backing: Backing
    """What runs it."""

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
        """Which node waits for which, and why."""
        return self.graph.edges


def compile_plan(
    plan: WorkflowPlan,
    *,
    tools: ToolRegistry | None = None,
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
        from vibe_prefect.tools.registry import default_registry

        tools = default_registry()
    graph, problems = check_graph(plan, source, limits)
    compiler = _Compiler(plan, tools, frozenset(handled_types), Simulate(simulate), dict(type_policies or {}), source)
    problems += compiler.check_work(graph.nodes.values() if graph else _loose_nodes(plan, limits))
    if graph is None or problems:
        problems.sort(key=lambda problem: problem.position or _NOWHERE)
        raise PlanError(problems, source.name if source else plan.id)
    return compiler.compile(graph)


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


@dataclass(frozen=True, slots=True)
class _LooseNode:
    """A node of a plan whose structure does not hold: enough to check its own work."""

    node: WorkflowNode
    path: DataPath
    dependencies: tuple[str, ...]


def _loose_nodes(plan: WorkflowPlan, limits: PlanLimits | None) -> Iterator[_LooseNode]:
    limits = limits or PlanLimits()
    stack: list[tuple[WorkflowNode, DataPath]] = [
        (node, ("root_nodes", index)) for index, node in reversed(list(enumerate(plan.root_nodes)))
    ]
    for _ in range(limits.max_nodes):
        if not stack:
            return
        node, path = stack.pop()
        yield _LooseNode(node, path, tuple(node.dependencies))
        stack += [(child, (*path, "children", index)) for index, child in reversed(list(enumerate(node.children)))]


class _Compiler:
    """One plan's way through the compiler."""

    def __init__(
        self,
        plan: WorkflowPlan,
        tools: ToolRegistry,
        handled_types: frozenset[WorkflowNodeType],
        simulate: Simulate,
        type_policies: Mapping[WorkflowNodeType, NodePolicy],
        source: PlanSource | None,
    ) -> None:
        self._plan = plan
        self._tools = tools
        self._handled_types = handled_types
        self._simulate = simulate
        self._type_policies = type_policies
        self._source = source
        self._problems: list[Problem] = []
        self._nodes: Mapping[str, WorkflowNode] = {}
        self._policies: dict[tuple[WorkflowNodeType, NodePolicy, NodePolicy | None], ExecutionPolicy] = {}
        self._salt = uuid4().hex

    def check_work(self, nodes: Collection[GraphNode] | Iterator[_LooseNode]) -> list[Problem]:
        """Return what is wrong with the nodes' own work."""
        unbacked: list[GraphNode | _LooseNode] = []
        places = list(nodes)
        self._nodes = {place.node.id: place.node for place in places}
        for place in places:
            if self._check_json(place) and self._backing(place.node) is Backing.TOOL:
                self._check_tool(place)
            elif self._backing(place.node) is None:
                unbacked.append(place)
        if unbacked:
            message = _unbacked_message([place.node.id for place in unbacked])
            self._problems.append(Problem(message, position=self._position(unbacked[0].path)))
        return self._problems

    def compile(self, graph: PlanGraph) -> CompiledPlan:
        """Return the plan's compiled form; it has been checked."""
        used = {tool_of(place.node, self._tools) for place in graph.nodes.values()}
        versions = {name: tool_version(tool) for name in sorted(filter(None, used)) if (tool := self._tools.get(name))}
        keys: dict[str, str] = {}
        for id in (id for group in graph.groups for id in group):
            place = graph.nodes[id]
            dependency_keys = [keys[dependency] for dependency in place.dependencies]
            keys[id] = node_key(place.node, self._work(place.node, versions), self._variation(place), dependency_keys)
        nodes = {id: self._compiled(place, keys[id]) for id, place in graph.nodes.items()}
        return CompiledPlan(self._plan, graph, nodes, versions)

    def _compiled(self, place: GraphNode, key: str) -> CompiledNode:
        backing = self._backing(place.node)
        assert backing is not None
        tool = tool_of(place.node, self._tools) if backing is Backing.TOOL else None
        return CompiledNode(place.node, key, backing, tool, self._policy(place.node), place.dependencies)

    def _policy(self, node: WorkflowNode) -> ExecutionPolicy:
        tool = self._tool(node)
        own: NodePolicy | None = getattr(tool, "default_policy", None)
        layer = (node.type, node.policy, own)
        if layer not in self._policies:
            defaults = self._type_policies.get(node.type, NodePolicy())
            self._policies[layer] = resolve_policy(own or NodePolicy(), defaults, self._plan.policy, node.policy)
        return self._policies[layer]

    def _tool(self, node: WorkflowNode) -> Tool | None:
        """Return the tool that runs a node, when one does."""
        name = tool_of(node, self._tools) if self._backing(node) is Backing.TOOL else None
        return self._tools.get(name) if name else None

    def _variation(self, place: GraphNode) -> str | int | None:
        return self._plan.policy.variation if place.node.policy.variation is None else place.node.policy.variation

    def _work(self, node: WorkflowNode, versions: Mapping[str, str]) -> str:
        backing = self._backing(node)
        name = tool_of(node, self._tools)
        work = f"tool {name} {versions[name]}" if backing is Backing.TOOL and name else str(backing)
        if backing is Backing.TOOL and (_names_vibe(node) or getattr(self._tool(node), "uses_vibe", False)):
            work = f"{work} for {canonical_json(self._plan.source_vibe.model_dump()).decode()}"
        # A key of this compilation alone: the node is found in no record, and its dependents follow.
        return work if self._policy(node).cache == "default" else f"{work} anew {self._salt}"

    def _backing(self, node: WorkflowNode) -> Backing | None:
        if self._simulate is Simulate.ALL:
            return Backing.SIMULATION
        if node.type in self._handled_types:
            return Backing.HANDLER
        if tool_of(node, self._tools) is not None:
            return Backing.TOOL
        if self._simulate is Simulate.UNBACKED:
            return Backing.SIMULATION
        return Backing.COMPOSITE if node.type is WorkflowNodeType.COMPOSITE else None

    def _check_json(self, place: GraphNode | _LooseNode) -> bool:
        for field in ("description", "parameters"):
            try:
                canonical_json(getattr(place.node, field))
            except TypeError as error:
                self._problem(place, (field,), f"JSON cannot hold this: {error}")
                return False
        return True

    def _check_tool(self, place: GraphNode | _LooseNode) -> None:
        named: Any = place.node.parameters.get("tool")
        if named is not None and not isinstance(named, str):
            self._problem(place, ("parameters", "tool"), f"expected a tool's name, found {shorten(named)}")
            return
        name = tool_of(place.node, self._tools)
        tool = self._tools.get(name) if name else None
        if name is None or tool is None:
            self._problem(place, ("parameters", "tool"), _unknown_message(str(name), self._tools))
            return
        for lack, words in (("missing_extra", "more than is installed"), ("missing_setting", "a setting")):
            missing = getattr(tool, lack, None)
            if missing:
                self._problem(place, ("parameters", "tool"), f"the tool {name!r} needs {words}: {missing}")
        for source in cast("tuple[KeySource, ...]", getattr(tool, "key_sources", ())):
            if source.lack:
                self._problem(place, ("parameters", "tool"), f"the tool {name!r} needs a key: {source.lack}")
        self._check_inputs(place, name, tool)
        self._check_node(place, name, tool)

    def _check_node(self, place: GraphNode | _LooseNode, name: str, tool: Tool) -> None:
        check: NodeCheck | None = getattr(tool, "node_check", None)
        if check is None or not all(id in self._nodes for id in place.dependencies):
            return
        inputs = place.node.parameters.get("tool_inputs")
        written: Mapping[str, Any] = cast("Mapping[str, Any]", inputs) if isinstance(inputs, Mapping) else {}
        problem = check(written, {id: self._tool(self._nodes[id]) for id in place.dependencies})
        if problem is not None:
            field, message = problem
            self._problem(place, field, f"{message} (tool {name!r})")

    def _check_inputs(self, place: GraphNode | _LooseNode, name: str, tool: Tool) -> None:
        written = place.node.parameters.get("tool_inputs")
        if written is not None and not isinstance(written, Mapping):
            found = shorten(cast("object", written))
            self._problem(place, ("parameters", "tool_inputs"), f"expected a mapping of inputs, found {found}")
            return
        inputs = tool_inputs(place.node, name)
        raw = raw_inputs(tool)
        templated: list[DataPath] = []
        for path, text in walk_templates(inputs):
            self._check_template(place, path, text, raw=path[0] in raw)
            if path[0] not in raw:
                templated.append(path)
        for problem in input_problems(tool, inputs):
            if not any(problem.path[: len(path)] == path for path in templated):
                message = f"{problem.message} (tool {name!r})"
                self._problem(place, ("parameters", "tool_inputs", *problem.path), message)

    def _check_template(self, place: GraphNode | _LooseNode, path: DataPath, text: str, *, raw: bool) -> None:
        where = ("parameters", "tool_inputs", *path)
        try:
            found = references(text)
        except InvalidTemplateError as error:
            self._problem(place, where, str(error))
            return
        for name in found.outputs:
            if name not in place.dependencies:
                self._problem(place, where, _reference_message(name, found.subtracted.get(name), place.dependencies))
        for name in sorted(found.names - TEMPLATE_NAMES) if not raw and not found.subtracted else ():
            hint = did_you_mean(name, TEMPLATE_NAMES) or f"; a template can name {', '.join(sorted(TEMPLATE_NAMES))}"
            self._problem(place, where, f"the template names {name!r}, which is not defined{hint}")

    def _problem(self, place: GraphNode | _LooseNode, field: DataPath, message: str) -> None:
        self._problems.append(Problem(message, place.node.id, dotted(field), self._position((*place.path, *field))))

    def _position(self, path: DataPath) -> Position | None:
        return self._source.position(path) if self._source else None


def _names_vibe(node: WorkflowNode) -> bool:
    inputs = node.parameters.get("tool_inputs")
    return any("vibe" in references(text).names for _, text in walk_templates(inputs))


def _reference_message(name: str, meant: str | None, dependencies: tuple[str, ...]) -> str:
    if meant in dependencies:
        return f"the template reads outputs.{meant} as a subtraction; write outputs[{meant!r}]"
    known = f"its dependencies are {', '.join(dependencies)}" if dependencies else "it has no dependencies"
    hint = did_you_mean(name, dependencies)
    return f"the template names outputs.{name}, but {name!r} is not a dependency of this node: {known}{hint}"


def _unknown_message(name: str, tools: ToolRegistry) -> str:
    if name in MODEL_TOOLS:
        return f"the tool {name!r} needs a model, and none is configured: {HOW_TO_CONFIGURE}"
    hint = did_you_mean(name, tools) or f"; registered tools: {', '.join(tools) or 'none'}"
    return f"unknown tool {name!r}{hint}"


def _unbacked_message(ids: list[str]) -> str:
    named = ", ".join(repr(id) for id in ids[:MAX_NAMED])
    more = f" and {len(ids) - MAX_NAMED} more" if len(ids) > MAX_NAMED else ""
    verb = "node has" if len(ids) == 1 else "nodes have"
    return (
        f"{len(ids)} {verb} no tool, no handler and no model to run them: {named}{more}; "
        f"name a tool in parameters.tool, configure a model ({HOW_TO_CONFIGURE}), or simulate the run"
    )
