"""The one Prefect flow that runs plans: `run_plan`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun, State
from prefect.context import FlowRunContext
from prefect.futures import PrefectFuture
from prefect.logging import get_run_logger
from prefect.states import Cancelled, Completed, Failed
from prefect.task_runners import TaskRunner
from prefect.utilities.annotations import quote

from vibe_prefect.core.approval import questions_in
from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.core.user_code import DaemonExecutor, end_with_main_thread
from vibe_prefect.engine.inputs import parameters
from vibe_prefect.engine.inputs.configured_tools import configured_registry
from vibe_prefect.engine.inputs.operator_roots import OperatorRoots, Root, operator_roots
from vibe_prefect.engine.inputs.option_group import ungrouped
from vibe_prefect.engine.inputs.parameters import CHECK_VARIABLE, DEFAULTS
from vibe_prefect.engine.inputs.plan_parameter import given_plan
from vibe_prefect.engine.inputs.plan_store import PLAN, PLAN_TAG, plan_parameter
from vibe_prefect.engine.listing import FLOW_NAME
from vibe_prefect.engine.local_run import LocalRun, RunHandle, current_local_run
from vibe_prefect.engine.node_states import WAITS
from vibe_prefect.engine.past_run import HISTORY_LABEL, PastRun, run_folder
from vibe_prefect.engine.placements.child_run import is_child
from vibe_prefect.engine.placements.cluster_checks import check_clusters
from vibe_prefect.engine.placements.placement_checks import check_placements
from vibe_prefect.engine.publish.drain import uses_embedded_server
from vibe_prefect.engine.publish.events import announce_end_by_hook
from vibe_prefect.engine.publish.publisher import FeedbackSettings, RunFeedback
from vibe_prefect.engine.records.imported_records import ImportedRecord
from vibe_prefect.engine.records.record_lock import Hold
from vibe_prefect.engine.records.records import Records, record_namespace
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.run.children import child_run, child_setup
from vibe_prefect.engine.run.fresh_contents import with_fresh_contents
from vibe_prefect.engine.run.next_attempts import follow, start_next_by_hook
from vibe_prefect.engine.run.node_logs import name_nodes_in_logs
from vibe_prefect.engine.run.plan_flow import PlanFlow
from vibe_prefect.engine.run.run_preflight import check_calls, check_ready
from vibe_prefect.engine.run.run_setup import RunSetup
from vibe_prefect.engine.run.runner import run_compiled
from vibe_prefect.engine.run.suspension import suspend, suspensions, take_answers
from vibe_prefect.engine.run.task_runner import BoundedTaskRunner
from vibe_prefect.engine.runs.inherited import inherited_inputs, run_facts
from vibe_prefect.engine.runs.model_change import check_models, model_tags
from vibe_prefect.engine.runs.recorded_lists import unfold_recorded
from vibe_prefect.engine.runs.resume_target import claim, close_dead, find_run, with_root
from vibe_prefect.engine.server.ui_pages import ui_page
from vibe_prefect.errors import PlanError, PlanRunError, RunWaitsError, UsageError
from vibe_prefect.plan.compiler import CompiledPlan, Simulate, compile_plan, whole_error
from vibe_prefect.plan.garbage import fewer_collections
from vibe_prefect.replanning.adaptation import AttemptSetup, NextAttempt, adaptation_after
from vibe_prefect.reporting.attempts import RunHistory
from vibe_prefect.reporting.next_steps import NextStep, next_steps
from vibe_prefect.results import ExecutionResult, ExecutionStatus
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.settings.package import load_settings
from vibe_prefect.tools.secrecy.redaction import redact_logs
from vibe_prefect.tools.workspace import Workspace


async def _run_plan(  # noqa: PLR0913 - the form's fields
    plan: parameters.Plan,
    resume_from: parameters.ResumeFrom = DEFAULTS.resume_from,
    select: parameters.Select = DEFAULTS.select,
    exclude: parameters.Exclude = DEFAULTS.exclude,
    refresh: parameters.Refresh = DEFAULTS.refresh,
    reuse: parameters.Reuse = DEFAULTS.reuse,
    concurrency: parameters.Concurrency = DEFAULTS.concurrency,
    run_on: parameters.RunOn = DEFAULTS.run_on,
    simulate: parameters.Simulated = DEFAULTS.simulate,
    input_root: parameters.InputRoot = DEFAULTS.input_root,
    output: parameters.Output = DEFAULTS.output,
    budget_usd: parameters.BudgetUsd = DEFAULTS.budget_usd,
    max_tokens: parameters.MaxTokens = DEFAULTS.max_tokens,
    without_model: parameters.WithoutModel = DEFAULTS.without_model,
    adapt: parameters.Adapt = DEFAULTS.adapt,
    replan_by: parameters.ReplanBy = DEFAULTS.replan_by,
    inputs: parameters.Inputs = DEFAULTS.inputs,
    options: parameters.Options = None,
) -> ExecutionResult | quote[ExecutionResult] | State[Any]:
    """Run a plan: each node is a task, and its result is recorded before the next one starts.

    When a node failed, the flow run ends Failed, and its exception, `PlanRunError`, carries the result.
    """
    arguments = ungrouped({name: value for name, value in locals().items() if name != PLAN})
    try:
        run_options = RunOptions().replaced(arguments)
        run = current_local_run()
        if run is None:
            _check_adapts(run_options)
            run, run_options = await _bounded(plan, run_options)
        with fewer_collections():
            ended = await _run(run, run_options)
        if ended is None:
            return Completed(message="This worker could run the plan; nothing was executed")
    except UsageError as error:
        return _failed(error, str(error))
    except asyncio.CancelledError:
        stopped = _stopped()
        if stopped is None:
            raise
        await announce_end_by_hook(run_plan, _flow_run(), stopped)  # Prefect calls it for what a runner cancels alone
        return stopped
    result, steps = ended
    if _flow_run().deployment_id is not None:
        await suspend(questions_in(result.feedback_data))
    if result.status is ExecutionStatus.COMPLETED:
        # In a call by `WorkflowExecutor` quoted, since Prefect would look for futures in each value of the result.
        return result if current_local_run() is None else quote(result)
    waits = result.status is ExecutionStatus.PENDING
    failure = RunWaitsError(result) if waits else PlanRunError(result)
    message = "\n".join([str(failure), *(f"{step.purpose}: {step.command}" for step in steps)])
    return Failed(name=WAITS, message=message, data=failure) if waits else _failed(failure, message)


def _check_adapts(options: RunOptions) -> None:
    """Refuse to adapt where nothing would make the further attempts.

    Raises:
        UsageError: The flow was called by itself, neither by an executor nor by a deployment.
    """
    if options.adapt and _flow_run().deployment_id is None:
        raise UsageError(
            "adapt: a call of the flow makes one attempt; use WorkflowExecutor.execute_with_adaptation, "
            "'vibe-prefect run --adapt', or a deployment"
        )


def _failed(error: Exception, message: str) -> State[Any]:
    """Build a Failed state: the reader needs the message, not this package's traceback.

    Raises:
        Exception: The error, where Prefect is to run the flow again, which it does only for what is raised.
    """
    if _retries_left(_flow_run()):
        raise error
    return Failed(message=message, data=error)


def _stopped() -> State[Any] | None:
    """Return the state of a run whose call is cancelled, and let it end; `None` where no person stopped it."""
    run, task = current_local_run(), asyncio.current_task()
    if run is None or run.stopped is None or task is None:
        return None
    task.uncancel()
    return Cancelled(message=run.stopped)


def _flow_run() -> FlowRun:
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    return context.flow_run


def _model_tags() -> set[str]:
    run = current_local_run()
    return model_tags(run.models) if run else set()


def _storage() -> str | Path | None:
    run = current_local_run()
    return run.storage if run else None


run_plan = PlanFlow(
    _run_plan,
    name=FLOW_NAME,
    persist_result=False,
    task_runner=cast("TaskRunner[PrefectFuture[Any]]", BoundedTaskRunner()),
    on_completion=[start_next_by_hook],
    on_failure=[announce_end_by_hook, start_next_by_hook],
    on_crashed=[announce_end_by_hook],
    on_cancellation=[announce_end_by_hook],
)
run_plan.more_tags = _model_tags
run_plan.storage = _storage
"""Storage of the current call. The flow is not made by a decorator: a served flow is pickled, and its function is only
found by name where the name is the function's own."""


