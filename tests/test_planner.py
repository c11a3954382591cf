"""The reference's planner-level calls, and what a planner of ours has besides."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest

from tests.llm.models import registry
from tests.planning.answers import TEXT, answer, draft_with, is_for_plan, planner_of, saved_by
from tests.providers.openai_server import openai_server
from tests.replanning.runs import answer as judged_answer
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    MetaPlanner,
    PlanningError,
    ProgressEvent,
    ToolError,
    ToolRegistry,
    UsageError,
    Vibe,
    VisualizationFormat,
    WorkflowExecutor,
    WorkflowPlan,
    WorkflowVisualizer,
)
from vibe_prefect.testing import ScriptedModel

VIBE = Vibe(description="A post on tea", style="warm", constraints=["no medical claims"], domain="retail")

GOOD = answer()


@pytest.fixture
def served(prefect_server: str, folder: Path) -> None:
    """A server, and an empty folder to work in."""


def planner(model: ScriptedModel, *arguments: Any, **options: Any) -> MetaPlanner:
    return MetaPlanner(*arguments, tool_registry=model.registry, **options)


@pytest.mark.server
@pytest.mark.usefixtures("served")
async def test_planner_runs_what_it_plans_through_the_references_calls() -> None:
    """One planner, each of the reference's calls."""
    events: list[ProgressEvent] = []
    subject = MetaPlanner(None, events.append, 1, "checkpoints", None, planner_of(GOOD).registry)

    done = await subject.execute(VIBE)
    assert done["status"] == "completed", done
    assert (done["plan_id"], done["vibe_description"]) == ("post", VIBE.description)
    assert done["execution_summary"] | {"total_duration": 0, "started_at": 0, "completed_at": 0} == {
        "total_nodes": 2,
        "completed": 2,
        "failed": 0,
        "total_duration": 0,
        "started_at": 0,
        "completed_at": 0,
    }
    assert done["node_results"]["draft"]["result"]["result"] == {"text": TEXT}
    assert done["node_results"]["draft"]["status"] == "completed"
    assert {"result", "error", "duration", "status"} == done["node_results"]["save"].keys()
    assert [event.event_type for event in events][:1] == ["workflow_started"]

    plan, result = await subject.plan_and_execute(VIBE)
    assert isinstance(plan, WorkflowPlan)
    assert isinstance(result, ExecutionResult)
    assert result.status is ExecutionStatus.COMPLETED
    assert plan.source_vibe == VIBE

    drawn = await subject.execute_with_visualization(VIBE, visualization_format=VisualizationFormat.MERMAID)
    assert drawn["visualization"].startswith("graph TD")
    assert ":::completed" in drawn["visualization"]
    assert drawn["execution_groups"] == [["draft"], ["save"]]
    assert "Status: completed" in WorkflowVisualizer.generate_diagram(plan, result, VisualizationFormat.ASCII)

    listed = subject.list_checkpoints("post")
    assert subject.list_checkpoints("another") == []
    assert len(listed) >= 3
    first = listed[-1]["checkpoint_id"]
    assert list(subject.get_checkpoint(first).execution_result.node_results) == ["draft"]
    resumed = await subject.execute_with_resume(VIBE, first)
    assert resumed["status"] == "completed"
    assert resumed["persistence_info"] == {
        "checkpoint_dir": "checkpoints",
        "last_checkpoint_id": subject.executor.last_checkpoint_id,
        "resumed_from": first,
        "checkpoint_enabled": True,
    }
    made = subject.create_checkpoint(plan, result)
    assert subject.delete_checkpoint(made) is True
    assert subject.delete_checkpoint(made) is False
    with pytest.raises(FileNotFoundError):
        subject.get_checkpoint(made)
    with pytest.raises(RuntimeError, match=f"Checkpoint not found: {made}"):
        await subject.execute_with_resume(VIBE, made)


@pytest.mark.server
@pytest.mark.usefixtures("served")
async def test_planner_adapts_its_plan_to_what_a_gate_missed() -> None:
    gated = {
        "id": "post",
        "root_nodes": [
            {
                "id": "draft",
                "type": "generate",
                "description": "Write it.",
                "parameters": {"tool": "llm_generate", "tool_inputs": {"prompt": "Write a post"}},
            },
            {
                "id": "gate",
                "type": "validate",
                "description": "Judge it.",
                "dependencies": ["draft"],
                "parameters": {"tool": "judge", "tool_inputs": {"criteria": ["lively"], "threshold": 0.7}},
            },
        ],
    }
    model = ScriptedModel(lambda question: json.dumps(gated) if is_for_plan(question) else judged_answer(question))
    subject = planner(model)
    done = await subject.execute_with_adaptation(VIBE)
    info = done["adaptation_info"]
    assert done["status"] == "completed", done
    assert info["total_attempts"] == 2
    assert [(one["attempt"], one["status"], one["failed"]) for one in info["adaptation_history"]] == [
        (1, "failed", 1),
        (2, "completed", 0),
    ]
    assert info["replan_history"] == subject.replan_history
    assert "lively" in str(subject.replan_history[0]["changes"])
    assert info["final_feedback"].keys() == {"draft", "gate"}


