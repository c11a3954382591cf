"""Reader and compiler of the plan that a command names."""

from __future__ import annotations

from vibe_prefect.cli.reading.toolbox import command_registry
from vibe_prefect.operations import CheckedPlan, validate


def ready(path: str, *, simulate: bool = False) -> CheckedPlan:
    """Load and compile a plan file, without Prefect.

    Raises:
        UsageError: The file is not a valid plan, or the plan cannot run as written.
    """
    return validate(path, simulate=simulate, tools=command_registry())
