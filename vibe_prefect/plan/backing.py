"""Node bindings: a node is run by a tool, a handler of the caller's, its children, or the simulation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any, cast

from vibe_prefect.core.models import NodePolicy, WorkflowNode, WorkflowNodeType
from vibe_prefect.core.plan_tree import DataPath
from vibe_prefect.core.policies import ExecutionPolicy, resolve_policy
from vibe_prefect.plan.node_tools import tool_inputs, tool_of
from vibe_prefect.templates.texts import walk_templates
from vibe_prefect.tools.base import InputNames, Tool, ToolTraits
from vibe_prefect.tools.registry import ToolRegistry


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
class InputTemplate:
    """A template within the inputs of a node's tool."""

    path: DataPath
    """Path within the inputs."""

    text: str
    """The template."""

    raw: bool
    """Whether it reaches the tool as written, which fills it in itself."""

    own: frozenset[str] = frozenset()
    """Names that the node itself gives such a tool values for, as `values` of `template_fill` does."""


@dataclass(frozen=True)
class NodeBinding:
    """Runner of a node and its options, resolved once: checks, keys and the compiled node are made from it."""

    node: WorkflowNode
    """The node as written."""

    backing: Backing | None
    """Runner kind; `None` where nothing can run it."""

    named: str | None
    """Name of the tool that the node names, or that its type has by default, whether or not that runs it."""

    tool: Tool | None
    """The tool that runs it; `None` where no tool does, or it is not registered."""

    traits: ToolTraits
    """The traits of that tool."""

    input_names: InputNames
    """Names of that tool's inputs by their kinds."""

    layers: tuple[NodePolicy, ...]
    """Policies that make up its own, a later one before an earlier one."""

    @property
    def tool_name(self) -> str | None:
        """Name of the tool that runs the node; `None` where no tool does."""
        return self.named if self.backing is Backing.TOOL else None

    @property
    def scorer(self) -> str | None:
        """Name of the tool that scores the node's variations; `None` where it makes none."""
        choice = self.node.best_of
        return choice.scorer if choice is not None and self.backing is Backing.TOOL else None

    @cached_property
    def policy(self) -> ExecutionPolicy:
        """Options of its execution."""
        return resolve_policy(*self.layers)

    @cached_property
    def inputs(self) -> dict[str, Any]:
        """Inputs of its tool as written, and those that the description fills; none where no tool runs it."""
        return tool_inputs(self.node, self.tool_name, self.tool, self.traits) if self.tool_name is not None else {}

    @cached_property
    def described(self) -> frozenset[str]:
        """Names of the inputs that the node's description fills; none where no tool runs it."""
        if self.tool_name is None:
            return frozenset()
        return frozenset(self.inputs.keys() - (self.node.parameters.get("tool_inputs") or {}))

    @cached_property
    def templates(self) -> tuple[InputTemplate, ...]:
        """The templates within its inputs."""
        raw = self.input_names.raw
        own = frozenset(name for value in self.inputs.values() for name in _keys(value)) if raw else frozenset[str]()
        return tuple(
            InputTemplate(path, text, path[0] in raw, own if path[0] in raw else frozenset())
            for path, text in walk_templates(self.inputs)
        )


def _keys(value: object) -> Iterable[str]:
    return cast("Mapping[str, object]", value) if isinstance(value, Mapping) else ()


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

    _read: dict[str | None, tuple[Tool | None, ToolTraits, InputNames]] = field(
        default_factory=dict[str | None, tuple[Tool | None, ToolTraits, InputNames]], init=False, repr=False
    )
    """Each tool that runs nodes, with what was read from it, by its name; `None` for nodes without a tool."""

    def of(self, node: WorkflowNode) -> NodeBinding:
        """Return what runs a node and how."""
        if id(node) not in self._known:
            self._known[id(node)] = self._bind(node)
        return self._known[id(node)]

    def _bind(self, node: WorkflowNode) -> NodeBinding:
        tool_name = tool_of(node, self.tools)
        backing = self._backing(node, tool_name)
        tool, traits, input_names = self._tool(tool_name if backing is Backing.TOOL else None)
        layers = (traits.default_policy, self.type_policies.get(node.type), self.plan_policy, node.policy)
        return NodeBinding(
            node, backing, tool_name, tool, traits, input_names, tuple(layer for layer in layers if layer is not None)
        )

    def traits(self, name: str | None) -> ToolTraits:
        """Return the traits of the tool of that name; those of a tool that states none where there is no such tool."""
        return self._tool(name)[1]

    def _tool(self, name: str | None) -> tuple[Tool | None, ToolTraits, InputNames]:
        if name not in self._read:
            tool = self.tools.get(name) if name is not None else None
            self._read[name] = tool, ToolTraits.of(tool), InputNames.of(tool)
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
