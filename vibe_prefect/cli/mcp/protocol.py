"""The protocol of assistants: the list of tools, calls with checked arguments, results and errors."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
    TextContent,
    Tool,
    ToolAnnotations,
)
from pydantic import ValidationError

from vibe_prefect.cli.display.documents import problems_document
from vibe_prefect.cli.display.frames import framed
from vibe_prefect.cli.exits import PROGRAM, StartError, complain_of_bug
from vibe_prefect.cli.mcp.arguments import (
    ApproveArguments,
    Arguments,
    NoArguments,
    PlanArguments,
    RejectArguments,
    ReportArguments,
    RunArguments,
    RunsArguments,
    ToolsArguments,
    ValidateArguments,
)
from vibe_prefect.cli.mcp.service import Call, Service
from vibe_prefect.cli.process.environment import server_failures
from vibe_prefect.core.progress import ProgressEvent, ProgressEventType
from vibe_prefect.errors import PlanError, UsageError, VibePrefectError, did_you_mean, printable
from vibe_prefect.operations import WrittenPlan
from vibe_prefect.text.pydantic_errors import finding
from vibe_prefect.tools.secrecy.known import scrubbed
from vibe_prefect.tools.secrecy.redaction import redacted, scrubbed_data

INSTRUCTIONS = (
    "Plans are YAML: nodes that generate, transform and check content with tools. 'tools' lists the tools; 'plan' "
    "writes a plan from a wish; 'validate' names each problem of a plan with its line; 'forecast' says what a run "
    "would do and cost; 'run' pays for it. What finished is not paid for twice: to try again, name the earlier run in "
    "'resume_from'. 'approve' and 'reject' answer for a person: ask that person first."
)

MAX_CLIENT = 60
"""Characters of an assistant's name."""

MAX_MESSAGE = 300
"""Characters of a message about progress."""

STEP = 0.001
"""Least step between two values of progress in percent: in the protocol, each value is larger than the one before."""

BEFORE_END = 0.99
"""Part of the progress that the nodes make up; the rest is the end of the run."""

Context = ServerRequestContext[Any]


@dataclass(frozen=True)
class ServedTool:
    """A tool as assistants see it."""

    description: str
    """Text on what it does and what it answers."""

    arguments: type[Arguments]
    """Model of its arguments."""

    call: Callable[[Service, Any, Call], Awaitable[dict[str, Any]]]
    """Answers a call with a document."""

    hints: ToolAnnotations
    """What it changes; assistants may ask a person before."""


_READS = ToolAnnotations(read_only_hint=True, open_world_hint=False)
_ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, open_world_hint=True)
_DECIDES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=False)

TOOLS: Mapping[str, ServedTool] = {
    "tools": ServedTool(
        "List the tools that plans can name; with a name, one tool with its inputs and an example.",
        ToolsArguments,
        Service.tools,
        _READS,
    ),
    "validate": ServedTool(
        "Check a plan without running it: every problem with its line and a hint; no problems, if it can run.",
        ValidateArguments,
        Service.validate,
        _READS,
    ),
    "plan": ServedTool(
        "Have the configured language model write a plan from a wish, or edit a plan: the plan as YAML, and what a run "
        "of it would do and cost. Nothing is run.",
        PlanArguments,
        Service.plan,
        _ADDS,
    ),
    "forecast": ServedTool(
        "Say what a run would do, and run nothing: which nodes run or are reused and why, what they cost at most, how "
        "long they take, which keys are missing.",
        RunArguments,
        Service.forecast,
        _READS,
    ),
    "run": ServedTool(
        "Run a plan to its end, with progress: status, results of the nodes, files, cost, and what helps next. A node "
        "that waits for a person's answer leaves the run pending. A cancelled call stops the run; what finished is "
        "kept for 'resume_from'.",
        RunArguments,
        Service.run,
        _ADDS,
    ),
    "runs": ServedTool("List the newest runs, newest first.", RunsArguments, Service.runs, _READS),
    "report": ServedTool(
        "Report on a run, also on one in progress: what each node made, its cost and quality, and why it failed.",
        ReportArguments,
        Service.report,
        _READS,
    ),
    "approvals": ServedTool(
        "List the questions of runs that wait for a person's answer, with what they are about.",
        NoArguments,
        Service.approvals,
        _READS,
    ),
    "approve": ServedTool(
        "Approve, for a person, what a node asks about. A suspended run goes on; resume any other with 'run'.",
        ApproveArguments,
        Service.approve,
        _DECIDES,
    ),
    "reject": ServedTool(
        "Reject, for a person and with the reason, what a node asks about: what depends on it does not run.",
        RejectArguments,
        Service.reject,
        _DECIDES,
    ),
}
"""The tools by name, in the order of their use."""


