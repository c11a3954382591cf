"""Asking a model for a plan: its answers are checked, and what is wrong with them goes back until the plan is valid."""

from __future__ import annotations

import logging
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
from vibe_prefect.planning.drafts import Draft, DraftRules, checked_draft, read_draft
from vibe_prefect.planning.outlines import outline_question, plan_data
from vibe_prefect.planning.prompts import PlanRequest, fits_whole, plan_question

logger = logging.getLogger(__name__)


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

    is_outline: bool = False
    """Whether it is an outline, since a question for a whole plan is longer than the model may be asked."""

    @property
    def heading(self) -> str:
        """Comment at the top of its file: the wish, the model, and the knowledge that it was given."""
        knowledge = f" Knowledge: {', '.join(self.knowledge)}." if self.knowledge else ""
        wish = " ".join(self.draft.plan.source_vibe.description.split())
        form = ", as an outline" if self.is_outline else ""
        return f"{wish}\n\nPlanned by {self.model}{form}.{knowledge}"

    def text(self) -> str:
        """Return the plan as the text of a plan file: YAML with a comment why each node is there."""
        return plan_yaml(self.draft.plan, self.draft.reasons, self.heading)


async def draft_plan(
    request: PlanRequest, models: Models, rules: DraftRules, options: AnswerOptions | None = None
) -> PlannedDraft:
    """Ask a model for a plan until its answer is a valid one.

    A model that may not be asked a question as long as that for a whole plan is asked for an outline, where neither a
    plan nor files are given, of which an outline knows nothing.

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
    is_outline = not (request.plan or request.sources or fits_whole(request, models.config, model))
    build, cuts = outline_question if is_outline else plan_question, dict[str, Cut]()
    if is_outline:
        logger.warning("%s reads too little at once for a whole plan, and is asked for an outline", model)

    def question(refused: RefusedAnswer | None) -> Question:
        asked = build(request, models.config, model, refused)
        cuts.clear()
        cuts.update(asked.cuts)
        return asked.question

    def read(answer: str) -> Draft:
        if is_outline:
            return checked_draft(plan_data(answer), request.vibe, rules)
        return read_draft(answer, request.vibe, rules)

    error = partial(PlanningError, request.vibe.description)
    checked = await checked_answer(Inquiry("plan", models, question, read, error, options))
    notes = tuple(note.name for note in request.notes)
    return PlannedDraft(checked.value, model, checked.answers, checked.spent, notes, cuts, is_outline)
