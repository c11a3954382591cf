"""The tool of a node, and what the node gives it."""

from __future__ import annotations

from typing import Any

from vibe_prefect.core.models import BestOf, WorkflowNode
from vibe_prefect.tools.base import Tool, ToolTraits
from vibe_prefect.tools.registry import LLM_TOOL, ToolRegistry


def tool_of(node: WorkflowNode, tools: ToolRegistry) -> str | None:
    """Return the name of the tool that runs a node, if one does."""
    tool_name = node.parameters.get("tool")
    return tools.default_for(node.type) if tool_name is None else str(tool_name)


def tool_inputs(
    node: WorkflowNode, name: str, tool: Tool | None = None, traits: ToolTraits | None = None
) -> dict[str, Any]:
    """Return a node's inputs for its tool as written, and those that its description fills.

    Args:
        node: The node.
        name: The tool's name. A model's prompt defaults to the description.
        tool: The tool, which may have more inputs that default to it.
        traits: The tool's traits, where they are known already.
    """
    inputs: dict[str, Any] = dict(node.parameters.get("tool_inputs") or {})
    defaults = (traits or ToolTraits.of(tool)).default_inputs
    if name == LLM_TOOL:
        inputs.setdefault("prompt", node.description)
    return inputs if defaults is None else defaults(node.description, inputs) | inputs


def scorer_inputs(choice: BestOf) -> dict[str, Any]:
    """Return the inputs of the tool that scores the variations of a node, as written.

    `judge` refuses what is below a threshold; of variations the best counts, however low its score.
    """
    if choice.tool is not None:
        return dict(choice.tool_inputs)
    return {
        "threshold": 0.0,
        **choice.tool_inputs,
        **({} if choice.criteria is None else {"criteria": choice.criteria}),
    }
