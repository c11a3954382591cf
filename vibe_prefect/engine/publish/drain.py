"""Waits until the server has on record all that a run sent: at the run's end, and where it falls far behind."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
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

from vibe_prefect.engine.server.server_failures import explain, explain_older, without_login

logger = logging.getLogger(__name__)

FIRST_WAIT = 0.02
LONGEST_WAIT = 1.0
STALLED_SECONDS = 30.0
"""Seconds to wait while the server takes in nothing more: it may have lost some of what it was sent."""

MAX_AHEAD = 2_000
"""Number of task runs by which a run may be ahead of the server's record."""

ANSWER_SECONDS = 15.0
"""Seconds that the server has for an answer. Prefect's client would try again for minutes."""

_FINAL = [StateType.COMPLETED, StateType.FAILED, StateType.CANCELLED, StateType.CRASHED, StateType.PAUSED]
"""Types of the last states of task runs in a run; paused is that of a node that waits for a person's answer."""


def uses_embedded_server() -> bool:
    """Return whether Prefect runs its server within this process's lifetime: no API address is set."""
    return get_current_settings().api.url is None


async def wait_recorded(flow_run_id: UUID, expected: int, patience: float = STALLED_SECONDS) -> int | None:
    """Wait until the server has the final state of a flow run's task runs, or takes in no more of them.

    Task runs are reported as events, which the server takes in on its own time; those that an embedded server has not
    taken in when the process ends are lost.

    Args:
        flow_run_id: The flow run.
        expected: Number of its task runs.
        patience: Seconds to wait while the server takes in nothing more; at most `STALLED_SECONDS`.

    Returns:
        Number of task runs on record in a final state: `expected`, unless some were lost; `None`, with a warning,
        where the server does not answer the question.
    """
    patience = min(patience, STALLED_SECONDS)
    wait, most, end = FIRST_WAIT, -1, 0.0
    while True:
        recorded = await count_recorded(flow_run_id, patience)
        if recorded is None or recorded >= expected:
            return recorded
        if recorded > most:
            most, end = recorded, time.monotonic() + patience
        elif time.monotonic() > end:
            return recorded
        await asyncio.sleep(wait)
        wait = min(LONGEST_WAIT, wait * 1.5)


async def count_recorded(flow_run_id: UUID, patience: float = ANSWER_SECONDS) -> int | None:
    """Count the task runs that the server has in a final state; `None`, and a warning, where it does not answer."""
    try:
        async with asyncio.timeout(patience):
            return await _count(flow_run_id)
    except Exception as error:  # noqa: BLE001 - the count is for information; no failure of it fails a run
        _warn(error)
        return None


class Pace:
    """Keeps a run from sending the server more than it can take in.

    A server without a message broker queues up to 10,000 events that it has not taken in, and drops the others: task
    runs are then missing, or shown as running for ever. A node has three events.
    """

    def __init__(self, flow_run_id: UUID) -> None:
        self._flow_run_id = flow_run_id
        self._before = 0
        self._recorded: float = 0
        self._seen = 0
        self._lock = asyncio.Lock()

    async def begin(self) -> None:
        """Begin another try of a flow run, whose earlier ones have task runs on record."""
        self._seen = self._before = await count_recorded(self._flow_run_id) or 0

    async def hold(self, ended: Callable[[], int]) -> None:
        """Wait where the server is too far behind, until it has caught up; not where it takes in nothing at all.

        Args:
            ended: Returns how many task runs have ended.
        """
        if ended() - self._recorded < MAX_AHEAD:
            return
        async with self._lock:
            while ended() - self._recorded >= MAX_AHEAD:
                target = ended() - MAX_AHEAD // 2
                recorded = await wait_recorded(self._flow_run_id, self._before + target)
                self._recorded = target  # what is still missing is lost, or nobody knows: it holds up nothing more
                if recorded is not None:
                    self._recorded = math.inf if recorded <= self._seen else max(target, recorded - self._before)
                    self._seen = recorded


async def warn_of_missing(run: str, recorded: int, expected: int) -> None:
    """Warn that the server lacks task runs of a run, and say so where it is too old to take them in.

    Args:
        run: The run's name.
        recorded: Number of task runs that the server has on record.
        expected: Number of task runs that it was sent.
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