async def _run(run: LocalRun, options: RunOptions) -> tuple[ExecutionResult, Sequence[NextStep]] | None:
    """Run a plan, and return the result and what helps after it; `None` where the run was to check whether it could."""
    context = FlowRunContext.get()
    assert context is not None
    assert context.flow_run is not None
    client, flow_run = cast("PrefectClient", context.client), context.flow_run
    earlier, as_child = await _begun(client, flow_run, run, options)
    root = (await with_root(client, earlier)).first or earlier
    compiled = run.compiled
    if compiled.names_facts:
        compiled = compiled.for_run(await run_facts(client, root))
    namespace = record_namespace(root.id, compiled.plan.id, shared=options.reuse == "plan")
    records = Records(await open_store(run.storage, run.settings), namespace)
    await check_clusters(run.compiled, run.settings.placements, options.run_on, records)
    workspace = _workspace(options, compiled.plan.id, root)
    compiled = await with_fresh_contents(
        client, flow_run, compiled, run.tools, workspace, earlier.contents if as_child else None
    )
    handle = RunHandle(flow_run.id, flow_run.name, workspace.output_root)
    settings = run.settings
    artifacts = settings.artifacts if run.artifacts is None else run.artifacts
    outlets = FeedbackSettings(artifacts, settings.events and not as_child)
    feedback = RunFeedback(
        client, flow_run, compiled, workspace.output_root, outlets, options.concurrency, run.plan_file
    )
    known = (await unfold_recorded(compiled, records)).compiled()

    def note_plan(unfolded: CompiledPlan) -> None:
        handle.compiled = feedback.compiled = unfolded

    is_first = flow_run.run_count <= 1 and not suspensions(flow_run)
    setup = RunSetup(
        tools=run.tools,
        workspace=workspace,
        records=records,
        goes_on=namespace != str(flow_run.id) or not is_first or bool(run.imported),
        chosen=options.choice.nodes(compiled, known),
        handlers=run.handlers,
        observers=(*feedback.observers, *run.observers),
        concurrency=options.concurrency,
        first_attempt=is_first,
        last_attempt=not _retries_left(flow_run),
        budget=await _budget(known, options, records, (earlier if as_child else flow_run).name, run.history),
        prompt=run.prompt,
        replan_below=run.settings.replan_below,
        note_plan=note_plan,
        held=run.held,
        placements=settings.placements,
        run_on=options.run_on,
        limits=settings.limits,
        children=child_setup(client, flow_run.id, options, compiled, records, run.storage, settings),
        shows_all=not as_child,
    )
    if CHECK_VARIABLE in os.environ:
        await check_calls(compiled, setup)
        return None
    parent = earlier if as_child else None
    async with _held(client, flow_run, setup, earlier, parent):
        run.handle = handle
        await _write_imported(records, run, compiled)
        await check_calls(compiled, setup)
        if flow_run.deployment_id is not None:
            await take_answers(client, flow_run, records)
        async with feedback.following(), child_run(compiled, setup, flow_run, parent):
            try:
                result, handle.task_runs = await run_compiled(compiled, setup)
            finally:
                if current_local_run() is None:  # else whoever called the flow sends them, after its end
                    run.held.send()
        if result.status is not ExecutionStatus.FAILED or setup.last_attempt:
            attempt = AttemptSetup(run.compiled, run.tools, options, run.compiled_again, setup.budget, run.history)
            handle.next = await _adapted(attempt, result, feedback)
            run.end(result)
        handle.report = feedback.report(result)
        await feedback.publish(result, records)
    return result, next_steps(feedback.report(result))


