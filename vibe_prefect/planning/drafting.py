"""Asking a model for a plan: its answers are checked, and what is wrong with them goes back until the plan is valid."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.errors import BudgetExceededError, PlanError, PlanningError, ToolError, UsageError
from vibe_prefect.llm.json_answer import AnswerJSONError
from vibe_prefect.llm.prompts import Cut
from vibe_prefect.llm.provider.calls import ModelLimits, Models
from vibe_prefect.llm.provider.model_client import Answer
from vibe_prefect.plan.plan_yaml import plan_yaml
from vibe_prefect.planning.drafts import Draft, DraftRules, read_draft
from vibe_prefect.planning.prompts import PlanRequest, RefusedDraft, plan_question
from vibe_prefect.tools.base import ToolContext
from vibe_prefect.tools.registry import HOW_TO_CONFIGURE, LLM_TOOL, ToolRegistry

logger = logging.getLogger(__name__)

MAX_ANSWERS = 4
"""Answers that a model gives for one plan, at most."""

PAUSE_SECONDS = 2.0
"""Seconds before a model is asked again whose provider failed; doubled each time."""

PLANNER = "planner"
"""Name under which calls for plans stand in logs."""


@dataclass(frozen=True)
class DraftOptions:
    """Options of the way to a plan."""

    model: str | None = None
    """The model to ask, one of those that the operator allows; `None` for the default model."""

    max_answers: int = MAX_ANSWERS
    """Answers that it may give."""

    budget: Budget | None = None
    """Budget of the calls; `None` for no limit."""

    on_refused: Callable[[int, RefusedDraft], None] | None = None
    """Called with each answer that is not a valid plan, and its number from 1."""

    on_text: Callable[[str], None] | None = None
    """Called with how far an answer has come, in a few words."""


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
    """Tokens and US dollars of all of these."""

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


def planning_models(tools: ToolRegistry) -> Models:
    """Return the models behind a registry's own tools for texts.

    Raises:
        UsageError: There is no model, or it lacks a library or a key.
    """
    traits = tools.traits(LLM_TOOL)
    limits: object = traits.model_limits
    if not isinstance(limits, ModelLimits):
        raise UsageError(f"a plan is written by a language model, and none is configured: {HOW_TO_CONFIGURE}")
    if traits.lacks:
        raise UsageError(f"a plan is written by the model {limits.usual}, which needs {'; '.join(traits.lacks)}")
    return limits.models


async def draft_plan(
    request: PlanRequest, models: Models, rules: DraftRules, options: DraftOptions | None = None
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
    return await _Drafting(request, models, rules, options or DraftOptions()).run()


class _Drafting:
    """One way from a request to a plan."""

    def __init__(self, request: PlanRequest, models: Models, rules: DraftRules, options: DraftOptions) -> None:
        self._request = request
        self._models = models
        self._rules = rules
        self._options = options
        self._model = models.config.chosen(options.model)
        self._refused: RefusedDraft | None = None
        self._failure: ToolError | None = None
        self._answers = 0
        self._spent = Spending()
        self._cuts: Mapping[str, Cut] = {}

    async def run(self) -> PlannedDraft:
        for number in range(1, self._options.max_answers + 1):
            draft = await self._attempt(number)
            if draft is not None:
                notes = tuple(note.name for note in self._request.notes)
                return PlannedDraft(draft, self._model, self._answers, self._spent, notes, self._cuts)
        raise self._error()

    async def _attempt(self, number: int) -> Draft | None:
        """Ask once; `None` where there is no answer, or the answer is not a valid plan."""
        answer = await self._answer(number)
        if answer is None:
            return None
        self._answers += 1
        try:
            return await asyncio.to_thread(read_draft, answer.text, self._request.vibe, self._rules)
        except AnswerJSONError as error:
            problems = (f"the answer is not one whole JSON object: {error}",)
        except PlanError as error:
            problems = tuple(map(str, error.problems))
        self._refused = RefusedDraft(answer.text, problems)
        if self._options.on_refused is not None:
            self._options.on_refused(self._answers, self._refused)
        return None

    async def _answer(self, number: int) -> Answer | None:
        try:
            asked = plan_question(self._request, self._models.config, self._model, self._refused)
            self._cuts = asked.cuts
            answer, usage = await self._models.ask(asked.question, self._context())
        except ToolError as error:
            self._spent += _spending(error.usage)
            if not error.retryable:
                raise self._error(error) from error
            self._failure = error
            logger.warning("The model %s gave no answer to the question for a plan: %s", self._model, error)
            if number < self._options.max_answers:
                await asyncio.sleep(PAUSE_SECONDS * 2 ** (number - 1))
            return None
        self._failure = None
        self._spent += _spending(usage)
        return answer

    def _context(self) -> ToolContext:
        context = ToolContext(node_id=PLANNER, plan_id=PLANNER)
        if self._options.budget is not None:
            context["budget"] = self._options.budget
        on_text = self._options.on_text
        if on_text is not None:
            context["report_progress"] = lambda _, words: on_text(words)
        return context

    def _error(self, cause: ToolError | None = None) -> PlanningError:
        refused, count = self._refused, self._answers
        failure = cause or self._failure
        problems = () if refused is None else refused.problems
        if isinstance(failure, BudgetExceededError):
            reason = f"after {_counted(count)} that {'was' if count == 1 else 'were'} no valid plan, {failure}"
            reason = str(failure) if not count else reason
        elif failure is not None:
            reason = f"{self._model} gave no answer: {failure}"
        else:
            faults = f"{len(problems):,} problem{'' if len(problems) == 1 else 's'}"
            reason = f"{self._model} wrote no valid plan in {_counted(count)}; the last one has {faults}"
        draft = None if refused is None else refused.text
        return PlanningError(self._request.vibe.description, reason, problems=problems, draft=draft, answers=count)


def _counted(count: int) -> str:
    return f"{count:,} answer{'' if count == 1 else 's'}"


def _spending(usage: Mapping[str, object] | None) -> Spending:
    """Return what a call cost, as far as its provider says."""
    if usage is None:
        return Spending()
    counts = [usage.get("input_tokens"), usage.get("output_tokens")]
    cost = usage.get("cost_usd")
    tokens = sum(count for count in counts if isinstance(count, int))
    return Spending(tokens, float(cost) if isinstance(cost, int | float) else None)
