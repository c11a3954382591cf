"""A worker's own check of a deployed plan: the run begins where it would work, and ends before its first node."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound

from vibe_prefect.engine.inputs.parameters import CHECK_VARIABLE
from vibe_prefect.errors import UsageError

SECONDS = 120.0
"""How long a worker has to take up the check and to end it."""

POLL_SECONDS = 0.3


async def check_on_worker(client: PrefectClient, deployment_id: UUID, pool: str, seconds: float = SECONDS) -> None:
    """Have a worker of the pool check whether it could run a deployment; the run that does so is deleted again.

    Args:
        client: The server's client.
        deployment_id: The deployment.
        pool: Name of its work pool.
        seconds: How long that may take.

    Raises:
        UsageError: It could not, or no worker took up the check.
    """
    deployment = await client.read_deployment(deployment_id)
    env = {**deployment.job_variables.get("env", {}), CHECK_VARIABLE: "1"}
    run = await client.create_flow_run_from_deployment(deployment_id, job_variables={"env": env})
    try:
        state = await _end(client, run.id, seconds)
    finally:
        with suppress(ObjectNotFound):
            await client.delete_flow_run(run.id)
    if state is None:
        raise UsageError(
            f"no worker of the pool {pool!r} has checked the plan within {seconds:g} s: start one with "
            f"`vibe-prefect worker start --pool {pool}`, or wait until no other run of the deployment is under way"
        )
    if not state.is_completed():
        raise UsageError(f"a worker of the pool {pool!r} could not run the plan: {state.message or state.name}")


async def _end(client: PrefectClient, run_id: UUID, seconds: float) -> State[Any] | None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        run = await client.read_flow_run(run_id)
        if run.state is not None and run.state.is_final():
            return run.state
        await asyncio.sleep(POLL_SECONDS)
    return None
