"""Deployments of one plan each: a plan's own entry in the Prefect UI."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal, cast

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate, WorkPoolCreate
from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy, DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.deployments.runner import RunnerDeployment
from prefect.exceptions import ObjectNotFound
from prefect.runner.storage import LocalStorage
from prefect.schedules import Schedule
from prefect.types.entrypoint import EntrypointType

from vibe_prefect.engine.deploy.compact_form import compact_form
from vibe_prefect.engine.flow import run_plan
from vibe_prefect.engine.inputs.operator_roots import roots_environment
from vibe_prefect.engine.inputs.option_group import INPUTS, ungrouped
from vibe_prefect.engine.prefect_seam.flows import extend_form

Overlap = Literal["wait", "skip", "allow"]
"""Handling of a run whose deployment is running already."""

ENTRYPOINT = "vibe_prefect.engine.flow.run_plan"
"""Import path of the flow for workers: they need the package and no copy of anybody's files."""

TAG = "vibe-prefect"
"""Tag of every deployment that this package makes."""


LOOK_SECONDS = 0.3
"""Seconds between two looks at whether a process still asks for runs."""

ASKED = timedelta(seconds=10)
"""Longest time since a process that serves a deployment has asked for its runs."""


@dataclass(frozen=True)
class PlanDeployment:
    """A deployment of the flow `run_plan` for one plan. `None` in a field keeps the earlier deployment's value."""

    name: str
    """Its name; the flow's name comes before it."""

    description: str
    """Description in the UI: the plan's vibe."""

    plan: Any
    """The parameter `plan`: a plan as data, the path of its file, or the name of a stored plan."""

    schedule: Schedule | None = None
    """Schedule of its runs, in place of earlier schedules."""

    tags: tuple[str, ...] | None = None
    """Tags of its runs."""

    overlap: Overlap | None = None
    """Handling of a run whose deployment is running already; without it such runs overlap."""

    earlier: DeploymentResponse | None = None
    """The deployment of that name that is there already."""

    drop_schedules: bool = False
    """Whether the earlier schedules go although there is no new one."""

    inputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Values of the plan's inputs that its runs take where they give none, by name."""

    declared: Mapping[str, Mapping[str, Any]] = field(default_factory=dict[str, Mapping[str, Any]])
    """The inputs that the plan declares, each with its JSON Schema; they are fields of the deployment's form."""

    def build(self) -> RunnerDeployment:
        """Build Prefect's own deployment object, for serving."""
        earlier = self.earlier
        before = ungrouped(earlier.parameters) if earlier else {}
        before.pop(INPUTS, None)
        built = RunnerDeployment.from_flow(
            run_plan,
            name=self.name,
            description=self.description,
            parameters={**before, "plan": self.plan, **({INPUTS: dict(self.inputs)} if self.inputs else {})},
            schedule=self.schedule,
            tags=self._tags(),
            concurrency_limit=_limit(self.overlap) if self.overlap else _limit_of(earlier),
            enforce_parameter_schema=True,
            entrypoint_type=EntrypointType.MODULE_PATH,
        )
        if earlier and self.schedule is None and not self.drop_schedules:
            built.schedules = [_copied(schedule) for schedule in earlier.schedules]
        built.entrypoint = ENTRYPOINT
        extend_form(built, lambda form: compact_form(form, self.declared, self.inputs))
        return built

    def build_for(self, pool: str, folder: Path) -> RunnerDeployment:
        """Build Prefect's own deployment object for the workers of a pool, with the folders that are set here.

        Args:
            pool: Name of the work pool.
            folder: The workers' working folder: plans read and write below it.
        """
        built = self.build()
        built.work_pool_name = pool
        built.storage = LocalStorage(path=str(folder))
        if self.earlier and self.earlier.work_pool_name == pool:
            built.work_queue_name = self.earlier.work_queue_name
            built.job_variables = dict(self.earlier.job_variables)
        if roots := roots_environment():
            built.job_variables = {**built.job_variables, "env": {**built.job_variables.get("env", {}), **roots}}
        if self.earlier:  # what `serve` paused at its end is for workers now
            built.paused = self.earlier.paused and not is_for_serving(self.earlier)
        return built

    def _tags(self) -> list[str]:
        earlier = self.earlier.tags if self.earlier else ()
        return sorted({TAG, *(earlier if self.tags is None else self.tags)})


def inputs_of(deployment: DeploymentResponse | None) -> dict[str, Any]:
    """Return the values of inputs that a deployment gives."""
    inputs: object = ungrouped(deployment.parameters).get(INPUTS) if deployment else None
    return cast("dict[str, Any]", inputs) if isinstance(inputs, dict) else {}


def working_folder(deployment: DeploymentResponse | None) -> Path | None:
    """Return the folder in which workers run a deployment; `None` where it says none."""
    steps = (deployment.pull_steps if deployment else None) or []
    folders = [step.get("prefect.deployments.steps.set_working_directory", {}).get("directory") for step in steps]
    return next((Path(folder) for folder in folders if folder), None)


def is_for_serving(deployment: DeploymentResponse) -> bool:
    """Return whether a deployment is for `serve`: it has no work pool."""
    return deployment.work_pool_name is None


async def deployment_of(client: PrefectClient, name: str) -> DeploymentResponse | None:
    """Return the deployment of a name; `None` where there is none."""
    try:
        return await client.read_deployment_by_name(f"{run_plan.name}/{name}")
    except ObjectNotFound:
        return None


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


def is_served(deployment: DeploymentResponse | None) -> bool:
    """Return whether a process seems to serve a deployment: it asks for runs, and pauses the deployment at its end."""
    if deployment is None or not is_for_serving(deployment):
        return False
    polled = deployment.last_polled
    return not deployment.paused and polled is not None and datetime.now(UTC) - polled < ASKED


async def still_served(client: PrefectClient, deployment: DeploymentResponse) -> bool:
    """Return whether a process serves a deployment: a killed one has not paused it, but asks for runs no more."""
    now: DeploymentResponse | None = deployment
    while is_served(now):
        if now is None or now.last_polled != deployment.last_polled:
            return True
        await asyncio.sleep(LOOK_SECONDS)
        now = await deployment_of(client, deployment.name)
    return False


def overlap_of(deployment: DeploymentResponse) -> Overlap:
    """Return the handling of a run whose deployment is running already."""
    limit = _limit_of(deployment)
    if limit is None:
        return "allow"
    return "skip" if limit.collision_strategy is ConcurrencyLimitStrategy.CANCEL_NEW else "wait"


def _copied(schedule: DeploymentSchedule) -> DeploymentScheduleCreate:
    return DeploymentScheduleCreate(
        schedule=schedule.schedule, active=schedule.active, parameters=schedule.parameters, slug=schedule.slug
    )


def _limit_of(deployment: DeploymentResponse | None) -> ConcurrencyLimitConfig | None:
    if deployment is None or deployment.global_concurrency_limit is None:
        return None
    options = deployment.concurrency_options
    strategy = options.collision_strategy if options else ConcurrencyLimitStrategy.ENQUEUE
    return ConcurrencyLimitConfig(limit=deployment.global_concurrency_limit.limit, collision_strategy=strategy)


def _limit(overlap: Overlap) -> ConcurrencyLimitConfig | None:
    match overlap:
        case "allow":
            return None
        case "wait":
            strategy = ConcurrencyLimitStrategy.ENQUEUE
        case "skip":
            strategy = ConcurrencyLimitStrategy.CANCEL_NEW
    return ConcurrencyLimitConfig(limit=1, collision_strategy=strategy)
