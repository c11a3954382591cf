"""`vibe-prefect deploy`: a deployment of one plan for the workers of a pool, by hand or by the clock."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_prefect.cli.console import Screen, out
from vibe_prefect.cli.environment import ask
from vibe_prefect.cli.exits import PROGRAM, ExitCode
from vibe_prefect.cli.plans import ready
from vibe_prefect.cli.schedules import DEFAULT_ZONE, print_schedule, schedule_of
from vibe_prefect.cli.standing import standing_server, ui_address
from vibe_prefect.compiler import Simulate
from vibe_prefect.errors import PlanError, UsageError
from vibe_prefect.models import WorkflowPlan

if TYPE_CHECKING:
    from vibe_prefect.engine.cron import CronReading
    from vibe_prefect.engine.deployments import Overlap, PlanDeployment

_STORED = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True)
class DeployRequest:
    """What the user asked for."""

    plan: str
    """A plan file, or the name of a stored plan."""

    name: str | None
    """Name of the deployment; the plan's id when left out."""

    cron: str | None
    timezone: str | None
    overlap: Overlap
    pool: str
    folder: Path
    tags: tuple[str, ...]


def deploy(request: DeployRequest) -> int:
    """Make or renew the deployment."""
    if not request.folder.is_dir():
        raise UsageError(f"--working-dir {str(request.folder)!r} is not a folder")
    from vibe_prefect.engine.deployment_checks import check_content, check_folder, check_name, check_pool_name

    check_folder("--working-dir", request.folder.resolve())
    check_pool_name("--pool", request.pool)
    if request.name is not None:
        check_name("--name", request.name)
    local = None if _STORED.fullmatch(request.plan) else ready(request.plan).compiled.plan
    if local is not None:
        check_content(local)
    reading = schedule_of(request.cron, request.timezone)
    server = standing_server()
    ask(server, _deploy(request, local, reading, out()))
    return ExitCode.COMPLETED


async def _deploy(
    request: DeployRequest, local: WorkflowPlan | None, reading: CronReading | None, screen: Screen
) -> None:
    from prefect.client.orchestration import get_client

    from vibe_prefect.engine.deployments import ensure_pool
    from vibe_prefect.engine.plan_store import plan_parameter
    from vibe_prefect.engine.storage import open_store

    async with get_client() as client:
        plan = local or await _stored(client, request.plan)
        parameter = request.plan if local is None else await plan_parameter(local, await open_store(None), client)
        deployment = _deployment(request, plan, reading, parameter)
        if await ensure_pool(client, request.pool):
            screen.say(f"made the work pool {request.pool!r}, of type process")
        built = deployment.build_for(request.pool, request.folder.resolve())
        id = await built.aapply()
    _print(screen, request, deployment, str(id))
    print_schedule(screen, reading)


async def _stored(client: Any, name: str) -> WorkflowPlan:
    from vibe_prefect.compiler import compile_plan, whole_error
    from vibe_prefect.engine.blocks import stored_plan
    from vibe_prefect.engine.toolbox import configured_registry

    tools = configured_registry()
    try:
        loaded = await stored_plan(client, name)
    except PlanError as error:
        raise whole_error(error, tools=tools) from None
    compile_plan(loaded.plan, tools=tools, simulate=Simulate.NEVER, source=loaded.source)
    return loaded.plan


def _deployment(
    request: DeployRequest, plan: WorkflowPlan, reading: CronReading | None, parameter: object
) -> PlanDeployment:
    from vibe_prefect.engine.deployments import PlanDeployment

    return PlanDeployment(
        name=plan.id if request.name is None else request.name,
        description=plan.source_vibe.description,
        plan=parameter,
        schedule=reading.schedule if reading else None,
        tags=request.tags,
        overlap=request.overlap,
    )


def _print(screen: Screen, request: DeployRequest, deployment: PlanDeployment, id: str) -> None:
    from vibe_prefect.engine.plan_store import kept_plan
    from vibe_prefect.settings import variable

    when = f", at '{request.cron}' in {request.timezone or DEFAULT_ZONE}" if request.cron else ""
    screen.say(f"deployed run-plan/{deployment.name}{when}; it runs in {request.folder.resolve()}")
    if address := ui_address(f"/deployments/deployment/{id}"):
        screen.say(f"run it   {address}")
    else:
        screen.say(f"run it   prefect deployment run 'run-plan/{deployment.name}'")
    if kept := kept_plan(deployment.plan):
        where = f"{kept.path} in the storage of records, which the worker must share"
        screen.say(f"plan     it is large, so it is kept as {where} ({variable('storage')})")
    screen.say(f"worker   {PROGRAM} worker start --pool {request.pool}")
