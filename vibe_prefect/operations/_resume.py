"""Resuming a run with the options that it had."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from prefect.client.orchestration import get_client

from vibe_prefect.engine.lineage import find_run, newest_run
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.storage import open_store
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.executor import WorkflowExecutor
from vibe_prefect.models import WorkflowPlan
from vibe_prefect.operations._plans import CheckedPlan, configured_tools, simulation, validate
from vibe_prefect.results import ExecutionResult
from vibe_prefect.selection import EVERYTHING, Choice
from vibe_prefect.settings import load_settings
from vibe_prefect.tools.registry import ToolRegistry


@dataclass(frozen=True)
class ResumedRun:
    """A run to resume: its plan, or another version of it, and the options that it had."""

    earlier: PastRun
    """The run to resume."""

    plan: CheckedPlan
    """What to run."""

    simulate: bool
    """Whether every node is simulated."""

    concurrency: int | None
    """How many nodes may run at once; `None` for no limit."""

    input_root: Path
    """The only folder that tools may read from."""

    output: Path
    """The folder for what runs make."""

    reuse: Literal["run", "plan"]
    """Whose records it may reuse."""

    budget_usd: float | None
    """US dollars that it may cost, reused nodes included; `None` for no limit."""

    max_tokens: int | None
    """Tokens that it may use, likewise."""


async def plan_resume(
    run: str | None = None,
    *,
    plan: WorkflowPlan | str | Path | None = None,
    budget_usd: float | None = None,
    max_tokens: int | None = None,
    tools: ToolRegistry | None = None,
) -> ResumedRun:
    """Return what resuming a run would run, and with which options; see `resume`."""
    earlier = await _find(run)
    settings, parameters = load_settings(), earlier.parameters
    input_root, output = parameters.input_root or settings.input_root, earlier.named_output
    if (roots := earlier.roots) is not None:
        input_root, output = roots.folder("input_root", input_root), roots.folder("output", output)
    own = earlier if plan is not None else await earlier.with_plan(await open_store(None))
    again = own.plan if plan is None else plan
    if again is None:
        raise UnknownRunError(f"the run {earlier.name!r} has no plan among its parameters; give one with --plan")
    given = parameters.model_fields_set
    return ResumedRun(
        earlier,
        validate(again, simulate=parameters.simulate, tools=configured_tools() if tools is None else tools),
        simulate=parameters.simulate,
        concurrency=parameters.concurrency if "concurrency" in given else settings.concurrency,
        input_root=Path(input_root),
        output=Path(output),
        reuse=parameters.reuse,
        budget_usd=budget_usd or parameters.budget_usd,
        max_tokens=max_tokens or parameters.max_tokens,
    )


async def resume(  # noqa: PLR0913 - options by keyword
    run: str | None = None,
    *,
    plan: WorkflowPlan | str | Path | None = None,
    choice: Choice = EVERYTHING,
    budget_usd: float | None = None,
    max_tokens: int | None = None,
    tools: ToolRegistry | None = None,
) -> ExecutionResult:
    """Run the rest of an earlier run with the options that it had: its completed nodes are reused.

    Args:
        run: Its name or id; `None` for the newest run, unless that has completed.
        plan: The plan or plan file to resume it with, edited since; by default its own plan.
        choice: Which nodes may run, and which run although they have a record.
        budget_usd: US dollars that it may cost, reused nodes included; by default as much as the earlier run had.
        max_tokens: Likewise for tokens.
        tools: The tools that nodes may name; by default those that the settings configure.

    Raises:
        UnknownRunError: The Prefect server does not know the run, it has no plan, or the newest run has completed.
        UsageError: A deployed run named folders that lie outside those of the settings here.
        PlanError: The plan cannot run as written; nothing was executed.
    """
    resumed = await plan_resume(run, plan=plan, budget_usd=budget_usd, max_tokens=max_tokens, tools=tools)
    executor = WorkflowExecutor(
        tool_registry=resumed.plan.tools,
        simulate=simulation(simulate=resumed.simulate),
        concurrency=resumed.concurrency,
        reuse=resumed.reuse,
        input_root=resumed.input_root,
        output=resumed.output,
        budget_usd=resumed.budget_usd,
        max_tokens=resumed.max_tokens,
    )
    compiled = resumed.plan.compiled
    return await executor.execute_compiled(compiled, resume_from=str(resumed.earlier.id), choice=choice)


async def _find(reference: str | None) -> PastRun:
    async with get_client() as client:
        if reference is not None:
            return await find_run(client, reference)
        newest = await newest_run(client)
    if newest.completed:
        raise UnknownRunError(f"the newest run, {newest.name!r}, has completed; name the run to resume")
    return newest
