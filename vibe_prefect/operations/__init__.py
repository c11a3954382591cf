"""Use cases for plans and runs, as functions: the command line calls these, and so can you.

    import asyncio
    from vibe_prefect.operations import forecast, validate

    plan = validate("plan.yaml")
    print(asyncio.run(forecast(plan)))

Functions that ask a Prefect server are coroutines, and use the server that Prefect's settings name. Modules that need
Prefect are imported at their first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from vibe_prefect.run.run_options import RunOptions

if TYPE_CHECKING:
    from vibe_prefect.operations._accept import AcceptedNode, accept
    from vibe_prefect.operations._approve import AnsweredNode, WaitingNode, approvals, approve, reject
    from vibe_prefect.operations._diff import ComparedPlan, PlanComparison, diff, names_file
    from vibe_prefect.operations._edit import EditedNode, edit
    from vibe_prefect.operations._forecast import RunForecast, forecast
    from vibe_prefect.operations._lookup import Lookup, look_up
    from vibe_prefect.operations._people import person_name
    from vibe_prefect.operations._plans import CheckedPlan, validate
    from vibe_prefect.operations._prune import Pruned, prune
    from vibe_prefect.operations._replan import ReplannedRun, replan
    from vibe_prefect.operations._resume import ResumedRun, plan_resume, resume, with_earlier_inputs
    from vibe_prefect.operations._runs import explain, list_runs, output, report

__all__ = [
    "AcceptedNode",
    "AnsweredNode",
    "CheckedPlan",
    "ComparedPlan",
    "EditedNode",
    "Lookup",
    "PlanComparison",
    "Pruned",
    "ReplannedRun",
    "ResumedRun",
    "RunForecast",
    "RunOptions",
    "WaitingNode",
    "accept",
    "approvals",
    "approve",
    "diff",
    "edit",
    "explain",
    "forecast",
    "list_runs",
    "look_up",
    "names_file",
    "output",
    "person_name",
    "plan_resume",
    "prune",
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
    "Pruned": "_prune",
    "ReplannedRun": "_replan",
    "ResumedRun": "_resume",
    "RunForecast": "_forecast",
    "WaitingNode": "_approve",
    "accept": "_accept",
    "approvals": "_approve",
    "approve": "_approve",
    "diff": "_diff",
    "edit": "_edit",
    "explain": "_runs",
    "forecast": "_forecast",
    "list_runs": "_runs",
    "look_up": "_lookup",
    "names_file": "_diff",
    "output": "_runs",
    "person_name": "_people",
    "plan_resume": "_resume",
    "prune": "_prune",
    "reject": "_approve",
    "replan": "_replan",
    "report": "_runs",
    "resume": "_resume",
    "validate": "_plans",
    "with_earlier_inputs": "_resume",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
