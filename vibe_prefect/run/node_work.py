"""An attempt at a node as a value, and the function that makes it, in this process or in any other.

A `NodeWork` holds all that an attempt needs. Parts that only the process at hand has, such as the budget of the run or
the observers of its progress, are in `NodeServices`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pickle import PicklingError
from typing import Any

from vibe_prefect.core.approval import AnswerAwaitedError
from vibe_prefect.core.budget import Budget
from vibe_prefect.core.feedback import Failure, FailureKind, ResourceUsage
from vibe_prefect.core.models import Vibe
from vibe_prefect.core.outputs import bytes_of
from vibe_prefect.core.user_code import call_in_thread, contained
from vibe_prefect.errors import (
    BudgetExceededError,
    ResultTypeError,
    ToolError,
    ToolInputError,
    UnsendableError,
    UserExitError,
)
from vibe_prefect.plan.compiler import Backing, CompiledNode
from vibe_prefect.plan.unfold import ItemsError
from vibe_prefect.run.best_of import best_of_handler
from vibe_prefect.run.handlers import (
    NodeContext,
    NodeHandler,
    as_current,
    builtin_handler,
    invoke,
    is_async,
    takes_context,
)
from vibe_prefect.run.measure import Meter
from vibe_prefect.templates.texts import InvalidTemplateError
from vibe_prefect.text.json_text import copied, json_data
from vibe_prefect.text.sendable import MAX_ERROR, sendable, text_of
from vibe_prefect.tools.base import AskPerson, ToolResult
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.secrecy.redaction import redacted_errors, scrubbed_data
from vibe_prefect.tools.workspace import Workspace

ToolSource = Callable[[], ToolRegistry]
"""Returns the tools. A function of a module, such as `default_registry`, is sent to another process by its name."""

CallTool = Callable[[str, Callable[[], Awaitable[ToolResult]]], Awaitable[ToolResult]]
"""Makes the call of a tool by a handler: takes the tool's name, and a function that calls it."""


@dataclass(frozen=True, slots=True)
class LocalTools:
    """A source of tools that only this process has."""

    registry: ToolRegistry
    """The tools."""

    def __call__(self) -> ToolRegistry:
        """Return the tools."""
        return self.registry

    def __reduce__(self) -> Any:
        raise PicklingError(
            f"the registry of {len(self.registry):,} tools stays in this process; to send work to another one, name a "
            "function of a module that returns the tools, such as vibe_prefect.default_registry"
        )


@dataclass(frozen=True, slots=True)
class NodeWork:
    """All that one attempt at a node needs. It can be pickled as far as its `tools` and its `handler` can."""

    node: CompiledNode
    """The node, with its key, its policy and its runner kind."""

    plan_id: str
    """The plan's id."""

    vibe: Vibe
    """The wish that the plan was made from."""

    outputs: Mapping[str, Any]
    """Output of each dependency by its id, as JSON data that nobody changes: the attempt gets a copy."""

    workspace: Workspace
    """The folders that the run may touch."""

    tools: ToolSource
    """Source of the run's tools, called where the work is done."""

    handler: NodeHandler | None = None
    """The caller's own handler of the node's type; `None` for the built-in one."""

    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The run's inputs that the node names, by name."""

    facts: Mapping[str, str] = field(default_factory=dict[str, str])
    """The facts of the run that the node names, by name."""

    items: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """The items that the node runs for and names, by name."""

    absent: tuple[str, ...] = ()
    """Ids of the optional dependencies that a condition skipped; templates read their outputs as `none`."""

    lists: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Names of the items of each dependency whose output is the list of a composite with `for_each`, by its id."""


async def _call_directly(_name: str, call: Callable[[], Awaitable[ToolResult]]) -> ToolResult:
    with contained():
        return await call()


@dataclass(frozen=True)
class NodeServices:
    """Services of the process that does the work. None of them is required, and none leaves the process."""

    meter: Meter = field(default_factory=Meter)
    """Adds up the resources that the attempts at the node use."""

    budget: Budget | None = None
    """Budget of the run; `None` for no limit."""

    report_progress: Callable[[float | None, str], None] | None = None
    """Called as the node's work comes further; see `ToolContext`."""

    ask: AskPerson | None = None
    """Asks a person about what the node's dependencies made; `None` where nobody can be asked."""

    call_tool: CallTool = _call_directly
    """Makes the calls of tools by handlers."""


