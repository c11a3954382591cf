"""What a model is given of other nodes' outputs: texts; a file that it cannot see is refused, or said to be unseen."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import (
    ExecutionStatus,
    PlanError,
    ToolCategory,
    ToolContext,
    ToolRegistry,
    WorkflowPlan,
    compile_plan,
    tool,
)
from vibe_prefect.errors import ToolError
from vibe_prefect.llm.given import given_by
from vibe_prefect.testing import RecordingTool, ScriptedModel, run_offline, verdict
from vibe_prefect.tools.workspace import FileRef, Workspace

CARD: dict[str, Any] = {"path": "card.png", "mime": "image/png", "sha256": "0" * 64, "bytes": 7}
SONG = CARD | {"path": "song.mp3", "mime": "audio/mpeg"}
SEES_NOT = "the model cannot see it: let the node depend on a text that says what is in it"


def test_outputs_without_a_text_are_shown_as_json() -> None:
    outputs = {"a": {"text": "plain"}, "b": {"rows": [1]}, "c": "words", "d": None, "e": {"text": 3}}
    assert given_by(outputs).texts == {
        "a": "plain",
        "b": '{\n "rows": [\n  1\n ]\n}',
        "c": "words",
        "e": '{\n "text": 3\n}',
    }


@pytest.mark.parametrize(
    ("output", "unseen"),
    [
        (CARD, "a picture"),
        (CARD | {"width": 800, "height": 400}, "a picture"),
        (SONG, "a sound"),
        (CARD | {"mime": "video/mp4"}, "a video"),
        (CARD | {"mime": "application/pdf"}, "a file (application/pdf)"),
        ([CARD, SONG], "2 files"),
        ({"cover": CARD}, "a picture"),
        ({"images": [CARD, CARD]}, "2 files"),
    ],
)
def test_files_alone_are_no_text(output: Any, unseen: str) -> None:
    given = given_by({"card": output})
    assert (given.texts, given.unseen) == ({}, {"card": unseen})
    with pytest.raises(ToolError, match="and no text; the model cannot see") as caught:
        given.check()
    assert not caught.value.retryable


@pytest.mark.parametrize(
    ("output", "text"),
    [
        (CARD | {"text": "A cup of tea."}, "A cup of tea."),
        ({"text": "A cup.", "image": CARD}, "A cup."),
        ({"caption": "A cup.", "image": CARD}, '{\n "caption": "A cup."\n}'),
        ([CARD, "A cup."], '[\n "A cup."\n]'),
    ],
)
def test_of_a_text_with_files_the_text_is_given_and_no_file_name(output: Any, text: str) -> None:
    assert given_by({"card": output}).texts == {"card": text}


def test_of_a_written_text_file_the_content_is_given(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path)
    ref = workspace.write("a.md", "# Grüner Tee".encode())
    assert given_by({"file": ref}, workspace).texts == {"file": "# Grüner Tee"}
    (tmp_path / "a.md").unlink()
    with pytest.raises(ToolError, match=r"the run has made no file 'a.md'"):
        given_by({"file": ref}, workspace)


def on_card(kind: str = "generate", **fields: Any) -> WorkflowPlan:
    """A card, and a node on a model that depends on nothing else."""
    card = node("card", parameters={"tool": "image_card", "tool_inputs": {"title": "Tea"}})
    return plan(card, node("last", kind, needs=["card"], **fields))


@pytest.mark.parametrize("kind", ["generate", "analyze", "transform", "validate"])
def test_a_node_that_depends_on_a_picture_alone_is_refused_before_the_run(kind: str) -> None:
    with pytest.raises(PlanError) as caught:
        compile_plan(on_card(kind=kind), tools=ScriptedModel().registry)
    assert f"'last', dependencies: 'card' made a picture and no text; {SEES_NOT}" in str(caught.value)


def test_a_written_file_is_read_by_its_own_encoding(tmp_path: Path) -> None:
    workspace = Workspace(tmp_path, tmp_path)
    feed = '<?xml version="1.0" encoding="ISO-8859-1"?><title>Gr\xfc\xdfe</title>'
    ref = workspace.write("feed.xml", feed.encode("latin-1"), "application/rss+xml")
    assert given_by({"file": ref}, workspace).texts == {"file": feed}
    ref = workspace.write("odd.txt", b"Gr\xfc\xdfe", "text/plain")
    with pytest.raises(ToolError, match=r"the model: 'odd.txt' is not utf-8 text: byte 2") as caught:
        given_by({"file": ref}, workspace)
    assert not caught.value.retryable


def test_a_gate_over_a_composite_has_nothing_to_judge_and_a_text_after_one_is_fine() -> None:
    parts = node("parts", "composite", children=[node("text", parameters={"tool": "llm_generate"})])
    tools = ScriptedModel().registry
    with pytest.raises(PlanError, match="'last', dependencies: there is nothing to judge: 'parts' only holds other n"):
        compile_plan(plan(parts, node("last", "validate", needs=["parts"])), tools=tools)
    for kind, needs in (("generate", ["parts"]), ("validate", ["parts", "text"])):
        assert compile_plan(plan(parts, node("last", kind, needs=needs)), tools=tools)


def test_two_pictures_are_named_together() -> None:
    card = {"tool": "image_card", "tool_inputs": {"title": "Tea"}}
    two = plan(node("a", parameters=card), node("b", parameters=card | {"tool_inputs": {"title": "T"}}))
    both = two.model_copy(update={"root_nodes": [*two.root_nodes, node("last", "validate", needs=["a", "b"])]})
    with pytest.raises(PlanError, match="'a' made a picture and no text and 'b' made a picture and no text"):
        compile_plan(both, tools=ScriptedModel().registry)


async def test_a_node_that_does_not_need_the_picture_runs(tmp_path: Path) -> None:
    apart = {"tool": "llm_generate", "tool_inputs": {"prompt": "Write.", "dependencies": False}}
    judged = {"tool": "judge", "tool_inputs": {"text": "A text.", "criteria": ["a"]}}
    compile_plan(on_card(parameters=judged), tools=ScriptedModel().registry)
    result = await run_offline(on_card(parameters=apart), ScriptedModel("Tea.").registry, output=tmp_path)
    assert result.status is ExecutionStatus.COMPLETED, result.node_results


async def test_with_a_text_beside_the_picture_the_model_is_told_that_it_does_not_see_it(tmp_path: Path) -> None:
    model = ScriptedModel("A text.")
    card = node("card", parameters={"tool": "image_card", "tool_inputs": {"title": "Tea"}})
    both = plan(card, node("text"), node("last", needs=["card", "text"]))
    result = await run_offline(both, model.registry, output=tmp_path)
    prompt = model.questions[-1].prompt
    assert "A text." in prompt
    assert "(a picture, which is not shown to you)" in prompt
    assert "card.png" not in prompt
    assert result.node_results["last"].result["metadata"]["unseen"] == ["card"]


async def test_a_gate_judges_the_text_beside_the_picture_alone(tmp_path: Path) -> None:
    model = ScriptedModel(lambda question: verdict({"do last": 1.0}, "A text.") if question.schema else "A text.")
    card = node("card", parameters={"tool": "image_card", "tool_inputs": {"title": "Tea"}})
    both = plan(card, node("text"), node("last", "validate", needs=["card", "text"]))
    result = await run_offline(both, model.registry, output=tmp_path)
    assert result.node_results["last"].result["result"]["text"] == "A text."


@pytest.mark.parametrize("kind", ["generate", "validate"])
async def test_a_tool_that_does_not_say_what_it_makes_is_refused_before_the_call(kind: str, tmp_path: Path) -> None:
    model = ScriptedModel("never")
    tools = model.registry
    tools.register(RecordingTool("paint", CARD))
    one = plan(node("card", parameters={"tool": "paint"}), node("last", kind, needs=["card"], policy={"retries": 3}))
    result = await run_offline(one, tools, output=tmp_path, max_tokens=100_000)
    assert "'card' made a picture and no text" in str(result.node_results["last"].error)
    assert not model.questions


def test_a_tool_of_ones_own_may_say_that_it_makes_sounds() -> None:
    @tool(category=ToolCategory.AUDIO)
    def sing(context: ToolContext) -> FileRef:
        """Sing."""
        raise NotImplementedError

    tools: ToolRegistry = ScriptedModel().registry
    tools.register(sing)
    with pytest.raises(PlanError, match="'song' made a sound and no text"):
        compile_plan(
            plan(node("song", parameters={"tool": "sing"}), node("gate", "validate", needs=["song"])), tools=tools
        )


def test_a_written_file_is_no_picture() -> None:
    written = {"tool": "write_file", "tool_inputs": {"path": "a.md", "content": "x"}}
    one = plan(node("file", parameters=written), node("gate", "validate", needs=["file"]))
    assert compile_plan(one, tools=ScriptedModel().registry).nodes
