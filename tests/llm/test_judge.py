from __future__ import annotations

import json
from typing import Any

import pytest

from vibe_prefect import ToolContext, ToolInputError, ToolResult, Vibe
from vibe_prefect.errors import ToolError
from vibe_prefect.testing import ScriptedModel, verdict

TEXT = "Water boils at a hundred degrees.\nIce melts at none."


async def judge(script: Any, context: ToolContext | None = None, /, **inputs: Any) -> ToolResult:
    model = script if isinstance(script, ScriptedModel) else ScriptedModel(script)
    tool: Any = model.registry.get("judge")
    return await tool.execute({"text": TEXT} | inputs, context or ToolContext())


async def test_weights_make_the_mean() -> None:
    rubric = [{"name": "a", "weight": 3}, {"name": "b"}]
    result = await judge(verdict({"a": 1.0, "b": 0.0}, "Water boils at"), criteria=rubric)
    assert result.success
    assert result.output["score"] == 0.75
    assert result.metadata["quality"] == 0.75
    assert result.output["text"] == TEXT


async def test_a_criterion_may_need_a_score_by_itself() -> None:
    rubric = [{"name": "a", "weight": 9}, {"name": "b", "min": 0.5}]
    result = await judge(verdict({"a": 1.0, "b": 0.4}, "Water boils at"), criteria=rubric)
    assert not result.success
    assert "judged 0.94, but 'b' below what it needs by itself" in str(result.error)
    assert result.metadata["retryable"] is False


async def test_the_threshold_is_reached_exactly() -> None:
    assert (await judge(verdict({"a": 0.7}, "Water boils at"), criteria=["a"], threshold=0.7)).success


async def test_white_space_and_case_do_not_matter_in_quotes() -> None:
    assert (await judge(verdict({"a": 1.0}, "DEGREES.  Ice\nmelts"), criteria=["a"])).success


@pytest.mark.parametrize("quote", ["Water freezes", "Water", "", "degrees. Water boils"])
async def test_a_quote_that_is_not_there_or_proves_nothing_is_rejected(quote: str) -> None:
    with pytest.raises(ToolError, match="rests on no quote") as caught:
        await judge(verdict({"a": 1.0}, quote), criteria=["a"])
    assert caught.value.retryable
    assert caught.value.usage is not None


async def test_a_false_quote_beside_a_true_one_is_dropped_and_told() -> None:
    result = await judge(verdict({"a": 1.0}, "Water boils at", "Water freezes never"), criteria=["a"])
    assert result.output["criteria"][0]["quotes"] == ["Water boils at"]
    assert result.metadata["rejected_quotes"] == ["Water freezes never"]


async def test_what_is_missing_cannot_be_quoted() -> None:
    result = await judge(verdict({"a": 0.0}), criteria=["a"], threshold=0.0)
    assert result.success


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("nonsense", "the answer is not a verdict"),
        ('{"criteria": [{"name": "a", "score": 7, "reason": "", "quotes": []}]}', "the answer is not a verdict"),
        ('{"criteria": []}', "the verdict has no score for 'a'"),
    ],
)
async def test_what_is_no_verdict_may_be_asked_for_again(answer: str, said: str) -> None:
    with pytest.raises(ToolError, match=said) as caught:
        await judge(answer, criteria=["a"])
    assert caught.value.retryable


async def test_the_rubric_is_the_description_and_the_constraints_by_default() -> None:
    context = ToolContext(node_description="Be brief", vibe=Vibe(description="x", constraints=["no prices"]))
    scores = {"Be brief": 1.0, "no prices": 1.0}
    model = ScriptedModel(verdict(scores, "Water boils at"))
    result = await judge(model, context)
    assert [one["name"] for one in result.output["criteria"]] == list(scores)
    assert TEXT in model.questions[0].prompt


async def test_the_dependencies_are_judged_by_default() -> None:
    tool: Any = ScriptedModel(verdict({"a": 1.0}, "Snow is white")).registry.get("judge")
    context = ToolContext(previous_outputs={"n": {"text": "Snow is white."}})
    assert (await tool.execute({"criteria": ["a"]}, context)).output["text"] == "Snow is white."


async def test_a_verdict_says_what_the_judge_could_not_see() -> None:
    tool: Any = ScriptedModel(verdict({"a": 1.0}, "Snow is white")).registry.get("judge")
    card = {"path": "card.png", "mime": "image/png", "sha256": "0" * 64, "bytes": 7}
    context = ToolContext(previous_outputs={"n": {"text": "Snow is white."}, "card": card})
    result = await tool.execute({"criteria": ["a"]}, context)
    assert (result.output["text"], result.metadata["unseen"]) == ("Snow is white.", ["card"])


