"""Runs a `CompiledPlan` inside a Prefect flow run: decides about each node, executes it, and collects its result."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, cast
from uuid import UUID

from prefect.client.schemas.objects import FlowRun, State
from prefect.concurrency.asyncio import ConcurrencySlotAcquisitionError
from prefect.context import FlowRunContext
from prefect.exceptions import TerminationSignal
from prefect.logging import get_run_logger
from prefect.states import Completed

from vibe_prefect.core.approval import AnswerAwaitedError
from vibe_prefect.core.budget import Spending
from vibe_prefect.core.feedback import MODEL_KEYS, Failure
from vibe_prefect.core.policies import LOCAL
from vibe_prefect.engine.node_states import FALLBACK
from vibe_prefect.engine.placements.placed import Placements, limits_of
from vibe_prefect.engine.placements.placement_checks import placement_of
from vibe_prefect.engine.placements.recorded_outputs import recorded_outputs
from vibe_prefect.engine.publish.drain import Pace
from vibe_prefect.engine.records.record_files import RecordFile
from vibe_prefect.engine.records.refusals import Refusal, judged_hash, write_refusal
from vibe_prefect.engine.records.storage import RECORD_SCHEMA, NodeRecord, OpaqueResult, usage_of_record
from vibe_prefect.engine.run.asking import Asking
from vibe_prefect.engine.run.branch_runs import BranchRun, BranchRuns, Parent
from vibe_prefect.engine.run.limits import RunLimits, global_slots
from vibe_prefect.engine.run.loop_watch import watched_loop
from vibe_prefect.engine.run.reuse import ReusableRecords
from vibe_prefect.engine.run.run_setup import RunSetup
from vibe_prefect.engine.run.taken import TakenRecord
from vibe_prefect.engine.run.tasks import (
    NodeJob,
    ToolJob,
    run_node,
    run_tool,
    timeout_failure,
)
from vibe_prefect.engine.run.unexecuted import Unexecuted, show_unexecuted
from vibe_prefect.plan.compiler import Backing, CompiledNode, CompiledPlan
from vibe_prefect.plan.costs import cost_forecast
from vibe_prefect.provenance import NodeProvenance, RunLabel
from vibe_prefect.reporting.times.spans import Span
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso
from vibe_prefect.run.conditions import Obstacle
from vibe_prefect.run.decisions import answers_in
from vibe_prefect.run.list_run import ListRun
from vibe_prefect.run.node_work import LocalTools, NodeOutcome, NodeServices, execute_node, failure_of
from vibe_prefect.run.run_state import RunState
from vibe_prefect.run.scheduler import run_in_order
from vibe_prefect.templates.texts import InvalidTemplateError
from vibe_prefect.text.sendable import MAX_STATE, sendable
from vibe_prefect.tools.base import ToolResult
from vibe_prefect.tools.secrecy.redaction import PiecewiseText

NOT_SELECTED = Obstacle("Not selected, and there is no record of it to keep")

ITEMS_WAIT = "Some of its items wait for an answer"

NOT_BEGUN = "The run was cancelled before this node began"


async def run_compiled(compiled: CompiledPlan, setup: RunSetup) -> tuple[ExecutionResult, int]:
    """Run a plan within the current Prefect flow run.

    Returns:
        The result, in which failed nodes are reported and not raised, and the number of task runs in Prefect.
    """
    context = FlowRunContext.get()
    assert context is not None, "run_compiled needs a Prefect flow run around it"
    assert context.flow_run is not None
    setup = replace(setup, records=setup.records.for_workspace(setup.workspace, is_new=not setup.goes_on))
    with context.model_copy(update={"result_store": setup.records.store}):
        run = _PlanRun(compiled, setup, context.flow_run)
        return await run.execute(), run.task_runs


class _PlanRun:
    """One run: decides about each node, and has its task executed."""

    def __init__(self, compiled: CompiledPlan, setup: RunSetup, flow_run: FlowRun) -> None:
        self.task_runs = 0
        self._flow_run = flow_run
        self._pace = Pace(flow_run.id)
        self._compiled = compiled
        self._setup = setup
        self._tools = LocalTools(setup.tools)
        self._limits = RunLimits(setup.concurrency, {**setup.limits, **limits_of(setup.placements)})
        self._placements = Placements(setup.placements, setup.tools)
        label = self._label = RunLabel(str(flow_run.id), flow_run.name)
        upstream: dict[str, list[str]] = {id: [] for id in compiled.nodes}
        for edge in compiled.edges:
            upstream[edge.target].append(edge.source)
        self._edges = upstream
        namespace = setup.records.namespace
        self._state = RunState(
            compiled,
            lambda node: NodeJob(
                node,
                run=label,
                namespace=namespace,
                attempt=self._attempt,
                note_retry=self._note_retry,
            ),
            setup.observers,
            setup.replan_below,
        )
        self._reusable = ReusableRecords(compiled, self._state.plan.nodes, setup.records)
        self._branches = BranchRuns(
            setup.children,
            Parent(
                flow_run,
                self._state,
                setup.records,
                self._reusable,
                setup.budget,
                setup.chosen,
                self._note_retry,
            ),
            setup.run_on,
        )
        self._task: asyncio.Task[Any] | None = None
        self._cancelled_before = 0

    async def execute(self) -> ExecutionResult:
        """Run every node that can run, and return the result."""
        self._task = asyncio.current_task()
        self._cancelled_before = self._task.cancelling() if self._task is not None else 0
        if self._setup.goes_on:
            await self._reusable.read(lambda id: not self._refreshes(id))
        self._state.begin(len(self._reusable) if self._setup.first_attempt else None)
        if not self._setup.first_attempt:
            await self._pace.begin()
        try:
            with watched_loop(self._compiled.nodes):
                async with self._placements, self._setup.held.trickling():
                    await run_in_order(self._branches.waits, self._run)
        except (asyncio.CancelledError, TerminationSignal):
            self._cancel_rest()
            await self._branches.cancel()
            self._setup.note_plan(self.compiled)
            raise
        self._setup.note_plan(self.compiled)
        result = self._state.end()
        if result.status is not ExecutionStatus.FAILED or self._setup.last_attempt:
            self._state.notify(lambda observer: observer.run_finished(result))
        return result

    @property
    def compiled(self) -> CompiledPlan:
        """The plan with the nodes of lists, as far as they are known."""
        return self._state.plan.compiled()

    def _selected(self, id: str) -> bool:
        return self._setup.chosen.may_run(self._state.runs[id].node)

    def _refreshes(self, id: str) -> bool:
        """Return whether a node is executed even where there is a record of it."""
        return self._setup.chosen.refreshes(self._state.runs[id].node)

    async def _run(self, id: str) -> None:
        """Bring a node to its end; an error around its work fails this node and no other."""
        job = self._state.runs[id]
        try:
            await self._run_node(job)
        except Exception as error:
            if self._state.has_ended(id):
                raise
            get_run_logger().warning("The node %r failed before or after its work", id, exc_info=True)
            self._state.start(job)
            self._state.fail(job, job.failure or failure_of(error))

    async def _run_node(self, job: NodeJob) -> None:
        id = job.node.id
        await self._keep_pace()
        try:
            obstacle = await self._state.obstacle(id)
        except InvalidTemplateError as error:
            job.attempt, job.refresh = partial(self._refuse, error), True
            await self._execute(job)
            return
        if obstacle is not None and self._state.is_held_back(id):
            self._state.hold_back(job, obstacle.reason)
            return
        if obstacle is not None:
            self._skip(job, obstacle)
            return
        if self._selected(id):
            await self._refuse_changed(job)
        if job.node.node.for_each is not None:
            job.handler = await ListRun(self._state, job).execute(self._run, self._read_records)
            if job.handler is None:
                self._state.hold_back(job, ITEMS_WAIT)
                return
            self._reusable.refuse_other(id, job.handler)
        if id in self._reusable:
            self._reusable.refuse_unjudged(id, self._state.outputs(job))
            await self._reusable.refuse_asked_again(id)
        if id in self._reusable:
            self._show(job, Unexecuted.KEPT)
            self._complete(job, self._reusable.pop(id), reused=True)
            return
        if not self._selected(id):
            self._skip(job, NOT_SELECTED)
            return
        job.refresh = self._refreshes(id) or self._reusable.is_refused(id)
        branch = self._branches.of(id)
        await (self._execute(job) if branch is None else self._take(job, branch))

    async def _refuse_changed(self, job: NodeJob) -> None:
        """Refuse a node's record where what it was made from has changed."""
        id = job.node.id
        self._reusable.refuse_fallback(id)
        await self._reusable.refuse_outdated(id)
        if id in self._reusable:
            self._reusable.refuse_other_sources(id, self._state.outputs(job), self._state.sources(job))

    async def _execute(self, job: NodeJob) -> None:
        """Call a node's task, and note how it ended."""
        node = job.node
        placement = placement_of(node, self._setup.run_on)
        names = {f"placement:{placement}", f"tool:{node.tool}", *(f"tag:{tag}" for tag in node.policy.tags)}
        async with self._limits.slot(names), AsyncExitStack() as slots:
            try:
                await slots.enter_async_context(global_slots(node.policy.limits))
            except ConcurrencySlotAcquisitionError as error:
                job.attempt = partial(self._refuse, error)
            await self._keep_pace()
            state = await run_node(job, self._upstream(job))
        assert state.state_details.task_run_id is not None
        self._note(job, state.state_details.task_run_id)
        self._stop_if_cancelled()
        if state.is_completed():
            opaque = await state.aresult()
            self._complete(job, cast("NodeRecord", opaque.value), reused=not job.meter.attempts)
        elif job.question is not None:
            self._state.wait(job, job.question)
        else:
            await self._fail(job, _failure(job, state))

    async def _take(self, job: NodeJob, branch: BranchRun) -> None:
        """Note how a child run has brought a node to its end, once that run has ended."""
        await branch.ended()
        taken = await branch.taken(job.node)
        if not (isinstance(taken, TakenRecord) and taken.reused):
            branch.begin(job)
        for why, message, span in taken.shown:
            self._show(job, why, message, span)
        if isinstance(taken, TakenRecord):
            self._complete(job, taken.record, reused=taken.reused)
            return
        job.meter = taken.meter or job.meter
        await self._fail(job, taken.failure)

    async def _fail(self, job: NodeJob, failure: Failure) -> None:
        """Note a node that failed, or have a task run of its own complete it with its fallback."""
        job.note_failure(failure)
        stand_in = self._state.stand_in(job, failure)
        if stand_in is not None:
            record = self._recorded(job, record_of(NodeOutcome(job.meter, stand_in), (), job.provenance))
            job.attempt, job.refresh = partial(_fall_back, record, failure), True
            assert job.ended is not None
            state = await run_node(job, [*self._upstream(job), job.ended])
            assert state.state_details.task_run_id is not None
            self._note(job, state.state_details.task_run_id)
            self._stop_if_cancelled()
            if state.is_completed():
                self._complete(job, record, reused=False)
                await self._keep_failure(job)
                return
        self._state.fail(job, failure)
        await self._keep_failure(job)

    async def _read_records(self, nodes: Sequence[CompiledNode]) -> None:
        """Read the records of nodes that have come to be known."""
        if self._setup.goes_on:
            await self._reusable.read_nodes([node for node in nodes if not self._refreshes(node.id)])

    async def _keep_pace(self) -> None:
        await self._pace.hold(lambda: self.task_runs - len(self._setup.held))

    def _stop_if_cancelled(self) -> None:
        """Stop a node's task where the run was cancelled, after Prefect has the node's state.

        The node's own task is no sign: code of a tool that cancels it, as a task group does, may leave it marked.
        """
        if self._task is not None and self._task.cancelling() > self._cancelled_before:
            raise asyncio.CancelledError

    def _upstream(self, job: NodeJob) -> list[UUID]:
        graph = self._state.plan.graph
        sources = self._edges[job.node.id] if graph is self._compiled.graph else graph.sources(job.node.id)
        return [ended for id in sources if (ended := self._state.runs[id].ended) is not None]

    def _note(self, job: NodeJob, task_run_id: UUID) -> None:
        self.task_runs += 1
        job.ended = task_run_id

    def _show(self, job: NodeJob, why: Unexecuted, message: str | None = None, span: Span | None = None) -> None:
        """Show a node in Prefect that is not executed in this process."""
        if not self._setup.shows_all and not self._selected(job.node.id):
            return
        upstream = self._upstream(job) if job.ended is None else [*self._upstream(job), job.ended]
        self._note(job, show_unexecuted(self._setup.held, job.node, why, upstream, message, span))

    def _skip(self, job: NodeJob, obstacle: Obstacle) -> None:
        self._show(job, Unexecuted.SKIPPED, obstacle.reason)
        self._state.skip(job, obstacle)

    def _cancel_rest(self) -> None:
        """Show nodes without a task run as cancelled in Prefect, which shows the others itself."""
        for job in (self._state.runs[id] for group in self.compiled.groups for id in group):
            if job.ended is None and job.task_run_id is None:
                self._show(job, Unexecuted.CANCELLED, NOT_BEGUN)

    def _complete(self, job: NodeJob, record: NodeRecord, *, reused: bool) -> None:
        result = NodeResult(
            job.node.id,
            ExecutionStatus.COMPLETED,
            result=record["result"],
            duration=record["duration"],
            started_at=record["started_at"],
            reused=reused,
            provenance=NodeProvenance.from_dict(record.get("provenance")),
        )
        self._state.complete(job, result, usage_of_record(record))
        if not reused:
            self._reusable.note_executed(job.node.id, job.output)

    async def _attempt(self, job: NodeJob) -> NodeRecord:
        """Make one attempt at a node, and return its record."""
        self._state.start(job)
        setup = self._setup
        ask = Asking(setup.records, self._label, self._refreshes(job.node.id), setup.prompt)
        services = NodeServices(job.meter, setup.budget, self._reporter(job), ask, self._call_tool)
        work = self._state.work(job, self._tools, setup.workspace, setup.handlers)
        work = work if job.handler is None else replace(work, handler=job.handler)
        placement = placement_of(job.node, setup.run_on)
        if placement == LOCAL or job.handler is not None:
            outcome = await execute_node(work, services)
        else:
            references = recorded_outputs(setup.records, self._state.sources_of(job), work.outputs)
            outcome = await self._placements.execute(placement, work, services, self._most(job.node), references)
        if isinstance(outcome.error, AnswerAwaitedError):
            job.question = outcome.error.question
            raise outcome.error
        if outcome.error is not None:
            await self._keep_failure(job)
            if outcome.refused is not None:
                await self._keep_refusal(job, outcome)
            raise outcome.error
        return await self._record(job, outcome)

    def _most(self, node: CompiledNode) -> Spending | None:
        """Return the most that a node's calls can cost; `None` where that is not known.

        It is known of tools that state it, and nothing of the other tools that this package brings. A handler, or a
        tool of somebody else, may pay for something without having said so.
        """
        costs = cost_forecast(self.compiled, [node.id], self._setup.tools)
        if costs is not None:
            return costs.most
        is_ours = node.tool is not None and self._setup.tools.is_packaged(node.tool)
        return Spending() if is_ours and node.backing is not Backing.HANDLER else None

    async def _record(self, job: NodeJob, outcome: NodeOutcome) -> NodeRecord:
        files = await self._setup.records.files.made_by(job.node.record_id, outcome.result)
        return self._recorded(job, record_of(outcome, files, job.provenance))

    def _recorded(self, job: NodeJob, record: NodeRecord) -> NodeRecord:
        """Return a node's record with what it was made from, as far as no content key speaks of it."""
        sources = self._state.sources(job)
        if sources.absent:
            record["absent"] = sources.absent
        if sources.made_from:
            record["made_from"] = sources.made_from
        if answers_in(record["result"]):
            record["judged"] = judged_hash(self._state.outputs(job))
        return record

    async def _keep_failure(self, job: NodeJob) -> None:
        """Keep the provenance of a failed attempt, unless that is done; a failure to do so is logged."""
        provenance = job.provenance
        if job.kept_failure == provenance:
            return
        job.kept_failure = provenance
        try:
            await self._setup.records.write_failure(job.node.id, provenance)
        except Exception as error:  # noqa: BLE001 - each kind of storage has its own
            get_run_logger().warning("How the node %r failed is not kept: %s", job.node.id, error)

    async def _keep_refusal(self, job: NodeJob, outcome: NodeOutcome) -> None:
        """Keep what a gate withheld, so that a person may accept it; a failure is logged and stops nothing."""
        id, records = job.node.id, self._setup.records
        made = replace(outcome, result=outcome.refused)
        record = await self._record(job, made)
        record["judged"] = judged_hash(self._state.outputs(job))
        error = failure_of(cast("Exception", outcome.error)).message
        refusal = Refusal(
            job.node.record_id, job.node.key, str(self._flow_run.id), self._flow_run.name, error, dict(record)
        )
        try:
            await write_refusal(records, refusal)
        except Exception as problem:  # noqa: BLE001 - each kind of storage has its own
            get_run_logger().warning(
                "The refusal of the node %r cannot be accepted, since it is not kept: %s", id, problem
            )

    def _note_retry(self, job: NodeJob, pause: float | None) -> None:
        """Notify observers of a retry, and write it into the log of the run, where `watch` finds it."""
        notice = self._state.retry(job, pause)
        get_run_logger().warning("%s", notice.text(pause))

    async def _refuse(self, error: Exception, job: NodeJob) -> NodeRecord:
        """Fail a node's attempt for a reason that arose before it."""
        self._state.start(job)
        with job.meter:
            raise error

    def _reporter(self, job: NodeJob) -> Callable[[float | None, str], None] | None:
        """Return the receiver of a node's progress reports; `None` without observers."""
        shown, node = PiecewiseText(), job.node.node

        def report(fraction: float | None, message: str) -> None:
            text = shown.next(message)
            self._state.notify(lambda observer: observer.node_progressed(node, fraction, text))

        return report if self._setup.observers else None

    async def _call_tool(self, name: str, call: Callable[[], Awaitable[ToolResult]]) -> ToolResult:
        self.task_runs += 1
        return await run_tool(ToolJob(name, call))


