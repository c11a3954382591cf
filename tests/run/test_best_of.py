"""Best of several: which variation is the output, what is kept of the others, and what they cost."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from tests.reference_model import COMPLETED, FAILED
from vibe_prefect import ExecutionResult, ToolRegistry, compile_plan, default_registry, tool
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.plan.costs import cost_forecast
from vibe_prefect.reporting.explanations.explain import explain
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.reporting.report_making import RunIdentity, report_of
from vibe_prefect.testing import RecordingTool, ScriptedModel, run_offline, verdict
from vibe_prefect.tools.base import ToolContext

SCORES = {"Tea one.": 0.4, "Tea two.": 0.9, "Tea three.": 0.5}


def writer(**scores: float) -> ScriptedModel:
    """A model that writes one text after the other, and judges each by `SCORES`."""
    texts = iter(SCORES)

    def answer(question: Question) -> str | Exception:
        if "judge" not in question.system:
            return next(texts, ToolError("no more"))
        text = next(text for text in SCORES if text in question.prompt)
        return verdict({"clear": scores.get(text, SCORES[text])}, text)

    return ScriptedModel(answer)


def best(tools: ToolRegistry, parameters: dict[str, Any] | None = None, **choice: Any) -> ExecutionResult:
    subject = node("title", parameters=parameters or {}, best_of={"n": 3, **choice})
    return asyncio.run(run_offline(plan(subject, policy={"retries": 0}), tools))


def evidence(result: ExecutionResult) -> dict[str, Any]:
    return result.node_results["title"].result["metadata"]["best_of"]


def test_the_variation_with_the_best_judgement_is_the_output_and_all_are_paid_for() -> None:
    model = writer()
    result = best(model.registry, criteria=["clear"])
    title = result.node_results["title"]
    assert title.status is COMPLETED, title.error
    assert title.result["result"]["text"] == "Tea two."
    found = evidence(result)
    assert (found["best"], found["by"]) == (2, "judge")
    assert [(one["number"], one["score"], one["error"]) for one in found["all"]] == [
        (1, 0.4, None),
        (2, 0.9, None),
        (3, 0.5, None),
    ]
    assert [one["output"] and one["output"]["text"] for one in found["all"]] == ["Tea one.", None, "Tea three."]
    assert found["all"][1]["reasons"] == ["clear: 0.9: as scripted ('Tea two.')"]
    usage = result.feedback_data["title"]["resource_usage"]
    assert usage["input_tokens"] == sum(question.input_tokens for question in model.questions)
    assert (len(model.questions), result.feedback_data["title"]["measured_quality"]) == (6, 0.9)
    assert title.provenance is not None
    assert [call.tool for call in title.provenance.tool_calls] == ["llm_generate"] * 3


def test_a_tool_scores_and_the_failed_variations_are_evidence() -> None:
    numbers = itertools.count(1)

    @tool(name="paint")
    def paint(context: ToolContext) -> dict[str, Any]:
        """Paint."""
        if context.get("variation") == 2:
            raise ToolError("no paint")
        return {"text": "x" * next(numbers), "key": context.get("key")}

    @tool(name="length")
    def length(text: str) -> int:
        """Measure a text."""
        return len(text)

    tools = default_registry()
    tools.register(paint)
    tools.register(length)
    result = best(tools, {"tool": "paint"}, tool="length", tool_inputs={"text": "{{ output.text }}"})
    output, found = result.node_results["title"].result["result"], evidence(result)
    assert output["text"] == "xx"
    assert [(one["score"], one["error"]) for one in found["all"] if one["number"] == 2] == [(None, "no paint")]
    other = next(one for one in found["all"] if one["output"])
    assert (other["score"], found["by"]) == (1.0, "length")
    assert other["output"]["key"] != output["key"], "seeds that tools draw from the key differ"


@pytest.mark.parametrize("scored", [{"words": 3}, True])
def test_a_node_fails_when_no_variation_is_made_and_scored(scored: object) -> None:
    tools = default_registry()
    tools.register(RecordingTool("paint", {"text": "x"}))
    tools.register(RecordingTool("length", scored))
    result = best(tools, {"tool": "paint"}, tool="length").node_results["title"]
    reason = f"length gave no score: expected a number, or a mapping with the number 'score', found {scored}"
    assert result.status is FAILED
    assert result.error == f"Tool execution failed: none of 3 variations succeeded: {reason}"


def test_a_budget_that_allows_some_variations_yields_the_best_of_those() -> None:
    model = writer()
    subject = plan(node("title", best_of={"n": 3, "criteria": ["clear"]}))
    result = asyncio.run(run_offline(subject, model.registry, max_tokens=5_400))
    found = evidence(result)
    assert 0 < sum(one["score"] is not None for one in found["all"]) < 3
    assert any("budget" in (one["error"] or "") for one in found["all"])


def test_variations_write_their_files_beside_each_other(folder: Path) -> None:
    tools = default_registry()
    tools.register(RecordingTool("rank", 1.0))
    card = {"tool": "image_card", "tool_inputs": {"title": "Tea", "path": "hero.png"}}
    result = best(tools, card, tool="rank")
    assert result.node_results["title"].result["result"]["path"] == "hero.1.png", result.node_results["title"].error
    assert sorted(path.name for path in (folder / "outputs").rglob("*.png")) == [
        "hero.1.png",
        "hero.2.png",
        "hero.3.png",
    ]


def test_the_key_follows_the_choice_and_the_forecast_counts_every_call() -> None:
    tools = writer().registry

    def compiled(**fields: Any) -> Any:
        return compile_plan(plan(node("title", **fields)), tools=tools)

    plain = compiled()
    three = compiled(best_of={"n": 3, "criteria": ["clear"]})
    keys = [one.nodes["title"].key for one in (plain, three, compiled(best_of={"n": 4, "criteria": ["clear"]}))]
    assert len(set(keys)) == 3
    single, whole = (cost_forecast(one, ["title"], tools) for one in (plain, three))
    assert single is not None
    assert whole is not None
    assert (single.calls, whole.calls, whole.tools) == (1, 6, ("judge", "llm_generate"))
    assert whole.most.tokens > 3 * single.most.tokens


def test_the_report_says_which_variation_was_the_best() -> None:
    tools = writer().registry
    subject = plan(node("title", best_of={"n": 3, "criteria": ["clear"]}))
    result = asyncio.run(run_offline(subject, tools))
    run = RunIdentity("id", "run", "Completed", None, "outputs", None, simulated=False)
    report = report_of(compile_plan(subject, tools=tools), result, run)
    told = "it is the best of 3 by judge: #2 0.9; the others: #1 0.4, #3 0.5"
    assert explain(report, "title").why == told
    assert explain(RunReport.from_dict(report.to_dict()), "title").why == told
