"""The one Prefect flow that runs plans: `run_plan`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Failed
from prefect.task_runners import TaskRunner

from vibe_prefect.budget import Budget
from vibe_prefect.compiler import CompiledPlan, Simulate, compile_plan, whole_error
from vibe_prefect.engine import parameters
from vibe_prefect.engine.drain import uses_embedded_server
from vibe_prefect.engine.events import announce_end_by_hook
from vibe_prefect.engine.followup import Outlets, RunFeedback
from vibe_prefect.engine.lineage import claim, close_dead, find_run, with_root
from vibe_prefect.engine.listing import FLOW_NAME
from vibe_prefect.engine.operator_roots import OperatorRoots, Root, operator_roots
from vibe_prefect.engine.parameters import DEFAULTS
from vibe_prefect.engine.past_run import PastRun, run_folder
from vibe_prefect.engine.plan_flow import PlanFlow
from vibe_prefect.engine.plan_parameter import given_plan
from vibe_prefect.engine.plan_store import plan_parameter
from vibe_prefect.engine.readiness import check_calls, check_ready
from vibe_prefect.engine.records import Records, record_namespace
from vibe_prefect.engine.runner import RunSetup, run_compiled
from vibe_prefect.engine.seeds import Seed
from vibe_prefect.engine.storage import open_store
from vibe_prefect.engine.task_runner import BoundedTaskRunner
from vibe_prefect.engine.toolbox import configured_registry
from vibe_prefect.engine.ui_pages import ui_page
from vibe_prefect.errors import PlanError, PlanRunError, UsageError
from vibe_prefect.handlers import NodeHandler
from vibe_prefect.models import WorkflowNodeType
from vibe_prefect.progress import RunObserver
from vibe_prefect.results import ExecutionResult, ExecutionStatus, resume_command
from vibe_prefect.selection import Choice
from vibe_prefect.settings import VibePrefectSettings, load_settings
from vibe_prefect.tools.redaction import redact_logs
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.workspace import Workspace
from vibe_prefect.user_code import DaemonExecutor, end_with_main_thread


@dataclass
class RunHandle:
    """A run as Prefect knows it. `task_runs` is set when it has ended."""

    flow_run_id: UUID
    """Id of the flow run."""

    name: str
    """Name of the flow run."""

    output_root: Path
    """Folder that its files go to."""

    task_runs: int = 0
    """How many task runs Prefect was given."""

    recorded: int | None = None
    """How many of them the server had on record at last; `None` when nobody waited for it, or it could not be asked."""

    result: ExecutionResult | None = None
    """The result; `None` until every node has ended."""

    reported: bool = True
    """Whether Prefect could be told how the run ended."""


def _ignore(handle: RunHandle) -> None:
    """Do nothing with a run."""


@dataclass(frozen=True)
class RunOptions:
    """What a caller in the same process adds to the flow's parameters: things that no parameter can hold."""

    compiled: CompiledPlan
    """The plan, compiled."""

    tools: ToolRegistry
    """The tools of this run."""

    settings: VibePrefectSettings
    """The settings of this run."""

    handlers: Mapping[WorkflowNodeType, NodeHandler] = field(default_factory=dict[WorkflowNodeType, NodeHandler])
    """The caller's own handlers."""

    observers: Sequence[RunObserver] = ()
    """Who is told of each step."""

    storage: str | Path | None = None
    """Where records are kept; see `open_store`."""

    seeds: Sequence[Seed] = ()
    """What an earlier run completed, by a checkpoint: kept where the plan still asks for it."""

    announce: Callable[[RunHandle], None] = _ignore
    """Called when the flow run has begun."""

    executed: Callable[[RunHandle], None] = _ignore
    """Called when every node has ended, and Prefect will not try the whole run again."""

    artifacts: bool | None = None
    """Whether artifacts are put into Prefect; by default as the setting says."""


PLAN_TAG = "plan:"
"""What comes before the plan's id in the tag of its runs."""

_options: ContextVar[RunOptions | None] = ContextVar("vibe_prefect_run_options", default=None)


@contextmanager
def run_options(options: RunOptions) -> Generator[None]:
    """Hand options to the `run_plan` that is called within."""
    token = _options.set(options)
    try:
        yield
    finally:
        _options.reset(token)


