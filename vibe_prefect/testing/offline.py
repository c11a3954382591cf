"""Runs of plans without Prefect, for tests: the same order, work, gates and feedback; no records and no resuming."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.core.run_values import RunFacts
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.plan.compiler import Simulate, compile_plan
from vibe_prefect.results import ExecutionResult
from vibe_prefect.run.offline import OfflineRun
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools.registry import ForeignRegistry, ToolRegistry, adapted

DEFAULTS = RunOptions()


async def run_offline(  # noqa: PLR0913 - options by keyword
    plan: WorkflowPlan,
    tools: ToolRegistry | ForeignRegistry | None = None,
    *,
    simulate: Simulate | str = Simulate.NEVER,
    input_root: str | Path = DEFAULTS.input_root,
    output: str | Path = DEFAULTS.output,
    budget_usd: float | None = DEFAULTS.budget_usd,
    max_tokens: int | None = DEFAULTS.max_tokens,
    inputs: Mapping[str, Any] | None = None,
    facts: RunFacts | None = None,
) -> ExecutionResult:
    """Run a plan in this process alone, without a Prefect server.

    Retries are made at once; timeouts and limits do not apply.

    Args:
        plan: The plan.
        tools: The tools that its nodes may name; by default the package's own, without a model.
        simulate: Which nodes the simulation stands in for.
        input_root: The only folder that tools may read from.
        output: The only folder that tools may write to.
        budget_usd: Budget of the run in US dollars, for models and paid tools; `None` for no limit.
        max_tokens: Budget of the run in tokens, input and output together; `None` for no limit.
        inputs: Values of the inputs that the plan declares, by name.
        facts: Facts of the run that templates can name; by default it is named `offline` and due now.

    Raises:
        PlanError: The plan cannot run as written.
        UsageError: An option cannot be what it is.
        InputsError: An input is unknown, missing, or has a value that does not fit.
    """
    options = DEFAULTS.replaced(
        {"input_root": str(input_root), "output": str(output), "budget_usd": budget_usd, "max_tokens": max_tokens}
    )
    tools = adapted(tools) if tools is not None else equipped_registry()
    compiled = compile_plan(plan, tools=tools, simulate=simulate).with_inputs(inputs or {})
    compiled = compiled.for_run(facts or RunFacts("offline", datetime.now(UTC)))
    return await OfflineRun(compiled, tools, options).execute()
