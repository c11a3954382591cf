"""Replacement of an existing deployment: its owner, and the changes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import DeploymentSchedule
from prefect.client.schemas.responses import DeploymentResponse
from prefect.client.schemas.schedules import CronSchedule, IntervalSchedule

from vibe_prefect.engine.deploy.deployments import (
    PlanDeployment,
    is_for_serving,
    overlap_of,
    still_served,
    working_folder,
)
from vibe_prefect.engine.inputs.option_group import INPUTS, ungrouped
from vibe_prefect.engine.inputs.plan_parameter import given_plan
from vibe_prefect.engine.inputs.plan_store import PLAN, kept_plan
from vibe_prefect.errors import UsageError, VibePrefectError
from vibe_prefect.plan.comparison import diff_plans
from vibe_prefect.plan.compiler import CompiledPlan, compile_plan
from vibe_prefect.text.units import counted, listed
from vibe_prefect.tools.registry import ToolRegistry

MAX_NAMED = 5
"""Number of changed nodes that a line names before it only counts."""


async def check_deployable(client: PrefectClient, deployment: DeploymentResponse, plan: object, *, named: bool) -> None:
    """Refuse to replace a deployment that is served, or that belongs to another plan.

    Args:
        client: The server's client.
        deployment: The existing deployment.
        plan: The parameter `plan` of the new one.
        named: Whether the user gave the deployment's name, and so means this one.

    Raises:
        UsageError: A process serves it, or it runs another plan that only has the same id.
    """
    name = deployment.name
    if await still_served(client, deployment):
        raise UsageError(f"run-plan/{name} is served by a process; end that first, or give another --name")
    before = ungrouped(deployment.parameters).get(PLAN)
    if named or is_for_serving(deployment) or before == plan or not (_is_name(before) or _is_name(plan)):
        return
    earlier = f"the stored plan {before!r}" if _is_name(before) else "the plan of a file"
    later = f"the stored plan {plan!r}" if _is_name(plan) else "that of this file"
    raise UsageError(
        f"run-plan/{name} runs {earlier}, whose id is the same; to have it run {later} from now on, say "
        f"--name {name}; for a deployment besides, say another --name"
    )


def check_servable(deployment: DeploymentResponse | None) -> None:
    """Refuse to serve under the name of a deployment that workers run.

    Raises:
        UsageError: A work pool has it.
    """
    if deployment is not None and not is_for_serving(deployment):
        raise UsageError(
            f"run-plan/{deployment.name} is deployed to the work pool {deployment.work_pool_name!r}, and serving "
            "the plan would take it, with its schedule, from there; give another --name to serve it beside"
        )


async def plan_change(
    deployment: DeploymentResponse, plan: CompiledPlan, tools: ToolRegistry, client: PrefectClient
) -> str:
    """Describe how a deployment's plan differs from the plan that takes its place, as a line for people.

    Args:
        deployment: The deployment as it is.
        plan: The plan that takes the place of its own.
        tools: The tools, to compile the earlier plan with.
        client: The server's client.
    """
    try:
        earlier_plan = await given_plan(ungrouped(deployment.parameters).get(PLAN), client)
        earlier = compile_plan(earlier_plan.plan, tools=tools)
    except VibePrefectError as error:
        return f"plan replaced; the earlier one cannot be compared: {str(error).splitlines()[0]}"
    difference = diff_plans(earlier, plan)
    if difference.is_empty:
        return "plan unchanged"
    ids = dict.fromkeys([*difference.added, *difference.removed, *difference.changed, *difference.moved])
    if not ids:
        return f"plan changed: {', '.join(change.path for change in difference.plan)}"
    return f"plan changed: {counted(len(ids), 'node')} ({listed(list(ids), MAX_NAMED)})"


def changes(earlier: DeploymentResponse, later: PlanDeployment, folder: Path) -> Iterator[str]:
    """Yield the parts of a deployment that stay and those that are replaced, each as a line for people.

    Args:
        earlier: The deployment as it was.
        later: The deployment that takes its place.
        folder: The working folder from now on.
    """
    yield from schedule_changes(earlier, later)
    if later.overlap is not None and later.overlap != overlap_of(earlier):
        yield f"overlap changed: {overlap_of(earlier)} -> {later.overlap}"
    if parameters := sorted(set(ungrouped(earlier.parameters)) - {PLAN, INPUTS}):
        yield f"parameters kept: {', '.join(parameters)}"
    if is_for_serving(earlier):
        yield "it was served by a process before, and is for workers from now on"
        return
    before = working_folder(earlier)
    if before is not None and folder != before:
        yield f"working folder changed: {before} -> {folder}"
    if earlier.paused:
        yield f"paused, as before: `prefect deployment resume run-plan/{later.name}` has its schedules start runs again"


def schedule_changes(earlier: DeploymentResponse, later: PlanDeployment) -> Iterator[str]:
    """Yield each schedule of a deployment with its fate, removed or kept, as a line for people."""
    replaced = later.schedule is not None or later.drop_schedules
    for schedule in earlier.schedules:
        yield f"schedule {'removed' if replaced else 'kept'}: {schedule_text(schedule)}"


def schedule_text(schedule: DeploymentSchedule) -> str:
    """Describe a schedule for people."""
    match schedule.schedule:
        case CronSchedule() as timed:
            text = f"{timed.cron!r} in {timed.timezone or 'UTC'}"
        case IntervalSchedule() as timed:
            text = f"every {timed.interval}"
        case other:
            text = str(getattr(other, "rrule", other))
    return text if schedule.active else f"{text}, which is off"


def _is_name(plan: object) -> bool:
    """Return whether a parameter `plan` names a stored plan or a file."""
    return isinstance(plan, str) and kept_plan(plan) is None
