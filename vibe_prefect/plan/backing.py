"""Node bindings: a node is run by a tool, a handler of the caller's, its children, or the simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self, cast

from vibe_prefect.core.models import NodePolicy, WorkflowNode, WorkflowNodeType
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.core.policies import ExecutionPolicy, resolve_policy
from vibe_prefect.plan.node_tools import tool_inputs, tool_of
from vibe_prefect.templates.reads import References
from vibe_prefect.templates.texts import PlacedTemplate, walk_templates
from vibe_prefect.tools.base import InputNames, Tool, ToolTraits
from vibe_prefect.tools.registry import LLM_TOOL, ToolRegistry


class Simulate(StrEnum):
    """Nodes that the contract's simulation runs."""

    NEVER = "never"
    """None: a node that nothing runs is a problem of the plan."""

    UNBACKED = "unbacked"
    """Those that no tool and no handler of the caller's runs."""

    ALL = "all"
    """Every node: no tool and no handler is called, nothing is spent or written."""


class Backing(StrEnum):
    """Runner kind of a node."""

    TOOL = "tool"
    HANDLER = "handler"
    COMPOSITE = "composite"
    SIMULATION = "simulation"


@dataclass(frozen=True, slots=True)
class BoundTool:
    """A tool that runs nodes, with what was read from it once for all of them."""

    tool: Tool | None
    """The tool; `None` for nodes that none runs, or where it is not registered."""

    traits: ToolTraits
    """Its traits."""

    input_names: InputNames
    """Names of its inputs by their kinds."""

    lacks: tuple[str, ...]
    """Lacks that keep it from running."""

    is_described: bool
    """Whether the description of a node may fill inputs of it."""

    @classmethod
    def of(cls, tool: Tool | None, name: str | None) -> Self:
        """Read a tool of a name."""
        traits = ToolTraits.of(tool)
        is_described = traits.default_inputs is not None or name == LLM_TOOL
        return cls(tool, traits, InputNames.of(tool), traits.lacks, is_described)


@dataclass(slots=True, eq=False)
class NodeBinding:
    """Runner of a node and its options, resolved once: checks, keys and the compiled node are made from it.

    It is there while its plan is compiled only, and not frozen: a frozen one takes five times as long to make.
    """

    node: WorkflowNode
    """The node as written."""

    backing: Backing | None
    """Runner kind; `None` where nothing can run it."""

    named: str | None
    """Name of the tool that the node names, or that its type has by default, whether or not that runs it."""

    tool_name: str | None
    """Name of the tool that runs the node; `None` where no tool does."""

    bound: BoundTool
    """That tool; one without a name and facts where no tool runs it."""

    scorer: str | None
    """Name of the tool that scores the node's variations; `None` where it makes none."""

    policy: ExecutionPolicy
    """Options of its execution."""

    states_policy: bool
    """Whether the node has a policy of its own."""

    naming: Sequence[tuple[DataPath, References]] = field(default=(), init=False)
    """What those of its templates name that name more than whole outputs, each with its path. The checks note it: a
    plan may have more templates than `references` remembers."""

    _inputs: dict[str, Any] | None = field(default=None, init=False)
    _templates: list[PlacedTemplate] | None = field(default=None, init=False)

    @property
    def inputs(self) -> dict[str, Any]:
        """Inputs of its tool as written, and those that the description fills; none where no tool runs it."""
        if self._inputs is None:
            name, bound = self.tool_name, self.bound
            self._inputs = tool_inputs(self.node, name, bound.tool, bound.traits) if name is not None else {}
        return self._inputs

    @property
    def described(self) -> frozenset[str]:
        """Names of the inputs that the node's description fills; none where no tool runs it."""
        if self.tool_name is None or not self.bound.is_described:
            return frozenset()
        return frozenset(self.inputs.keys() - (self.node.parameters.get("tool_inputs") or {}))

    @property
    def templates(self) -> list[PlacedTemplate]:
        """The templates within its inputs, each with its path within these; see `own_names`."""
        if self._templates is None:
            self._templates = walk_templates(self.inputs)
        return self._templates

    @property
    def own_names(self) -> frozenset[str]:
        """Names that the node itself gives values for, as `values` of `template_fill` does.

        They count in templates of the inputs `input_names.raw`, which reach the tool as written: it fills them in.
        """
        if not self.bound.input_names.raw:
            return frozenset()
        return frozenset(name for value in self.inputs.values() for name in _keys(value))


