"""A run in this process alone, without Prefect: the same order, work, gates and feedback; nothing is recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from vibe_prefect.core.feedback import Failure
from vibe_prefect.core.progress import RunObserver
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso
from vibe_prefect.run.conditions import Obstacle
from vibe_prefect.run.handlers import NodeHandler
from vibe_prefect.run.list_run import ListRun
from vibe_prefect.run.node_work import (
    LocalTools,
    NodeOutcome,
    NodeServices,
    execute_node,
    failure_of,
    is_retryable,
    usage_of,
)
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.run.run_state import NodeRun, RunState
from vibe_prefect.run.scheduler import run_in_order
from vibe_prefect.templates.texts import InvalidTemplateError
from vibe_prefect.tools.registry import ToolRegistry
from vibe_prefect.tools.workspace import Workspace

NOT_SELECTED = Obstacle("Not selected, and nothing is recorded without a server")


class OfflineRun:
    """One run. Retries are made at once; timeouts and limits on tools do not apply."""

    def __init__(
        self, compiled: CompiledPlan, tools: ToolRegistry, options: RunOptions, observers: Sequence[RunObserver] = ()
    ) -> None:
        """Prepare a run; nothing runs yet.

        Args:
            compiled: The plan.
            tools: The tools that its nodes may name.
            options: Options of the run; those about earlier runs mean nothing here.
            observers: Receivers of each step.
        """
        self._tools = LocalTools(tools)
        self._workspace = Workspace(Path(options.input_root).resolve(), Path(options.output).resolve())
        self._budget = options.budget()
        self._selected = options.choice.selected(compiled)
        self._limit = options.concurrency
        self._state = RunState(compiled, NodeRun, observers)

    @property
    def compiled(self) -> CompiledPlan:
        """The plan with the nodes of lists, as far as they are known."""
        return self._state.plan.compiled()

    async def execute(self) -> ExecutionResult:
        """Run every node that can run, and return the result."""
        slots: AbstractAsyncContextManager[Any] = asyncio.Semaphore(self._limit) if self._limit else nullcontext()
        self._state.begin()
        await run_in_order(self._state.plan.waits, lambda id: self._run(id, slots))
        result = self._state.end()
        self._state.notify(lambda observer: observer.run_finished(result))
        return result

    async def _run(self, id: str, slots: AbstractAsyncContextManager[Any]) -> None:
        run = self._state.runs[id]
        try:
            obstacle = await self._state.obstacle(id)
        except InvalidTemplateError as error:
            self._state.start(run)
            self._fail(run, failure_of(error))
            return
        names = {id, self._state.plan.template(run.node)}
        if obstacle is None and self._selected is not None and not names & self._selected:
            obstacle = NOT_SELECTED
        if obstacle is not None:
            self._state.skip(run, obstacle)
            return
        gathered = None
        if run.node.node.for_each is not None:
            gathered = await ListRun(self._state, run).execute(lambda item_node: self._run(item_node, slots))
        async with slots:
            outcome = await self._tried(run, gathered)
        if outcome.error is not None:
            self._fail(run, failure_of(outcome.error))
        else:
            self._complete(run, outcome.result)

    def _fail(self, run: NodeRun, failure: Failure) -> None:
        stand_in = self._state.stand_in(run, failure)
        if stand_in is None:
            self._state.fail(run, failure)
        else:
            run.note_failure(failure)
            self._complete(run, stand_in)

    def _complete(self, run: NodeRun, returned: Any) -> None:
        meter = run.meter
        result = NodeResult(
            run.node.id,
            ExecutionStatus.COMPLETED,
            returned,
            duration=meter.duration,
            started_at=meter.started_at or now_iso(),
            provenance=run.provenance,
        )
        self._state.complete(run, result, usage_of(meter, returned))

    async def _tried(self, run: NodeRun, handler: NodeHandler | None) -> NodeOutcome:
        services = NodeServices(run.meter, self._budget)
        node_work = self._state.work(run, self._tools, self._workspace)
        node_work = node_work if handler is None else replace(node_work, handler=handler)
        self._state.start(run)
        outcome = await execute_node(node_work, services)
        for _ in range(run.node.policy.retries):
            if outcome.error is None or not is_retryable(outcome.error):
                break
            outcome = await execute_node(node_work, services)
        return outcome
