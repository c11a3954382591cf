"""What assistants are served with: the operations behind the commands, and the documents that `--json` prints."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

import anyio

from vibe_prefect import operations
from vibe_prefect.cli.commands.catalog import tool_documents
from vibe_prefect.cli.commands.dry_run import forecast_document
from vibe_prefect.cli.commands.plan import plan_document
from vibe_prefect.cli.commands.runs import runs_document
from vibe_prefect.cli.defaults import run_defaults
from vibe_prefect.cli.display.answer_documents import AnswerDocument, ApprovalsDocument, OpenQuestion
from vibe_prefect.cli.display.documents import ProblemsDocument, problems_document
from vibe_prefect.cli.display.ended_run import EndedRun
from vibe_prefect.cli.display.plain import RunLine
from vibe_prefect.cli.exits import StartError
from vibe_prefect.cli.mcp.arguments import (
    ApproveArguments,
    NoArguments,
    PlanArguments,
    RejectArguments,
    ReportArguments,
    RunArguments,
    RunsArguments,
    ToolsArguments,
    ValidateArguments,
)
from vibe_prefect.cli.mcp.limits import Limits
from vibe_prefect.cli.process.environment import Server
from vibe_prefect.core.models import Vibe
from vibe_prefect.core.progress import ProgressCallback
from vibe_prefect.errors import PlanError, UsageError
from vibe_prefect.executor import WorkflowExecutor
from vibe_prefect.operations import CheckedPlan, PlanningOptions, WrittenPlan
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools.registry import ToolRegistry

T = TypeVar("T")


@dataclass(frozen=True)
class Call:
    """A call of an assistant, besides its arguments."""

    client: str
    """The assistant's name for itself."""

    progress: ProgressCallback
    """Tells the assistant about the progress of a run."""


