"""`vibe-prefect deploy`: a deployment of one plan for the workers of a pool, by hand or by the clock."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_prefect.cli.defaults import POOL
from vibe_prefect.cli.deploying.schedules import ScheduleOptions, print_schedule
from vibe_prefect.cli.display.console import Screen, flush, out
from vibe_prefect.cli.display.lines import inputs_line
from vibe_prefect.cli.exits import PROGRAM, ExitCode
from vibe_prefect.cli.process.environment import ask
from vibe_prefect.cli.process.standing import standing_server
from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.cli.reading.plans import ready
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import PlanError, UsageError
from vibe_prefect.operations import CheckedPlan
from vibe_prefect.plan.compiler import Simulate

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse

    from vibe_prefect.engine.deploy.cron import CronReading
    from vibe_prefect.engine.deploy.deployments import Overlap, PlanDeployment

_STORED = re.compile(r"[a-z0-9-]+")


@dataclass(frozen=True)
class DeployRequest:
    """Arguments of the command. `None` or an empty value keeps that of an earlier deployment of the name."""

    plan: str
    """A plan file, or the name of a stored plan."""

    name: str | None
    """Name of the deployment; the plan's id when left out."""

    schedule: ScheduleOptions
    overlap: Overlap | None
    pool: str | None
    folder: Path | None
    tags: tuple[str, ...]
    check: bool = False
    """Whether a worker is to check that it could run the plan."""

    inputs: InputArguments = field(default_factory=InputArguments)
    """Values of inputs for its runs."""


def deploy(request: DeployRequest) -> int:
    """Create or update the deployment."""
    if request.folder is not None and not request.folder.is_dir():
        raise UsageError(f"--working-dir {str(request.folder)!r} is not a folder")
    from vibe_prefect.engine.deploy.deployment_checks import check_content, check_folder, check_name, check_pool_name

    check_folder("--working-dir", (request.folder or Path()).resolve())
    if request.pool is not None:
        check_pool_name("--pool", request.pool)
    if request.name is not None:
        check_name("--name", request.name)
    local = None if _STORED.fullmatch(request.plan) else ready(request.plan)
    if local is not None:
        check_content(local.compiled.plan)
    reading = request.schedule.reading()
    server = standing_server()
    ask(server, _deploy(request, local, reading, out()))
    return ExitCode.COMPLETED


async def _deploy(
    request: DeployRequest, local: CheckedPlan | None, reading: CronReading | None, screen: Screen
) -> None:
    from prefect.client.orchestration import get_client

    from vibe_prefect.cli.deploying.inputs import deployed_inputs
    from vibe_prefect.engine.deploy.deployments import deployment_of, ensure_pool, working_folder
    from vibe_prefect.engine.deploy.redeployment import changes, check_deployable, plan_change
    from vibe_prefect.engine.deploy.worker_check import check_on_worker
    from vibe_prefect.engine.inputs.plan_store import plan_parameter
    from vibe_prefect.engine.records.storage import open_store
    from vibe_prefect.plan.worker_needs import worker_needs

    async with get_client() as client:
        checked = local or await _stored(client, request.plan)
        plan = checked.compiled.plan
        parameter = request.plan if local is None else await plan_parameter(plan, await open_store(None), client)
        earlier = await deployment_of(client, plan.id if request.name is None else request.name)
        if earlier is not None:
            await check_deployable(client, earlier, parameter, named=request.name is not None)
        inputs = deployed_inputs(plan, request.inputs, earlier, always=request.check or _recurs(request, earlier))
        deployment = _deployment(request, plan, reading, parameter, earlier, inputs)
        pool = request.pool or (earlier.work_pool_name if earlier else None) or POOL
        folder = (request.folder or working_folder(earlier) or Path()).resolve()
        if await ensure_pool(client, pool):
            screen.say(f"made the work pool {pool!r}, of type process")
        id = await deployment.build_for(pool, folder).aapply()
        needs = list(worker_needs(checked.compiled, checked.tools))
        change_lines: list[str] = []
        if earlier is not None:
            change_lines = [
                await plan_change(earlier, checked.compiled, checked.tools, client),
                *changes(earlier, deployment, folder),
            ]
    screen.say(f"{_done(deployment)}; it runs in {folder}")
    for line in change_lines:
        screen.say(f"         {line}")
    if deployment.inputs:
        screen.say(f"inputs   {inputs_line(deployment.inputs)}")
    for line in needs:
        screen.say(f"needs    {line}")
    _print_ways(screen, deployment, pool, str(id))
    print_schedule(screen, reading)
    if request.check:
        flush()
        async with get_client() as client:
            await check_on_worker(client, id, pool)
        screen.say(f"checked  a worker of the pool {pool!r} could run it")


async def _stored(client: Any, name: str) -> CheckedPlan:
    from vibe_prefect.engine.inputs.configured_tools import configured_registry
    from vibe_prefect.engine.inputs.plan_block import stored_plan
    from vibe_prefect.plan.compiler import compile_plan, whole_error

    tools = configured_registry()
    try:
        loaded = await stored_plan(client, name)
    except PlanError as error:
        raise whole_error(error, tools=tools) from None
    return CheckedPlan(compile_plan(loaded.plan, tools=tools, simulate=Simulate.NEVER, source=loaded.source), tools)


def _deployment(  # noqa: PLR0913 - the parts of a deployment
    request: DeployRequest,
    plan: WorkflowPlan,
    reading: CronReading | None,
    parameter: object,
    earlier: DeploymentResponse | None,
    inputs: Mapping[str, Any],
) -> PlanDeployment:
    from vibe_prefect.engine.deploy.deployments import PlanDeployment

    return PlanDeployment(
        name=plan.id if request.name is None else request.name,
        description=plan.source_vibe.description,
        plan=parameter,
        schedule=reading.schedule if reading else None,
        tags=request.tags or None,
        overlap=request.overlap or (None if earlier else "wait"),
        earlier=earlier,
        drop_schedules=request.schedule.no_cron,
        inputs=inputs,
        declared=plan.inputs,
    )


def _recurs(request: DeployRequest, earlier: DeploymentResponse | None) -> bool:
    """Return whether a schedule will start runs, to which nobody gives inputs."""
    if request.schedule.no_cron:
        return False
    return request.schedule.cron is not None or bool(earlier and earlier.schedules)


def _done(deployment: PlanDeployment) -> str:
    verb = "renewed" if deployment.earlier else "deployed"
    schedule = deployment.schedule
    when = f", at {schedule.cron!r} in {schedule.timezone}" if schedule else ""
    return f"{verb} run-plan/{deployment.name}{when}"


def _print_ways(screen: Screen, deployment: PlanDeployment, pool: str, id: str) -> None:
    """Print the ways to run the deployment."""
    from vibe_prefect.engine.inputs.plan_store import kept_plan
    from vibe_prefect.engine.server.ui_pages import ui_page
    from vibe_prefect.settings.package import variable

    if address := ui_page(f"/deployments/deployment/{id}"):
        screen.say(f"run it   {address}")
    else:
        screen.say(f"run it   prefect deployment run 'run-plan/{deployment.name}'")
    if stored_plan := kept_plan(deployment.plan):
        where = f"{stored_plan.path} in the storage of records, which the worker must share"
        screen.say(f"plan     it is large, so it is kept as {where} ({variable('storage')})")
    screen.say(f"worker   {PROGRAM} worker start --pool {pool}")
