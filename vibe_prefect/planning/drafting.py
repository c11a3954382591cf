"""Asking a model for a plan: its answers are checked, and what is wrong with them goes back until the plan is valid."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from vibe_prefect.core.budget import Spending
from vibe_prefect.errors import PlanningError
from vibe_prefect.llm.checked_answers import AnswerOptions, Inquiry, RefusedAnswer, checked_answer
from vibe_prefect.llm.prompts import Cut
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.plan.plan_yaml import plan_yaml
from vibe_prefect.planning.drafts import Draft, DraftRules, read_draft
from vibe_prefect.planning.prompts import PlanRequest, plan_question


@dataclass(frozen=True)
class PlannedDraft:
    """A valid plan, and how it was made."""

    draft: Draft
    """The plan, and why each node is there."""

    model: str
    """The model that wrote it."""

    answers: int
    """Number of answers that it took."""

    spent: Spending
    """Tokens and US dollars of all of these, and of comparing knowledge."""

    knowledge: tuple[str, ...] = ()
    """Names of the notes that the model was given."""

    cuts: Mapping[str, Cut] = field(default_factory=dict[str, Cut])
    """Notes that did not fit whole, by their names."""

    @property
    def heading(self) -> str:
        """Comment at the top of its file: the wish, the model, and the knowledge that it was given."""
        knowledge = f" Knowledge: {', '.join(self.knowledge)}." if self.knowledge else ""
        wish = " ".join(self.draft.plan.source_vibe.description.split())
        return f"{wish}\n\nPlanned by {self.model}.{knowledge}"

    def text(self) -> str:
        """Return the plan as the text of a plan file: YAML with a comment why each node is there."""
        return plan_yaml(self.draft.plan, self.draft.reasons, self.heading)


async def draft_plan(
    request: PlanRequest, models: Models, rules: DraftRules, options: AnswerOptions | None = None
) -> PlannedDraft:
    """Ask a model for a plan until its answer is a valid one.

    Args:
        request: What is wanted.
        models: The models that may be asked.
        rules: What the plan may be made of.
        options: Options of the way there.

    Raises:
        PlanningError: No answer was a valid plan, or there was no answer.
        ToolInputError: The operator does not allow the model.
    """
    options = options or AnswerOptions()
    model = models.config.chosen(options.model)
    cuts: dict[str, Cut] = {}

    def question(refused: RefusedAnswer | None) -> Question:
        asked = plan_question(request, models.config, model, refused)
        cuts.clear()
        cuts.update(asked.cuts)
        return asked.question

    def read(answer: str) -> Draft:
        return read_draft(answer, request.vibe, rules)

    error = partial(PlanningError, request.vibe.description)
    checked = await checked_answer(Inquiry("plan", models, question, read, error, options))
    notes = tuple(note.name for note in request.notes)
    return PlannedDraft(checked.value, model, checked.answers, checked.spent, notes, cuts)
