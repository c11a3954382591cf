from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.cli.command import call, write_plan
from tests.cli.command import node as raw
from tests.plans import node, plan
from vibe_prefect import Spending, ToolContext, ToolRegistry, ToolResult, compile_plan, paid_call, tool
from vibe_prefect.plan.costs import cost_forecast
from vibe_prefect.testing import ScriptedModel, run_offline
from vibe_prefect.tools.builtin.media_tools import MediaConfig, media_tools
from vibe_prefect.tools.media.openai_media import OpenAIEndpoint

FILL = {"tool": "template_fill", "tool_inputs": {"template": "words"}}


def test_a_plan_without_a_model_costs_nothing() -> None:
    model = ScriptedModel()
    compiled = compile_plan(plan(node("a", parameters=FILL)), tools=model.registry)
    assert cost_forecast(compiled, compiled.nodes, model.registry) is None


async def test_no_run_costs_more_than_the_forecast_says(folder: Path) -> None:
    model = ScriptedModel("word " * 500, max_tokens=1_000)
    subject = plan(
        node("a"), node("b", needs=["a"]), node("c", "transform", needs=["a", "b"]), node("d", parameters=FILL)
    )
    compiled = compile_plan(subject, tools=model.registry)
    costs = cost_forecast(compiled, compiled.nodes, model.registry)
    assert costs is not None
    assert costs.calls == 3
    result = await run_offline(subject, model.registry)
    used = [result.node_results[id].result["metadata"]["usage"] for id in ("a", "b", "c")]
    tokens = sum(one["input_tokens"] + one["output_tokens"] for one in used)
    assert tokens <= costs.most.tokens < 3 * (24_000 + 1_000)
    assert costs.most.usd == pytest.approx(costs.most.tokens / 1e6)


def test_a_template_may_read_as_much_as_is_allowed() -> None:
    model = ScriptedModel(max_tokens=100)
    inputs = {"tool_inputs": {"prompt": "{{ outputs.a.text }}"}}
    compiled = compile_plan(plan(node("a"), node("b", needs=["a"], parameters=inputs)), tools=model.registry)
    costs = cost_forecast(compiled, ["b"], model.registry)
    assert costs is not None
    assert costs.most.tokens == 24_100


def test_an_earlier_run_tells_what_is_likely() -> None:
    model = ScriptedModel()
    compiled = compile_plan(plan(node("a"), node("b")), tools=model.registry)
    costs = cost_forecast(compiled, compiled.nodes, model.registry, {"a": Spending(120, 0.5)})
    assert costs is not None
    assert (costs.calls, costs.known, costs.likely) == (2, 1, Spending(120, 0.5))


