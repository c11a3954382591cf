from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import State

from tests.plans import node, plan
from tests.refusals import refusing
from vibe_prefect import ExecutionStatus, UsageError, WorkflowExecutor, WorkflowPlan
from vibe_prefect.engine.flow import run_plan
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.runs.model_change import model_change, model_tags
from vibe_prefect.llm.all_tools import equipped_registry
from vibe_prefect.operations import plan_resume
from vibe_prefect.plan.compiler import compile_plan
from vibe_prefect.plan.worker_needs import default_models
from vibe_prefect.testing import ScriptedModel
from vibe_prefect.testing.scripted import MODEL
from vibe_prefect.tools.registry import ToolRegistry


def drafted() -> WorkflowPlan:
    """A plan that runs with and without a model; with the one of `refusing` its gate refuses."""
    draft = {"tool": "llm_or_template", "tool_inputs": {"prompt": "Write.", "template": "By a template"}}
    review = {"tool": "judge_or_pass", "tool_inputs": {"text": "{{ outputs.post.text }}", "criteria": ["warm"]}}
    return plan(node("post", parameters=draft), node("tone", "validate", needs=["post"], parameters=review))


def models(tools: ToolRegistry, wanted: WorkflowPlan | None = None) -> Any:
    return default_models(compile_plan(wanted or drafted(), tools=tools), tools)


WITH, WITHOUT, OTHER = refusing().registry, equipped_registry(), ScriptedModel(models=("other:model",)).registry


@pytest.mark.parametrize(
    ("tools", "models_now", "change"),
    [
        (WITH, {"writes": {MODEL}, "judges": {MODEL}}, None),
        (
            WITHOUT,
            {"writes": set[str](), "judges": set[str]()},
            "wrote and judged with the model scripted:model, and no model is configured now: templates",
        ),
        (OTHER, {"writes": {"other:model"}, "judges": {"other:model"}}, "and now the model is other:model"),
    ],
    ids=["same", "none", "other"],
)
def test_a_resume_notices_which_models_it_lacks(tools: ToolRegistry, models_now: Any, change: str | None) -> None:
    assert models(tools) == models_now
    found = model_change(past(model_tags(models(WITH))), models(tools))
    assert (found is None) if change is None else (change in (found or ""))


def past(tags: set[str]) -> PastRun:
    from uuid import uuid4

    from prefect.client.schemas.objects import FlowRun

    return PastRun.of(FlowRun(id=uuid4(), flow_id=uuid4(), name="plan-calm-otter", tags=sorted(tags)))


def test_a_model_that_nodes_name_or_that_no_node_needs_is_not_missed() -> None:
    had = past(model_tags(models(WITH)))
    assert model_change(had, models(WITHOUT, plan(node("a", "composite")))) is None
    named = plan(node("a", parameters={"tool": "llm_generate", "tool_inputs": {"prompt": "x", "model": MODEL}}))
    assert models(WITH, named) == {}


@pytest.fixture
def on_server(prefect_server: str, folder: Path) -> None:
    """The server, and an empty folder to work in."""


def executor(tools: ToolRegistry, **options: Any) -> WorkflowExecutor:
    return WorkflowExecutor(tool_registry=tools, simulate="never", storage="records", **options)


async def refused() -> str:
    """The id of a run with a model, whose gate refused."""
    first = executor(WITH)
    await first.execute_plan(drafted())
    assert first.last_run is not None
    return str(first.last_run.flow_run_id)


@pytest.mark.server
async def test_a_resume_without_the_model_is_refused_until_it_is_asked_for(on_server: None) -> None:
    run = await refused()
    second = executor(WITHOUT)
    with pytest.raises(UsageError, match="--without-model") as caught:
        await second.execute_plan(drafted(), resume_from=run)
    assert f"wrote and judged with the model {MODEL}" in str(caught.value)
    assert "VIBE_PREFECT_MODEL" in str(caught.value)
    assert second.last_run is None, "no run is left behind"

    third = executor(WITHOUT, without_model=True)
    result = await third.execute_plan(drafted(), resume_from=run)
    assert result.status is ExecutionStatus.COMPLETED
    assert third.last_run is not None
    await executor(WITHOUT).execute_plan(drafted(), resume_from=str(third.last_run.flow_run_id))


@pytest.mark.server
async def test_a_deployed_resume_without_the_model_fails_with_the_reason(on_server: None) -> None:
    run = await refused()
    state: State[Any] = await run_plan(drafted(), resume_from=run, return_state=True)  # pyright: ignore[reportGeneralTypeIssues]
    assert state.is_failed()
    assert "the option without_model" in (state.message or "")


@pytest.mark.server
async def test_plan_resume_says_which_model_is_missing(on_server: None) -> None:
    run = await refused()
    resumed = await plan_resume(run, tools=WITHOUT)
    assert "no model is configured now" in (resumed.model_change or "")
    assert (await plan_resume(run, tools=WITH)).model_change is None


@pytest.mark.server
async def test_a_run_is_tagged_with_its_models(on_server: None) -> None:
    run = await refused()
    async with get_client() as client:
        tags = (await client.read_flow_run(run)).tags  # pyright: ignore[reportArgumentType]
    assert {f"vibe-model:{MODEL}", f"vibe-judge:{MODEL}", "plan:plan"} <= set(tags)
