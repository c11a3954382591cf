"""Waiting until the server has on record what a run told it."""

from __future__ import annotations

import asyncio
import logging
import time
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    TaskRunFilter,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import StateType
from prefect.settings import get_current_settings

from vibe_prefect.engine.server_failures import explain

logger = logging.getLogger(__name__)

FIRST_WAIT = 0.02
LONGEST_WAIT = 1.0
BASE_BOUND = 30.0
"""Seconds that are waited at the most, whatever the run's size."""

ANSWER_SECONDS = 15.0
"""Seconds that the server has for an answer. Prefect's client would try again for minutes."""

BOUND_PER_TASK_RUN = 0.1
"""Seconds added to the bound for each task run."""

_FINAL = [StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED]


def uses_embedded_server() -> bool:
    """Tell whether Prefect runs its server within this process's lifetime: no API address is set."""
    return get_current_settings().api.url is None


async def wait_recorded(flow_run_id: UUID, expected: int) -> int | None:
    """Wait until the server has the final state of a flow run's task runs, within a bound.

    Task runs are reported as events, which the server takes in on its own time; those that an embedded server has not
    taken in when the process ends are lost.

    Returns:
        How many task runs are on record in a final state: `expected`, unless the bound was hit; `None` where the server
        does not answer the question, of which a warning tells.
    """
    end = time.monotonic() + BASE_BOUND + BOUND_PER_TASK_RUN * expected
    wait = FIRST_WAIT
    while True:
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                recorded = await _count(flow_run_id)
        except Exception as error:  # noqa: BLE001 - the count is for information; no failure of it fails a run
            _warn(error)
            return None
        if recorded >= expected or time.monotonic() > end:
            return recorded
        await asyncio.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 1.5)


async def _count(flow_run_id: UUID) -> int:
    states = TaskRunFilter(state=TaskRunFilterState(type=TaskRunFilterStateType(any_=_FINAL)))
    flow_run = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    async with get_client() as client:
        response = await client.request(
            "POST",
            "/task_runs/count",
            json={  # without the empty fields, some of which an older server does not know
                "flow_runs": flow_run.model_dump(mode="json", exclude_unset=True),
                "task_runs": states.model_dump(mode="json", exclude_unset=True),
            },
        )
    return int(response.json())


def _warn(error: Exception) -> None:
    reason = explain(error, get_current_settings().api.url or "") or type(error).__name__
    logger.warning("the task runs on record could not be counted: %s", reason)
