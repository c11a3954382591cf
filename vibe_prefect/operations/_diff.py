"""Two plans side by side, each a file or that of a run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.operations._plans import GivenInputs, configured_tools, given_inputs, validate
from vibe_prefect.plan.comparison import PlanDiff, diff_plans
from vibe_prefect.plan.compiler import CompiledPlan, Simulate, compile_plan
from vibe_prefect.tools.registry import ToolRegistry

PLAN_SUFFIXES = frozenset({".yaml", ".yml", ".json"})


@dataclass(frozen=True)
class ComparedPlan:
    """One of the two plans."""

    label: str
    """The path of its file, the name of its run, or its id."""

    compiled: CompiledPlan
    """The plan, compiled as a simulation."""

    lost: Mapping[str, str] = field(default_factory=dict[str, str])
    """Reason why the record of a node cannot be reused any more, by the node's id; for the plan of a run only."""


@dataclass(frozen=True)
class PlanComparison:
    """Two plans and their differences."""

    a: ComparedPlan
    """The earlier plan."""

    b: ComparedPlan
    """The later plan."""

    difference: PlanDiff
    """Differences, and the nodes that resuming the first with the second would run again."""


async def diff(
    a: WorkflowPlan | str | Path,
    b: WorkflowPlan | str | Path,
    *,
    tools: ToolRegistry | None = None,
    inputs: GivenInputs | None = None,
) -> PlanComparison:
    """Compare two plans.

    Args:
        a: The earlier plan, the path of its file, or the name or id of its run.
        b: The later plan, likewise.
        tools: The tools that the plans may name; by default those that the settings configure.
        inputs: Inputs that the later plan is given, where they differ from those of the earlier one.

    Raises:
        PlanError: A file is not a valid plan.
        UnknownRunError: The Prefect server does not know a run, or the run has no plan.
        InputsError: An input is unknown, or has a value that does not fit.
    """
    tools = configured_tools() if tools is None else tools
    old, new = await _load(a, tools), await _load(b, tools)
    given = {**old.compiled.values.given, **new.compiled.values.given}
    stated = given_inputs(inputs, new.compiled.plan)
    new = replace(new, compiled=new.compiled.with_known_inputs(given).with_given_inputs(stated))
    return PlanComparison(old, new, diff_plans(old.compiled, new.compiled, old.lost))


def names_file(argument: WorkflowPlan | str | Path) -> bool:
    """Return whether an argument is the path of a plan file, and not a run."""
    return not isinstance(argument, WorkflowPlan) and (
        Path(argument).is_file() or Path(argument).suffix in PLAN_SUFFIXES
    )


async def _load(argument: WorkflowPlan | str | Path, tools: ToolRegistry) -> ComparedPlan:
    """Load and compile one of the two plans.

    Both are compiled as simulations: the keys of two such plans differ where their real keys do, and a plan whose tools
    are not installed can be compared, too.
    """
    if isinstance(argument, WorkflowPlan) or names_file(argument):
        label = argument.id if isinstance(argument, WorkflowPlan) else str(argument)
        return ComparedPlan(label, validate(argument, simulate=True, tools=tools).compiled)
    from vibe_prefect.engine.runs.earlier_runs import earlier_run, lost_files

    run = await earlier_run(str(argument))
    if run.plan is None:
        raise UnknownRunError(f"the run {run.name!r} has no plan among its parameters")
    compiled = compile_plan(run.plan, tools=tools, simulate=Simulate.ALL)
    return ComparedPlan(run.name, compiled.with_known_inputs(run.parameters.inputs), await lost_files(run))
