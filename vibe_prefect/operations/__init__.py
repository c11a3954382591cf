"""Use cases for plans and runs, as functions: the command line calls these, and so can you.

    import asyncio
    from vibe_prefect.operations import forecast, validate

    plan = validate("plan.yaml")
    print(asyncio.run(forecast(plan)))

Functions that ask a Prefect server are coroutines, and use the server that Prefect's settings name. Modules that need
Prefect are imported at their first use.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vibe_prefect.lazy_names import lazy_names

if TYPE_CHECKING:
    from vibe_prefect.operations._accept import AcceptedNode, accept
    from vibe_prefect.operations._approve import AnsweredNode, WaitingNode, approvals, approve, reject
    from vibe_prefect.operations._diff import ComparedPlan, PlanComparison, diff, names_file
    from vibe_prefect.operations._edit import EditedNode, edit
    from vibe_prefect.operations._execute import executor_for
    from vibe_prefect.operations._forecast import RunForecast, forecast
    from vibe_prefect.operations._lookup import Lookup, look_up
    from vibe_prefect.operations._people import person_name
    from vibe_prefect.operations._plan import PlannedDraft, PlanningOptions, RefinedPlan, plan_vibe, refine_plan
    from vibe_prefect.operations._plans import CheckedPlan, WrittenPlan, validate
    from vibe_prefect.operations._prune import Pruned, prune
    from vibe_prefect.operations._replan import ReplannedRun, replan
    from vibe_prefect.operations._resume import ResumedRun, plan_resume, resume, with_earlier_inputs
    from vibe_prefect.operations._runs import explain, list_runs, output, report
    from vibe_prefect.run.run_options import RunOptions

__all__ = [
    "AcceptedNode",
    "AnsweredNode",
    "CheckedPlan",
    "ComparedPlan",
    "EditedNode",
    "Lookup",
    "PlanComparison",
    "PlannedDraft",
    "PlanningOptions",
    "Pruned",
    "RefinedPlan",
    "ReplannedRun",
    "ResumedRun",
    "RunForecast",
    "RunOptions",
    "WaitingNode",
    "WrittenPlan",
    "accept",
    "approvals",
    "approve",
    "diff",
    "edit",
    "executor_for",
    "explain",
    "forecast",
    "list_runs",
    "look_up",
    "names_file",
    "output",
    "person_name",
    "plan_resume",
    "plan_vibe",
    "prune",
    "refine_plan",
    "reject",
    "replan",
    "report",
    "resume",
    "validate",
    "with_earlier_inputs",
]

_MODULES = {
    "AcceptedNode": "_accept",
    "AnsweredNode": "_approve",
    "CheckedPlan": "_plans",
    "ComparedPlan": "_diff",
    "EditedNode": "_edit",
    "Lookup": "_lookup",
    "PlanComparison": "_diff",
    "WrittenPlan": "_plans",
    "PlannedDraft": "_plan",
    "PlanningOptions": "_plan",
    "Pruned": "_prune",
    "RefinedPlan": "_plan",
    "ReplannedRun": "_replan",
    "ResumedRun": "_resume",
    "RunForecast": "_forecast",
    "WaitingNode": "_approve",
    "accept": "_accept",
    "approvals": "_approve",
    "approve": "_approve",
    "diff": "_diff",
    "edit": "_edit",
    "executor_for": "_execute",
    "explain": "_runs",
    "forecast": "_forecast",
    "list_runs": "_runs",
    "look_up": "_lookup",
    "names_file": "_diff",
    "output": "_runs",
    "person_name": "_people",
    "plan_resume": "_resume",
    "plan_vibe": "_plan",
    "prune": "_prune",
    "refine_plan": "_plan",
    "reject": "_approve",
    "replan": "_replan",
    "report": "_runs",
    "resume": "_resume",
    "validate": "_plans",
    "with_earlier_inputs": "_resume",
}

__getattr__ = lazy_names(
    __name__,
    {name: f"{__name__}.{module}" for name, module in _MODULES.items()}
    | {"RunOptions": "vibe_prefect.run.run_options"},
)
