"""New plans from vibes, and edits of existing ones, with the knowledge and the files that they may use."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import cast

from vibe_prefect.core.budget import Spending
from vibe_prefect.core.models import Vibe, WorkflowPlan
from vibe_prefect.errors import UsageError
from vibe_prefect.llm.checked_answers import AnswerOptions, writing_models
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.plan.compiler import compile_plan
from vibe_prefect.plan.reading.size import slim_data
from vibe_prefect.planning.catalog import OWN_FIELDS
from vibe_prefect.planning.drafting import PlannedDraft, draft_plan
from vibe_prefect.planning.drafts import DraftRules, gates_with_fallbacks
from vibe_prefect.planning.knowledge import Note, fitting_notes
from vibe_prefect.planning.meaning import near_notes
from vibe_prefect.planning.prompts import PlanRequest
from vibe_prefect.planning.sources import checked_sources, is_below, read_files, source_problems

KNOWLEDGE = "knowledge"
"""Name under which the metadata of a plan's vibe list the notes that its model was given."""


@dataclass(frozen=True)
class PlanningKit:
    """Everything that plans are made with."""

    rules: DraftRules
    """Limits of the plans."""

    notes: tuple[Note, ...] = ()
    """Knowledge to choose from."""

    models: Models | None = None
    """The models that write plans; `None` for those behind the registry's own tools for texts."""

    placements: Mapping[str, str] = field(default_factory=dict[str, str])
    """Kinds of the placements that nodes may name, by their names."""

    options: AnswerOptions = field(default_factory=AnswerOptions)
    """Options of the way to a plan."""

    def writers(self) -> Models:
        """Return the models that write plans.

        Raises:
            UsageError: There is none, or it lacks a library or a key.
        """
        return writing_models(self.rules.tools, "a plan") if self.models is None else self.models


async def new_plan(vibe: Vibe, kit: PlanningKit) -> PlannedDraft:
    """Plan a vibe.

    Args:
        vibe: The wish.
        kit: What the plan is made with.

    Raises:
        UsageError: There is no model, or a source is no path below the input folder.
        PlanningError: The model wrote no valid plan.
    """
    if not vibe.description.strip():
        raise UsageError("the vibe is empty: say in a few words what is to be made")
    rules = replace(kit.rules, sources=checked_sources(kit.rules.sources))
    writers = kit.writers()
    notes, compared = await _chosen_notes(kit, vibe, writers)
    request = PlanRequest(_with_knowledge(vibe, notes), rules.tools, notes, rules.sources, kit.placements)
    return _with_cost(await draft_plan(request, writers, rules, kit.options), compared)


async def refined_plan(plan: WorkflowPlan, change: str, kit: PlanningKit, text: str | None = None) -> PlannedDraft:
    """Edit a plan as somebody wishes. The plan keeps its id and its vibe, and the files that it reads.

    Args:
        plan: The plan.
        change: The wish for the edit.
        kit: What the plan is made with.
        text: The plan as its author wrote it, comments included; by default its data.

    Raises:
        UsageError: There is no model, the wish is empty, or it is known only during a run which files the plan reads.
        PlanError: The plan as it is cannot run.
        PlanningError: The model wrote no valid plan.
    """
    if not change.strip():
        raise UsageError("the wish for the edit is empty: say in a few words what is to change")
    compiled = compile_plan(
        plan, tools=kit.rules.tools, handled_types=kit.rules.handled_types, simulate=kit.rules.simulate
    )
    reads = [path for path in read_files(compiled, kit.rules.tools) if is_below(path)]
    sources = checked_sources([*kit.rules.sources, *reads])
    if problem := next(source_problems(compiled, kit.rules.tools, sources), None):
        raise UsageError(
            f"a model may not edit this plan, do it by hand: {replace(problem, message=problem.without_hint)}"
        )
    rules = replace(
        kit.rules,
        sources=sources,
        id=plan.id,
        required_inputs=frozenset(name for name, schema in plan.inputs.items() if "default" not in schema),
        open_gates=gates_with_fallbacks(plan),
    )
    writers = kit.writers()
    notes, compared = await _chosen_notes(kit, plan.source_vibe.model_copy(update={"style": change}), writers)
    vibe = _with_knowledge(plan.source_vibe, notes)
    request = PlanRequest(vibe, rules.tools, notes, rules.sources, kit.placements, text or _data_text(plan), change)
    return _with_cost(await draft_plan(request, writers, rules, kit.options), compared)


async def _chosen_notes(kit: PlanningKit, vibe: Vibe, models: Models) -> tuple[tuple[Note, ...], Spending]:
    near, spent = await near_notes(kit.notes, vibe, models.config, kit.options.budget)
    return fitting_notes(kit.notes, vibe, near), spent


def _with_cost(planned: PlannedDraft, further: Spending) -> PlannedDraft:
    return replace(planned, spent=planned.spent + further)


def _with_knowledge(vibe: Vibe, notes: Sequence[Note]) -> Vibe:
    """Return a vibe whose metadata list the notes; it is the vibe itself where there are none that it lacks."""
    stated: object = vibe.metadata.get(KNOWLEDGE)
    before = cast("list[str]", stated) if isinstance(stated, list) else []
    names = list(dict.fromkeys([*before, *(note.name for note in notes)]))
    return vibe if names == before else vibe.model_copy(update={"metadata": {**vibe.metadata, KNOWLEDGE: names}})


def _data_text(plan: WorkflowPlan) -> str:
    data = {name: value for name, value in slim_data(plan).items() if name not in OWN_FIELDS}
    return json.dumps(data, ensure_ascii=False, indent=1)