@dataclass(frozen=True)
class NodeOutcome:
    """The end of one attempt: a result, or an error."""

    meter: Meter
    """Resources that this attempt and those before it used."""

    result: Any = None
    """JSON data that the handler returned, without secrets; `None` after an error."""

    error: Exception | None = None
    """Exception that ended the attempt; `None` where it made a result."""

    refused: Any = None
    """JSON data that the node would have returned, had its gate not refused; `None` for any other end."""


async def execute_node(work: NodeWork, services: NodeServices | None = None) -> NodeOutcome:
    """Make one attempt at a node.

    Args:
        work: The attempt.
        services: Services of this process; by default none.

    Returns:
        The result, or the error of the node. Signals and cancellation are not the node's, and pass.
    """
    services = services or NodeServices()
    meter = services.meter
    try:
        with meter, redacted_errors():
            returned = await _handle(work, _context(work, services), meter)
            result = scrubbed_data(json_data(work.node.id, returned))
            meter.charge_result(result)
    except AnswerAwaitedError as awaited:
        return NodeOutcome(meter, error=awaited)
    except Exception as error:  # noqa: BLE001 - whatever a handler raises is the outcome
        meter.note_failure(failure_of(error))
        return NodeOutcome(meter, error=error, refused=_refused_result(work, error))
    return NodeOutcome(meter, result)


def _refused_result(work: NodeWork, error: Exception) -> Any:
    """Return the result that a gate withheld, as it would have been recorded; `None` where none can be."""
    if not isinstance(error, ToolError) or error.refused is None:
        return None
    try:
        return scrubbed_data(json_data(work.node.id, error.refused))
    except ResultTypeError:
        return None


def usage_of(meter: Meter, result: Any) -> ResourceUsage:
    """Return the resources of a completed node, with the bytes of the files that its result names."""
    return replace(meter.usage, bytes_written=bytes_of(result))


def failure_of(error: Exception) -> Failure:
    """Build the `Failure` for an exception."""
    text = sendable(text_of(error), MAX_ERROR)
    if isinstance(error, ToolError):
        return Failure(_type_of(error), text, error.quality, error.evidence, _kind_of(error))
    return Failure(_type_of(error), text, kind=_kind_of(error))


def _kind_of(error: Exception) -> FailureKind | None:
    if isinstance(error, ToolError) and error.quality is not None:
        return FailureKind.REFUSED
    if isinstance(error, BudgetExceededError):
        return FailureKind.BUDGET
    return FailureKind.INPUT if isinstance(error, InvalidTemplateError | ItemsError | ToolInputError) else None


def is_retryable(error: object) -> bool:
    """Return whether another attempt may help: not if the tool denies it, and not with inputs that stay wrong."""
    return not isinstance(error, InvalidTemplateError | ItemsError) and (
        not isinstance(error, ToolError) or error.retryable
    )


def _type_of(error: Exception) -> str:
    """Return the type of an error in feedback; the contract calls a tool's failure a `RuntimeError`."""
    if isinstance(error, UserExitError | UnsendableError):
        return error.kind
    return RuntimeError.__name__ if isinstance(error, ToolError) else type(error).__name__


async def _handle(work: NodeWork, context: NodeContext, meter: Meter) -> Any:
    is_best_of = work.node.node.best_of is not None and work.node.backing is Backing.TOOL
    handler: NodeHandler = work.handler or (best_of_handler if is_best_of else builtin_handler)
    arguments: tuple[Any, ...] = (context.node, context) if takes_context(handler) else (context.node,)
    with contained(), as_current(context):
        if is_async(handler):
            return await handler(*arguments)
        returned = await call_in_thread(meter.in_thread, handler, *arguments)
        return await returned if inspect.isawaitable(returned) else returned


def _context(work: NodeWork, services: NodeServices) -> NodeContext:
    async def call(name: str, inputs: dict[str, Any]) -> ToolResult:
        try:
            outcome = await services.call_tool(name, partial(invoke, name, inputs, context))
        except ToolError as error:
            services.meter.charge(error.usage)
            raise
        services.meter.charge(outcome.metadata.get("usage"))
        return outcome

    node = work.node
    context = NodeContext(
        plan_id=work.plan_id,
        node=node.node,
        vibe=work.vibe,
        previous_outputs={id: copied(output) for id, output in work.outputs.items()},
        workspace=work.workspace.for_node(node.record_id),
        tools=work.tools(),
        simulated=node.backing is Backing.SIMULATION,
        caller=call,
        key=node.key,
        budget=services.budget,
        report_progress=services.report_progress,
        note_call=services.meter.note_call,
        ask=services.ask,
        inputs=work.inputs,
        facts=work.facts,
        items=work.items,
        file_id=node.record_id,
        absent=work.absent,
        lists=work.lists,
    )
    return context
