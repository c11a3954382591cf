"""From a plan to what the engine runs: a frozen, picklable `CompiledPlan`, or every problem at once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal, cast
from uuid import uuid4

from vibe_prefect.errors import PlanError, Position, Problem, did_you_mean, shorten
from vibe_prefect.graph import (
    NO_DOUBTS,
    DataPath,
    Doubts,
    Edge,
    GraphNode,
    PlanGraph,
    PlanLimits,
    PlanSource,
    check_graph,
    dotted,
)
from vibe_prefect.handlers import raw_inputs, tool_inputs, tool_of
from vibe_prefect.keys import canonical_json, node_key
from vibe_prefect.llm.config import HOW_TO_CONFIGURE, MODEL_TOOLS
from vibe_prefect.models import NodePolicy, WorkflowNode, WorkflowNodeType, WorkflowPlan
from vibe_prefect.plan_repair import owner_of
from vibe_prefect.plan_values import value_problems
from vibe_prefect.planfile import PlanShapeError
from vibe_prefect.template_checks import StatedOutput, TemplateCheck
from vibe_prefect.templates import is_template, references, walk_templates
from vibe_prefect.tools.base import (
    OUTPUT_FOLDER,
    OUTPUT_PATH,
    Tool,
    default_outputs,
    input_problems,
    inputs_of_format,
    tool_version,
)
from vibe_prefect.tools.functions import NodeCheck
from vibe_prefect.tools.keysources import KeySource
from vibe_prefect.tools.registry import ForeignRegistry, ToolRegistry, adapted
from vibe_prefect.tools.run_files import RunFiles, plain_path

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
        from vibe_prefect.tools.registry import default_registry

        tools = default_registry()
    tools = adapted(tools)
    graph, problems = check_graph(plan, source, limits)
    compiler = _Compiler(plan, tools, frozenset(handled_types), Simulate(simulate), dict(type_policies or {}), source)
    problems += compiler.check_work(list(graph.nodes.values() if graph else _loose_nodes(plan, limits)))
    if graph is None or problems:
        problems.sort(key=lambda problem: problem.position or _NOWHERE)
        raise PlanError(problems, source.name if source else plan.id)
    return compiler.compile(graph)


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
    compiler = _Compiler(plan, tools, frozenset(handled_types), Simulate(simulate), {}, part.source, doubts)
    found += compiler.check_work(list(graph.nodes.values() if graph else _loose_nodes(plan, limits)))
    problems = [*part.problems, *part.repaired.named(found)]
    return PlanError(sorted(problems, key=lambda problem: problem.position or _NOWHERE), error.name)


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
        doubts: Doubts = NO_DOUBTS,
    ) -> None:
        self._plan = plan
        self._doubts = doubts
        self._places: dict[str, GraphNode | _LooseNode] = {}
        self._outputs: dict[str, StatedOutput | None] = {}
        self._tools = tools
        self._handled_types = handled_types
        self._simulate = simulate
        self._type_policies = type_policies
        self._source = source
        self._problems: list[Problem] = []
        self._unkept: set[tuple[str | None, str]] = set()
        self._policies: dict[tuple[WorkflowNodeType, NodePolicy, NodePolicy | None], ExecutionPolicy] = {}
        self._salt = uuid4().hex
        self._claims = RunFiles()
        self._position_of_node: dict[str, Position | None] = {}

    def check_work(self, nodes: Sequence[GraphNode | _LooseNode]) -> list[Problem]:
        """Return what is wrong with the nodes' own work."""
        self._places = {place.node.id: place for place in nodes}
        unbacked: list[GraphNode | _LooseNode] = []
        self._check_values()
        self._check_plan_json()
        for place in nodes:
            if self._check_json(place) and self._backing(place.node) is Backing.TOOL:
                self._check_tool(place)
            elif self._backing(place.node) is None and place.node.id not in self._doubts.nodes:
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
        if backing is Backing.TOOL and name and self._reads_otherwise(node, name):
            work = f"{work} (templates 2)"
        # A key of this compilation alone: the node is found in no record, and its dependents follow.
        return work if self._policy(node).cache == "default" else f"{work} anew {self._salt}"

    def _reads_otherwise(self, node: WorkflowNode, name: str) -> bool:
        """Tell whether 0.1.0 read a node's inputs otherwise: `{#` began a comment, and a task to judge was text."""
        inputs = tool_inputs(node, name, self._tools.get(name))
        written: Mapping[str, Any] = node.parameters.get("tool_inputs") or {}
        task = None if "task" in written else inputs.get("task")
        return is_template(task) or b"{#" in canonical_json(inputs)

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

    def _check_values(self) -> None:
        """Refuse values that the server or its database cannot keep, all over the plan."""
        for found in value_problems(self._plan):
            owner = owner_of(found.path)
            node: Any = self._plan
            for part in owner:
                node = node[part] if isinstance(part, int) else getattr(node, part)
            id = node.id if owner else None
            self._unkept.add((id, str(found.path[len(owner)]) if len(found.path) > len(owner) else ""))
            field = dotted(found.path[len(owner) :])
            self._problems.append(Problem(found.message, id, field or None, self._position(found.path)))

    def _check_plan_json(self) -> None:
        for field in ("source_vibe", "policy"):
            if (None, field) in self._unkept:
                continue
            try:
                canonical_json(getattr(self._plan, field).model_dump())
            except TypeError as error:
                self._problems.append(Problem(f"JSON cannot hold this: {error}", None, field, self._position((field,))))

    def _check_json(self, place: GraphNode | _LooseNode) -> bool:
        for field in ("description", "parameters", "policy"):
            if (place.node.id, field) in self._unkept:
                return False
            value = getattr(place.node, field)
            try:
                canonical_json(value.model_dump() if isinstance(value, NodePolicy) else value)
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
        if check is None or not all(id in self._places for id in place.dependencies):
            return
        inputs = place.node.parameters.get("tool_inputs")
        written: Mapping[str, Any] = cast("Mapping[str, Any]", inputs) if isinstance(inputs, Mapping) else {}
        problem = check(written, {id: self._tool(self._places[id].node) for id in place.dependencies})
        if problem is not None:
            field, message = problem
            self._problem(place, field, f"{message} (tool {name!r})")

    def _check_inputs(self, place: GraphNode | _LooseNode, name: str, tool: Tool) -> None:
        written = place.node.parameters.get("tool_inputs")
        if written is not None and not isinstance(written, Mapping):
            found = shorten(cast("object", written))
            self._problem(place, ("parameters", "tool_inputs"), f"expected a mapping of inputs, found {found}")
            return
        inputs = tool_inputs(place.node, name, tool)
        described = inputs.keys() - (written or {})
        raw = raw_inputs(tool)
        doubtful = place.node.id in self._doubts.nodes
        check = TemplateCheck(None if doubtful else place.dependencies, self._stated_output)
        templated: list[DataPath] = []
        for path, text in walk_templates(inputs):
            for message in check.messages(text, raw=path[0] in raw):
                self._problem(place, _field(path, described), message)
            if path[0] not in raw:
                templated.append(path)
        for problem in input_problems(tool, inputs):
            if not any(problem.path[: len(path)] == path for path in templated):
                self._problem(place, _field(problem.path, described), f"{problem.message} (tool {name!r})")
        defaults = default_outputs(tool, place.node.id)
        literal = {name: path for name, path in (defaults | inputs).items() if (name,) not in templated}
        self._claim_outputs(place, tool, literal, defaults)

    def _claim_outputs(
        self, place: GraphNode | _LooseNode, tool: Tool, literal: Mapping[str, Any], defaults: Mapping[str, str]
    ) -> None:
        """Refuse a path that another node writes, as far as it can be seen: what a template makes is known later."""
        id, folders = place.node.id, inputs_of_format(tool, OUTPUT_FOLDER)
        for name in sorted(inputs_of_format(tool, OUTPUT_PATH) | folders):
            path = literal.get(name)
            plain = plain_path(path) if isinstance(path, str) else None
            clash = self._claims.claim(plain, id, folder=name in folders) if plain else None
            if clash is not None:
                where = self._position_of_node.get(clash.owner)
                hint = f"leave {name!r} out for {defaults[name]!r}" if name in defaults else "name another path"
                message = f"{path!r} is taken: {clash.reason}{f' ({where})' if where else ''}; {hint}"
                self._problem(place, ("parameters", "tool_inputs", name), message)
        self._position_of_node.setdefault(id, self._position((*place.path, "parameters")))

    def _stated_output(self, id: str) -> StatedOutput | None:
        """Return what is known of a node's output; `None` for nothing."""
        if id not in self._outputs:
            place = self._places.get(id)
            doubtful = place is None or id in self._doubts.nodes
            self._outputs[id] = None if doubtful else self._output_of(cast("Any", place).node)
        return self._outputs[id]

    def _output_of(self, node: WorkflowNode) -> StatedOutput | None:
        backing = self._backing(node)
        if backing is Backing.COMPOSITE:
            return StatedOutput({"type": "string"}, "a composite, whose children do the work")
        name = tool_of(node, self._tools) if backing is Backing.TOOL else None
        tool = self._tools.get(name) if name else None
        if name is None or tool is None:
            return None
        written: object = node.parameters.get("tool_inputs") or {}
        made: Callable[..., Any] | None = getattr(tool, "output_schema_for", None)
        schema = made(written) if made and isinstance(written, Mapping) else getattr(tool.spec, "output_schema", None)
        return StatedOutput(schema, f"the tool {name!r}")

    def _problem(self, place: GraphNode | _LooseNode, field: DataPath, message: str) -> None:
        self._problems.append(Problem(message, place.node.id, dotted(field), self._position((*place.path, *field))))

    def _position(self, path: DataPath) -> Position | None:
        return self._source.position(path) if self._source else None


def _names_vibe(node: WorkflowNode) -> bool:
    inputs = node.parameters.get("tool_inputs")
    return any("vibe" in text and "vibe" in references(text).names for _, text in walk_templates(inputs))


def _field(path: DataPath, described: Collection[str | int]) -> DataPath:
    """Return where the plan has what an input is made of: the description fills some of them."""
    return ("description",) if path and path[0] in described else ("parameters", "tool_inputs", *path)


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
