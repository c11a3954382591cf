"""Reading plan files, at the address that programs written for earlier versions import; see `plan.reading`."""

from __future__ import annotations

from vibe_prefect.plan.reading.plan_file import LoadedPlan, load_plan, plan_of_data, read_plan

__all__ = ["LoadedPlan", "load_plan", "plan_of_data", "read_plan"]