async def _begun(client: PrefectClient, flow_run: FlowRun, run: LocalRun, options: RunOptions) -> tuple[PastRun, bool]:
    """Name a flow run after its plan, and refuse what cannot run here.

    Returns:
        The run that it goes on with, itself where that is none, and whether it runs a part of that one as its child.
    """
    models = run.models
    earlier_try = PastRun.of(flow_run)  # with the tags of its models
    redact_logs()
    name_nodes_in_logs()
    if not uses_embedded_server():
        await asyncio.to_thread(ui_page)  # now, since it asks the server the first time
    await _name_after_plan(client, flow_run, run.compiled.plan.id, model_tags(models))
    earlier = await _resumed(client, flow_run, run, options)
    as_child = await is_child(client, flow_run, earlier)
    await check_ready(client, run.compiled, run.tools)
    if not as_child:  # its parent has made these checks, and names placements of its own
        if not options.simulate:
            check_placements(run.compiled, run.settings.placements, options.run_on)
        if not options.without_model:
            check_models(earlier_try if flow_run.run_count > 1 else earlier, models)
    return earlier, as_child


async def _resumed(client: PrefectClient, flow_run: FlowRun, run: LocalRun, options: RunOptions) -> PastRun:
    """Return the run that a flow run goes on with, itself where that is none."""
    if not options.resume_from:
        return PastRun.of(flow_run)
    if run.earlier is not None and run.earlier.over:  # one that was not may be by now
        return run.earlier
    return await find_run(client, options.resume_from)


