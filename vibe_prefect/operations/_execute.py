"""The executor of a checked plan with the options of a run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from vibe_prefect.core.progress import ProgressCallback, RunObserver
from vibe_prefect.engine.run.asking import Prompt
from vibe_prefect.executor import WorkflowExecutor
from vibe_prefect.operations._plans import CheckedPlan, simulation
from vibe_prefect.run.run_options import RunOptions


def executor_for(  # noqa: PLR0913 - options by keyword
    plan: CheckedPlan,
    options: RunOptions,
    *,
    observers: Sequence[RunObserver] = (),
    progress_callback: ProgressCallback | None = None,
    prompt: Prompt | None = None,
    wait_recorded: bool | None = None,
) -> WorkflowExecutor:
    """Make the executor for runs of a plan; nothing runs yet.

    Args:
        plan: The plan, as `validate` returns it.
        options: The options of the runs.
        observers: See `WorkflowExecutor`.
        progress_callback: See `WorkflowExecutor`.
        prompt: See `WorkflowExecutor`.
        wait_recorded: See `WorkflowExecutor`.
    """
    return WorkflowExecutor(
        progress_callback,
        tool_registry=plan.tools,
        simulate=simulation(simulate=options.simulate),
        concurrency=options.concurrency,
        observers=observers,
        reuse=options.reuse,
        input_root=Path(options.input_root).resolve(),
        output=Path(options.output).resolve(),
        wait_recorded=wait_recorded,
        budget_usd=options.budget_usd,
        max_tokens=options.max_tokens,
        without_model=options.without_model,
        prompt=prompt,
        run_on=options.run_on,
        adapt=options.adapt,
        replan_by=options.replan_by,
    )
