"""The tool that judges: a rubric, a score for each criterion, and evidence quoted from the judged text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, cast

from anyio.to_thread import run_sync
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from typing_extensions import TypedDict

from vibe_prefect.errors import ToolError, shorten
from vibe_prefect.llm.generate import ModelName
from vibe_prefect.llm.given import given_to, own_parameters
from vibe_prefect.llm.json_answer import AnswerJSONError, read_json_answer
from vibe_prefect.llm.prompts import marked, system_prompt
from vibe_prefect.llm.provider.calls import Models
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.llm.quotes import FoldedText, fold, folded
from vibe_prefect.tools.base import ToolCategory, ToolContext, ToolResult
from vibe_prefect.tools.functions import FunctionTool, ToolInputError, tool

DEFAULT_THRESHOLD = 0.7
"""The score from which a text passes, where the plan does not say."""

MAX_CRITERIA = 30
MAX_TEXT = 1_000_000
MAX_QUOTES = 50
"""Quotes of one criterion that are looked for; further ones are ignored."""
MAX_NAME = 200
"""Characters of a criterion's name; a longer criterion is named by its beginning."""

_MANNER = (
    "You are a strict judge. Score each criterion from 0 (not met at all) to 1 (fully met), give the reason in a "
    "sentence, and quote the passages that your score rests on, word for word as they stand in the judged text. A "
    "score above 0 needs at least one quote. Give each criterion's number and name as they are listed."
)


class Criterion(BaseModel):
    """One thing that is judged."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=200, description="What it is called.")
    description: str = Field(default="", max_length=4_000, description="When it is met.")
    weight: float = Field(default=1.0, gt=0, le=100, description="How much it counts.")
    min: float = Field(default=0.0, ge=0, le=1, description="The score that it needs by itself.")


class CriterionScore(TypedDict):
    """Score of one criterion."""

    name: str
    """Name of the criterion."""

    score: float
    """0 to 1."""

    reason: str
    """Why, in the model's words."""

    quotes: list[str]
    """Passages that it rests on, as they stand in the judged text."""


class Verdict(TypedDict):
    """Output of `judge`."""

    passed: bool
    """Whether the score reaches the threshold, and each criterion what it needs by itself."""

    score: float
    """The weighted mean of the criteria, 0 to 1."""

    threshold: float
    """Score that it had to reach."""

    criteria: list[CriterionScore]
    """The criteria, in the plan's order."""

    text: str
    """The judged text, to be passed on."""


class _Score(BaseModel):
    number: int | None = None
    name: str
    score: float = Field(ge=0, le=1)
    reason: str
    quotes: list[str]


class _Scores(BaseModel):
    criteria: list[_Score]


JudgedText = Annotated[
    str | None,
    Field(max_length=MAX_TEXT, description="What is judged; by default the texts of the node's dependencies."),
]
Criteria = Annotated[
    list[Criterion | Annotated[str, Field(min_length=1, max_length=4_000)]] | None,
    Field(
        min_length=1,
        max_length=MAX_CRITERIA,
        description="The rubric: texts, or `name`, `description`, `weight` and `min`; by default the node's "
        "description and what the vibe says must hold.",
    ),
]
Task = Annotated[
    str | None,
    Field(
        min_length=1, max_length=4_000, description="What is judged where there is no rubric; the node's description."
    ),
]
Reference = Annotated[
    str | None,
    Field(
        min_length=1,
        max_length=MAX_TEXT,
        description="Another text that the criteria speak of, such as the source that the judged text must agree with.",
    ),
]
Threshold = Annotated[float, Field(ge=0, le=1, description="The weighted mean score that the text needs.")]


