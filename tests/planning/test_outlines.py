"""Outlines: what a model writes that reads too little at once for a whole plan."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from vibe_prefect import ExecutionStatus, MetaPlanner, PlanningError, Vibe
from vibe_prefect.llm.provider.model_client import Question
from vibe_prefect.testing import ScriptedModel, run_offline

ROW = [
    {"type": "analyze", "description": "Think about what people like in tea."},
    {"type": "generate", "description": "Write three sentences about green tea."},
]
VIBE = Vibe(description="A short post on tea", constraints=["no medical claims"])


def outline(*steps: dict[str, Any], **fields: Any) -> str:
    return json.dumps({"steps": list(steps or ROW), **fields})


def small(*answers: str) -> ScriptedModel:
    """A model that may be asked no more than the question for an outline; other questions get a text."""
    given = iter(answers)

    def reply(question: Question) -> str:
        return next(given, answers[-1]) if question.schema else f"A text after {len(question.prompt)} characters."

    return ScriptedModel(reply, context_tokens=2_500)


async def test_an_outline_becomes_a_row_of_texts_that_runs(tmp_path: Path) -> None:
    model = small(outline())
    planner = MetaPlanner(tool_registry=model.registry)
    plan = await planner.plan(VIBE)
    assert [(node.id, node.type.value, node.dependencies) for node in plan.root_nodes] == [
        ("step-1", "analyze", []),
        ("step-2", "generate", ["step-1"]),
    ]
    assert plan.source_vibe == VIBE
    assert planner.last_planned is not None
    assert planner.last_planned.heading.endswith("Planned by scripted:model, as an outline.")
    result = await run_offline(plan, model.registry, output=tmp_path)
    assert result.status is ExecutionStatus.COMPLETED
    assert "A text after" in model.questions[-1].prompt  # the second step has the first one's text


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        ("I think that tea is nice.", "not one whole JSON object"),
        (outline()[:-20], "not one whole JSON object"),
        (json.dumps({"steps": []}), "steps"),
        (outline(*ROW * 3), "steps"),
        (outline({"type": "validate", "description": "Is it any good?"}), "steps.0.type"),
        (outline({"type": "generate", "description": "  " * 20}), "steps.0.description"),
        (outline({**ROW[1], "parameters": {"tool": "http_fetch"}}), "steps.0.parameters"),
        (outline(policy={"run_on": "farm"}), "policy"),
        (json.dumps({"id": "x", "root_nodes": []}), "steps"),
    ],
)
async def test_what_is_no_outline_goes_back_and_never_runs(answer: str, problem: str) -> None:
    model = small(answer)
    with pytest.raises(PlanningError) as caught:
        await MetaPlanner(tool_registry=model.registry, max_answers=2).plan(VIBE)
    assert problem in str(caught.value)
    assert caught.value.draft == answer
    assert answer in model.questions[1].prompt
    mended = await MetaPlanner(tool_registry=small(answer, outline()).registry).plan(VIBE)
    assert len(mended.root_nodes) == 2


async def test_files_and_edits_need_a_question_for_a_whole_plan() -> None:
    model = small(outline())
    with pytest.raises(PlanningError, match="more than the 2,500 that a call may have"):
        await MetaPlanner(tool_registry=model.registry, sources=["CHANGELOG.md"]).plan(VIBE)
    plan = await MetaPlanner(tool_registry=model.registry).plan(VIBE)
    with pytest.raises(PlanningError, match="more than the 2,500 that a call may have"):
        await MetaPlanner(tool_registry=model.registry).refine(plan, "shorter")


async def test_knowledge_goes_into_an_outline_as_far_as_there_is_room(tmp_path: Path) -> None:
    note = tmp_path / "tea.md"
    note.write_text("---\ndomain: retail\nwhen: tea\n---\nWe never say that tea heals. " + "And more. " * 2_000)
    model = small(outline())
    planner = MetaPlanner(tool_registry=model.registry, knowledge=[str(note)])
    plan = await planner.plan(VIBE)
    assert plan.source_vibe.metadata == {"knowledge": [str(note)]}
    assert "We never say that tea heals." in model.questions[0].prompt
    assert model.questions[0].input_tokens <= 2_500
    assert planner.last_planned is not None
    assert list(planner.last_planned.cuts) == [str(note)]