@pytest.mark.server
@pytest.mark.usefixtures("served")
async def test_visualization_prints_progress_where_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    subject = planner(planner_of(GOOD))
    drawn = await subject.execute_with_visualization(VIBE)
    assert "Completed: Write the text." in capsys.readouterr().out
    assert "✅ [generate] Write the text. (draft)" in drawn["visualization"]
    assert subject.executor.progress_callback is None


async def test_plan_tells_the_model_what_it_may_use() -> None:
    model = planner_of(GOOD)
    await planner(model, sources=["docs"]).plan(VIBE)
    question = model.questions[0]
    for words in (
        "write_file",
        '"path"',
        "scripted:judge*",
        "- docs",
        "for_each",
        "no medical claims",
        "retail",
        "warm",
    ):
        assert words in question.prompt, words
    assert "- http_fetch" not in question.prompt  # it is not set up
    assert question.schema is not None
    assert "why" in question.schema["$defs"]["WorkflowNode"]["properties"]
    assert VIBE.description not in question.system


async def test_plan_names_placements_that_the_operator_has_named_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    placements = {"renderers": {"kind": "process", "workers": 2}}
    monkeypatch.setenv("PREFECT_INTEGRATIONS_VIBE_PREFECT_PLACEMENTS", json.dumps(placements))
    placed = [draft_with(policy={"run_on": name}) for name in ("gpu-farm", "renderers")]
    model = planner_of(*placed)
    plan = await planner(model).plan(VIBE)
    assert plan.root_nodes[0].policy.run_on == "renderers"
    assert "renderers (process)" in model.questions[0].prompt
    assert "unknown placement 'gpu-farm'" in model.questions[1].prompt


async def test_plan_keeps_reasons_cost_and_estimates() -> None:
    def timed(data: dict[str, Any]) -> None:
        data["root_nodes"][0]["estimated_duration"] = 20
        data["root_nodes"][1]["estimated_duration"] = 1.5

    subject = planner(planner_of(answer(timed)))
    plan = await subject.plan(VIBE)
    assert plan.estimated_total_duration == 21.5
    planned = subject.last_planned
    assert planned is not None
    assert planned.draft.reasons == {"draft": "The text itself.", "save": "People want a file."}
    assert planned.model == "scripted:model"
    assert planned.spent.tokens > 1_000
    assert planned.spent.usd == pytest.approx(planned.spent.tokens / 1e6)


async def test_refine_keeps_id_vibe_and_what_the_plan_reads() -> None:
    reading = answer(
        lambda data: data["root_nodes"][0].update(
            parameters={"tool": "read_text", "tool_inputs": {"path": "CHANGELOG.md"}}
        )
    )
    shorter = reading.replace('"post"', '"something-else"').replace("Write the text.", "Write a short text.")
    model = planner_of(reading, shorter)
    subject = planner(model, sources=["CHANGELOG.md"])
    plan = await subject.plan(VIBE)
    again = await planner(model).refine(plan, "shorter")
    assert (again.id, again.source_vibe) == (plan.id, plan.source_vibe)
    assert again.root_nodes[0].description == "Write a short text."
    assert again.root_nodes[1] == plan.root_nodes[1]
    assert plan.root_nodes[0].description == "Write the text."
    prompt = model.questions[1].prompt
    assert "shorter" in prompt
    assert '"CHANGELOG.md"' in prompt
    with pytest.raises(UsageError, match="the wish for the edit is empty"):
        await subject.refine(plan, " ")
    plan.root_nodes[0].parameters["tool_inputs"] = {"path": "{{ run.name }}.md"}
    with pytest.raises(UsageError, match=r"by hand: node 'draft', parameters.tool_inputs.path: which file it reads"):
        await subject.refine(plan, "shorter")
    assert len(model.questions) == 2


