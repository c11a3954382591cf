"""Whole runs on a model: a real Prefect server, a real HTTP provider on loopback, the real client library."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.llm.models import COST, registry
from tests.plans import node, plan
from tests.providers.openai_server import OpenAIServer
from vibe_prefect import ExecutionStatus, WorkflowExecutor, load_plan

pytestmark = pytest.mark.server

DATA = Path(__file__).parents[1] / "data"
TEXT = "A fine text, made for the test."


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def answer(body: dict[str, Any]) -> str:
    """A verdict where one is asked for, else a text."""
    if "response_format" not in body:
        return TEXT
    prompt = body["messages"][-1]["content"]
    lines = prompt.split("by these criteria.\n")[1].splitlines()
    names = [line.split(". ", 1)[1].split(": ")[0] for line in lines if line[:1].isdigit()]
    quote = max(prompt.split("[end ")[0].splitlines()[1:], key=len)
    return json.dumps(
        {"criteria": [{"name": name, "score": 0.9, "reason": "so it is", "quotes": [quote]} for name in names]}
    )


def executor(server: OpenAIServer, model: str = "ok", **options: Any) -> WorkflowExecutor:
    tools = registry(server, model)
    return WorkflowExecutor(tool_registry=tools, simulate="never", storage="records", **options)


async def test_a_node_that_names_no_tool_runs_on_the_model(provider: OpenAIServer) -> None:
    result = await executor(provider).execute_plan(plan(node("a"), node("b", "transform", needs=["a"])))
    assert result.status is ExecutionStatus.COMPLETED, result.node_results
    first = result.node_results["a"].result
    assert first["result"] == {"text": TEXT}
    assert (first["type"], first["tool"]) == ("generation", "llm_generate")
    usage = first["metadata"]["usage"]
    assert usage == {
        "input_tokens": 100,
        "output_tokens": 20,
        "cost_usd": pytest.approx(COST),
        "model": "openai:ok",
        "requests": 1,
    }
    assert TEXT in provider.calls[1].prompt
    assert "do b" in provider.calls[1].prompt
    assert "a test" in provider.calls[1].system


@pytest.mark.parametrize("name", ["web-feature", "sci-fi-trailer", "mixed-55"])
async def test_the_shared_plans_run_for_real(provider: OpenAIServer, name: str) -> None:
    provider.reply = answer
    result = await executor(provider, concurrency=8).execute_plan(load_plan(DATA / f"{name}.json").plan)
    assert result.status is ExecutionStatus.COMPLETED, {
        id: one.error for id, one in result.node_results.items() if one.error
    }
    backed = [one for one in result.node_results.values() if one.result["type"] != "composite"]
    assert len(provider.calls) == len(backed)
    assert not any(one.result.get("simulated") for one in result.node_results.values())
