"""Inputs and facts that a run takes over: from its deployment, its schedule, and the run that it resumes."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import ObjectNotFound

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.run_values import DEFAULT_ZONE, RunFacts, known_zone
from vibe_prefect.engine.inputs.option_group import ungrouped
from vibe_prefect.engine.past_run import ZONE_LABEL, PastRun
from vibe_prefect.engine.prefect_seam.meanings import schedule_of
from vibe_prefect.engine.runs.resume_target import find_run
from vibe_prefect.plan.inputs.given import fitting_inputs
from vibe_prefect.run.run_options import RunOptions


async def inherited_inputs(
    client: PrefectClient, flow_run: FlowRun, plan: WorkflowPlan, options: RunOptions
) -> dict[str, Any]:
    """Return the inputs of a deployed run: its own before those of the run that it resumes, or of its deployment.

    Args:
        client: The server's client.
        flow_run: The run.
        plan: Its plan; what that does not declare, or does not fit, is not taken over.
        options: Its options, with its own inputs.
    """
    if not plan.inputs or not plan.inputs.keys() - options.inputs.keys():
        return options.inputs
    if options.resume_from:
        return await earlier_inputs(client, options.resume_from, plan) | options.inputs
    return fitting_inputs(plan, await _deployed_inputs(client, flow_run)) | options.inputs


async def earlier_inputs(client: PrefectClient, reference: str, plan: WorkflowPlan) -> dict[str, Any]:
    """Return the inputs of a run to resume, as far as a plan, edited since perhaps, takes them.

    Args:
        client: The server's client.
        reference: The run's name or id.
        plan: The plan.

    Raises:
        UnknownRunError: There is no such run.
    """
    return fitting_inputs(plan, (await find_run(client, reference)).parameters.inputs)


async def _deployed_inputs(client: PrefectClient, flow_run: FlowRun) -> dict[str, Any]:
    if flow_run.deployment_id is None:
        return {}
    try:
        deployment = await client.read_deployment(flow_run.deployment_id)
    except ObjectNotFound:
        return {}
    inputs: object = ungrouped(deployment.parameters).get("inputs")
    return cast("dict[str, Any]", inputs) if isinstance(inputs, dict) else {}


async def run_facts(client: PrefectClient, root: PastRun) -> RunFacts:
    """Return the facts of a resume chain, and note its time zone in the first run, where they are read from later.

    Args:
        client: The server's client.
        root: The first run of the chain.
    """
    if root.zone is not None:
        return root.facts
    zone = await _schedule_zone(client, root.id)
    if zone is None or zone == DEFAULT_ZONE:
        return root.facts
    await client.update_flow_run_labels(root.id, {ZONE_LABEL: zone})
    return RunFacts(root.name, root.due, zone)


async def _schedule_zone(client: PrefectClient, run_id: UUID) -> str | None:
    """Return the time zone of the schedule that started a run; `None` without a schedule, or where it has gone."""
    ids = schedule_of(await client.read_flow_run(run_id))
    if ids is None:
        return None
    try:
        deployment = await client.read_deployment(ids[0])
    except ObjectNotFound:
        return None
    schedules = (schedule for schedule in deployment.schedules if schedule.id == ids[1])
    return next((known_zone(getattr(schedule.schedule, "timezone", None)) for schedule in schedules), None)