async def test_nothing_to_judge_and_two_of_a_name_are_refused_before_a_call() -> None:
    model = ScriptedModel("x")
    tool: Any = model.registry.get("judge")
    with pytest.raises(ToolInputError, match="nothing to judge"):
        await tool.execute({}, ToolContext())
    with pytest.raises(ToolInputError, match="two criteria are named 'a'"):
        await judge(model, criteria=["a", {"name": "a"}])
    assert not model.questions


async def test_a_text_is_judged_whole_or_not_at_all() -> None:
    model = ScriptedModel("x", context_tokens=1_000)
    with pytest.raises(ToolError, match="a text is judged whole or not at all") as caught:
        await judge(model, text="word " * 2_000, criteria=["a"])
    assert not caught.value.retryable
    assert not model.questions


async def test_the_judge_may_be_another_model() -> None:
    model = ScriptedModel(verdict({"a": 1.0}, "Water boils at"), judge="scripted:judge")
    await judge(model, criteria=["a"])
    assert model.questions[0].model == "scripted:judge"
    assert json.loads(json.dumps(model.questions[0].schema))["required"] == ["criteria"]


LONG = "The text says in its first sentence " + "at what heat water boils, " * 12 + "and it is true."


def scored(*given: tuple[int | None, str]) -> str:
    """A verdict by numbers and names as a model gives them; later criteria score lower."""
    criteria = [
        {"number": number, "name": name, "score": 1 - place / 10, "reason": "so it is", "quotes": ["Water boils at"]}
        for place, (number, name) in enumerate(given)
    ]
    return json.dumps({"criteria": criteria})


@pytest.mark.parametrize(
    ("rubric", "answer", "scores"),
    [
        (["a", "b"], scored((1, "a"), (2, "b")), [1.0, 0.9]),
        (["a", "b"], scored((2, "b"), (1, "a")), [0.9, 1.0]),
        (["a", "b"], scored((0, "a"), (1, "b")), [1.0, 0.9]),
        (["a", "b"], scored((1, "the first"), (2, "the second")), [1.0, 0.9]),
        (["It\u2019s **warm**"], scored((None, "It's warm")), [1.0]),
        ([LONG], scored((None, LONG)), [1.0]),
        ([LONG], scored((None, LONG[:200])), [1.0]),
        ([LONG, f"{LONG} Twice."], scored((1, LONG[:200]), (2, LONG[:200])), [1.0, 0.9]),
    ],
)
async def test_scores_are_matched_by_name_and_by_number(rubric: list[str], answer: str, scores: list[float]) -> None:
    result = await judge(answer, criteria=rubric)
    assert [one["score"] for one in result.output["criteria"]] == scores


@pytest.mark.parametrize("given", [(3, "c"), (None, "c"), (-1, "c"), (0, "")])
async def test_a_score_for_no_criterion_counts_for_none(given: tuple[int | None, str]) -> None:
    with pytest.raises(ToolError, match="no score for 'a'"):
        await judge(scored(given, (2, "b")), criteria=["a", "b"])


async def test_criteria_are_asked_for_by_number_and_name() -> None:
    model = ScriptedModel(scored((1, "a")))
    await judge(model, criteria=["a"])
    asked: Any = model.questions[0].schema
    assert asked["properties"]["criteria"]["items"]["required"][:2] == ["number", "name"]
    assert "1. a: a" in model.questions[0].prompt


async def test_names_that_differ_in_typography_alone_are_one() -> None:
    with pytest.raises(ToolInputError, match="two criteria are named"):
        await judge("x", criteria=["It's warm", "It\u2019s  WARM"])


async def test_quotes_are_reported_as_they_stand_in_the_text() -> None:
    result = await judge(verdict({"a": 1.0}, '"WATER  boils at"', "Ice melts at none"), criteria=["a"])
    assert result.output["criteria"][0]["quotes"] == ["Water boils at", "Ice melts at none"]


@pytest.mark.parametrize("around", ["```json\n{}\n```", "My verdict:\n{}", "<think>hm</think>\n{}"])
async def test_a_verdict_is_read_as_any_json_answer(around: str) -> None:
    assert (await judge(around.replace("{}", verdict({"a": 1.0}, "Water boils at")), criteria=["a"])).success


async def test_reference_is_shown_beside_the_text_and_cannot_be_quoted() -> None:
    model = ScriptedModel(verdict({"a": 1.0}, "Steam is hot"))
    with pytest.raises(ToolError, match="rests on no quote"):
        await judge(model, criteria=["a"], reference="Steam is hot above all.")
    (question,) = model.questions
    assert (
        question.prompt.index(TEXT) < question.prompt.index("Steam is hot above all.") < question.prompt.index("1. a")
    )