@asynccontextmanager
async def _held(
    client: PrefectClient, flow_run: FlowRun, setup: RunSetup, earlier: PastRun, parent: PastRun | None
) -> AsyncGenerator[None]:
    """Hold the records of a run in the block, and refuse the run where another one may write them.

    Args:
        client: The server's client.
        flow_run: The run.
        setup: Its setup.
        earlier: The run that it resumes.
        parent: The run that it is a child run of; `None` for any other run.
    """
    records = setup.records
    hold = Hold.AS_CHILD if parent else Hold.WITH_CHILDREN if setup.children else Hold.ALONE
    with records.hold(hold) as alone:
        if not alone:
            await claim(client, flow_run, records.namespace, parent.id if parent else None)
        if parent is None:
            await close_dead(client, earlier, flow_run, sure=alone)
        yield


async def _adapted(attempt: AttemptSetup, result: ExecutionResult, feedback: RunFeedback) -> NextAttempt | None:
    """Return the attempt that follows, if any, and note this one in the run's report."""
    if not attempt.options.adapt:
        return None
    adaptation = await adaptation_after(feedback.report(result), result.should_replan(), attempt)
    feedback.note_attempts(result, adaptation.attempts)
    if adaptation.next is not None and _flow_run().deployment_id is not None:
        follow(_flow_run(), adaptation.next)
    return adaptation.next


def _retries_left(flow_run: FlowRun) -> bool:
    """Return whether Prefect would run the whole flow again after a failure."""
    return flow_run.run_count <= (flow_run.empirical_policy.retries or 0)


async def _name_after_plan(client: PrefectClient, flow_run: FlowRun, plan_id: str, more_tags: set[str]) -> None:
    """Tag a run with its plan's id and more; put the id before the name that Prefect chose for a run made elsewhere.

    The flow's own `flow_run_name` would do it for four times the time: Prefect opens another client for it. Tags that
    are set around the flow's call would be those of its tasks too, each of which then asks for a limit's slot.
    """
    before = flow_run.name, set(flow_run.tags)
    if not flow_run.name.startswith(f"{plan_id}-"):
        flow_run.name = f"{plan_id}-{flow_run.name}"
    flow_run.tags = sorted({*flow_run.tags, f"{PLAN_TAG}{plan_id}", *more_tags})
    if (flow_run.name, set(flow_run.tags)) != before:
        await client.update_flow_run(flow_run.id, name=flow_run.name, tags=flow_run.tags)


