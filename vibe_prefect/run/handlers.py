"""Running a node: the built-in handlers, the call of a tool, and the contract's simulation."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from typing import Any, cast

from vibe_prefect.core.budget import Budget
from vibe_prefect.core.feedback import judged_evidence, judged_quality
from vibe_prefect.core.models import Vibe, WorkflowNode, WorkflowNodeType
from vibe_prefect.errors import ToolError
from vibe_prefect.plan.node_tools import tool_inputs, tool_of
from vibe_prefect.run.call_notes import CallNotes
from vibe_prefect.templates.filling import fill_in_all
from vibe_prefect.templates.texts import template_values
from vibe_prefect.tools.base import AskPerson, InputNames, Tool, ToolContext, ToolResult, tool_version
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.secrecy.redaction import redacted_errors, scrubbed_data
from vibe_prefect.tools.workspace import Workspace

RESULT_TYPES = {
    WorkflowNodeType.ANALYZE: "analysis",
    WorkflowNodeType.GENERATE: "generation",
    WorkflowNodeType.TRANSFORM: "transformation",
    WorkflowNodeType.VALIDATE: "validation",
    WorkflowNodeType.COMPOSITE: "composite",
}
TOOL_RESULT = "tool_execution"
_TOOL_FIELDS = frozenset({"tool", "tool_inputs"})

_SIMULATED_TEXT = {
    WorkflowNodeType.ANALYZE: "Analysis completed for: ",
    WorkflowNodeType.GENERATE: "Generated content for: ",
    WorkflowNodeType.TRANSFORM: "Transformed content for: ",
    WorkflowNodeType.VALIDATE: "Validation passed for: ",
    WorkflowNodeType.COMPOSITE: "Composite task organized: ",
}

ToolCaller = Callable[[str, dict[str, Any]], Awaitable[ToolResult]]
"""Calls a tool by name with inputs; returns a successful result."""


@dataclass(frozen=True)
class NodeContext:
    """Context of a handler's call: the node and the run around it."""

    plan_id: str
    """The plan's id."""

    node: WorkflowNode
    """The node itself."""

    vibe: Vibe
    """The wish that the plan was made from."""

    previous_outputs: Mapping[str, Any]
    """Each dependency's output by its id, a copy of this node's own; see `output_of`."""

    workspace: Workspace
    """The folders that this run may read from and write to."""

    tools: ToolRegistry
    """The tools of this run."""

    simulated: bool
    """Whether the built-in handler is to simulate instead of work."""

    caller: ToolCaller
    """Makes the calls of `call_tool`; the engine makes each call a task of its own."""

    key: str = ""
    """The node's content key; empty where nothing was compiled."""

    budget: Budget | None = None
    """Budget of the run; `None` for no limit."""

    report_progress: Callable[[float | None, str], None] | None = None
    """Reports the progress of the node's work; see `ToolContext`."""

    note_call: Callable[[CallNotes], None] | None = None
    """Called at the end of each tool call; `None` where nobody notes them."""

    ask: AskPerson | None = None
    """Asks a person; `None` where nobody can be asked."""

    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The run's inputs that the node's description or parameters name, by name; no others."""

    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    """The facts of the run that the templates of the node name, by name; no others."""

    items: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The items that the node runs for and names, by the names that the plan gives them."""

    file_id: str = ""
    """The id that its files are named by, where that is not its own."""

    absent: tuple[str, ...] = ()
    """Ids of the optional dependencies that a condition skipped; they are not in `previous_outputs`."""

    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Names of the items of each dependency whose output is the list of a composite with `for_each`, by its id."""

    variation: int | None = None
    """Number of the variation that is made, from 1, of a node with `best_of`; `None` for any other."""

    @property
    def workflow_context(self) -> str:
        """The dependencies' texts, a block each, for a prompt."""
        blocks = (
            f"Previous step ({id}):\n{cast('dict[str, Any]', output)['text']}"
            for id, output in self.previous_outputs.items()
            if isinstance(output, dict) and "text" in output
        )
        return "\n\n".join(blocks)

    @property
    def tool_context(self) -> ToolContext:
        """Context for the tools that this node calls."""
        context = ToolContext(
            workflow_context=self.workflow_context,
            node_description=self.node.description,
            previous_outputs=self.previous_outputs,
            node_id=self.file_id or self.node.id,
            plan_id=self.plan_id,
            key=self.key,
            node_type=self.node.type.value,
            parameters={name: value for name, value in self.node.parameters.items() if name not in _TOOL_FIELDS},
            vibe=self.vibe,
            workspace=self.workspace,
        )
        if self.variation is not None:
            context["variation"] = self.variation
        if self.absent:
            context["absent"] = self.absent
        if self.inputs:
            context["inputs"] = self.inputs
        if self.facts:
            context["run"] = self.facts
        if self.items:
            context["items"] = self.items
        if self.lists:
            context["lists"] = self.lists
        if self.budget is not None:
            context["budget"] = self.budget
        if self.ask is not None:
            context["ask"] = self.ask
        if self.report_progress is not None:
            context["report_progress"] = self.report_progress
        return context

    async def call_tool(self, name: str, inputs: dict[str, Any]) -> Any:
        """Call a registered tool from a handler and return its output.

        Raises:
            KeyError: No tool has that name.
            RuntimeError: The tool reported failure.
        """
        return (await self.caller(name, inputs)).output


