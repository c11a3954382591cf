"""Answers of a model that are checked: the faults of one go back to the model, until an answer is valid."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from pydantic import ValidationError

from vibe_prefect.core.budget import Budget, Spending
from vibe_prefect.errors import (
    BudgetExceededError,
    ModelAnswerError,
    PlanError,
    ToolError,
    UsageError,
    printable,
)
from vibe_prefect.llm.json_answer import AnswerJSONError
from vibe_prefect.llm.prompts import marked
from vibe_prefect.llm.provider.calls import ModelLimits, Models
from vibe_prefect.llm.provider.model_client import Answer, Question
from vibe_prefect.llm.provider.model_config import ModelConfig
from vibe_prefect.text.pydantic_errors import finding
from vibe_prefect.text.units import counted
from vibe_prefect.tools.base import ToolContext
from vibe_prefect.tools.registry import HOW_TO_CONFIGURE, LLM_TOOL, ToolRegistry

logger = logging.getLogger(__name__)

MAX_ANSWERS = 4
"""Answers that a model gives to one question, at most."""

PAUSE_SECONDS = 2.0
"""Seconds before a model is asked again whose provider failed; doubled each time."""

MAX_LISTED = 30
"""Faults of an answer that a model is given at once."""

MAX_FAULT = 500
"""Characters of one of them."""

Value = TypeVar("Value")


@dataclass(frozen=True)
class RefusedAnswer:
    """Answer that is not valid."""

    text: str
    """The answer, as the model wrote it."""

    problems: tuple[str, ...]
    """Faults of it, a sentence each."""

    @property
    def material(self) -> str:
        """The answer and its faults between marks, for the next question."""
        faults = "\n".join(_listed(self.problems))
        return f"{marked('refused', self.text, 'your answer that was')}\n\n{marked('in it', faults, 'the faults')}"


@dataclass(frozen=True)
class AnswerOptions:
    """Options of the way to a valid answer."""

    model: str | None = None
    """The model to ask, one of those that the operator allows; `None` for the default model."""

    max_answers: int = MAX_ANSWERS
    """Answers that it may give."""

    budget: Budget | None = None
    """Budget of the calls; `None` for no limit."""

    on_refused: Callable[[int, RefusedAnswer], None] | None = None
    """Called with each answer that is not valid, and its number from 1."""

    on_text: Callable[[str], None] | None = None
    """Called with how far an answer has come, in a few words."""

    def __post_init__(self) -> None:
        """Refuse a number of answers that cannot be.

        Raises:
            UsageError: It is less than 1.
        """
        if self.max_answers < 1:
            raise UsageError(f"max_answers is {self.max_answers!r}: expected a whole number above 0")


@dataclass(frozen=True)
class Inquiry(Generic[Value]):
    """Question to a model, and the check of its answers."""

    wanted: str
    """Noun for an answer, such as `plan`."""

    models: Models
    """The models that may be asked."""

    question: Callable[[RefusedAnswer | None], Question]
    """Builds the question, given the refused answer before it."""

    read: Callable[[str], Value]
    """Reads and checks an answer, in a thread of its own. It raises an `AnswerJSONError`, a `PlanError`, a pydantic
    `ValidationError` or an `UnfitAnswerError` for one that is not valid."""

    error: Callable[..., ModelAnswerError]
    """Builds the error where no answer is valid, from the arguments of `ModelAnswerError` but the first."""

    options: AnswerOptions = field(default_factory=AnswerOptions)
    """Options of the way to a valid answer."""


@dataclass(frozen=True)
class CheckedAnswer(Generic[Value]):
    """Valid answer, and its price."""

    value: Value
    """The answer, read."""

    answers: int
    """Number of answers that it took."""

    spent: Spending
    """Tokens and US dollars of all of these, and of calls that failed."""


class UnfitAnswerError(ValueError):
    """An answer that cannot be used, with its faults."""

    def __init__(self, problems: Sequence[str]) -> None:
        """List the faults, a sentence each; never empty."""
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


_Refusal = AnswerJSONError | PlanError | ValidationError | UnfitAnswerError


def writing_models(tools: ToolRegistry, wanted: str) -> Models:
    """Return the models behind a registry's own tools for texts.

    Args:
        tools: The registry.
        wanted: What they shall write, such as `a plan`.

    Raises:
        UsageError: There is no model, or it lacks a library or a key.
    """
    traits = tools.traits(LLM_TOOL)
    limits: object = traits.model_limits
    if not isinstance(limits, ModelLimits):
        raise UsageError(f"{wanted} is written by a language model, and none is configured: {HOW_TO_CONFIGURE}")
    if traits.lacks:
        raise UsageError(f"{wanted} is written by the model {limits.usual}, which needs {'; '.join(traits.lacks)}")
    return limits.models


def room_left(config: ModelConfig, tokens: int, wanted: str) -> int:
    """Return how many tokens of material a question has room for besides what it must hold.

    Args:
        config: The operator's limits.
        tokens: Tokens of what it must hold.
        wanted: What is asked for, such as `a plan`.

    Raises:
        ToolError: There is not even room for that.
    """
    if tokens > config.context_tokens:
        raise ToolError(
            f"the question for {wanted} counts as {tokens:,} tokens, more than the {config.context_tokens:,} that a "
            "call may have; raise PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_CONTEXT_TOKENS, or make the plan or the list "
            "of tools shorter",
            retryable=False,
        )
    return config.context_tokens - tokens


async def checked_answer(inquiry: Inquiry[Value]) -> CheckedAnswer[Value]:
    """Ask a model until its answer is valid.

    A provider that fails is asked again after a pause, each time in place of an answer.

    Raises:
        ModelAnswerError: No answer was valid, or there was no answer, as `Inquiry.error` builds it.
    """
    return await _Conversation(inquiry).run()


class _Conversation(Generic[Value]):
    """Way from a question to a valid answer."""

    def __init__(self, inquiry: Inquiry[Value]) -> None:
        self._inquiry = inquiry
        self._options = inquiry.options
        self._refused: RefusedAnswer | None = None
        self._failure: ToolError | None = None
        self._model = inquiry.models.config.chosen(inquiry.options.model)
        self._answers = 0
        self._spent = Spending()

    async def run(self) -> CheckedAnswer[Value]:
        for number in range(1, self._options.max_answers + 1):
            answer = await self._answer(number)
            if answer is None:
                continue
            self._answers += 1
            try:
                value = await asyncio.to_thread(self._inquiry.read, answer.text)
            except (AnswerJSONError, PlanError, ValidationError, UnfitAnswerError) as error:
                self._refuse(answer.text, error)
                continue
            return CheckedAnswer(value, self._answers, self._spent)
        raise self._error() from self._failure

    def _refuse(self, text: str, error: _Refusal) -> None:
        self._refused = RefusedAnswer(text, _problems(error))
        if self._options.on_refused is not None:
            self._options.on_refused(self._answers, self._refused)

    async def _answer(self, number: int) -> Answer | None:
        """Ask once; `None` where the provider failed and may do better."""
        self._failure = None
        try:
            question = self._inquiry.question(self._refused)
            answer, usage = await self._inquiry.models.ask(question, self._context())
        except ToolError as error:
            self._failure = error
            self._spent += _spending(error.usage)
            if not error.retryable:
                raise self._error() from error
            logger.warning("The model %s gave no answer to the question for a %s: %s", *self._about(), error)
            if number < self._options.max_answers:
                await asyncio.sleep(PAUSE_SECONDS * 2 ** (number - 1))
            return None
        self._spent += _spending(usage)
        return answer

    def _about(self) -> tuple[str, str]:
        return self._model, self._inquiry.wanted

    def _context(self) -> ToolContext:
        context = ToolContext(node_id=self._inquiry.wanted, plan_id=self._inquiry.wanted)
        if self._options.budget is not None:
            context["budget"] = self._options.budget
        on_text = self._options.on_text
        if on_text is not None:
            context["report_progress"] = lambda _, words: on_text(words)
        return context

    def _error(self) -> ModelAnswerError:
        refused = self._refused
        return self._inquiry.error(
            self._reason(),
            problems=() if refused is None else refused.problems,
            draft=None if refused is None else refused.text,
            answers=self._answers,
            over_budget=isinstance(self._failure, BudgetExceededError),
        )

    def _reason(self) -> str:
        model, wanted = self._about()
        count, failure = self._answers, self._failure
        if failure is None:
            faults = counted(len(self._refused.problems) if self._refused is not None else 0, "problem")
            return f"{model} wrote no valid {wanted} in {counted(count, 'answer')}; the last one has {faults}"
        if not isinstance(failure, BudgetExceededError):
            return f"{model} gave no answer: {failure}"
        if not count:
            return str(failure)
        return f"after {counted(count, 'answer')} that {'was' if count == 1 else 'were'} no valid {wanted}, {failure}"


def _problems(error: _Refusal) -> tuple[str, ...]:
    if isinstance(error, AnswerJSONError):
        return (f"the answer is not one whole JSON object: {error}",)
    if isinstance(error, PlanError):
        return tuple(map(str, error.problems))
    if isinstance(error, UnfitAnswerError):
        return error.problems
    details: list[dict[str, Any]] = [dict(detail) for detail in error.errors(include_url=False)]
    return tuple(f"{'.'.join(map(str, detail['loc']))}: {finding(detail)}" for detail in details)


def _listed(problems: Sequence[str]) -> Iterator[str]:
    yield from (f"- {printable(problem, MAX_FAULT)}" for problem in problems[:MAX_LISTED])
    if len(problems) > MAX_LISTED:
        yield f"- and {len(problems) - MAX_LISTED:,} more"


def _spending(usage: Mapping[str, object] | None) -> Spending:
    """Return what a call cost, as far as its provider says."""
    if usage is None:
        return Spending()
    counts = [usage.get("input_tokens"), usage.get("output_tokens")]
    cost = usage.get("cost_usd")
    tokens = sum(count for count in counts if isinstance(count, int))
    return Spending(tokens, float(cost) if isinstance(cost, int | float) else None)