class Service:
    """Answers the calls of assistants, several at once."""

    def __init__(
        self, limits: Limits, tools: ToolRegistry, server: Server, run_begun: Callable[[], object] = lambda: None
    ) -> None:
        """Remember what calls are answered with; nothing is asked yet.

        Args:
            limits: Limits of the operator.
            tools: The tools that plans may name.
            server: The Prefect server.
            run_begun: Called when a run has begun.
        """
        self.server = server
        self._limits = limits
        self._tools = tools
        self._run_begun = run_begun

    async def tools(self, arguments: ToolsArguments, _: Call) -> dict[str, Any]:
        """Describe the tools that plans may name."""
        described = tool_documents(self._tools, arguments.name)
        fields = described[0].keys() if arguments.name is not None else ("name", "category", "description")
        return {"tools": [{field: tool[field] for field in fields} for tool in described]}

    async def validate(self, arguments: ValidateArguments, _: Call) -> dict[str, Any]:
        """Check a plan; its problems are the answer, and not an error."""
        text = WrittenPlan(arguments.plan)
        try:
            checked = await self._checked(text, arguments.inputs)
        except PlanError as error:
            return problems_document(error, {text.name: text.text}).model_dump(mode="json")
        return ProblemsDocument(plan=checked.compiled.plan.id, problems=[]).model_dump(mode="json")

    async def plan(self, arguments: PlanArguments, _: Call) -> dict[str, Any]:
        """Have the configured model write a plan, or edit one."""
        budget = self._limits.budget(arguments.budget_usd, arguments.max_tokens)
        options = PlanningOptions(sources=arguments.sources, **budget)
        comparison = None
        if arguments.plan is None:
            vibe = Vibe(
                description=arguments.wish,
                style=arguments.style,
                constraints=list(arguments.constraints),
                domain=arguments.domain,
            )
            planned = await operations.plan_vibe(vibe, options, tools=self._tools)
        else:
            refined = await operations.refine_plan(
                WrittenPlan(arguments.plan), arguments.wish, options, tools=self._tools
            )
            planned, comparison = refined.planned, refined.comparison
        checked = CheckedPlan(planned.draft.compiled, self._tools)
        forecast = await operations.forecast(checked, self._options({}))
        return plan_document(planned, forecast, comparison).model_dump(mode="json")

    async def forecast(self, arguments: RunArguments, _: Call) -> dict[str, Any]:
        """Forecast a run."""
        plan, options = await self._prepared(arguments)
        return forecast_document(await operations.forecast(plan, options)).model_dump(mode="json")

    async def run(self, arguments: RunArguments, call: Call) -> dict[str, Any]:
        """Run a plan to its end."""
        plan, options = await self._prepared(arguments)
        executor = operations.executor_for(
            plan,
            options,
            observers=[RunLine(self._run_begun)],
            progress_callback=call.progress,
            wait_recorded=True,
        )
        reason = f"The run was stopped: the call by {call.client} that it belonged to has ended."
        return await _with_call(self._run_to_end(executor, plan, options), partial(executor.note_stop, reason))

    async def runs(self, arguments: RunsArguments, _: Call) -> dict[str, Any]:
        """List the newest runs."""
        return runs_document(await operations.list_runs(arguments.limit)).model_dump(mode="json")

    async def report(self, arguments: ReportArguments, _: Call) -> dict[str, Any]:
        """Report on a run."""
        report = await operations.report(arguments.run)
        return replace(report, run_url=self.server.flow_run_url(report.run_id)).to_dict()

    async def approvals(self, _arguments: NoArguments, _: Call) -> dict[str, Any]:
        """List the questions that wait for a person's answer."""
        waiting = await operations.approvals()
        return ApprovalsDocument(approvals=[OpenQuestion.of(node) for node in waiting]).model_dump(mode="json")

    async def approve(self, arguments: ApproveArguments, call: Call) -> dict[str, Any]:
        """Approve what a node asks about."""
        answered = await operations.approve(
            arguments.run,
            arguments.node,
            item=arguments.item,
            comment=arguments.comment,
            text=arguments.text,
            by=_signed(arguments.by, call),
        )
        return AnswerDocument.of(answered).model_dump(mode="json")

    async def reject(self, arguments: RejectArguments, call: Call) -> dict[str, Any]:
        """Reject what a node asks about."""
        answered = await operations.reject(
            arguments.run, arguments.node, arguments.because, item=arguments.item, by=_signed(arguments.by, call)
        )
        return AnswerDocument.of(answered).model_dump(mode="json")

    async def _prepared(self, arguments: RunArguments) -> tuple[CheckedPlan, RunOptions]:
        """Return the plan and the options of a run."""
        given = arguments.model_dump(include={"select", "exclude", "refresh"}, exclude_none=True)
        given |= self._limits.budget(arguments.budget_usd, arguments.max_tokens)
        text = None if arguments.plan is None else WrittenPlan(arguments.plan)
        if arguments.resume_from is not None:
            folders = {"input_root": self._limits.input_root, "output": self._limits.output}
            resumed = await operations.plan_resume(
                arguments.resume_from, given | folders, plan=text, tools=self._tools, inputs=arguments.inputs
            )
            return resumed.plan, resumed.options
        if text is None:
            raise UsageError(
                "there is no plan: 'plan' is its text, or 'resume_from' a run that is resumed with its own"
            )
        return await self._checked(text, arguments.inputs), self._options(given)

    async def _checked(self, text: WrittenPlan, inputs: dict[str, Any] | None) -> CheckedPlan:
        # In a thread: an MCP server that the plan names may take its time to describe its tools.
        return await asyncio.to_thread(operations.validate, text, tools=self._tools, inputs=inputs)

    def _options(self, given: dict[str, Any]) -> RunOptions:
        folders = {"input_root": self._limits.input_root, "output": self._limits.output}
        return run_defaults().replaced(given | folders)

    async def _run_to_end(self, executor: WorkflowExecutor, plan: CheckedPlan, options: RunOptions) -> dict[str, Any]:
        result = await executor.execute_compiled(plan.compiled, resume_from=options.resume_from, choice=options.choice)
        handle = executor.last_run
        assert handle is not None
        id = str(handle.flow_run_id)
        report = handle.report or await operations.report(id)
        url = self.server.flow_run_url(id)
        ended = EndedRun(handle.compiled or plan.compiled, result, handle, options.simulate, url, report)
        return ended.document().model_dump(mode="json")


def _signed(by: str, call: Call) -> str:
    return f"{by} (through {call.client})" if by.strip() else by


async def _with_call(work: Coroutine[Any, Any, T], stopping: Callable[[], object]) -> T:
    """Do work in a task of its own, and stop it in good order where the call that waits for it is cancelled.

    Within the call, each step of the work's end would be cancelled, too.

    Args:
        work: The work.
        stopping: Called before the work is stopped with its call.

    Raises:
        StartError: The run was stopped, and the call was not.
    """
    task = asyncio.create_task(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        if task.cancelled():
            raise StartError("the run was stopped from elsewhere; 'report' has what it did") from None
        stopping()
        task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        raise
