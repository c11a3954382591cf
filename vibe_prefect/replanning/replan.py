"""Replanning after a run, by rule or by a model, under the checks that any plan is under."""

from __future__ import annotations

from collections.abc import Callable

from vibe_prefect.core.budget import Budget
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.run_values import ReplanBy
from vibe_prefect.llm.checked_answers import writing_models
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.replanning.by_model import replan_by_model
from vibe_prefect.replanning.edits import Replan
from vibe_prefect.replanning.rules import replan_by_rule
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.tools.registry import ToolRegistry

Compile = Callable[[WorkflowPlan], CompiledPlan]
"""Compiles a plan as a run of it would be."""


async def replan_after(  # noqa: PLR0913 - the parts of a replan
    report: RunReport,
    compiled: CompiledPlan,
    tools: ToolRegistry,
    compiled_as: Compile,
    by: ReplanBy = "rule",
    budget: Budget | None = None,
) -> Replan:
    """Edit the plan of a run by what came of the run. The edited plan compiles.

    Args:
        report: Report of the run.
        compiled: The plan of the run as written, without the nodes of lists, compiled with the tools of today.
        tools: Those tools.
        compiled_as: Compiles an edited plan, and raises a `PlanError` for one that cannot run.
        by: Who edits the plan.
        budget: Budget that the model's calls belong to; `None` for no limit.

    Raises:
        UsageError: A model is wanted, and none is configured.
        ReplanError: No answer of the model was a plan that can run, or there was no answer.
    """
    if by == "model":
        models = writing_models(tools, "an edit of the plan")
        return await replan_by_model(report, compiled, models, compiled_as, budget)
    replan = replan_by_rule(report, compiled, tools)
    compiled_as(replan.plan)
    return replan
