"""The flow for a run in this process."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any, cast

from prefect.client.schemas.objects import State
from prefect.settings import get_current_settings
from prefect.utilities.annotations import quote

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.flow import run_plan
from vibe_prefect.engine.publish.drain import uses_embedded_server
from vibe_prefect.engine.run.plan_flow import PlanFlow
from vibe_prefect.run.run_options import RunOptions


async def call_flow(plan: WorkflowPlan, options: RunOptions) -> State[Any]:
    """Call the flow, and return the state in which it ends."""
    # Quoted, since Prefect would look for futures in each value of the plan.
    called: Any = _local_flow()(quote(plan), **options.model_dump(), return_state=True)
    return cast("State[Any]", await called)


def _local_flow() -> PlanFlow:
    """Return the flow for a run in this process.

    To persist an error of its own, Prefect asks the server in each run; an embedded server is on this machine.
    """
    results = get_current_settings().results
    if not uses_embedded_server() or results.default_storage_block is not None:
        return run_plan
    return _storing_flow(results.local_storage_path)


@lru_cache(maxsize=4)
def _storing_flow(folder: Path) -> PlanFlow:
    return run_plan.with_options(result_storage=cast("Any", folder))
