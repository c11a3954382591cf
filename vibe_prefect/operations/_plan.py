"""Plans from vibes, and edits of plans as somebody wishes, by a language model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from vibe_prefect.core.budget import Budget
from vibe_prefect.core.models import Vibe, WorkflowPlan
from vibe_prefect.engine.placements.placement_checks import check_placements
from vibe_prefect.llm.checked_answers import MAX_ANSWERS, AnswerOptions, RefusedAnswer
from vibe_prefect.operations._diff import ComparedPlan, PlanComparison
from vibe_prefect.operations._plans import WrittenPlan, configured_tools, load
from vibe_prefect.plan.comparison import diff_plans
from vibe_prefect.plan.compiler import Simulate, compile_plan
from vibe_prefect.plan.reading.plan_file import whole_text
from vibe_prefect.planning.drafting import PlannedDraft
from vibe_prefect.planning.drafts import DraftRules
from vibe_prefect.planning.knowledge import read_notes
from vibe_prefect.planning.plans import PlanningKit, new_plan, refined_plan
from vibe_prefect.settings.package import load_settings
from vibe_prefect.tools.registry import ToolRegistry


@dataclass(frozen=True)
class PlanningOptions:
    """Options of planning."""

    knowledge: tuple[str, ...] = ()
    """Markdown files, folders and globs with knowledge; a plan gets the notes that its vibe needs."""

    sources: tuple[str, ...] = ()
    """Files, folders and globs below the input folder that the plan may read."""

    model: str | None = None
    """The model that writes the plan, one of those that the operator allows; `None` for the default model."""

    max_answers: int = MAX_ANSWERS
    """Answers that it may give."""

    budget_usd: float | None = None
    """US dollars that the answers may cost; `None` for no limit."""

    max_tokens: int | None = None
    """Tokens that they may use, input and output together; `None` for no limit."""

    on_refused: Callable[[int, RefusedAnswer], None] | None = None
    """Called with each answer that is not a valid plan, and its number from 1."""

    on_text: Callable[[str], None] | None = None
    """Called with how far an answer has come, in a few words."""


@dataclass(frozen=True)
class RefinedPlan:
    """An edited plan."""

    planned: PlannedDraft
    """The plan after the edit, and how it was made."""

    comparison: PlanComparison
    """Differences, and the nodes that resuming a run of the earlier plan would run again."""


async def plan_vibe(
    vibe: Vibe, options: PlanningOptions | None = None, *, tools: ToolRegistry | None = None
) -> PlannedDraft:
    """Plan a vibe with a language model, and execute nothing.

    Args:
        vibe: The wish.
        options: Options of planning; their defaults where it is left out.
        tools: The tools that the plan may name; by default those that the settings configure.

    Raises:
        UsageError: There is no model, or an option cannot be what it is.
        PlanningError: The model wrote no valid plan. Its last answer is the error's `draft`.
    """
    return await new_plan(vibe, _kit(options or PlanningOptions(), tools))


async def refine_plan(
    plan: WorkflowPlan | WrittenPlan | str | Path,
    change: str,
    options: PlanningOptions | None = None,
    *,
    tools: ToolRegistry | None = None,
) -> RefinedPlan:
    """Edit a plan with a language model as somebody wishes, and execute nothing. The file is left as it is.

    Args:
        plan: The plan, its text, or the path of its file.
        change: The wish, such as `shorter, and a gate on claims`.
        options: Options of planning; their defaults where it is left out.
        tools: The tools that the plan may name; by default those that the settings configure.

    Raises:
        UsageError: There is no model, the wish is empty, or an option cannot be what it is.
        PlanError: The plan as it is cannot run.
        PlanningError: The model wrote no valid plan.
    """
    kit = _kit(options or PlanningOptions(), tools)
    if isinstance(plan, WorkflowPlan):
        before, text, label = plan, None, plan.id
    else:
        loaded = load(plan)
        before, text, label = loaded.plan, whole_text(loaded), loaded.source.name
    planned = await refined_plan(before, change, kit, text)
    return RefinedPlan(planned, _compared(before, planned.draft.plan, label, kit.rules.tools))


def _compared(before: WorkflowPlan, after: WorkflowPlan, label: str, tools: ToolRegistry) -> PlanComparison:
    old, new = (compile_plan(plan, tools=tools, simulate=Simulate.ALL) for plan in (before, after))
    return PlanComparison(ComparedPlan(label, old), ComparedPlan("the edited plan", new), diff_plans(old, new))


def _kit(options: PlanningOptions, tools: ToolRegistry | None) -> PlanningKit:
    budget = None
    if options.budget_usd is not None or options.max_tokens is not None:
        budget = Budget(usd=options.budget_usd, tokens=options.max_tokens)
    drafting = AnswerOptions(options.model, options.max_answers, budget, options.on_refused, options.on_text)
    placements = load_settings().placements
    rules = DraftRules(
        configured_tools() if tools is None else tools,
        options.sources,
        further_check=partial(check_placements, placements=placements),
    )
    kinds = {name: placement.kind.value for name, placement in placements.items()}
    return PlanningKit(rules, read_notes(options.knowledge), placements=kinds, options=drafting)