def judge_tool(models: Models, version: str) -> FunctionTool:
    """Return the tool `judge`.

    Args:
        models: Who judges.
        version: What stands for models and prompts in keys.
    """

    @tool(name="judge", category=ToolCategory.ANALYSIS, version=version, default_inputs=_task_of)
    async def judge(  # noqa: PLR0913 - the tool's inputs
        context: ToolContext,
        text: JudgedText = None,
        criteria: Criteria = None,
        threshold: Threshold = DEFAULT_THRESHOLD,
        model: ModelName = None,
        task: Task = None,
        reference: Reference = None,
    ) -> Verdict | ToolResult:
        """Judge a text by a rubric, with evidence quoted from it; below the threshold the node fails.

        Raises:
            ToolInputError: Two criteria have one name, there is nothing to judge, or the model is not allowed.
            ToolError: The provider refused or failed, the verdict rests on quotes that are not in the text, or there
                is nothing to judge but files that a model cannot see.
            BudgetExceededError: The run's budget does not allow the call.
        """
        judged, unseen = (text, ()) if text is not None else _given_text(context)
        if not judged.strip():
            raise ToolInputError("judge: there is nothing to judge; give it a text, or let the node depend on one")
        rubric = _rubric(criteria, task or context.get("node_description", "good"), context)
        question = _question(models, context, rubric, _shown(judged, reference), model)
        answer, usage = await models.ask(question, context)
        try:
            scores, rejected = await run_sync(checked_scores, answer.text, rubric, judged)
        except ToolError as error:
            error.usage = usage
            raise
        metadata = {"usage": usage, "model": answer.model, **rejected, **({"unseen": list(unseen)} if unseen else {})}
        return _result(rubric, scores, threshold, judged, metadata)

    return judge


