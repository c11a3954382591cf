from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.command import call, write_plan
from tests.cli.command import node as raw
from tests.plans import node, plan
from vibe_prefect import compile_plan
from vibe_prefect.budget import Spending
from vibe_prefect.costs import cost_forecast
from vibe_prefect.testing import ScriptedModel, run_offline

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
    outlook = cost_forecast(compiled, compiled.nodes, model.registry)
    assert outlook is not None
    assert outlook.calls == 3
    result = await run_offline(subject, model.registry)
    used = [result.node_results[id].result["metadata"]["usage"] for id in ("a", "b", "c")]
    tokens = sum(one["input_tokens"] + one["output_tokens"] for one in used)
    assert tokens <= outlook.most.tokens < 3 * (24_000 + 1_000)
    assert outlook.most.usd == pytest.approx(outlook.most.tokens / 1e6)


def test_a_template_may_read_as_much_as_is_allowed() -> None:
    model = ScriptedModel(max_tokens=100)
    inputs = {"tool_inputs": {"prompt": "{{ outputs.a.text }}"}}
    compiled = compile_plan(plan(node("a"), node("b", needs=["a"], parameters=inputs)), tools=model.registry)
    outlook = cost_forecast(compiled, ["b"], model.registry)
    assert outlook is not None
    assert outlook.most.tokens == 24_100


def test_an_earlier_run_tells_what_is_likely() -> None:
    model = ScriptedModel()
    compiled = compile_plan(plan(node("a"), node("b")), tools=model.registry)
    outlook = cost_forecast(compiled, compiled.nodes, model.registry, {"a": Spending(120, 0.5)})
    assert outlook is not None
    assert (outlook.calls, outlook.known, outlook.likely) == (2, 1, Spending(120, 0.5))


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
    (line,) = [line for line in seen.lines if line.startswith("models")]
    assert line.startswith("models  2 calls, at most ")
    assert line.endswith(" USD")
    assert "  the budget may not be enough; the run would stop before the call that could exceed it" in seen.lines
    reason = "cannot reach the Prefect server at http://127.0.0.1:9/api"
    assert f"  estimated without earlier runs: {reason}" in seen.lines
    told = call("run", path, "--dry-run", "--json", cwd=folder, extra=settings).json
    assert told["models"]["calls"] == 2
    assert told["models"]["most_cost_usd"] > 0
    assert told["models"]["earlier_runs"] is None
    assert told["not_looked_up"] == reason
