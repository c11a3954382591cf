"""Runs a `CompiledPlan` inside a Prefect flow run: decides, executes, and collects what came of each node."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, cast
from uuid import UUID

from prefect.client.schemas.objects import State
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger

from vibe_prefect.budget import Budget
from vibe_prefect.compiler import Backing, CompiledNode, CompiledPlan
from vibe_prefect.engine.drain import Pace
from vibe_prefect.engine.limits import RunLimits, global_slots
from vibe_prefect.engine.loop_watch import watched_loop
from vibe_prefect.engine.measure import Meter
from vibe_prefect.engine.records import Records
from vibe_prefect.engine.reuse import ReusableRecords
from vibe_prefect.engine.scheduler import run_in_order
from vibe_prefect.engine.storage import RECORD_SCHEMA, NodeRecord, jsonable, plain
from vibe_prefect.engine.tasks import (
    NodeJob,
    Ticket,
    ToolJob,
    failure_of,
    run_node,
    run_tool,
    ticket_of,
)
from vibe_prefect.engine.unexecuted import Unexecuted, show_unexecuted
from vibe_prefect.errors import ToolError
from vibe_prefect.feedback import (
    MODEL_KEYS,
    Failure,
    ResourceUsage,
    failure_feedback,
    replan_suggestion,
    success_feedback,
    usage_in,
)
from vibe_prefect.handlers import (
    NodeContext,
    NodeHandler,
    as_current,
    builtin_handler,
    invoke,
    is_async,
    output_of,
    takes_context,
)
from vibe_prefect.models import WorkflowNode, WorkflowNodeType
from vibe_prefect.progress import RunObserver, notify
from vibe_prefect.reporting.outputs import bytes_of
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso
from vibe_prefect.tools.base import ToolResult
from vibe_prefect.tools.redaction import PiecewiseText, redacted_errors, scrubbed_data
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.waits import paused_clock
from vibe_prefect.tools.workspace import Workspace
from vibe_prefect.user_code import call_in_thread, contained

NOT_SELECTED = "Not selected, and there is no record of it to keep"

NOT_BEGUN = "The run was cancelled before this node began"

MAX_CAUSES = 10
"""How many unsatisfied dependencies a skipped node names before it only counts."""


@dataclass(frozen=True)
class RunSetup:
    """What a run needs besides the plan."""

    tools: ToolRegistry
    """The tools of this run."""

    workspace: Workspace
    """The folders that it may touch."""

    records: Records
    """Its records."""

    goes_on: bool = False
    """Whether there may be records from before: of an earlier run, or an earlier try of this one."""

    selected: frozenset[str] | None = None
    """The nodes that may be executed; the others are kept where there is a record, and skipped. `None` for all."""

    refreshed: frozenset[str] = frozenset()
    """The nodes that are executed even where there is a record."""

    handlers: Mapping[WorkflowNodeType, NodeHandler] = field(default_factory=dict[WorkflowNodeType, NodeHandler])
    """The caller's own handlers; the built-in one runs the other types."""

    observers: Sequence[RunObserver] = ()
    """Who is told of each step."""

    concurrency: int | None = None
    """How many nodes may run at once."""

    first_attempt: bool = True
    """Whether Prefect runs the flow for the first time; observers are told once that the run begins."""

    last_attempt: bool = True
    """Whether Prefect will not run the flow again when nodes fail; observers are told once that the run ends."""

    budget: Budget | None = None
    """What the run may spend; `None` for no limit."""


async def run_compiled(compiled: CompiledPlan, setup: RunSetup) -> tuple[ExecutionResult, int]:
    """Run a plan within the current Prefect flow run.

    Returns:
        What came of it, with failed nodes told and not raised, and how many task runs Prefect was given.
    """
    context = FlowRunContext.get()
    assert context is not None, "run_compiled needs a Prefect flow run around it"
    assert context.flow_run is not None
    setup = replace(setup, records=setup.records.for_workspace(setup.workspace))
    with context.model_copy(update={"result_store": setup.records.store}):
        run = _PlanRun(compiled, setup, Pace(context.flow_run.id))
        return await run.execute(), run.task_runs