def _task_of(description: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {} if inputs.get("criteria") is not None else {"task": description}


def _given_text(context: ToolContext) -> tuple[str, tuple[str, ...]]:
    """Return the text that a node's dependencies give, and the ids of those whose files a model cannot see."""
    sources = given_to(context)
    sources.check()
    return _together(sources.texts or own_parameters(context)), tuple(sources.unseen)


def _together(texts: Mapping[str, str]) -> str:
    if len(texts) == 1:
        return next(iter(texts.values()))
    return "\n\n".join(f"{name}:\n{text}" for name, text in texts.items())


def _rubric(criteria: Sequence[Criterion | str] | None, task: str, context: ToolContext) -> list[Criterion]:
    vibe = context.get("vibe")
    default = [task, *(vibe.constraints if vibe else [])]
    stated = default if criteria is None else criteria
    rubric = [
        Criterion(name=criterion[:MAX_NAME], description=criterion) if isinstance(criterion, str) else criterion
        for criterion in stated
    ]
    identities: set[tuple[str, str]] = set()
    for criterion in rubric:
        identity = (fold(criterion.name), fold(criterion.description) if len(criterion.name) == MAX_NAME else "")
        if identity in identities:
            raise ToolInputError(f"judge: two criteria are named {criterion.name!r}")
        identities.add(identity)
    return rubric


def _shown(judged: str, reference: str | None) -> str:
    """Return what the model is shown, each text between its marks."""
    texts = {"the judged text": judged} | ({"the reference": reference} if reference is not None else {})
    return "\n\n".join(marked(name, text) for name, text in texts.items())


def _question(
    models: Models, context: ToolContext, rubric: Sequence[Criterion], texts: str, model: str | None
) -> Question:
    config = models.config
    criteria_list = "\n".join(
        f"{number}. {criterion.name}: {criterion.description or criterion.name}"
        for number, criterion in enumerate(rubric, 1)
    )
    prompt = f"{texts}\n\nTask: judge the text above by these criteria.\n{criteria_list}"
    question = Question(
        config.chosen(model, config.judge),
        system_prompt(context.get("vibe"), "validate", _MANNER),
        prompt,
        _scores_schema(len(rubric)),
        config.max_tokens,
        0.0 if config.temperature is not None else None,
    )
    if question.input_tokens > config.context_tokens:
        raise ToolError(
            f"judge: the text and the rubric count as {question.input_tokens:,} tokens, more than the "
            f"{config.context_tokens:,} that a call may have; a text is judged whole or not at all: raise "
            "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_CONTEXT_TOKENS, or judge parts",
            retryable=False,
        )
    return question


def _scores_schema(criteria: int) -> dict[str, Any]:
    """Return the JSON Schema of a verdict: a score for each of so many criteria, and no more."""
    score = {
        "number": {"type": "integer", "minimum": 1, "maximum": criteria},
        "name": {"type": "string"},
        "score": {"type": "number", "minimum": 0, "maximum": 1},
        "reason": {"type": "string"},
        "quotes": {"type": "array", "items": {"type": "string"}, "maxItems": MAX_QUOTES},
    }
    item = {"type": "object", "additionalProperties": False, "required": list(score), "properties": score}
    scores = {"type": "array", "items": item, "minItems": criteria, "maxItems": criteria}
    return {
        "type": "object",
        "additionalProperties": False,
        "required": ["criteria"],
        "properties": {"criteria": scores},
    }


def checked_scores(
    answer: str, rubric: Sequence[Criterion], judged: str
) -> tuple[list[CriterionScore], dict[str, Any]]:
    """Return the scores of an answer, their quotes checked, and the quotes that were rejected.

    Args:
        answer: What the model answered.
        rubric: What it was asked.
        judged: The judged text.

    Raises:
        ToolError: It is no verdict on each criterion, or one above 0 rests on no true quote; it may be asked again.
    """
    by_criterion = _matched(_parsed(answer), rubric)
    evidence = folded(judged)
    rejected: list[str] = []
    scores = [_score(criterion, by_criterion.get(index), evidence, rejected) for index, criterion in enumerate(rubric)]
    return scores, ({"rejected_quotes": rejected} if rejected else {})


def _parsed(answer: str) -> list[_Score]:
    try:
        return _Scores.model_validate(read_json_answer(answer).data).criteria
    except (AnswerJSONError, ValidationError) as error:
        raise ToolError(f"judge: the answer is not a verdict: {shorten(str(error), 200)}") from None


def _matched(scores: Sequence[_Score], rubric: Sequence[Criterion]) -> dict[int, _Score]:
    """Return the scores by the places of their criteria: by name or whole text where that is clear, else by number."""
    indices: dict[str, set[int]] = {}
    for index, criterion in enumerate(rubric):
        for words in filter(None, (fold(criterion.name), fold(criterion.description))):
            indices.setdefault(words, set()).add(index)
    matched: dict[int, _Score] = {}
    for score in scores:
        same_name = indices.get(fold(score.name), set())
        by_number = score.number - 1 if score.number is not None and 0 < score.number <= len(rubric) else None
        index = by_number if len(same_name) != 1 else next(iter(same_name))
        if index is not None:
            matched[index] = score
    return matched


def _score(criterion: Criterion, score: _Score | None, evidence: FoldedText, rejected: list[str]) -> CriterionScore:
    if score is None:
        raise ToolError(f"judge: the verdict has no score for {criterion.name!r}")
    passages = {quote: evidence.passage(quote) for quote in score.quotes[:MAX_QUOTES]}
    quotes = list(dict.fromkeys(passage for passage in passages.values() if passage is not None))
    rejected += [quote for quote, passage in passages.items() if passage is None]
    if score.score > 0 and not quotes:
        quote_hint = (
            f"; it quotes {shorten(score.quotes[0])}, which is too short or not in the text" if score.quotes else ""
        )
        raise ToolError(f"judge: the score {score.score:g} for {criterion.name!r} rests on no quote{quote_hint}")
    return CriterionScore(name=criterion.name, score=score.score, reason=score.reason, quotes=quotes)


def _result(
    rubric: Sequence[Criterion],
    scores: list[CriterionScore],
    threshold: float,
    judged: str,
    metadata: dict[str, Any],
) -> ToolResult:
    total = sum(criterion.weight for criterion in rubric)
    mean = sum(criterion.weight * score["score"] for criterion, score in zip(rubric, scores, strict=True)) / total
    low = [score for criterion, score in zip(rubric, scores, strict=True) if score["score"] < criterion.min]
    passed = mean >= threshold and not low
    output = Verdict(passed=passed, score=round(mean, 4), threshold=threshold, criteria=scores, text=judged)
    facts = {
        **metadata,
        "quality": round(mean, 4),
        "threshold": threshold,
        "criteria": [_needing(criterion, score) for criterion, score in zip(rubric, scores, strict=True)],
        "evidence": [_line(score) for score in scores],
    }
    error = None if passed else _reason(mean, threshold, scores, low)
    return ToolResult(passed, cast("dict[str, Any]", output), facts | ({} if passed else {"retryable": False}), error)


def _needing(criterion: Criterion, score: CriterionScore) -> dict[str, Any]:
    return {**score, "needed": criterion.min} if criterion.min else dict(score)


def _line(score: CriterionScore) -> str:
    quotes = "; ".join(shorten(quote, 160) for quote in score["quotes"])
    return f"{score['name']}: {score['score']:g}: {score['reason']}" + (f" ({quotes})" if quotes else "")


def _reason(mean: float, threshold: float, scores: Sequence[CriterionScore], low: Sequence[CriterionScore]) -> str:
    head = f"judged {mean:.2f}, and {threshold:g} is needed"
    if mean >= threshold:
        head = f"judged {mean:.2f}, but {', '.join(repr(score['name']) for score in low)} below what it needs by itself"
    worst = sorted(scores, key=lambda score: score["score"])[:3]
    return f"{head}: {' | '.join(map(_line, worst))}"
