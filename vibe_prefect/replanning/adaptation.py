"""Adaptation: whether a further attempt follows a run, and with which plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from vibe_prefect.core.budget import Budget
from vibe_prefect.core.feedback import FailureKind
from vibe_prefect.core.models import WorkflowPlan
from vibe_prefect.errors import ReplanError, UsageError
from vibe_prefect.plan.comparison import diff_plans
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.replanning.edits import Replan
from vibe_prefect.replanning.replan import replan_after
from vibe_prefect.reporting.attempts import RunAttempt, RunHistory, bounded_lines
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.results import ExecutionStatus
from vibe_prefect.run.run_options import RunOptions
from vibe_prefect.tools.registry import ToolRegistry

REPLANNED = "replanned"
GOOD = "nothing is left to improve"
NOT_SUGGESTED = "nothing that failed suggests another plan"
WAITS = "it waits for a person's answer"
USED_UP = "the attempts are used up"
NO_BETTER = "it was no better than the attempt before"
NO_BUDGET = "the budget is used up"
NO_EDIT = "nothing in the plan could be changed"


@dataclass(frozen=True)
class NextAttempt:
    """Attempt that follows."""

    compiled: CompiledPlan
    """Its plan, compiled."""

    replan: Replan
    """The edits that led to it."""

    history: RunHistory
    """The attempts before it, and their spending."""


@dataclass(frozen=True)
class Adaptation:
    """Decision after an attempt of an adaptive run."""

    attempts: tuple[RunAttempt, ...]
    """The attempts, this one the last."""

    next: NextAttempt | None = None
    """The attempt that follows; `None` where this one was the last."""


@dataclass(frozen=True)
class AttemptSetup:
    """Plan, tools and options of an attempt."""

    compiled: CompiledPlan
    """Its plan as written, compiled."""

    tools: ToolRegistry
    """Its tools."""

    options: RunOptions
    """Its options."""

    compiled_as: Callable[[WorkflowPlan], CompiledPlan]
    """Compiles a plan with the same tools, handlers and inputs."""

    budget: Budget | None = None
    """Its budget, to which a model that replans belongs."""

    history: RunHistory = field(default_factory=RunHistory)
    """The attempts before it."""


async def adaptation_after(report: RunReport, suggested: bool, setup: AttemptSetup) -> Adaptation:
    """Decide what follows an attempt, and edit the plan where another one does.

    Args:
        report: Report of the attempt.
        suggested: Whether its feedback asks for another plan.
        setup: What it was made with.
    """
    attempt = _attempt(report, setup.history)
    outcome = _reason_to_stop(report, attempt, suggested, setup)
    if outcome is not None:
        return _last(setup, attempt, outcome)
    try:
        replan = await replan_after(
            report, setup.compiled, setup.tools, setup.compiled_as, setup.options.replan_by, setup.budget
        )
    except (UsageError, ReplanError) as error:
        over_budget = isinstance(error, ReplanError) and error.over_budget
        return _last(setup, attempt, NO_BUDGET if over_budget else f"the replan failed: {error}")
    if replan.is_empty:
        return _last(setup, attempt, NO_EDIT)
    attempts = (*setup.history.attempts, replace(attempt, outcome=REPLANNED))
    compiled = setup.compiled_as(replan.plan)
    spent = setup.budget.spent if setup.budget is not None else None
    history = RunHistory(
        attempts,
        bounded_lines([*replan.lines, *_model_lines(replan)]),
        bounded_lines(_differences(setup.compiled, compiled)),
        spent.tokens if spent else 0,
        (spent.usd or 0.0) if spent else 0.0,
    )
    return Adaptation(attempts, NextAttempt(compiled, replan, history))


def run_quality(report: RunReport) -> float:
    """Return the quality of a run, 0 to 1: the mean over its nodes.

    A node that completed counts with the quality that was measured, or with 1 where nothing was judged. One that failed
    counts with the measured quality, or with 0; and so does one that was skipped since another failed.
    """
    skips_are_choices = report.status is ExecutionStatus.COMPLETED
    scores: list[float] = []
    for node in report.nodes:
        if node.status is ExecutionStatus.SKIPPED and skips_are_choices:
            continue
        unjudged = 1.0 if node.status is ExecutionStatus.COMPLETED else 0.0
        scores.append(unjudged if node.quality is None else node.quality)
    return round(sum(scores) / len(scores), 4) if scores else 1.0


def _last(setup: AttemptSetup, attempt: RunAttempt, outcome: str) -> Adaptation:
    (line,) = bounded_lines([outcome])
    return Adaptation((*setup.history.attempts, replace(attempt, outcome=line)))


def _attempt(report: RunReport, history: RunHistory) -> RunAttempt:
    totals = report.totals
    return RunAttempt(
        run_name=report.run_name,
        status=report.status,
        quality=run_quality(report),
        executed=sum(node.executed for node in report.nodes),
        reused=totals.reused,
        failed=totals.statuses[ExecutionStatus.FAILED],
        tokens=totals.tokens,
        cost_usd=totals.cost_usd,
        changes=history.changes,
        differences=history.differences,
    )


def _reason_to_stop(report: RunReport, attempt: RunAttempt, suggested: bool, setup: AttemptSetup) -> str | None:
    earlier = setup.history.attempts
    if report.status is ExecutionStatus.PENDING:
        return WAITS
    if not suggested:
        return GOOD if report.status is ExecutionStatus.COMPLETED else NOT_SUGGESTED
    if any(node.failure_kind is FailureKind.BUDGET for node in report.nodes):
        return NO_BUDGET
    if earlier and attempt.quality <= earlier[-1].quality:
        return NO_BETTER
    return USED_UP if len(earlier) >= setup.options.adapt else None


def _model_lines(replan: Replan) -> list[str]:
    if replan.model is None:
        return []
    cost = "unknown price" if replan.cost_usd is None else f"{replan.cost_usd:.4f} USD"
    return [f"replanned by {replan.model}: {replan.tokens:,} tokens, {cost}"]


def _differences(before: CompiledPlan, after: CompiledPlan) -> list[str]:
    difference = diff_plans(before, after)
    fields = [
        f"{id} {change.path}: {change.old or 'nothing'} -> {change.new or 'nothing'}"
        for id, changes in difference.changed.items()
        for change in changes
    ]
    return [*fields, *(f"added {id}" for id in difference.added)]
