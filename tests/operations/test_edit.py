"""Edits of what nodes made, on a real server: what depends on them runs again, and nothing else does."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.plans import node, plan
from vibe_prefect import ExecutionResult, ExecutionStatus, WorkflowExecutor, WorkflowPlan
from vibe_prefect.core.edited_output import EditError, editable_text, with_text
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.errors import UsageError
from vibe_prefect.operations import edit, forecast, validate
from vibe_prefect.reporting.explanations.explain import explain
from vibe_prefect.reporting.explanations.explain_text import explanation_lines
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.run.run_options import RunOptions

COMPLETED = ExecutionStatus.COMPLETED
FILE = {"path": "a.png", "mime": "image/png", "sha256": "0" * 64, "bytes": 3}


def chain() -> WorkflowPlan:
    """A post, a page of it, a file of the page; and a slogan aside."""

    def fill(text: str) -> dict[str, object]:
        return {"tool": "template_fill", "tool_inputs": {"template": text}}

    written = {"tool": "write_file", "tool_inputs": {"path": "page.md", "content": "{{ outputs.page.text }}"}}
    return plan(
        node("post", parameters=fill("A post.")),
        node("slogan", parameters=fill("Drink tea.")),
        node("page", "transform", needs=["post"], parameters=fill("# {{ outputs.post.text }}")),
        node("file", "transform", needs=["page"], parameters=written),
        id="edited",
    )


async def run(resume_from: str | None = None) -> tuple[str, ExecutionResult]:
    executor = WorkflowExecutor(simulate="never")
    result = await executor.execute_plan(chain(), resume_from=resume_from)
    assert executor.last_run is not None
    return executor.last_run.name, result


@pytest.mark.server
async def test_an_edit_runs_what_depends_on_it_and_nothing_else(prefect_server: str, folder: Path) -> None:
    name, _ = await run()
    unchanged = await edit(name, "post", lambda text: text)
    assert unchanged.edit is None
    edited = await edit(name, "post", "A better post.", by="Ann Lee")
    assert edited.dependents == ("page",)

    seen = await forecast(validate(chain()), RunOptions(resume_from=name))
    reasons = {id: (fate.action.value, fate.reason) for id, fate in seen.forecast.nodes.items()}
    assert reasons["post"][0] == reasons["slogan"][0] == "reuse"
    assert reasons["page"] == ("run", "a person has changed post since")
    assert reasons["file"] == ("run", "depends on page, which runs again; reused if that makes the same")

    second, result = await run(name)
    assert {id for id, node in result.node_results.items() if not node.reused} == {"page", "file"}
    (page,) = folder.glob("outputs/*/*/page.md")
    assert page.read_text() == "# A better post."
    assert result.feedback_data["post"]["edited"]["by"] == "Ann Lee"
    report = await load_report(second)
    assert report.by_id["post"].remark == "edited"
    assert "edited by Ann Lee on " in markdown_summary(report)
    lines = list(explanation_lines(explain(report, "post")))
    assert any(line.startswith("edited") and "by Ann Lee on " in line for line in lines)
    _, result = await run(second)
    assert all(node.reused for node in result.node_results.values()), "an edit counts once"

    records = Records(await open_store(None), (await load_report(name)).run_id)
    record = await records.read("post", report.by_id["post"].key or "")
    assert record is not None
    assert record["original"]["result"] == {"text": "A post."}  # pyright: ignore[reportTypedDictNotRequiredAccess]
    await edit(name, "post", "A post.")
    _, result = await run(second)
    assert {id for id, node in result.node_results.items() if not node.reused} == {"page", "file"}
    with pytest.raises(UsageError, match=r"'file' was not edited: it made a file, 'page\.md'"):
        await edit(name, "file", "x")
    with pytest.raises(UsageError, match="has no node 'pots'; did you mean 'post'"):
        await edit(name, "pots", "x")
    with pytest.raises(UsageError, match="'post' was not edited: the edited text is empty"):
        await edit(name, "post", " \n")


EDITS: dict[str, tuple[object, str, object]] = {
    "a text": ("a", "b", "b"),
    "a text with a count": ({"text": "a", "words": 1}, "b", {"text": "b", "words": 1}),
    "data": ({"a": [1]}, '{"a": [2]}', {"a": [2]}),
    "a text with data beside it": ({"text": "a", "data": {}}, '{"text": "b", "data": {}}', {"text": "b", "data": {}}),
    "a list": ([1], "[2, 3]", [2, 3]),
    "a number": (1, "2", 2),
}


@pytest.mark.parametrize("case", EDITS)
def test_an_edited_text_takes_the_place_of_an_output(case: str) -> None:
    output, text, expected = EDITS[case]
    assert with_text(output, text) == expected
    assert with_text(output, editable_text(output)) == output


BAD: dict[str, tuple[object, str, str]] = {
    "nothing": (None, "x", "it returned nothing to edit"),
    "a file": (FILE, "x", "it made a file, 'a.png', and only texts and data can be edited"),
    "no text": ("a", "", "the edited text is empty"),
    "no JSON": ({"a": 1}, "{", "the edited text is not JSON: Expecting property name"),
    "the same key twice": ({"a": 1}, '{"a": 1, "a": 2}', "the edited text is not JSON: "),
    "another kind of data": ({"a": 1}, "[]", "the edited JSON is a list, and the node made an object"),
    "a number for an object": (json.loads('{"a": 1}'), "3", "the edited JSON is a single value, and the node made"),
}


@pytest.mark.parametrize("case", BAD)
def test_an_edit_that_does_not_fit_is_refused(case: str) -> None:
    output, text, words = BAD[case]
    with pytest.raises(EditError, match=words):
        with_text(output, text)