NodeHandler = Callable[..., Any]
"""Async or sync; takes the node, or the node and its `NodeContext`; returns JSON data."""


def takes_context(handler: NodeHandler) -> bool:
    """Return whether a handler takes the context too: a required second argument, or a second one named `context`."""
    parameters = inspect.signature(handler).parameters.values()
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return True
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    positional = [parameter for parameter in parameters if parameter.kind in kinds]
    second = positional[1] if len(positional) > 1 else None
    return second is not None and (second.default is second.empty or second.name == "context")


def is_async(handler: NodeHandler) -> bool:
    """Return whether a handler runs on the event loop; any other runs in a thread."""
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(getattr(handler, "__call__", None))  # noqa: B004


_current: ContextVar[NodeContext | None] = ContextVar("vibe_prefect_node_context", default=None)


@contextmanager
def as_current(context: NodeContext) -> Generator[None]:
    """Let the built-in handler find the context of the node at work when another handler calls it without one."""
    token = _current.set(context)
    try:
        yield
    finally:
        _current.reset(token)


def node_at_work() -> str | None:
    """Return the id of the node whose handler or tool is running here; `None` outside of nodes."""
    context = _current.get()
    return None if context is None else context.node.id


async def builtin_handler(node: WorkflowNode, context: NodeContext | None = None) -> dict[str, Any]:
    """Run a node by its tool, as a composite, or simulated.

    Args:
        node: The node.
        context: Its context; by default that of the node at work, so that the caller's own handlers can delegate here.

    Raises:
        RuntimeError: No context is given, and no node is at work.
    """
    context = context or _current.get()
    if context is None:
        raise RuntimeError("the built-in handler runs nodes of a plan; call it from a handler, or pass a NodeContext")
    name = None if context.simulated else tool_of(node, context.tools)
    if name is not None:
        return await _run_tool(node, name, context)
    if context.simulated or node.type is not WorkflowNodeType.COMPOSITE:
        return await simulate(node)
    return {
        "type": RESULT_TYPES[node.type],
        "description": node.description,
        "result": f"{_SIMULATED_TEXT[WorkflowNodeType.COMPOSITE]}{node.description}",
        "child_count": len(node.children),
    }


async def simulate(node: WorkflowNode) -> dict[str, Any]:
    """Wait and return the contract's text, marked as simulated: 0.1 s, and 0.2 s for a generate node."""
    await asyncio.sleep(0.2 if node.type is WorkflowNodeType.GENERATE else 0.1)
    detail = (
        {"child_count": len(node.children)}
        if node.type is WorkflowNodeType.COMPOSITE
        else {"parameters": node.parameters}
    )
    return {
        "type": RESULT_TYPES[node.type],
        "description": node.description,
        "result": f"{_SIMULATED_TEXT[node.type]}{node.description}",
        **detail,
        "simulated": True,
    }


