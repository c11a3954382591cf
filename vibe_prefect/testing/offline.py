"""Running a plan without Prefect, for tests: the same order, tools, gates and feedback; no records and no resuming."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from vibe_prefect.budget import Budget
from vibe_prefect.compiler import Backing, CompiledNode, CompiledPlan, Simulate, compile_plan
from vibe_prefect.engine.scheduler import run_in_order
from vibe_prefect.engine.storage import jsonable, plain
from vibe_prefect.engine.tasks import failure_of
from vibe_prefect.feedback import ResourceUsage, failure_feedback, replan_suggestion, success_feedback
from vibe_prefect.handlers import NodeContext, builtin_handler, invoke, output_of
from vibe_prefect.models import WorkflowPlan
from vibe_prefect.results import ExecutionResult, ExecutionStatus, NodeResult, now_iso
from vibe_prefect.templates import InvalidTemplateError
from vibe_prefect.toolbox import equipped_registry
from vibe_prefect.tools.base import ToolResult
from vibe_prefect.tools.registry import ForeignRegistry, ToolRegistry, adapted
from vibe_prefect.tools.workspace import Workspace
from vibe_prefect.user_code import contained


async def run_offline(  # noqa: PLR0913 - options by keyword
    plan: WorkflowPlan,
    tools: ToolRegistry | ForeignRegistry | None = None,
    *,
    simulate: Simulate | str = Simulate.NEVER,
    input_root: str | Path = ".",
    output: str | Path = "outputs",
    budget_usd: float | None = None,
    max_tokens: int | None = None,
) -> ExecutionResult:
    """Run a plan in this process alone, without a Prefect server.

    Retries are made at once; timeouts and limits do not apply.

    Args:
        plan: The plan.
        tools: The tools that its nodes may name; by default the package's own, without a model.
        simulate: Which nodes the simulation stands in for.
        input_root: The only folder that tools may read from.
        output: The only folder that tools may write to.
        budget_usd: US dollars that models and paid tools may cost.
        max_tokens: Tokens that they may use.

    Raises:
        PlanError: The plan cannot run as written.
    """
    tools = adapted(tools) if tools is not None else equipped_registry()
    compiled = compile_plan(plan, tools=tools, simulate=simulate)
    limited = budget_usd is not None or max_tokens is not None
    budget = Budget(usd=budget_usd, tokens=max_tokens) if limited else None
    return await _OfflineRun(compiled, tools, _workspace(input_root, output), budget).execute()


def _workspace(input_root: str | Path, output: str | Path) -> Workspace:
    return Workspace(Path(input_root).resolve(), Path(output).resolve())


class _OfflineRun:
    def __init__(
        self, compiled: CompiledPlan, tools: ToolRegistry, workspace: Workspace, budget: Budget | None
    ) -> None:
        self._compiled = compiled
        self._tools = tools
        self._workspace = workspace
        self._budget = budget
        self._result = ExecutionResult(compiled.plan.id, execution_groups=[list(group) for group in compiled.groups])
        self._outputs: dict[str, bytes] = {}

    async def execute(self) -> ExecutionResult:
        result, begun = self._result, time.perf_counter()
        await run_in_order(self._compiled.graph.waits, self._run)
        result.node_results = {id: result.node_results[id] for id in self._compiled.nodes}
        failed = result.count(ExecutionStatus.FAILED)
        result.status = ExecutionStatus.FAILED if failed else ExecutionStatus.COMPLETED
        result.total_duration = time.perf_counter() - begun
        result.completed_at = now_iso()
        result.parallel_efficiency = result.calculate_parallel_efficiency()
        return result

    async def _run(self, id: str) -> None:
        node = self._compiled.nodes[id]
        missing = self._missing(id)
        if missing:
            error = f"Dependencies not satisfied: {', '.join(missing)}"
            self._result.add_node_result(NodeResult(id, ExecutionStatus.SKIPPED, error=error))
            return
        started, begun = now_iso(), time.perf_counter()
        try:
            made = await self._tried(node)
        except Exception as error:  # noqa: BLE001 - whatever a tool raises fails its node
            self._fail(node, error, started, time.perf_counter() - begun)
            return
        duration = time.perf_counter() - begun
        outcome = NodeResult(id, ExecutionStatus.COMPLETED, made, duration=duration, started_at=started)
        self._outputs[id] = jsonable(id, output_of(made))
        self._result.add_node_result(outcome)
        self._learn(id, success_feedback(outcome, node.node.estimated_duration, ResourceUsage()))

    def _missing(self, id: str) -> list[str]:
        graph, results = self._compiled.graph, self._result.node_results
        parent = graph.nodes[id].parent
        needed = [parent] if parent is not None else []
        needed += [member for dependency in graph.awaited(id) for member in (dependency, *graph.below(dependency))]
        statuses = {member: results[member].status for member in needed}
        return [f"{member} {status}" for member, status in statuses.items() if status != ExecutionStatus.COMPLETED]

    async def _tried(self, node: CompiledNode) -> Any:
        for left in range(node.policy.retries, -1, -1):
            try:
                with contained():
                    return plain(jsonable(node.id, await builtin_handler(node.node, self._context(node))))
            except Exception as error:
                final = isinstance(error, InvalidTemplateError) or not getattr(error, "retryable", True)
                if final or not left:
                    raise
        raise AssertionError("unreachable: the last try returns or raises")

    def _context(self, node: CompiledNode) -> NodeContext:
        async def call(name: str, inputs: dict[str, Any]) -> ToolResult:
            return await invoke(name, inputs, context)

        context = NodeContext(
            plan_id=self._compiled.plan.id,
            node=node.node,
            vibe=self._compiled.plan.source_vibe,
            previous_outputs={id: plain(self._outputs[id]) for id in node.dependencies},
            workspace=self._workspace.for_node(node.id),
            tools=self._tools,
            simulated=node.backing is Backing.SIMULATION,
            caller=call,
            key=node.key,
            budget=self._budget,
        )
        return context

    def _fail(self, node: CompiledNode, error: Exception, started: str, duration: float) -> None:
        failure = failure_of(error)
        outcome = NodeResult(
            node.id, ExecutionStatus.FAILED, error=failure.message, duration=duration, started_at=started
        )
        self._result.add_node_result(outcome)
        self._learn(node.id, failure_feedback(outcome, failure, node.node.estimated_duration, ResourceUsage()))

    def _learn(self, id: str, feedback: dict[str, Any]) -> None:
        self._result.add_feedback(id, feedback)
        suggestion = replan_suggestion(id, feedback)
        if suggestion is not None:
            self._result.suggest_replan(suggestion)
