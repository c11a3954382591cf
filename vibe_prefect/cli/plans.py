"""Reading and compiling the plan that a command names."""

from __future__ import annotations

from dataclasses import dataclass

from vibe_prefect.cli.toolbox import command_registry
from vibe_prefect.compiler import CompiledPlan, Simulate, compile_plan, whole_error
from vibe_prefect.errors import PlanError
from vibe_prefect.planfile import load_plan
from vibe_prefect.tools.registry import ToolRegistry


@dataclass(frozen=True)
class ReadyPlan:
    """A plan that can run, and the tools it was checked against."""

    compiled: CompiledPlan
    tools: ToolRegistry


def ready(path: str, simulate: Simulate) -> ReadyPlan:
    """Load and compile a plan file, without Prefect.

    Raises:
        UsageError: The file is no plan, or the plan cannot run as written.
    """
    tools = command_registry()
    try:
        loaded = load_plan(path)
    except PlanError as error:
        raise whole_error(error, tools=tools, simulate=simulate) from None
    compiled = compile_plan(loaded.plan, tools=tools, simulate=simulate, source=loaded.source)
    return ReadyPlan(compiled, tools)


def mode(*, simulate: bool) -> Simulate:
    """Return what `--simulate` asks for."""
    return Simulate.ALL if simulate else Simulate.NEVER