def protocol_server(service: Service) -> Server[Any]:
    """Make the server of the protocol.

    Args:
        service: Answers the calls.
    """

    async def on_list(_: Context, __: PaginatedRequestParams | None) -> ListToolsResult:
        return ListToolsResult(tools=[_described(name, tool) for name, tool in TOOLS.items()])

    async def on_call(context: Context, params: CallToolRequestParams) -> CallToolResult:
        arguments = params.arguments or {}
        try:
            return _result(await _called(service, context, params.name, arguments))
        except Exception as error:  # noqa: BLE001 - each error is an answer
            return _failure(redacted(error), arguments)

    return Server(
        PROGRAM, version=version(PROGRAM), instructions=INSTRUCTIONS, on_list_tools=on_list, on_call_tool=on_call
    )


def _described(name: str, tool: ServedTool) -> Tool:
    schema = tool.arguments.model_json_schema()
    return Tool(name=name, description=tool.description, input_schema=schema, annotations=tool.hints)


async def _called(service: Service, context: Context, name: str, data: Mapping[str, Any]) -> dict[str, Any]:
    tool = TOOLS.get(name)
    if tool is None:
        raise UsageError(f"unknown tool {name!r}{did_you_mean(name, TOOLS)}; the tools: {', '.join(TOOLS)}")
    arguments = _checked(name, tool, data)
    with server_failures(service.server):
        async with _progress(context) as progress:
            return await tool.call(service, arguments, Call(_client(context), progress))


def _checked(name: str, tool: ServedTool, data: Mapping[str, Any]) -> Arguments:
    try:
        return tool.arguments.model_validate(data)
    except ValidationError as error:
        details = error.errors(include_url=False)
        problems = [f"  {_place(detail['loc'])}: {_problem(tool, dict(detail))}" for detail in details]
        raise UsageError("\n".join([f"arguments of {name!r}:", *problems])) from None


def _place(path: tuple[str | int, ...]) -> str:
    return ".".join(map(str, path)) or "all of them"


def _problem(tool: ServedTool, detail: dict[str, Any]) -> str:
    known = tool.arguments.model_fields
    if detail["type"] == "missing":
        return "missing; it is required"
    if detail["type"] == "extra_forbidden":
        return f"unknown argument{did_you_mean(str(detail['loc'][-1]), known)}; it takes {', '.join(known) or 'none'}"
    return finding(detail)


def _client(context: Context) -> str:
    params = context.session.client_params
    return printable(params.client_info.name, MAX_CLIENT) if params is not None else "an assistant"


@asynccontextmanager
async def _progress(context: Context) -> AsyncGenerator[Callable[[ProgressEvent], None]]:
    """Send the progress of a run to the assistant, in order and outside of the run."""
    waiting: asyncio.Queue[tuple[float, str] | None] = asyncio.Queue()
    shown = 0.0

    def note(event: ProgressEvent) -> None:
        nonlocal shown
        is_end = event.event_type is ProgressEventType.WORKFLOW_COMPLETED
        shown = max(event.progress_percent if is_end else BEFORE_END * event.progress_percent, shown + STEP)
        waiting.put_nowait((shown, printable(scrubbed(event.message), MAX_MESSAGE)))

    async def send() -> None:
        while (step := await waiting.get()) is not None:
            await context.session.report_progress(step[0], 100.0, step[1])

    sending = asyncio.create_task(send())
    try:
        yield note
        waiting.put_nowait(None)
        await sending
    finally:
        sending.cancel()


def _result(document: dict[str, Any]) -> CallToolResult:
    data = scrubbed_data(document)
    text = json.dumps(data, ensure_ascii=False)
    return CallToolResult(content=[TextContent(type="text", text=text)], structured_content=data)


def _failure(error: Exception, arguments: Mapping[str, Any]) -> CallToolResult:
    """Return an error as an assistant gets it: the text that a command prints, and for a plan its problems as data."""
    data = None
    if isinstance(error, PlanError):
        plan: object = arguments.get("plan")
        texts = {WrittenPlan.name: plan} if isinstance(plan, str) else {}
        text, data = framed(error, texts=texts), problems_document(error, texts).model_dump(mode="json")
    elif isinstance(error, VibePrefectError | StartError):
        text = str(error)
    else:
        with suppress(OSError):
            complain_of_bug(error)
        text = f"unexpected {type(error).__name__}: {error}; the server's standard error has more"
    return CallToolResult(
        content=[TextContent(type="text", text=scrubbed(text))], structured_content=scrubbed_data(data), is_error=True
    )
