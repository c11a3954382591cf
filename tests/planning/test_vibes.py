"""Fifty vibes and what models typically get wrong with them: a valid plan in the end, or a clear error."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.planning.answers import (
    TEXT,
    Script,
    answer,
    draft_with,
    is_for_plan,
    planned_with,
    planner_of,
    save_with,
    saved_by,
    valid_plan,
)
from vibe_prefect import ExecutionStatus, MetaPlanner, PlanningError, Vibe, WorkflowPlan
from vibe_prefect.testing import run_offline

GOOD = answer()


def deep(levels: int) -> str:
    node: dict[str, Any] = {"id": "n0", "type": "composite", "description": "the innermost"}
    for level in range(1, levels):
        node = {"id": f"n{level}", "type": "composite", "description": "around it", "children": [node]}
    return json.dumps({"id": "deep", "root_nodes": [node]})


def looped() -> str:
    """A cycle through a subtree."""
    inner = {"id": "inner", "type": "generate", "description": "x", "dependencies": ["outside"]}
    outer = {"id": "outer", "type": "composite", "description": "x", "children": [inner]}
    outside = {"id": "outside", "type": "generate", "description": "x", "dependencies": ["outer"]}
    return json.dumps({"id": "looped", "root_nodes": [outer, outside]})


def many(count: int) -> str:
    nodes = [{"id": f"n{index}", "type": "generate", "description": "x"} for index in range(count)]
    return json.dumps({"id": "many", "root_nodes": nodes})


def without(field: str) -> str:
    return answer(lambda data: data["root_nodes"][0].pop(field))


def twice_saved() -> str:
    def change(data: dict[str, Any]) -> None:
        data["root_nodes"].append({**data["root_nodes"][1], "id": "again"})

    return answer(change)


def same_id() -> str:
    return answer(lambda data: data["root_nodes"].append(data["root_nodes"][0]))


def tool_of(name: str, **inputs: Any) -> str:
    return draft_with(parameters={"tool": name, "tool_inputs": inputs})


WRONG: list[tuple[str, str, str]] = [
    # vibe, the model's first answer, what it is told about it
    ("A launch week for our tea shop", saved_by("publish", text="x"), "unknown tool 'publish'"),
    ("A poem about the sea", saved_by("wirte_file", path="a.md", content="x"), "did you mean 'write_file'?"),
    ("A post that posts itself", saved_by("http_post", url="https://example.org"), "unknown tool 'http_post'"),
    ("A shell of a story", saved_by("bash", command="ls"), "unknown tool 'bash'"),
    ("Circles, a song", draft_with(dependencies=["save"]), "a cycle: draft -> save -> draft"),
    ("Know thyself, an essay", draft_with(dependencies=["draft"]), "depends on itself: a cycle (draft -> draft)"),
    ("A story within a story", looped(), "a cycle: "),
    ("A travel guide to Oslo", save_with(dependencies=["draft", "photos"]), "unknown node 'photos'"),
    ("A quiz on dragons", save_with(dependencies=["dratf"]), "did you mean 'draft'?"),
    ("Two birthday cards", same_id(), "node 'draft'"),
    ("A colourful flyer", draft_with(colour="red"), "colour: unknown field"),
    ("A plan with a mood", planned_with(mood="warm"), "mood: unknown field"),
    ("A speech with emphasis", draft_with(paramters={"tool": "combine"}), "did you mean 'parameters'?"),
    ("A recipe for bread", saved_by("write_file", path="a.md", content="x", mode="append"), "unknown input"),
    ("A recipe for cake", saved_by("write_file", path="a.md"), "content: missing"),
    ("A haiku of seventeen", saved_by("check_text", text="x", min_words="seventeen"), "min_words"),
    ("News from the web", tool_of("http_fetch", url="https://example.org/"), "PREFECT_INTEGRATIONS_VIBE_PREFECT_FETCH_ALLOW"),
    ("A picture of a fox", tool_of("image_generate", prompt="a fox"), "IMAGES_MODELS"),
    (
        "A letter to grandmother",
        saved_by("write_file", path="a.md", content="{{ outputs.idea.text }}"),
        "'idea'",
    ),
    (
        "A letter to grandfather",
        answer(lambda data: data["root_nodes"][1].pop("dependencies")),
        "'draft'",
    ),
    ("A headline for the paper", saved_by("write_file", path="a.md", content="{{ outputs.draft.txt }}"), "did you mean 'text'?"),
    ("A brace for impact", saved_by("write_file", path="a.md", content="{{ outputs.draft.text"), "content: "),
    ("A chat about cats", "Sure! First I would write a text about cats, and then save it to a file.", "not one whole JSON"),
    ("A cut above", GOOD[:-120], "not one whole JSON"),
    ("A story without words", " ", "not one whole JSON"),
    ("Tweedledum and Tweedledee", f"{GOOD}\n\n{GOOD}", "2 JSON objects"),
    ("A list of wishes", json.dumps([valid_plan()]), "expected an object"),
    ("A plan in a plan", json.dumps({"plan": valid_plan()}), "plan: unknown field"),
    ("Nothing at all", json.dumps({"id": "nothing", "root_nodes": []}), "the plan has no nodes"),
    ("A letter to write", draft_with(type="write"), "expected one of analyze, generate"),
    ("The nameless", without("id"), "id: missing"),
    ("The indescribable", without("description"), "description: missing"),
    ("A name with a space", draft_with(id="the draft"), "'the draft'"),
    ("A family tree", draft_with(children={"id": "x"}), "children: expected a list"),
    ("A chain letter", save_with(dependencies="draft"), "dependencies: expected a list"),
    ("Out of the box", saved_by("write_file", path="../../etc/cron.d/x", content="x"), "outside the run's output folder"),
    ("Twice told tales", twice_saved(), "'post.md' is taken"),
    ("A manifesto by a larger mind", tool_of("llm_generate", prompt="x", model="openai:gpt-99"), "not one that the operator allows"),
    ("A digest of our changelog", tool_of("read_text", path="CHANGELOG.md"), "'CHANGELOG.md' is not a file that this plan may read"),
    ("The secrets of the house", tool_of("read_text", path="notes/.env"), "'notes/.env' is not a file"),
    ("Everything we know", tool_of("read_text", path="**/*"), "'**/*' is not a file"),
    ("A file of your choice", tool_of("read_text", path="{{ run.name }}.md"), "not known before the run"),
    ("Fill in the blank", planned_with(inputs={"product": {"type": "string"}}), "inputs.product: it needs a default"),
    ("A card for each guest", draft_with(for_each="{{ [1, 2] }}"), "for_each"),
    ("When pigs fly", save_with(when="if it is good"), "when: "),
    ("A number that is none", GOOD.replace('"post.md"', "NaN"), "NaN"),
    ("Say it twice", GOOD.replace('"id": "post"', '"id": "a", "id": "b"'), "not one whole JSON"),
    ("Turtles all the way down", deep(70), "64"),
    ("A thousand and one nights", many(301), "300"),
    ("Try and try again", draft_with(policy={"retries": 500}), "retries"),
    ("The best of all worlds", draft_with(best_of={"n": 3, "tool": "oracle"}), "'oracle'"),
    ("A large number", draft_with(estimated_duration=-5), "estimated_duration"),
    ("A tool with no name", draft_with(parameters={"tool": ["write_file"]}), "expected a tool's name"),
]  # fmt: skip

RIGHT: list[tuple[str, str]] = [
    ("A fenced garden", f"```json\n{GOOD}\n```"),
    ("A fence without a name", f"~~~\n{GOOD}\n~~~"),
    ("A polite letter", f"Here is the plan:\n\n{GOOD}\n\nLet me know what you think!"),
    ("A thoughtful essay", f"<think>They want a {{plan}}.</think>\n{GOOD}"),
    ("A mark at the beginning", f"\ufeff{GOOD}"),
    ("Somebody else's wish", planned_with(source_vibe={"description": "Something else", "metadata": {"x": 1}})),
    ("Time travel", planned_with(created_at="1999-01-01T00:00:00", estimated_total_duration=1e9)),
    ("No name yet", answer(lambda data: data.pop("id"))),
    ("Two lines\nof a wish", draft_with(description="Write two\nlines.")),
    ("No reasons given", answer(lambda data: [node.pop("why") for node in data["root_nodes"]])),
]


def test_the_table_has_fifty_vibes_and_more() -> None:
    vibes = [vibe for vibe, *_ in (*WRONG, *RIGHT)]
    assert len(set(vibes)) == len(vibes) >= 50


@pytest.fixture(scope="module")
def script() -> Script:
    return Script()


def nodes_of(plan: WorkflowPlan) -> list[dict[str, Any]]:
    return [node.model_dump(mode="json", exclude_defaults=True) for node in plan.root_nodes]


def expected_nodes() -> list[dict[str, Any]]:
    return [{name: value for name, value in node.items() if name != "why"} for node in valid_plan()["root_nodes"]]


@pytest.mark.parametrize(("vibe", "first", "told"), WRONG, ids=[vibe for vibe, *_ in WRONG])
async def test_planning_mends_a_wrong_answer_or_ends_with_its_problems(
    script: Script, vibe: str, first: str, told: str
) -> None:
    script.begin(first, first, GOOD)
    planner = MetaPlanner(tool_registry=script.registry, max_answers=1)
    with pytest.raises(PlanningError, match="wrote no valid plan in 1 answer; the last one has") as caught:
        await planner.plan_and_execute(Vibe(description=vibe))
    assert any(told in problem for problem in caught.value.problems)
    assert told[:40] in str(caught.value)
    assert caught.value.draft == first
    assert planner.executor.last_run is None
    assert planner.last_planned is None

    planner = MetaPlanner(tool_registry=script.registry, max_answers=2)
    plan = await planner.plan(Vibe(description=vibe))
    assert all(map(is_for_plan, script.model.questions))  # nothing of a plan was run
    question = script.model.questions[2].prompt
    assert told in question
    assert first.strip() in question
    assert "Task: answer with the whole plan again" in question
    assert planner.last_planned is not None
    assert planner.last_planned.answers == 2
    assert plan.source_vibe == Vibe(description=vibe)
    assert nodes_of(plan) == expected_nodes()


@pytest.mark.parametrize(("vibe", "first"), RIGHT, ids=[vibe for vibe, _ in RIGHT])
async def test_planning_takes_what_models_put_around_a_plan(script: Script, vibe: str, first: str) -> None:
    script.begin(first)
    plan = await MetaPlanner(tool_registry=script.registry).plan(Vibe(description=vibe))
    assert len(script.model.questions) == 1
    assert plan.source_vibe == Vibe(description=vibe)
    assert plan.created_at is not None
    assert not plan.created_at.startswith("1999")
    assert [node["id"] for node in nodes_of(plan)] == ["draft", "save"]


async def test_a_planned_plan_runs(tmp_path: Path) -> None:
    model = planner_of(WRONG[0][1], GOOD)
    plan = await MetaPlanner(tool_registry=model.registry).plan(Vibe(description="A post"))
    result = await run_offline(plan, model.registry, output=tmp_path)
    assert result.status is ExecutionStatus.COMPLETED, result.node_results
    assert (tmp_path / "post.md").read_text().strip() == TEXT
