"""Replan of a run: its plan, edited by what came of the run, beside the differences and what a resume would cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from prefect.client.orchestration import get_client

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.run_values import ReplanBy
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.load_report import load_run, report_of_run
from vibe_prefect.errors import UsageError
from vibe_prefect.operations._diff import PlanComparison, diff
from vibe_prefect.operations._forecast import RunForecast, forecast
from vibe_prefect.operations._plans import configured_tools, simulation
from vibe_prefect.operations._resume import plan_resume
from vibe_prefect.plan.compiler import CompiledPlan, compile_plan
from vibe_prefect.plan.plan_yaml import plan_json, plan_yaml
from vibe_prefect.replanning.edits import Replan
from vibe_prefect.replanning.replan import replan_after
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools.registry import ToolRegistry


@dataclass(frozen=True)
class ReplannedRun:
    """A run with its plan edited. Nothing has been executed but, where that was asked for, a model that replans."""

    run: PastRun
    """The run."""

    report: RunReport
    """Its report, from which the edits follow."""

    replan: Replan
    """The edited plan, the edits, and the suggestions that are left."""

    comparison: PlanComparison
    """Differences of the two plans."""

    forecast: RunForecast
    """Forecast of resuming the run with the edited plan: what runs, what is reused, and the cost."""

    @property
    def plan(self) -> WorkflowPlan:
        """The edited plan."""
        return self.replan.plan

    def text(self, *, as_json: bool = False) -> str:
        """Return the edited plan as the text of a plan file; YAML has the reasons as comments."""
        return plan_json(self.plan) if as_json else plan_yaml(self.plan, self.replan.reasons)


async def replan(
    run: str | None = None,
    *,
    by: ReplanBy = "rule",
    tools: ToolRegistry | None = None,
    given: Mapping[str, Any] | None = None,
) -> ReplannedRun:
    """Edit the plan of a run by what came of the run, and forecast what resuming with it would do.

    Args:
        run: The run's name or id; `None` for the newest run.
        by: `rule`, or `model` for the default model that is configured.
        tools: The tools that the plan may name; by default those that the settings configure.
        given: Options of a resume in place of those that the run had, such as `budget_usd`, by their names in
            `RunOptions`; the calls of a model that replans stay within this budget.

    Raises:
        UnknownRunError: The Prefect server does not know the run, or the run has no plan.
        UsageError: The run has not ended, or a model is wanted and none is configured.
        PlanError: The plan of the run cannot run any more.
        ReplanError: No answer of the model was an edit that the plan can take, or there was no answer.
    """
    tools = configured_tools() if tools is None else tools
    past_run, report = await _ended(run)
    mode = simulation(simulate=past_run.parameters.simulate)

    def compiled(plan: WorkflowPlan) -> CompiledPlan:
        return compile_plan(plan, tools=tools, simulate=mode)

    budget = RunOptions().replaced(_limits(given)).budget(run=past_run.name)
    edited = await replan_after(report, compiled(past_run.plan or report.plan), tools, compiled, by, budget)
    comparison = await diff(str(past_run.id), edited.plan, tools=tools)
    resumed = await plan_resume(str(past_run.id), given, plan=edited.plan, tools=tools)
    return ReplannedRun(past_run, report, edited, comparison, await forecast(resumed.plan, resumed.options))


def _limits(given: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (given or {}).items() if name in ("budget_usd", "max_tokens")}


async def _ended(reference: str | None) -> tuple[PastRun, RunReport]:
    store = await open_store(None)
    async with get_client() as client:
        run = await load_run(client, reference, store)
        if not run.over:
            raise UsageError(f"the run {run.name!r} is {run.state}: replan it once it has ended")
        return run, await report_of_run(client, run, store)