async def fill_inputs(tool: Tool, inputs: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Fill in the templates in a tool's inputs.

    Raises:
        InvalidTemplateError: A template cannot be filled in; the message names the input.
    """
    raw = InputNames.of(tool).raw
    return {
        name: value if name in raw else await fill_in_all(value, values, ("tool_inputs", name))
        for name, value in inputs.items()
    }


async def invoke(name: str, inputs: dict[str, Any], context: NodeContext) -> ToolResult:
    """Call a tool and return its successful result, without secrets.

    Raises:
        KeyError: No tool has that name.
        ToolError: The tool reported failure; a `RuntimeError`.
    """
    outcome = await call_tool(name, inputs, context)
    if not outcome.success:
        with redacted_errors():
            raise _failure(outcome)
    return outcome


async def call_tool(name: str, inputs: dict[str, Any], context: NodeContext) -> ToolResult:
    """Call a tool and return its result without secrets, whether it succeeded or not."""
    tool = context.tools.get(name)
    if tool is None:
        raise KeyError(f"no tool is named {name!r}; registered: {', '.join(context.tools)}")
    notes = CallNotes(name, tool_version(tool), inputs)
    tool_context = context.tool_context
    if context.note_call is not None:
        tool_context["note_model_call"] = notes.model_calls.append
    try:
        with redacted_errors():
            outcome = await tool.execute(inputs, tool_context)
            notes.success, notes.metadata = outcome.success, outcome.metadata or {}
    finally:
        if context.note_call is not None:
            context.note_call(notes)
    return replace(outcome, output=scrubbed_data(outcome.output), metadata=scrubbed_data(outcome.metadata))


def _failure(outcome: ToolResult) -> ToolError:
    """Build the error for a tool that reported failure. Its metadata may say that another attempt cannot help."""
    error = ToolError(f"Tool execution failed: {outcome.error}", retryable=outcome.metadata.get("retryable", True))
    error.usage = outcome.metadata.get("usage")
    error.quality = judged_quality(outcome.metadata)
    error.evidence = judged_evidence(outcome.metadata)
    return error


async def _run_tool(node: WorkflowNode, name: str, context: NodeContext) -> dict[str, Any]:
    tool = context.tools.get(name)
    inputs = tool_inputs(node, name, tool)
    if tool is not None:
        inputs = await fill_inputs(tool, inputs, template_values(context.tool_context))
    outcome = await call_tool(name, inputs, context)
    result = tool_result(node, name, outcome)
    if not outcome.success:
        with redacted_errors():
            raise _refusal(_failure(outcome), result)
    return result


def tool_result(node: WorkflowNode, name: str, outcome: ToolResult) -> dict[str, Any]:
    """Return the result of a node that a tool ran."""
    named = node.parameters.get("tool") is not None
    return {
        "type": TOOL_RESULT if named else RESULT_TYPES[node.type],
        "tool": name,
        "description": node.description,
        "result": outcome.output,
        "metadata": outcome.metadata,
        **({} if named else {"parameters": node.parameters}),
    }


def _refusal(error: ToolError, result: dict[str, Any]) -> ToolError:
    """Add the result that the node would have had to the error of a gate, which has measured a quality."""
    if error.quality is not None:
        error.refused = result
    return error


def output_of(result: Any) -> Any:
    """Return a node's output for its dependents: `result["result"]` of a built-in handler's dict, else the result."""
    if not isinstance(result, dict):
        return result
    facts = cast("dict[str, Any]", result)
    built_in = "result" in facts and facts.get("type") in (TOOL_RESULT, *RESULT_TYPES.values())
    return facts["result"] if built_in else facts


def with_output(result: Any, output: Any) -> Any:
    """Return a result with another output in place of its own; see `output_of`."""
    own = output_of(result)
    return {**cast("dict[str, Any]", result), "result": output} if own is not result else output