def record_of(outcome: NodeOutcome, files: Sequence[RecordFile], provenance: NodeProvenance) -> NodeRecord:
    """Return the record of a node that completed.

    Args:
        outcome: Outcome of its last attempt.
        files: The files that it made.
        provenance: How it came about.
    """
    meter = outcome.meter
    record = NodeRecord(
        schema=RECORD_SCHEMA,
        result=outcome.result,
        duration=meter.duration,
        started_at=meter.started_at or now_iso(),
        attempts=meter.attempts,
        cpu_time=meter.cpu_time,
        memory_usage=meter.memory_usage,
        cpu_scope=meter.usage.scope,
        files=files,
        provenance=provenance.to_dict(),
    )
    if meter.calls:
        used = meter.usage
        record["usage"] = {key: getattr(used, key) for key in MODEL_KEYS}
    return record


async def _fall_back(record: NodeRecord, failure: Failure, _: NodeJob) -> State[OpaqueResult]:
    """Return the state in which Prefect shows a fallback, with its record."""
    message = sendable(f"{failure.error_type}: {failure.message}", MAX_STATE)
    return Completed(name=FALLBACK, message=message, data=OpaqueResult(record))


def _failure(job: NodeJob, state: State[Any]) -> Failure:
    if job.failure is not None:
        return job.failure
    if state.name == "TimedOut":
        return timeout_failure(job.node.policy)
    return Failure(state.name or state.type.value.title(), state.message or "the task run ended without a result")
