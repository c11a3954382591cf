"""Further attempts of deployed runs: each is a run of the same deployment, which begins once the last one has ended."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient, get_client
from prefect.client.schemas.objects import FlowRun, State

from vibe_prefect.engine.inputs.option_group import ungrouped
from vibe_prefect.engine.inputs.plan_store import PLAN, plan_parameter
from vibe_prefect.engine.past_run import HISTORY_LABEL
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.replanning.adaptation import NextAttempt

_waiting: dict[UUID, NextAttempt] = {}
"""The attempts that follow runs of this process, by the id of the run."""


def follow(flow_run: FlowRun, attempt: NextAttempt) -> None:
    """Have an attempt begin once a deployed run has ended: before, it could not take over the run's records."""
    _waiting[flow_run.id] = attempt


async def start_next_by_hook(flow: object, flow_run: FlowRun, state: State[Any]) -> None:
    """Start the attempt that follows a run, if any; Prefect calls this at the end of the run, in its process."""
    attempt = _waiting.pop(flow_run.id, None)
    if attempt is not None:
        async with get_client() as client:
            await _start(client, flow_run, attempt)


async def _start(client: PrefectClient, flow_run: FlowRun, attempt: NextAttempt) -> None:
    assert flow_run.deployment_id is not None
    plan = await plan_parameter(attempt.compiled.plan, await open_store(None), client)
    parameters = ungrouped(flow_run.parameters)
    parameters |= {PLAN: plan, "resume_from": str(flow_run.id), "refresh": None}
    await client.create_flow_run_from_deployment(
        flow_run.deployment_id, parameters=parameters, labels={HISTORY_LABEL: attempt.history.to_json()}
    )