async def _write_imported(records: Records, run: LocalRun, compiled: CompiledPlan) -> None:
    """Write the imported records; those of the items of lists under the ids that records of theirs are kept under."""
    unlisted = {record.node_id: record for record in run.imported if record.node_id not in compiled.nodes}
    for record in run.imported:
        if record.node_id in compiled.nodes:
            await records.write(record.node_id, _key_now(record, run, compiled), record.record)
    while unlisted:  # a list in a list is known once the records of the outer one are there
        known = (await unfold_recorded(compiled, records)).nodes
        if not (found := [unlisted.pop(id) for id in list(unlisted) if id in known]):
            return
        for record in found:
            await records.write(known[record.node_id].record_id, record.key, record.record)


def _key_now(record: ImportedRecord, run: LocalRun, compiled: CompiledPlan) -> str:
    """Return the key of an imported record: another one where its node names facts of the run, which it is kept for."""
    node = run.compiled.nodes.get(record.node_id)
    return compiled.nodes[record.node_id].key if node is not None and node.key == record.key else record.key


async def _budget(
    compiled: CompiledPlan, options: RunOptions, records: Records, name: str, history: RunHistory
) -> Budget | None:
    """Return the run's budget, less the cost of reused nodes, or of all earlier attempts."""
    if not options.is_limited:
        return None
    if history.attempts:
        return options.budget(Spending(history.spent_tokens, history.spent_usd), name)
    return options.budget(await records.spent(compiled.nodes.values()), name)


def _workspace(options: RunOptions, plan_id: str, root: PastRun) -> Workspace:
    """Return the run's folders. The output folder stays the same for all runs of a resume chain."""
    output = run_folder(options.output, plan_id, root if options.reuse == "run" else None)
    return Workspace(Path(options.input_root).resolve(), output)


def _folders(roots: OperatorRoots, options: RunOptions) -> dict[str, str]:
    named: tuple[tuple[Root, str], ...] = (("input_root", options.input_root), ("output", options.output))
    return {name: roots.folder(name, value) for name, value in named}


async def _bounded(plan: object, options: RunOptions) -> tuple[LocalRun, RunOptions]:
    """Return the run and its options, of a deployed run within the operator's folders.

    Values that were looked up are written into the run's parameters, for a resume and for readers of its files.
    """
    context = FlowRunContext.get()
    assert context is not None
    client, flow_run = cast("PrefectClient", context.client), _flow_run()
    if flow_run.deployment_id is not None:  # such a run has a process of its own
        asyncio.get_running_loop().set_default_executor(DaemonExecutor())
        end_with_main_thread()
    roots = operator_roots(flow_run)
    resolved: dict[str, Any] = _folders(roots, options) if roots else {}
    options = options.replaced(resolved)
    simulate = Simulate.ALL if options.simulate else Simulate.NEVER
    settings = load_settings()
    tools = configured_registry(settings)
    with_all_problems = partial(whole_error, tools=tools, simulate=simulate)
    try:
        plan_input = await given_plan(plan, client, roots, with_all_problems)
    except PlanError as error:
        raise with_all_problems(error) from None
    if plan_input.origin is not None:
        get_run_logger().info("The plan %r is from %s", plan_input.plan.id, plan_input.origin)
        resolved["plan"] = await plan_parameter(plan_input.plan, await open_store(None), client)
    inputs = await inherited_inputs(client, flow_run, plan_input.plan, options)
    resolved |= {"inputs": inputs} if inputs else {}
    in_full = ungrouped(flow_run.parameters) | resolved
    if flow_run.parameters != in_full:
        flow_run.parameters = in_full
        await client.update_flow_run(flow_run.id, parameters=flow_run.parameters)
    compiled = compile_plan(plan_input.plan, tools=tools, simulate=simulate, source=plan_input.source)
    run = LocalRun(compiled.with_inputs(inputs), tools, settings)
    run.compiled_as = partial(compile_plan, tools=tools, simulate=simulate)
    run.history = RunHistory.from_json(flow_run.labels.get(HISTORY_LABEL)) or RunHistory()
    return run, options