def test_the_dry_run_tells_it(folder: Path) -> None:
    settings = {
        "VIBE_PREFECT_MODEL": "ollama:tiny",
        "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_INPUT_PRICE": "1",
        "PREFECT_INTEGRATIONS_VIBE_PREFECT_LLM_OUTPUT_PRICE": "2",
    }
    path = write_plan(folder, [raw("a"), raw("b", "analyze", dependencies=["a"])])
    settings |= {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    seen = call("run", path, "--dry-run", "--budget-usd", "0.001", cwd=folder, extra=settings)
    assert seen.code == 0, seen.err
    (line,) = [line for line in seen.lines if line.startswith("costs")]
    assert line.startswith("costs  2 calls of llm_generate, at most ")
    assert line.endswith(" USD")
    assert "  the budget may not be enough; the run would stop before the call that could exceed it" in seen.lines
    reason = "cannot reach the Prefect server at http://127.0.0.1:9/api"
    assert f"  estimated without earlier runs: {reason}" in seen.lines
    told = call("run", path, "--dry-run", "--json", cwd=folder, extra=settings).json
    assert told["costs"]["calls"] == 2
    assert told["costs"]["most_cost_usd"] > 0
    assert told["costs"]["earlier_runs"] is None
    assert told["not_looked_up"] == reason


def media(**prices: float) -> ToolRegistry:
    images = OpenAIEndpoint(("m-1", "m-2"), "http://127.0.0.1:9/v1", prices=prices or None)
    return ToolRegistry(media_tools(MediaConfig(images=images, speech=images)))


@pytest.mark.parametrize(
    ("tool", "inputs", "usd"),
    [
        ("image_generate", {"prompt": "a cat"}, 0.5),
        ("image_generate", {"prompt": "a cat", "model": "m-2"}, 0.25),
        ("speech_generate", {"text": "x" * 3_000}, 1.5),
        ("speech_generate", {"text": "{{ vibe.description }}"}, 16.0),
    ],
)
def test_pictures_and_speech_are_in_the_forecast(tool: str, inputs: dict[str, str], usd: float) -> None:
    tools = media(**{"m-1": 0.5, "m-2": 0.25})
    subject = plan(*(node(id, parameters={"tool": tool, "tool_inputs": inputs}) for id in ("a", "b")))
    compiled = compile_plan(subject, tools=tools)
    costs = cost_forecast(compiled, compiled.nodes, tools)
    assert costs is not None
    assert (costs.calls, costs.tools, costs.most) == (2, (tool,), Spending(0, 2 * usd))


def test_a_price_that_is_missing_is_named_with_its_setting() -> None:
    tools = media()
    compiled = compile_plan(
        plan(node("a", parameters={"tool": "image_generate", "tool_inputs": {"prompt": "a cat"}})), tools=tools
    )
    costs = cost_forecast(compiled, compiled.nodes, tools)
    assert costs is not None
    assert costs.most.usd is None
    assert costs.price_it == ("set PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_IMAGES_PRICE",)


def test_the_dry_run_counts_pictures(folder: Path) -> None:
    prefix = "PREFECT_INTEGRATIONS_VIBE_PREFECT_MEDIA_IMAGES_"
    settings = {f"{prefix}MODELS": "m-1", f"{prefix}URL": "http://127.0.0.1:9/v1"}
    settings |= {"PREFECT_API_URL": "http://127.0.0.1:9/api"}
    inputs = {"tool": "image_generate", "tool_inputs": {"prompt": "a cat"}}
    path = write_plan(folder, [raw("a", parameters=inputs)])
    command = ["run", path, "--dry-run", "--budget-usd", "0.1"]
    seen = call(*command, cwd=folder, extra=settings)
    assert "costs  1 call of image_generate, at most 0 tokens, of unknown price" in seen.lines
    assert any(f"set {prefix}PRICE" in line for line in seen.lines)
    told = call(*command, "--json", cwd=folder, extra=settings | {f"{prefix}PRICE": '{"m-1": 0.25}'}).json["costs"]
    assert (told["calls"], told["tools"], told["most_cost_usd"]) == (1, ["image_generate"], 0.25)


async def test_a_tool_of_ones_own_states_its_price_and_keeps_to_the_budget(folder: Path) -> None:
    def most_cost(inputs: Mapping[str, Any]) -> Spending:
        return Spending(usd=0.25)

    @tool(name="translate", version="1", most_cost=most_cost)
    async def translate(text: str, context: ToolContext) -> ToolResult:
        async with paid_call(context.get("budget"), Spending(usd=0.25)) as charge:
            charge.used = Spending(usd=0.2)
        return ToolResult(True, {"text": text.upper()}, {"usage": {"cost_usd": 0.2}})

    tools = ToolRegistry([translate])
    subject = plan(*(node(f"t{i}", parameters={"tool": "translate", "tool_inputs": {"text": "x"}}) for i in range(4)))
    compiled = compile_plan(subject, tools=tools)
    costs = cost_forecast(compiled, compiled.nodes, tools)
    assert costs is not None
    assert costs.most == Spending(0, 1.0)
    result = await run_offline(subject, tools, budget_usd=0.5)
    assert len(result.ids("completed")) == 2