async def _run_plan(  # noqa: PLR0913 - the form's fields
    plan: parameters.Plan,
    resume_from: parameters.ResumeFrom = None,
    select: parameters.Select = None,
    exclude: parameters.Exclude = None,
    refresh: parameters.Refresh = None,
    reuse: parameters.Reuse = "run",
    concurrency: parameters.Concurrency = DEFAULTS.concurrency,
    simulate: parameters.Simulated = False,
    input_root: parameters.InputRoot = DEFAULTS.input_root,
    output: parameters.Output = DEFAULTS.output,
    budget_usd: parameters.BudgetUsd = None,
    max_tokens: parameters.MaxTokens = None,
) -> ExecutionResult | State[Any]:
    """Run a plan: each node is a task, and its result is recorded before the next one starts.

    Args:
        plan: What to run: a plan; or the name of a stored plan; or the path of a plan file, below the worker's folder.
        resume_from: Name or id of an earlier run to resume: its completed nodes are reused, also when the plan was
            edited since; only changed nodes, and those that depend on their outputs, run again.
        select: Nodes that may run, such as `+blog` or `type:generate`; any other is reused where it has a record, and
            skipped where it has none.
        exclude: Nodes that may not run, of those.
        refresh: Nodes that run again although they have a record.
        reuse: Records that this run may reuse: `run` for its own and those of the run that it resumes, `plan` for
            those of every run of the plan with this setting.
        concurrency: How many nodes may run at once; empty for no limit.
        simulate: Run every node as a simulation: nothing is called, spent or written.
        input_root: The only folder that tools may read from. In a deployed run it lies in that of the setting.
        output: The folder for what the run makes; each run has a folder of its own below it. In a deployed run it lies
            in that of the setting.
        budget_usd: US dollars that models and paid tools may cost, reused nodes included; a call that could exceed it
            is not made.
        max_tokens: Likewise for tokens, input and output together.

    Returns:
        What came of it. When a node failed, the flow run ends Failed, and its exception, `PlanRunError`, carries the
        result.
    """
    try:
        choice = Choice(select, exclude, refresh)
        request = _Request(resume_from, choice, reuse, concurrency, input_root, output, budget_usd, max_tokens)
        options = _options.get()
        if options is None:
            options, request = await _bounded(plan, request, Simulate.ALL if simulate else Simulate.NEVER)
        result = await _run(options, request)
    except UsageError as error:
        return _failed(error, str(error))
    if result.status is ExecutionStatus.FAILED:
        failure = PlanRunError(result)
        return _failed(failure, f"{failure}\nto go on with what is left: {resume_command(_flow_run().name)}")
    return result


def _failed(error: Exception, message: str) -> State[Any]:
    """Return a Failed state: the reader needs the message, not our traceback.

    Raises:
        Exception: The error, where Prefect is to run the flow again, which it does only for what is raised.
    """
    if _retries_left(_flow_run()):
        raise error
    return Failed(message=message, data=error)


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run


def _storage() -> str | Path | None:
    options = _options.get()
    return options.storage if options else None


run_plan = PlanFlow(
    _run_plan,
    name=FLOW_NAME,
    persist_result=False,
    task_runner=cast("TaskRunner[PrefectFuture[Any]]", BoundedTaskRunner()),
    on_failure=[announce_end_by_hook],
    on_crashed=[announce_end_by_hook],
    on_cancellation=[announce_end_by_hook],
)
run_plan.storage = _storage
"""Not by a decorator: a served flow is pickled, and its function is only found by name where that is the function's."""


@dataclass(frozen=True, slots=True)
class _Request:
    """The flow's parameters but for the plan."""

    resume_from: str | None
    choice: Choice
    reuse: Literal["run", "plan"]
    concurrency: int | None
    input_root: str
    output: str
    budget_usd: float | None = None
    max_tokens: int | None = None


