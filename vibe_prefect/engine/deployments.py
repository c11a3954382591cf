"""Deployments of one plan each: what a plan's own entry in the Prefect UI says and holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner.storage import LocalStorage
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType

from vibe_prefect.engine.flow import run_plan
from vibe_prefect.engine.operator_roots import roots_environment

Overlap = Literal["wait", "skip", "allow"]
"""What becomes of a run whose deployment is running already."""

ENTRYPOINT = "vibe_prefect.engine.flow.run_plan"
"""Where workers find the flow: by import, so they need the package and no copy of anybody's files."""

TAG = "vibe-prefect"
"""Tag of every deployment that this package makes."""


ASKED = timedelta(seconds=10)
"""How recently a process that serves a deployment has asked for its runs."""


@dataclass(frozen=True)
class PlanDeployment:
    """A deployment of the flow `run_plan` for one plan."""

    name: str
    """Its name; the flow's name comes before it."""

    description: str
    """What the UI says of it: the plan's vibe."""

    plan: Any
    """The parameter `plan`: a plan as data, the path of its file, or the name of a stored plan."""

    schedule: Schedule | None = None
    """When it runs by itself."""

    tags: tuple[str, ...] = ()
    """Tags of its runs."""

    overlap: Overlap = "allow"
    """What becomes of a run whose deployment is running already."""

    def build(self) -> RunnerDeployment:
        """Return it in Prefect's words, as something to serve."""
        built = RunnerDeployment.from_flow(
            run_plan,
            name=self.name,
            description=self.description,
            parameters={"plan": self.plan},
            schedule=self.schedule,
            tags=sorted({TAG, *self.tags}),
            concurrency_limit=_limit(self.overlap),
            enforce_parameter_schema=True,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        built.entrypoint = ENTRYPOINT
        return built

    def build_for(self, pool: str, folder: Path) -> RunnerDeployment:
        """Return it for the workers of a pool, with the folders that are set here.

        Args:
            pool: Name of the work pool.
            folder: The workers' working folder: plans read and write below it.
        """
        built = self.build()
        built.work_pool_name = pool
        built.storage = LocalStorage(path=str(folder))
        if roots := roots_environment():
            built.job_variables = {"env": roots}
        return built


async def ensure_pool(client: PrefectClient, name: str) -> bool:
    """Make a work pool of type `process`, unless there is a pool of that name.

    Returns:
        Whether it was made.
    """
    try:
        await client.read_work_pool(name)
    except ObjectNotFound:
        await client.create_work_pool(WorkPoolCreate(name=name, type="process"))
        return True
    return False


async def is_served(client: PrefectClient, name: str) -> bool:
    """Tell whether a process seems to serve a deployment: it asks for runs, and at its end it pauses the deployment."""
    try:
        found = await client.read_deployment_by_name(f"{run_plan.name}/{name}")
    except ObjectNotFound:
        return False
    polled = found.last_polled
    return not found.paused and polled is not None and datetime.now(UTC) - polled < ASKED


def _limit(overlap: Overlap) -> ConcurrencyLimitConfig | None:
    match overlap:
        case "allow":
            return None
        case "wait":
            strategy = ConcurrencyLimitStrategy.ENQUEUE
        case "skip":
            strategy = ConcurrencyLimitStrategy.CANCEL_NEW
    return ConcurrencyLimitConfig(limit=1, collision_strategy=strategy)
