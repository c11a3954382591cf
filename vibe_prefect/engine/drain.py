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

from vibe_prefect.engine.server_failures import explain, explain_older, without_login

logger = logging.getLogger(__name__)

FIRST_WAIT = 0.1
LONGEST_WAIT = 1.0
STALLED_SECONDS = 30.0
"""Seconds that are waited while the server takes in nothing more: it may have lost what it was told."""

ANSWER_SECONDS = 15.0
"""Seconds that the server has for an answer. Prefect's client would try again for minutes."""

SECONDS_PER_TASK_RUN = 0.1
"""Seconds for each task run that are waited at the most while the server takes in more and more."""

_FINAL = [StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED]


def uses_embedded_server() -> bool:
    """Tell whether Prefect runs its server within this process's lifetime: no API address is set."""
    return get_current_settings().api.url is None


async def wait_recorded(flow_run_id: UUID, expected: int, patience: float = STALLED_SECONDS) -> int | None:
    """Wait until the server has the final state of a flow run's task runs, within a bound.

    Task runs are reported as events, which the server takes in on its own time; those that an embedded server has not
    taken in when the process ends are lost.

    Args:
        flow_run_id: The flow run.
        expected: How many task runs it has.
        patience: Seconds to wait while the server takes in nothing more; at most `STALLED_SECONDS`.

    Returns:
        How many task runs are on record in a final state: `expected`, unless the bound was hit; `None` where the server
        does not answer the question, of which a warning tells.
    """
    begun = time.monotonic()
    patience = min(patience, STALLED_SECONDS)
    end = begun + STALLED_SECONDS + SECONDS_PER_TASK_RUN * expected
    most, grown = -1, begun
    wait = FIRST_WAIT
    while True:
        try:
            async with asyncio.timeout(min(ANSWER_SECONDS, patience)):
                recorded = await _count(flow_run_id)
        except Exception as error:  # noqa: BLE001 - the count is for information; no failure of it fails a run
            _warn(error)
            return None
        now = time.monotonic()
        if recorded > most:
            most, grown = recorded, now
        if recorded >= expected or now > min(end, grown + patience):
            return recorded
        await asyncio.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 1.5)


async def warn_of_missing(run: str, recorded: int, expected: int) -> None:
    """Warn that the server lacks task runs of a run, and say so where it is too old to take them in.

    Args:
        run: The run's name.
        recorded: How many task runs the server has on record.
        expected: How many it was told of.
    """
    older = await asyncio.to_thread(explain_older, without_login(get_current_settings().api.url or ""))
    logger.warning(
        "The Prefect server has %d of %d task runs of %s on record; the others will be missing from its UI%s",
        recorded,
        expected,
        run,
        f": {older}" if older else "",
    )


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
