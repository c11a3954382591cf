"""Placements of the kind `deployment`: a deployment of the flow `run-plan` on another work pool, and runs of it.

A run there is a child flow run of the run that starts it, and executes a branch of the same plan. The two pass results
by way of the records, which both must reach.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal
from uuid import UUID

import httpx
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import TERMINAL_STATES, FlowRun, State, StateType, WorkPoolStatus
from prefect.client.schemas.responses import DeploymentResponse
from prefect.context import FlowRunContext
from prefect.deployments.flow_runs import arun_deployment
from prefect.exceptions import ObjectNotFound
from prefect.states import Cancelling

from vibe_prefect.engine.listing import FLOW_NAME
from vibe_prefect.engine.placements.child_run import child_tag
from vibe_prefect.engine.placements.placement import IDLE_SECONDS
from vibe_prefect.errors import WorkerLostError, did_you_mean
from vibe_prefect.settings.package import variable
from vibe_prefect.settings.placements import PlacementSettings

FIRST_PAUSE, LONGEST_PAUSE = 0.2, 2.0
"""Seconds between two looks at a child run: at first, and in the end."""

NO_ANSWER_SECONDS = 600.0
"""Seconds without an answer of the server after which a child run counts as lost."""

FRESH = timedelta(seconds=60)
"""Longest time since a process that serves a deployment has asked for its runs."""

MAX_LISTED = 200
"""Deployments whose names are compared with one that is not known."""

_FINAL = sorted(kind.value for kind in TERMINAL_STATES)
_NOT_TAKEN = (StateType.SCHEDULED.value,)


@dataclass(frozen=True)
class ChildOrder:
    """Order of one child run."""

    name: str
    """Name of the flow run."""

    parent: UUID
    """Id of the run that starts it."""

    parameters: Mapping[str, Any]
    """Its parameters."""

    storage: str
    """Storage of the records: a folder that both see, or a block."""


class ChildRun:
    """A child run at a deployment."""

    def __init__(self, client: PrefectClient, flow_run: FlowRun) -> None:
        self._client = client
        self.id = flow_run.id
        """Id of the flow run."""
        self.name = flow_run.name
        """Name of the flow run."""

    async def end(self, note_nodes: Callable[[int], object], note_idle: Callable[[], Awaitable[object]]) -> State[Any]:
        """Wait for the end, and return the final state.

        Args:
            note_nodes: Called when more nodes than before have ended, with their number.
            note_idle: Called once where no worker has taken the run for `IDLE_SECONDS`.

        Raises:
            WorkerLostError: The server has not answered for a long time.
        """
        pause, nodes, answered = FIRST_PAUSE, 0, time.monotonic()
        idle = answered + IDLE_SECONDS
        while True:
            try:
                if answered > idle:
                    idle = math.inf
                    if await self._count("flow_runs", _NOT_TAKEN):
                        await note_idle()
                if await self._count("flow_runs"):
                    state = (await self._client.read_flow_run(self.id)).state
                    assert state is not None
                    return state
                ended = await self._count("task_runs")
                answered = time.monotonic()
            except httpx.HTTPError as error:
                if time.monotonic() - answered > NO_ANSWER_SECONDS:
                    raise WorkerLostError(f"the Prefect server does not say how the run {self.name!r} is") from error
                ended = nodes
            if ended > nodes:
                nodes = ended
                note_nodes(nodes)
            await asyncio.sleep(pause)
            pause = min(LONGEST_PAUSE, 1.3 * pause)

    async def cancel(self) -> None:
        """Cancel the run, unless it has ended; its worker stops the process.

        Raises:
            Exception: The server does not answer.
        """
        if not await self._count("flow_runs"):
            await self._client.set_flow_run_state(self.id, Cancelling(message="The run that started it was cancelled"))

    async def _count(self, kind: Literal["flow_runs", "task_runs"], types: Sequence[str] = _FINAL) -> int:
        """Count the run itself, or its task runs, in states of some types: the run's own data may be large."""
        flow_runs: dict[str, Any] = {"id": {"any_": [str(self.id)]}}
        states = {"state": {"type": {"any_": types}}}
        if kind == "flow_runs":
            answer = await self._client.request("POST", "/flow_runs/count", json={"flow_runs": flow_runs | states})
        else:
            both = {"flow_runs": flow_runs, "task_runs": states}
            answer = await self._client.request("POST", "/task_runs/count", json=both)
        return int(answer.json())


@dataclass(frozen=True)
class DeploymentPlacement:
    """A placement of the kind `deployment`."""

    name: str
    """Its name in the settings."""

    deployment: str
    """Name of the deployment, `run-plan/<name>`."""

    settings: PlacementSettings
    """Its settings."""

    async def start(self, client: PrefectClient, order: ChildOrder) -> ChildRun:
        """Start a child run of the current flow run.

        Raises:
            Exception: The server does not start it.
        """
        context = FlowRunContext.get()
        assert context is not None
        deployment = await client.read_deployment_by_name(self.deployment)
        given: Mapping[str, str] = deployment.job_variables.get("env") or {}
        # Prefect links what it knows to parameters by its address, and would draw edges that no plan has.
        with context.model_copy(update={"run_results": {}}):
            flow_run = await arun_deployment(
                deployment.id,
                client=client,
                parameters=self._parameters(order),
                flow_run_name=order.name,
                tags=[child_tag(order.parent)],
                timeout=0,
                as_subflow=True,
                job_variables={"env": {**given, variable("storage"): order.storage}},
            )
        return ChildRun(client, flow_run)

    def _parameters(self, order: ChildOrder) -> dict[str, Any]:
        own = {} if self.settings.concurrency is None else {"concurrency": self.settings.concurrency}
        return {**order.parameters, **own}

    async def problem(self, client: PrefectClient) -> str | None:
        """Return the reason why nothing can be started there; `None` where it can."""
        try:
            deployment = await client.read_deployment_by_name(self.deployment)
        except ObjectNotFound:
            names = [f"{FLOW_NAME}/{found.name}" for found in await client.read_deployments(limit=MAX_LISTED)]
            hint = did_you_mean(self.deployment, names) or "; 'vibe-prefect deploy PLAN --pool POOL' makes one"
            return f"this Prefect server has no deployment {self.deployment!r}{hint}"
        flow = await client.read_flow(deployment.flow_id)
        if flow.name != FLOW_NAME:
            return (
                f"{self.deployment!r} is a deployment of the flow {flow.name!r}, and not of {FLOW_NAME!r}, which runs "
                "plans: 'vibe-prefect deploy PLAN --pool POOL' makes one"
            )
        return None

    async def warning(self, client: PrefectClient) -> str | None:
        """Return the reason why a run that is started there will wait for now; `None` where nothing says so."""
        deployment = await client.read_deployment_by_name(self.deployment)
        pool = deployment.work_pool_name
        if pool is None:
            return None if _is_served(deployment) else f"no process serves the deployment {self.deployment!r}"
        found = await client.read_work_pool(pool)
        if found.is_paused:
            return f"the work pool {pool!r} is paused: `prefect work-pool resume {pool}`"
        if found.is_push_pool or found.is_managed_pool or found.status is WorkPoolStatus.READY:
            return None
        return (
            f"no worker of the pool {pool!r} is online: start one there with `vibe-prefect worker start --pool {pool}`"
        )


def _is_served(deployment: DeploymentResponse) -> bool:
    polled = deployment.last_polled
    return not deployment.paused and polled is not None and datetime.now(UTC) - polled < FRESH