class _PlanRun:
    """One run: the result as it grows, and what the nodes pass on."""

    def __init__(self, compiled: CompiledPlan, setup: RunSetup, pace: Pace) -> None:
        self.task_runs = 0
        self._pace = pace
        self._compiled = compiled
        self._graph = compiled.graph
        self._setup = setup
        self._limits = RunLimits(setup.concurrency)
        self._result = ExecutionResult(compiled.plan.id, execution_groups=[list(group) for group in compiled.groups])
        self._jobs: dict[str, NodeJob] = {}
        self._reusable = ReusableRecords(compiled, setup.records)
        self._task_run_ids: dict[str, UUID] = {}
        self._tickets: dict[str, Ticket] = {}
        self._outputs: dict[str, bytes] = {}
        self._whole: dict[str, bool] = {}
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0
        self._upstream: dict[str, list[str]] = {id: [] for id in compiled.nodes}
        for edge in compiled.edges:
            self._upstream[edge.target].append(edge.source)

    async def execute(self) -> ExecutionResult:
        """Run every node that can run, and return the result."""
        begun = time.perf_counter()
        self._task = asyncio.current_task()
        self._cancelled_before = self._task.cancelling() if self._task is not None else 0
        result = self._result
        if self._setup.goes_on:
            await self._reusable.read(lambda id: not self._refreshes(id))
        reused = len(self._reusable)
        result.status = ExecutionStatus.RUNNING
        compiled = self._compiled
        if self._setup.first_attempt:
            self._notify(lambda it: it.run_started(compiled.plan, compiled.groups, len(compiled.nodes), reused))
        else:
            await self._pace.begin()
        try:
            with watched_loop(self._compiled.nodes):
                await run_in_order(self._graph.waits, self._run)
        except (asyncio.CancelledError, TerminationSignal):
            self._cancel_rest()
            raise
        result.node_results = {id: result.node_results[id] for id in self._compiled.nodes}
        failed = result.count(ExecutionStatus.FAILED)
        result.status = ExecutionStatus.FAILED if failed else ExecutionStatus.COMPLETED
        result.total_duration = time.perf_counter() - begun
        result.completed_at = now_iso()
        result.parallel_efficiency = result.calculate_parallel_efficiency()
        if not failed or self._setup.last_attempt:
            self._notify(lambda it: it.run_finished(result))
        return result

    def _notify(self, call: Callable[[RunObserver], object]) -> None:
        """Call the observers; their time is not that of the node that may be at work."""
        with paused_clock():
            notify(self._setup.observers, call)

    def _selected(self, id: str) -> bool:
        return self._setup.selected is None or id in self._setup.selected

    def _refreshes(self, id: str) -> bool:
        """Tell whether a node is executed even where there is a record of it."""
        return self._selected(id) and id in self._setup.refreshed

    async def _run(self, id: str) -> None:
        """Bring a node to its end; what goes wrong around its work fails this node and no other."""
        job = NodeJob(self._compiled.nodes[id], self._setup.records.namespace, self._work)
        try:
            await self._run_node(job)
        except Exception as error:
            if id in self._result.node_results:
                raise
            get_run_logger().warning("The node %r failed before or after its work", id, exc_info=True)
            self._start(job.node, job.meter)
            self._fail(job, job.failure or failure_of(error))

    async def _run_node(self, job: NodeJob) -> None:
        node, id = job.node, job.node.id
        await self._keep_pace()
        causes = list(dict.fromkeys(self._unsatisfied(id)))
        if causes:
            self._skip(id, _unsatisfied_message(causes))
            return
        if self._selected(id):
            await self._reusable.refuse_outdated(id)
        if id in self._reusable:
            self._keep(node)
            return
        if not self._selected(id):
            self._skip(id, NOT_SELECTED)
            return
        job.refresh = self._refreshes(id) or self._reusable.is_refused(id)
        async with self._limits.slot(), AsyncExitStack() as held:
            try:
                await held.enter_async_context(global_slots(node.policy.limits))
            except ConcurrencySlotAcquisitionError as error:
                job.work = partial(self._refuse, error)
            await self._keep_pace()
            self._jobs[id] = job
            state = await run_node(job, self._upstream_runs(id))
        self._note_run(id, state)
        self._stop_if_cancelled()
        if state.is_completed():
            sealed = await state.aresult()
            self._complete(node, cast("NodeRecord", sealed.value), reused=not job.meter.attempts)
        else:
            self._fail(job, _failure(job, state))

    async def _keep_pace(self) -> None:
        await self._pace.hold(lambda: self.task_runs)

    def _stop_if_cancelled(self) -> None:
        """Stop a node's task where the run was told to stop, after Prefect has the node's state.

        The node's own task does not tell: code of a tool that cancels it, as a task group does, may leave it marked.
        """
        if self._task is not None and self._task.cancelling() > self._cancelled_before:
            raise asyncio.CancelledError

    def _upstream_runs(self, id: str) -> list[Ticket]:
        return [self._tickets[source] for source in self._upstream[id] if source in self._tickets]

    def _note_run(self, id: str, state: State[Any]) -> None:
        assert state.state_details.task_run_id is not None
        self._note(id, state.state_details.task_run_id, ticket_of(state))

    def _note(self, id: str, task_run_id: UUID, ticket: Ticket) -> None:
        self.task_runs += 1
        self._jobs.pop(id, None)
        self._task_run_ids[id] = task_run_id
        self._tickets[id] = ticket

    def _keep(self, node: CompiledNode) -> None:
        """Take a node over from an earlier run."""
        self._show(node.id, Unexecuted.KEPT)
        self._complete(node, self._reusable.pop(node.id), reused=True)

    def _show(self, id: str, why: Unexecuted, message: str | None = None) -> None:
        """Tell Prefect of a node that is not executed."""
        upstream = [self._task_run_ids[source] for source in self._upstream[id] if source in self._task_run_ids]
        self._note(id, *show_unexecuted(self._compiled.nodes[id], why, upstream, message))

    def _status(self, id: str) -> ExecutionStatus:
        return self._result.node_results[id].status

    def _unsatisfied(self, id: str) -> Iterator[str]:
        """Yield `<id> <status>` for what a node needs and did not get: parent, dependencies, what is below them."""
        parent = self._graph.nodes[id].parent
        if parent is not None and self._status(parent) is not ExecutionStatus.COMPLETED:
            yield f"{parent} {self._status(parent)}"
        for dependency in self._graph.awaited(id):
            if not self._is_whole(dependency):
                yield from self._broken(dependency)

    def _is_whole(self, id: str) -> bool:
        """Tell whether a node and all below it completed; all of them have finished."""
        if id not in self._whole:
            members = (id, *self._graph.below(id))
            self._whole[id] = all(self._status(member) is ExecutionStatus.COMPLETED for member in members)
        return self._whole[id]

    def _broken(self, id: str) -> Iterator[str]:
        """Yield the topmost nodes, from a dependency downwards, that did not complete."""
        for member in (id, *self._graph.below(id)):
            parent = self._graph.nodes[member].parent
            below_broken = member != id and parent and self._status(parent) is not ExecutionStatus.COMPLETED
            if self._status(member) is not ExecutionStatus.COMPLETED and not below_broken:
                yield f"{member} {self._status(member)}"

    def _skip(self, id: str, error: str) -> None:
        self._show(id, Unexecuted.SKIPPED, error)
        self._finish(self._compiled.nodes[id].node, NodeResult(id, ExecutionStatus.SKIPPED, error=error))

    def _cancel_rest(self) -> None:
        """Tell Prefect that the nodes are cancelled of which it has no task run: it tells of the others itself."""
        for id in (id for group in self._compiled.groups for id in group):
            begun = id in self._jobs and self._jobs[id].task_run_id is not None
            if id not in self._tickets and not begun:
                self._show(id, Unexecuted.CANCELLED, NOT_BEGUN)

    def _complete(self, node: CompiledNode, record: NodeRecord, *, reused: bool) -> None:
        result = NodeResult(
            node.id,
            ExecutionStatus.COMPLETED,
            result=record["result"],
            duration=record["duration"],
            started_at=record["started_at"],
            reused=reused,
        )
        output = self._outputs[node.id] = jsonable(node.id, output_of(record["result"]))
        if not reused:
            self._reusable.note_executed(node.id, output)
        self._learn(node.id, success_feedback(result, node.node.estimated_duration, usage_of_record(record)))
        self._finish(node.node, result, reused=reused)

    def _fail(self, job: NodeJob, failure: Failure) -> None:
        node = job.node
        result = NodeResult(
            node.id,
            ExecutionStatus.FAILED,
            error=failure.message,
            duration=job.meter.duration,
            started_at=job.meter.started_at or now_iso(),
        )
        self._learn(node.id, failure_feedback(result, failure, node.node.estimated_duration, job.meter.usage))
        self._finish(node.node, result)

    def _learn(self, id: str, feedback: dict[str, Any]) -> None:
        self._result.add_feedback(id, feedback)
        suggestion = replan_suggestion(id, feedback)
        if suggestion is not None:
            self._result.suggest_replan(suggestion)
        added = self._result.replan_suggestions[-1] if suggestion is not None else None
        self._notify(lambda it: it.feedback_recorded(id, feedback, added))

    def _finish(self, node: WorkflowNode, result: NodeResult, *, reused: bool = False) -> None:
        self._result.add_node_result(result)
        self._notify(lambda it: (it.node_reused if reused else it.node_finished)(node, result))

    async def _work(self, job: NodeJob) -> NodeRecord:
        """Do one attempt at a node."""
        node, meter = job.node, job.meter
        self._start(node, meter)
        with meter, redacted_errors():
            returned = await self._handle(node, meter)
            result = scrubbed_data(plain(jsonable(node.id, returned)))
            meter.charge_result(result)
        record = NodeRecord(
            schema=RECORD_SCHEMA,
            result=result,
            duration=meter.duration,
            started_at=meter.started_at or now_iso(),
            attempts=meter.attempts,
            cpu_time=meter.cpu_time,
            memory_usage=meter.memory_usage,
            cpu_scope=meter.usage.scope,
            files=await self._setup.records.files.made_by(node.id, result),
        )
        if meter.calls:
            used = meter.usage
            record["usage"] = {key: getattr(used, key) for key in MODEL_KEYS}
        return record

    async def _refuse(self, error: Exception, job: NodeJob) -> NodeRecord:
        """Fail a node's attempt for a reason that arose before it."""
        self._start(job.node, job.meter)
        with job.meter:
            raise error

    def _start(self, node: CompiledNode, meter: Meter) -> None:
        if not meter.attempts:
            self._notify(lambda it: it.node_started(node.node))

    def _report(self, node: WorkflowNode, shown: PiecewiseText, fraction: float | None, message: str) -> None:
        text = shown.next(message)
        self._notify(lambda it: it.node_progressed(node, fraction, text))

    async def _handle(self, node: CompiledNode, meter: Meter) -> Any:
        own = self._setup.handlers.get(node.node.type) if node.backing is Backing.HANDLER else None
        handler: NodeHandler = own or builtin_handler
        context = self._context(node, meter)
        arguments: tuple[Any, ...] = (node.node, context) if takes_context(handler) else (node.node,)
        with contained(), as_current(context):
            if is_async(handler):
                return await handler(*arguments)
            returned = await call_in_thread(meter.in_thread, handler, *arguments)
            return await returned if inspect.isawaitable(returned) else returned

    def _context(self, node: CompiledNode, meter: Meter) -> NodeContext:
        async def call(name: str, inputs: dict[str, Any]) -> ToolResult:
            self.task_runs += 1
            try:
                outcome = await run_tool(ToolJob(name, lambda: invoke(name, inputs, context)))
            except ToolError as error:
                meter.charge(error.usage)
                raise
            meter.charge(outcome.metadata.get("usage"))
            return outcome

        context = NodeContext(
            plan_id=self._compiled.plan.id,
            node=node.node,
            vibe=self._compiled.plan.source_vibe,
            previous_outputs={id: plain(self._outputs[id]) for id in node.dependencies},
            workspace=self._setup.workspace.for_node(node.id),
            tools=self._setup.tools,
            simulated=node.backing is Backing.SIMULATION,
            caller=call,
            key=node.key,
            budget=self._setup.budget,
            report_progress=partial(self._report, node.node, PiecewiseText()) if self._setup.observers else None,
        )
        return context


def usage_of_record(record: NodeRecord) -> ResourceUsage:
    """Return what a record tells of resources; one of an older version has the model's usage in the result alone."""
    told = usage_in(record["result"])
    calls = [call for call in (record.get("usage") or told,) if call is not None]
    usage = ResourceUsage(record["cpu_time"], record["memory_usage"], record["cpu_scope"], record["attempts"])
    return replace(usage, bytes_written=bytes_of(record["result"])).with_calls(calls)


def _unsatisfied_message(causes: list[str]) -> str:
    more = f" and {len(causes) - MAX_CAUSES} more" if len(causes) > MAX_CAUSES else ""
    return f"Dependencies not satisfied: {', '.join(causes[:MAX_CAUSES])}{more}"


def _failure(job: NodeJob, state: State[Any]) -> Failure:
    if job.failure is not None:
        return job.failure
    if state.name == "TimedOut":
        return Failure("TimeoutError", f"timeout: the node took longer than its {job.node.policy.timeout:g} s")
    return Failure(state.name or state.type.value.title(), state.message or "the task run ended without a result")
