"""Reader and compiler of the plan that a command names."""

from __future__ import annotations

from vibe_prefect.cli.reading.inputs import InputArguments
from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.operations import CheckedPlan, validate


def ready(path: str, *, simulate: bool = False, inputs: InputArguments | None = None) -> CheckedPlan:
    """Load and compile a plan file, without Prefect.

    Args:
        path: The file.
        simulate: Whether it is for a simulated run.
        inputs: Inputs of a run; `None` to check the plan alone, whatever it requires.

    Raises:
        UsageError: The file is not a valid plan, or the plan cannot run as written, or with these inputs.
    """
    checked = validate(path, simulate=simulate, tools=command_registry())
    return checked if inputs is None else checked.with_inputs(inputs.values(checked.compiled.plan.inputs))
