"""Inputs of a deployed plan: the values that a deployment gives to its runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import InputsError
from vibe_prefect.plan.inputs.given import fitting_inputs, given_problems, input_values

if TYPE_CHECKING:
    from prefect.client.schemas.responses import DeploymentResponse


def deployed_inputs(
    plan: WorkflowPlan, given: InputArguments, earlier: DeploymentResponse | None, *, always: bool
) -> dict[str, Any]:
    """Return the values of inputs that a deployment gives: those given now before those that it has already.

    Args:
        plan: The plan.
        given: The values that are given now.
        earlier: The deployment of the name that is there already.
        always: Whether runs start to which nobody gives inputs, so that none may be missing.

    Raises:
        InputsError: An input is unknown, missing, or has a value that does not fit.
    """
    from vibe_prefect.engine.deploy.deployments import inputs_of

    stated = given.of(plan)
    if problems := given_problems(plan, stated):
        raise InputsError(problems, plan.id)
    inputs = fitting_inputs(plan, inputs_of(earlier)) | stated
    if always:
        input_values(plan, inputs)
    return inputs