async def test_plan_without_a_model_says_what_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VIBE_PREFECT_MODEL", raising=False)
    subject = MetaPlanner(tool_registry=ToolRegistry())
    with pytest.raises(UsageError, match="written by a language model, and none is configured: set VIBE_PREFECT_MODEL"):
        await subject.plan(VIBE)


async def test_plan_uses_the_models_settings_with_a_registry_of_the_callers_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("VIBE_PREFECT_MODEL", "nosuch:model")
    with pytest.raises(PlanningError, match="pydantic-ai knows no provider 'nosuch'"):
        await MetaPlanner(tool_registry=ToolRegistry()).plan(VIBE)


async def test_plan_is_asked_for_by_a_schema_that_leaves_parameters_open() -> None:
    """Providers close objects of which a schema says nothing; a model could then name no tool."""
    with openai_server() as provider:
        provider.reply = lambda _: GOOD
        plan = await MetaPlanner(tool_registry=registry(provider)).plan(VIBE)
        asked = provider.calls[0].body["response_format"]["json_schema"]
    assert plan.id == "post"
    assert asked["strict"] is False
    node = asked["schema"]["$defs"]["WorkflowNode"]["properties"]
    assert node["parameters"]["additionalProperties"] is True
    assert node["children"]["items"] == {"$ref": "#/$defs/WorkflowNode"}
    assert asked["schema"]["properties"]["inputs"]["additionalProperties"]["additionalProperties"] is True


async def test_plan_asks_another_model_only_where_it_is_allowed() -> None:
    model = planner_of(GOOD)
    await MetaPlanner(tool_registry=model.registry, model="scripted:judge-2").plan(VIBE)
    assert model.questions[0].model == "scripted:judge-2"
    with pytest.raises(UsageError, match="'openai:gpt-99' is not one that the operator allows"):
        await MetaPlanner(tool_registry=model.registry, model="openai:gpt-99").plan(VIBE)
    assert len(model.questions) == 1


async def test_planning_stops_at_its_budget() -> None:
    model = planner_of(saved_by("publish"), prices=None)
    with pytest.raises(PlanningError, match="budget: the call's price is not known"):
        await planner(model, budget_usd=1.0).plan(VIBE)
    assert model.questions == []
    model = planner_of(saved_by("publish"))
    with pytest.raises(PlanningError, match="after 1 answer that was no valid plan, budget: stopped before") as caught:
        await planner(model, max_tokens=20_000).plan(VIBE)
    assert len(model.questions) == 1
    assert caught.value.answers == 1
    assert caught.value.draft is not None
    with pytest.raises(UsageError, match="budget_usd is -1"):
        planner(model, budget_usd=-1)


async def test_planning_asks_again_where_the_provider_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("vibe_prefect.llm.checked_answers.PAUSE_SECONDS", 0.0)
    replies: list[str | Exception] = [ToolError("HTTP 500"), GOOD]
    subject = planner(ScriptedModel(replies))
    assert (await subject.plan(VIBE)).id == "post"


def test_planning_needs_an_answer_at_least() -> None:
    with pytest.raises(UsageError, match="max_answers is 0: expected a whole number above 0"):
        MetaPlanner(max_answers=0)


async def test_planning_ends_at_an_error_that_is_final() -> None:
    model = ScriptedModel(ToolError("the key is refused", retryable=False))
    with pytest.raises(PlanningError, match="scripted:model gave no answer: the key is refused") as caught:
        await planner(model).plan(VIBE)
    assert len(model.questions) == 1
    assert (caught.value.answers, caught.value.draft) == (0, None)


def test_planning_errors_cross_processes() -> None:
    error = PlanningError("A post", "no plan", problems=["x"], draft="{", answers=2, over_budget=True)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301
    assert str(again) == str(error) == "Failed to generate workflow plan for vibe 'A post': no plan\n  x"
    assert (again.vibe, again.problems, again.draft, again.answers) == ("A post", ("x",), "{", 2)
    assert again.over_budget


async def test_an_empty_vibe_is_refused_before_a_model_is_asked() -> None:
    model = planner_of(GOOD)
    with pytest.raises(UsageError, match="the vibe is empty"):
        await planner(model).plan(Vibe(description="  "))
    assert model.questions == []


async def test_planner_runs_plans_by_an_executor_of_the_callers_own(folder: Path) -> None:
    model = planner_of(GOOD)
    executor = WorkflowExecutor(tool_registry=model.registry, simulate="never", storage="records")
    subject = MetaPlanner(executor=executor)
    assert (await subject.plan(VIBE)).id == "post"
    assert all(map(is_for_plan, model.questions))
    assert list(folder.iterdir()) == []  # neither checkpoints nor anything else before a run
