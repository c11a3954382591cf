"""Reading and checking a plan, without Prefect where the tools are given."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import PlanError
from vibe_prefect.plan.compiler import CompiledPlan, Simulate, compile_plan, whole_error
from vibe_prefect.plan.graph import PlanSource
from vibe_prefect.plan.reading.plan_file import LoadedPlan, load_plan, read_plan
from vibe_prefect.tools.registry import ToolRegistry

GivenInputs = Mapping[str, Any] | Callable[[WorkflowPlan], Mapping[str, Any]]
"""Inputs of a run by name, or a function that reads them as the plan declares them."""


@dataclass(frozen=True)
class WrittenPlan:
    """A plan as text, YAML or JSON, that is in no file. It has no parts in other files."""

    text: str
    """The text."""

    name: str = "<plan>"
    """Name of the text in messages."""


@dataclass(frozen=True)
class CheckedPlan:
    """A plan that can run, and the tools it was checked against."""

    compiled: CompiledPlan
    """The plan, compiled."""

    tools: ToolRegistry
    """The tools."""

    def with_inputs(self, given: Mapping[str, Any]) -> CheckedPlan:
        """Return this plan with the inputs of a run; see `CompiledPlan.with_inputs`."""
        return replace(self, compiled=self.compiled.with_inputs(given))


def validate(
    plan: WorkflowPlan | WrittenPlan | str | Path,
    *,
    simulate: bool = False,
    tools: ToolRegistry | None = None,
    inputs: Mapping[str, Any] | None = None,
) -> CheckedPlan:
    """Check a plan as a run of it would, and execute nothing.

    Args:
        plan: The plan, its text, or the path of its file.
        simulate: Whether to check it as for a simulated run: a node need have no tool behind it, nor a placement.
        tools: The tools that it may name; by default those that the settings configure.
        inputs: The inputs of a run, to be checked too; by default the plan alone is checked, whatever it requires.

    Raises:
        PlanError: The file is not a valid plan, or the plan cannot run as written; the error has every problem.
        InputsError: An input is unknown, missing, or has a value that does not fit.
    """
    tools = configured_tools() if tools is None else tools
    mode = simulation(simulate=simulate)
    if isinstance(plan, WorkflowPlan):
        checked = CheckedPlan(compile_plan(plan, tools=tools, simulate=mode), tools)
        if not simulate:
            check_placements_of(checked.compiled)
        return checked if inputs is None else checked.with_inputs(inputs)
    try:
        loaded = load(plan)
    except PlanError as error:
        raise whole_error(error, tools=tools, simulate=mode) from None
    checked = CheckedPlan(compile_plan(loaded.plan, tools=tools, simulate=mode, source=loaded.source), tools)
    if not simulate:
        check_placements_of(checked.compiled, loaded.source)
    return checked if inputs is None else checked.with_inputs(inputs)


def load(plan: WrittenPlan | str | Path) -> LoadedPlan:
    """Read a plan from its text or its file.

    Raises:
        PlanError: It is not a valid plan.
    """
    return read_plan(plan.name, plan.text) if isinstance(plan, WrittenPlan) else load_plan(plan)


def check_placements_of(compiled: CompiledPlan, source: PlanSource | None = None, run_on: str | None = None) -> None:
    """Check the placements that a plan or its run asks for; one that asks for none needs no settings.

    Args:
        compiled: The plan.
        source: Where the plan's data stand in a file, for the places in messages.
        run_on: The placement of all nodes of the run; `None` where the plan decides.

    Raises:
        PlanError: Nodes ask for placements that the settings do not name.
        UsageError: The run asks for one.
    """
    policies = (compiled.plan.policy, *(node.node.policy for node in compiled.nodes.values()))
    if run_on is not None or any(policy.run_on is not None for policy in policies):
        from vibe_prefect.engine.placements.placement_checks import check_placements
        from vibe_prefect.settings.package import load_settings

        check_placements(compiled, load_settings().placements, run_on, source)


def given_inputs(inputs: GivenInputs | None, plan: WorkflowPlan) -> Mapping[str, Any]:
    """Return the inputs that a run of a plan is given."""
    return inputs(plan) if callable(inputs) else inputs or {}


def simulation(*, simulate: bool) -> Simulate:
    """Return the nodes that the simulation stands in for, in a run that is simulated or not."""
    return Simulate.ALL if simulate else Simulate.NEVER


def configured_tools() -> ToolRegistry:
    """Return the tools that the settings configure."""
    from vibe_prefect.engine.inputs.configured_tools import configured_registry

    return configured_registry()
