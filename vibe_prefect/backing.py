"""Runner kinds: a node is run by a tool, a handler of the caller's, its children, or the simulation."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from vibe_prefect.handlers import tool_of
from vibe_prefect.models import WorkflowNode, WorkflowNodeType
from vibe_prefect.tools.base import Tool
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
class Backings:
    """Tools and handlers that can run nodes."""

    tools: ToolRegistry
    """The tools that nodes may name."""

    handled_types: frozenset[WorkflowNodeType] = frozenset()
    """Node types for which the caller has a handler of their own; it runs every node of the type."""

    simulate: Simulate = Simulate.NEVER
    """Nodes that the simulation runs."""

    def of(self, node: WorkflowNode) -> Backing | None:
        """Return what runs a node; `None` where nothing does."""
        if self.simulate is Simulate.ALL:
            return Backing.SIMULATION
        if node.type in self.handled_types:
            return Backing.HANDLER
        if tool_of(node, self.tools) is not None:
            return Backing.TOOL
        if self.simulate is Simulate.UNBACKED:
            return Backing.SIMULATION
        return Backing.COMPOSITE if node.type is WorkflowNodeType.COMPOSITE else None

    def tool_name(self, node: WorkflowNode) -> str | None:
        """Return the name of the tool that runs a node, when one does."""
        return tool_of(node, self.tools) if self.of(node) is Backing.TOOL else None

    def tool(self, node: WorkflowNode) -> Tool | None:
        """Return the tool that runs a node, when one does and is registered."""
        name = self.tool_name(node)
        return self.tools.get(name) if name else None
