"""Resume of a run with the options that it had."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.engine.inputs.operator_roots import Root
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.storage import RecordStore, open_store
from vibe_prefect.engine.runs.inherited import earlier_inputs
from vibe_prefect.engine.runs.load_report import left_report
from vibe_prefect.engine.runs.model_change import model_change
from vibe_prefect.engine.runs.resume_target import find_run, newest_run, with_root
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.operations._execute import executor_for
from vibe_prefect.operations._plans import (
    CheckedPlan,
    GivenInputs,
    WrittenPlan,
    configured_tools,
    given_inputs,
    validate,
)
from vibe_prefect.plan.inputs.given import fitting_inputs
from vibe_prefect.plan.reading.edits import was_edited
from vibe_prefect.plan.worker_needs import default_models
from vibe_prefect.results import ExecutionResult
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.settings.package import load_settings
from vibe_prefect.tools.registry import ToolRegistry

KEPT = ("simulate", "reuse", "input_root", "output", "run_on", "budget_usd", "max_tokens")
"""Options of the earlier run that a resume takes over, unless it is given others; which nodes run is chosen again."""


@dataclass(frozen=True)
class ResumedRun:
    """A run to resume: its plan, or another version of it, and the options that it had."""

    earlier: PastRun
    """The run to resume."""

    plan: CheckedPlan
    """The plan to run."""

    options: RunOptions
    """The options of the run that resumes it."""

    plan_file: str | None = None
    """Absolute path of the file that the plan comes from; `None` where it is not known."""

    plan_changed: bool = False
    """Whether that file holds another plan by now than the one to run."""

    model_change: str | None = None
    """Description of what became of the models that the earlier run had; `None` where none is missing."""


async def plan_resume(
    run: str | None = None,
    given: Mapping[str, Any] | None = None,
    *,
    plan: WorkflowPlan | WrittenPlan | str | Path | None = None,
    tools: ToolRegistry | None = None,
    inputs: GivenInputs | None = None,
) -> ResumedRun:
    """Return the plan and the options with which `resume` would run."""
    earlier = await _find(run)
    options = _options(earlier, given or {})
    store = await open_store(None)
    source = earlier if plan is not None else await earlier.with_plan(store)
    new_plan = source.plan if plan is None else plan
    if new_plan is None:
        raise UnknownRunError(f"the run {earlier.name!r} has no plan among its parameters; give one with --plan")
    tools = configured_tools() if tools is None else tools
    checked = validate(new_plan, simulate=options.simulate, tools=tools)
    before = fitting_inputs(checked.compiled.plan, earlier.parameters.inputs)
    now = {**before, **options.inputs, **given_inputs(inputs, checked.compiled.plan)}
    options, checked = options.replaced({"inputs": now}), checked.with_inputs(now)
    plan_file = await _plan_file(earlier, store) if plan is None else _path_of(plan)
    change = model_change(earlier, default_models(checked.compiled, checked.tools))
    return ResumedRun(earlier, checked, options, plan_file, was_edited(plan_file, checked.compiled.plan), change)


async def resume(
    run: str | None = None,
    given: Mapping[str, Any] | None = None,
    *,
    plan: WorkflowPlan | str | Path | None = None,
    tools: ToolRegistry | None = None,
    inputs: GivenInputs | None = None,
) -> ExecutionResult:
    """Run the rest of an earlier run with the options that it had: its completed nodes are reused.

    Args:
        run: Its name or id; `None` for the newest run, unless that has completed.
        given: Options in place of those that the earlier run had, by their names in `RunOptions`, such as `budget_usd`
            or `refresh`.
        plan: The plan or plan file to resume it with, edited since; by default its own plan.
        tools: The tools that nodes may name; by default those that the settings configure.
        inputs: Inputs of the plan in place of those that the earlier run was given, by name; each that differs enters
            as an edit of the plan would.

    Raises:
        UnknownRunError: The Prefect server does not know the run, it has no plan, or the newest run has completed.
        UsageError: An option cannot be what it is, or a deployed run named folders that lie outside those of the
            settings here.
        PlanError: The plan cannot run as written; nothing was executed.
        InputsError: An input is unknown, missing, or has a value that does not fit.
    """
    resumed = await plan_resume(run, given, plan=plan, tools=tools, inputs=inputs)
    options = resumed.options
    executor = executor_for(resumed.plan, options)
    return await executor.execute_compiled(
        resumed.plan.compiled,
        resume_from=options.resume_from,
        choice=options.choice,
        plan_file=resumed.plan_file,
    )


def _path_of(plan: WorkflowPlan | WrittenPlan | str | Path) -> str | None:
    return None if isinstance(plan, WorkflowPlan | WrittenPlan) else str(Path(plan).resolve())


async def _plan_file(earlier: PastRun, store: RecordStore) -> str | None:
    """Return the path of the file that an earlier run's plan came from, as far as the run left it in its report."""
    async with get_client() as client:
        report = await left_report(await with_root(client, earlier), store)
    return report.plan_file if report is not None else None


async def with_earlier_inputs(plan: CheckedPlan, run: str) -> CheckedPlan:
    """Return a plan with the inputs of the run that it resumes, and those that it has been given.

    Args:
        plan: The plan.
        run: Name or id of the run to resume.

    Raises:
        UnknownRunError: The Prefect server does not know the run.
        InputsError: An input is missing all the same.
    """
    async with get_client() as client:
        earlier = await earlier_inputs(client, run, plan.compiled.plan)
    return plan.with_inputs({**earlier, **plan.compiled.values.given})


def _options(earlier: PastRun, given: Mapping[str, Any]) -> RunOptions:
    """Return the earlier run's options with the given ones; a deployed run's folders lie in those of the settings."""
    parameters = earlier.parameters
    inherited = {name: value for name in KEPT if (value := getattr(parameters, name)) not in (None, "")}
    if "concurrency" in parameters.model_fields_set:  # where it is none, there was no limit
        inherited["concurrency"] = parameters.concurrency
    options = load_settings().run_options.replaced({**inherited, **given, "resume_from": str(earlier.id)})
    if (roots := earlier.roots) is None:
        return options
    folders: tuple[Root, ...] = ("input_root", "output")
    return options.replaced({name: roots.folder(name, getattr(options, name)) for name in folders})


async def _find(reference: str | None) -> PastRun:
    async with get_client() as client:
        if reference is not None:
            return await find_run(client, reference)
        newest = await newest_run(client)
    if newest.completed:
        raise UnknownRunError(f"the newest run, {newest.name!r}, has completed; name the run to resume")
    return newest