def _keys(value: object) -> Iterable[str]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else ()


class _Runner(NamedTuple):
    """What is the same for all nodes of a type that name the same tool; the fields are those of `NodeBinding`."""

    backing: Backing | None
    named: str | None
    tool_name: str | None
    bound: BoundTool

    layers: tuple[NodePolicy, ...]
    """Policies that come before that of a node."""

    policy: ExecutionPolicy
    """Policy of a node that states none."""


@dataclass(frozen=True, slots=True)
class Bindings:
    """Tools and handlers that can run the nodes of a plan, and what runs each of them."""

    tools: ToolRegistry
    """The tools that nodes may name."""

    handled_types: frozenset[WorkflowNodeType] = frozenset()
    """Node types for which the caller has a handler of their own; it runs every node of the type."""

    simulate: Simulate = Simulate.NEVER
    """Nodes that the simulation runs."""

    plan_policy: NodePolicy = field(default_factory=NodePolicy)
    """The plan's policy."""

    type_policies: Mapping[WorkflowNodeType, NodePolicy] = field(default_factory=dict[WorkflowNodeType, NodePolicy])
    """The caller's policies by node type."""

    _known: dict[int, NodeBinding] = field(default_factory=dict[int, NodeBinding], init=False, repr=False)
    """By the node's identity: two nodes of a plan that is checked may have the same id."""

    _read: dict[str | None, BoundTool] = field(default_factory=dict[str | None, BoundTool], init=False, repr=False)
    """Each tool that runs nodes, by its name; `None` for nodes without a tool."""

    _runners: dict[tuple[str | None, int], _Runner] = field(
        default_factory=dict[tuple[str | None, int], "_Runner"], init=False, repr=False
    )
    """By the names of the tools that nodes name, and the identity of the nodes' types: a text that a program assigned
    as a type equals one of ours and is none."""

    def of(self, node: WorkflowNode) -> NodeBinding:
        """Return what runs a node and how."""
        known = self._known.get(id(node))
        if known is None:
            known = self._known[id(node)] = self._bind(node)
        return known

    def _bind(self, node: WorkflowNode) -> NodeBinding:
        stated = node.parameters.get("tool")
        kind = None if stated is None else str(stated), id(node.type)
        runner = self._runners.get(kind)
        if runner is None:
            runner = self._runners[kind] = self._runner(node)
        backing, named, tool_name, bound, layers, policy = runner
        choice, own = node.best_of, node.policy
        scorer = choice.scorer if choice is not None and tool_name is not None else None
        states_policy = bool(own.model_fields_set)
        if states_policy:
            policy = resolve_policy(*layers, own)
        return NodeBinding(node, backing, named, tool_name, bound, scorer, policy, states_policy)

    def _runner(self, node: WorkflowNode) -> _Runner:
        named = tool_of(node, self.tools)
        backing = self._backing(node, named)
        tool_name = named if backing is Backing.TOOL else None
        bound = self._tool(tool_name)
        layers = (bound.traits.default_policy, self.type_policies.get(node.type), self.plan_policy)
        stated_layers = tuple(layer for layer in layers if layer is not None)
        return _Runner(backing, named, tool_name, bound, stated_layers, resolve_policy(*stated_layers))

    def traits(self, name: str | None) -> ToolTraits:
        """Return the traits of the tool of that name; those of a tool that states none where there is no such tool."""
        return self._tool(name).traits

    def _tool(self, name: str | None) -> BoundTool:
        if name not in self._read:
            self._read[name] = BoundTool.of(self.tools.get(name) if name is not None else None, name)
        return self._read[name]

    def _backing(self, node: WorkflowNode, tool_name: str | None) -> Backing | None:
        if self.simulate is Simulate.ALL:
            return Backing.SIMULATION
        if node.type in self.handled_types:
            return Backing.HANDLER
        if tool_name is not None:
            return Backing.TOOL
        if self.simulate is Simulate.UNBACKED:
            return Backing.SIMULATION
        return Backing.COMPOSITE if node.type is WorkflowNodeType.COMPOSITE else None
