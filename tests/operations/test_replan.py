"""Replans of a run with a refused gate, a timeout and a low quality, by rule and by a model, on a real server."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.replanning.runs import CHANGED, EXECUTED, REUSED, answer, poor_plan, tools_of
from vibe_prefect import ExecutionStatus, WorkflowExecutor, load_plan
from vibe_prefect.core.run_values import ReplanBy
from vibe_prefect.operations import replan
from vibe_prefect.plan.node_forecast import Action
from vibe_prefect.results import ExecutionResult
from vibe_prefect.testing import ScriptedModel
from vibe_prefect.tools.registry import ToolRegistry

pytestmark = pytest.mark.server


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


@dataclass
class Poor:
    name: str
    result: ExecutionResult
    tools: ToolRegistry


async def run_poor() -> Poor:
    tools = tools_of(ScriptedModel(answer))
    first = WorkflowExecutor(tool_registry=tools, simulate="never")
    result = await first.execute_plan(poor_plan())
    assert first.last_run is not None
    assert set(result.ids(ExecutionStatus.FAILED)) == {"gate", "slow"}
    return Poor(first.last_run.name, result, tools)


@pytest.mark.parametrize("by", ["rule", "model"])
async def test_replanned_run_completes_and_executes_what_the_forecast_said(by: ReplanBy, tmp_path: Path) -> None:
    poor = await run_poor()
    replanned = await replan(poor.name, by=by, tools=poor.tools)
    assert {edit.node_id for edit in replanned.replan.edits} == CHANGED
    assert set(replanned.comparison.difference.changed) == CHANGED
    assert set(replanned.forecast.forecast.ids(Action.RUN)) == EXECUTED
    assert set(replanned.forecast.forecast.ids(Action.REUSE)) == REUSED
    assert replanned.forecast.costs is not None

    file = tmp_path / "better.yaml"
    file.write_text(replanned.text())
    assert load_plan(file).plan == replanned.plan
    second = WorkflowExecutor(tool_registry=poor.tools, simulate="never")
    result = await second.execute_plan(replanned.plan, resume_from=poor.name)
    assert result.status is ExecutionStatus.COMPLETED
    assert {id for id, one in result.node_results.items() if one.reused} == REUSED
    assert not result.should_replan()
