"""Edits of a plan's file after the plan was read."""

from __future__ import annotations

from pathlib import Path

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import PlanError
from vibe_prefect.plan.reading.plan_file import load_plan


def was_edited(path: str | Path | None, plan: WorkflowPlan) -> bool:
    """Return whether a plan's file holds another plan by now, or none that can be read; `False` where it is gone.

    Args:
        path: The file; `None` for a plan that came from none.
        plan: The plan as it was read.
    """
    if path is None or not Path(path).is_file():
        return False
    try:
        return load_plan(path).plan.model_dump() != plan.model_dump()
    except PlanError:
        return True
