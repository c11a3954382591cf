"""The kit for users' own tests."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, WorkflowPlan, default_registry
from vibe_prefect.errors import ToolError
from vibe_prefect.testing import RecordingTool, ScriptedModel, run_offline, verdict

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


def gated() -> WorkflowPlan:
    gate = {"tool": "judge", "tool_inputs": {"criteria": ["clear"], "threshold": 0.8}}
    return plan(
        node("draft"),
        node("gate", "validate", needs=["draft"], parameters=gate),
        node("publish", "transform", needs=["gate"], parameters={"tool": "publish"}),
    )


async def test_a_scripted_model_runs_a_plan_without_a_server(folder: Path) -> None:
    model = ScriptedModel(["Water boils when hot.", verdict({"clear": 0.9}, "Water boils")])
    publish, tools = RecordingTool("publish", {"url": "x"}), model.registry
    tools.register(publish)
    result = await run_offline(gated(), tools)
    assert result.status is COMPLETED, result.node_results
    assert result.feedback_data["gate"]["execution_quality"] == 0.9
    assert publish.calls == [{}]
    assert publish.contexts[0].get("node_id") == "publish"
    assert model.questions[0].prompt == "Task: do draft"


async def test_a_gate_that_fails_blocks_what_waits_for_it(folder: Path) -> None:
    model = ScriptedModel(["Water boils when hot.", verdict({"clear": 0.2}, "Water boils")])
    tools = model.registry
    tools.register(RecordingTool("publish"))
    result = await run_offline(gated(), tools)
    assert [one.status for one in result.node_results.values()] == [COMPLETED, FAILED, SKIPPED]
    assert result.node_results["publish"].error == "Dependencies not satisfied: gate failed"


async def test_a_script_may_raise_and_retries_are_made(folder: Path) -> None:
    model = ScriptedModel([ToolError("down"), "text"])
    result = await run_offline(plan(node("a")), model.registry)
    assert result.status is COMPLETED
    provenance = result.node_results["a"].provenance
    assert provenance is not None
    assert [(one.error_type, one.error) for one in provenance.attempts] == [("RuntimeError", "down"), (None, None)]
    final = ScriptedModel([ToolError("no", retryable=False), "text"])
    result = await run_offline(plan(node("a")), final.registry)
    assert (result.status, len(final.questions)) == (FAILED, 1)
    assert result.feedback_data["a"]["error_type"] == "RuntimeError"


async def test_a_recording_tool_may_fail_and_compute(folder: Path) -> None:
    tools = default_registry()
    tools.register(RecordingTool("bad", error="no"))

    def doubled(inputs: dict[str, Any]) -> dict[str, str]:
        return {"text": inputs["text"] * 2}

    tools.register(RecordingTool("double", doubled))
    inputs = {"tool": "double", "tool_inputs": {"text": "ab"}}
    result = await run_offline(plan(node("a", parameters={"tool": "bad"}), node("b", parameters=inputs)), tools)
    assert result.node_results["a"].error == "Tool execution failed: no"
    assert result.node_results["b"].result["result"] == {"text": "abab"}


async def test_budgets_apply_without_a_server(folder: Path) -> None:
    model = ScriptedModel("text", max_tokens=100)
    result = await run_offline(plan(*(node(f"n{i}") for i in range(20))), model.registry, max_tokens=3_000)
    assert result.status is FAILED
    assert 0 < len(model.questions) < 20


async def test_subtrees_are_waited_for_without_a_server(folder: Path) -> None:
    tools = default_registry()
    tools.register(RecordingTool("bad", error="no"))
    child = node("child", parameters={"tool": "bad"})
    result = await run_offline(
        plan(node("group", "composite", children=[child]), node("after", "composite", needs=["group"])), tools
    )
    assert result.node_results["after"].error == "Dependencies not satisfied: child failed"


def test_an_offline_run_imports_no_prefect(tmp_path: Path) -> None:
    script = """
        import asyncio, sys
        import vibe_prefect.testing.fixtures
        from tests.testing.test_testing import gated
        from vibe_prefect.testing import RecordingTool, ScriptedModel, run_offline, verdict
        tools = ScriptedModel(["Water boils.", verdict({"clear": 0.9}, "Water boils")]).registry
        tools.register(RecordingTool("publish"))
        print(asyncio.run(run_offline(gated(), tools)).status)
        print([name for name in sys.modules if name.split(".")[0] == "prefect"])
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.stdout.splitlines() == ["completed", "[]"], done.stdout + done.stderr


@pytest.mark.server
@pytest.mark.parametrize("how", ["run_plan_offline", "run_plan_on_server"])
def test_fixtures_run_a_plan_as_in_a_users_own_tests(
    how: str, request: pytest.FixtureRequest, scripted_model: ScriptedModel
) -> None:
    """The suite takes the fixtures as users do, by naming them in its `conftest.py`."""
    result = request.getfixturevalue(how)(plan(node("a")), scripted_model.registry)
    assert result.node_results["a"].result["result"] == {"text": "A text."}
    assert result.get_summary()["completed"] == 1
