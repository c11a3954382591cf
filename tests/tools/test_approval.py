"""The tool `approve` where nobody can be asked, and what it passes on."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.approvals import POST, asking
from vibe_prefect import ExecutionStatus
from vibe_prefect.core.approval import Answer, Question
from vibe_prefect.core.feedback import remark_on
from vibe_prefect.testing import run_offline
from vibe_prefect.tools.base import ToolContext
from vibe_prefect.tools.builtin.approval import approve


async def test_an_offline_run_approves_and_says_that_it_is_simulated(folder: Path) -> None:
    result = await run_offline(asking(needs=("post", "slogan")))
    assert result.status is ExecutionStatus.COMPLETED
    assert remark_on(result.node_results["check"].result) == "simulated"
    assert "measured_quality" not in result.feedback_data["check"]
    written = json.loads((folder / "outputs" / "post.md").read_text())
    assert written == {"post": {"text": POST}, "slogan": {"text": "Drink tea."}}


@pytest.mark.parametrize(
    ("answer", "output", "error"),
    [
        ({"approved": True}, {"text": "a", "words": 1}, None),
        ({"approved": True, "text": "b"}, {"text": "b", "words": 1}, None),
        ({"approved": False, "because": "cold"}, {"text": "a", "words": 1}, "'post' was rejected by Ann at "),
    ],
)
async def test_what_is_passed_on_is_what_was_approved(
    answer: dict[str, object], output: object, error: str | None
) -> None:
    asked: list[Question] = []

    async def ask(question: Question, hours: float | None) -> Mapping[str, Answer]:
        asked.append(question)
        return question.answered(by="Ann", **answer)  # pyright: ignore[reportArgumentType] - a table of arguments

    context = ToolContext(previous_outputs={"post": {"text": "a", "words": 1}}, node_id="check", key="k", ask=ask)
    result = await approve.execute({"question": "Fine?"}, context)
    assert (result.success, result.output) == (error is None, output)
    assert (result.error or "").startswith(error or "")
    assert result.metadata["quality"] == float(error is None)
    assert [(question.node_id, question.key, question.text) for question in asked] == [("check", "k", "Fine?")]
    (line,) = result.metadata["answers"]
    assert line.startswith(f"post: {'rejected' if error else 'approved'} by Ann at ")