async def _run(options: RunOptions, request: _Request) -> ExecutionResult:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    client, flow_run = cast("PrefectClient", context.client), context.flow_run
    plan_id = options.compiled.plan.id
    redact_logs()
    if not uses_embedded_server():
        await asyncio.to_thread(ui_page)  # now, since it asks the server the first time
    await _name_after_plan(client, flow_run, plan_id)
    await check_ready(client, options.compiled, options.tools)
    earlier = await find_run(client, request.resume_from) if request.resume_from else PastRun.of(flow_run)
    first = (await with_root(client, earlier)).first or earlier
    namespace = record_namespace(first.id, plan_id, shared=request.reuse == "plan")
    records = Records(await open_store(options.storage, options.settings), namespace)
    workspace = _workspace(request, plan_id, first)
    handle = RunHandle(flow_run.id, flow_run.name, workspace.output_root)
    settings = options.settings
    outlets = Outlets(settings.artifacts if options.artifacts is None else options.artifacts, settings.events)
    feedback = RunFeedback(client, flow_run, options.compiled, workspace.output_root, outlets, request.concurrency)
    setup = RunSetup(
        tools=options.tools,
        workspace=workspace,
        records=records,
        goes_on=namespace != str(flow_run.id) or flow_run.run_count > 1 or bool(options.seeds),
        selected=request.choice.selected(options.compiled),
        refreshed=request.choice.refreshed(options.compiled),
        handlers=options.handlers,
        observers=(*feedback.observers, *options.observers),
        concurrency=request.concurrency,
        first_attempt=flow_run.run_count <= 1,
        last_attempt=not _retries_left(flow_run),
        budget=await _budget(options, request, records, flow_run.name),
    )
    with records.hold() as alone:
        if not alone:
            await claim(client, flow_run, namespace)
        await close_dead(client, earlier, flow_run, sure=alone)
        options.announce(handle)
        for seed in options.seeds:
            await records.write(seed.node_id, seed.key, seed.record)
        await check_calls(options.compiled, setup)
        async with feedback.following():
            result, handle.task_runs = await run_compiled(options.compiled, setup)
        if result.status is ExecutionStatus.COMPLETED or setup.last_attempt:
            handle.result = result
            options.executed(handle)
        await feedback.publish(result, records)
    return result


def _retries_left(flow_run: FlowRun) -> bool:
    """Return whether Prefect would run the whole flow again after a failure."""
    return flow_run.run_count <= (flow_run.empirical_policy.retries or 0)


async def _name_after_plan(client: PrefectClient, flow_run: FlowRun, plan_id: str) -> None:
    """Tag a run with its plan's id, and put that before the name that Prefect chose for one that was created elsewhere.

    The flow's own `flow_run_name` would do it for four times the time: Prefect opens another client for it. Tags that
    are set around the flow's call would be those of its tasks too, each of which then asks for a limit's slot.
    """
    if not flow_run.name.startswith(f"{plan_id}-"):
        flow_run.name = f"{plan_id}-{flow_run.name}"
    flow_run.tags = sorted({*flow_run.tags, f"{PLAN_TAG}{plan_id}"})
    await client.update_flow_run(flow_run.id, name=flow_run.name, tags=flow_run.tags)


async def _budget(options: RunOptions, request: _Request, records: Records, run: str) -> Budget | None:
    """Return the run's limits, less what the nodes that it keeps have cost."""
    if request.budget_usd is None and request.max_tokens is None:
        return None
    spent = await records.spent(options.compiled.nodes.values())
    return Budget(usd=request.budget_usd, tokens=request.max_tokens, spent=spent, run=run)


def _workspace(request: _Request, plan_id: str, first: PastRun) -> Workspace:
    """Return the run's folders. The one for output stays the same for all runs of a resume chain."""
    output = run_folder(request.output, plan_id, first if request.reuse == "run" else None)
    return Workspace(Path(request.input_root).resolve(), output)


def _folders(roots: OperatorRoots, request: _Request) -> dict[str, str]:
    named: tuple[tuple[Root, str], ...] = (("input_root", request.input_root), ("output", request.output))
    return {name: roots.folder(name, value) for name, value in named}


async def _bounded(plan: object, request: _Request, simulate: Simulate) -> tuple[RunOptions, _Request]:
    """Return the run's options and its request, of a deployed run within the operator's folders.

    What was looked up takes its place among the run's parameters, for a resume and for whoever looks for its files.
    """
    context = FlowRunContext.get()
    assert context is not None
    client, flow_run = cast("PrefectClient", context.client), _flow_run()
    if flow_run.deployment_id is not None:  # such a run has a process of its own
        asyncio.get_running_loop().set_default_executor(DaemonExecutor())
        end_with_main_thread()
    roots = operator_roots(flow_run)
    found: dict[str, Any] = _folders(roots, request) if roots else {}
    settings = load_settings()
    tools = configured_registry(settings)
    whole = partial(whole_error, tools=tools, simulate=simulate)
    try:
        given = await given_plan(plan, client, roots, whole)
    except PlanError as error:
        raise whole(error) from None
    request = replace(request, **found)
    if given.origin is not None:
        get_run_logger().info("The plan %r is from %s", given.plan.id, given.origin)
        found["plan"] = await plan_parameter(given.plan, await open_store(None), client)
    if any(flow_run.parameters.get(name) != value for name, value in found.items()):
        flow_run.parameters = {**flow_run.parameters, **found}
        await client.update_flow_run(flow_run.id, parameters=flow_run.parameters)
    compiled = compile_plan(given.plan, tools=tools, simulate=simulate, source=given.source)
    return RunOptions(compiled, tools, settings), request
