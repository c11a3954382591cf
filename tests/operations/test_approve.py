"""Approvals of what a run made, on a real server: waiting, answers of every kind, and the run that goes on."""

from __future__ import annotations

import getpass
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.approvals import POST, asking
from vibe_prefect import ExecutionResult, ExecutionStatus, WorkflowExecutor, WorkflowPlan
from vibe_prefect.core.approval import Answer, Question
from vibe_prefect.engine.records.questions import read_question
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.errors import RunInUseError, UsageError
from vibe_prefect.operations import accept, approvals, approve, edit, reject
from vibe_prefect.plan.selection import Choice
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.next_steps import next_steps

pytestmark = pytest.mark.server

COMPLETED, PENDING, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.PENDING, ExecutionStatus.FAILED
STORAGE = "records"


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


async def run(plan: WorkflowPlan, **options: Any) -> tuple[str, ExecutionResult]:
    """The name and the result of a run."""
    prompt = options.pop("prompt", None)
    executor = WorkflowExecutor(simulate="never", storage=STORAGE, prompt=prompt)
    result = await executor.execute_plan(plan, **options)
    assert executor.last_run is not None
    return executor.last_run.name, result


def statuses(result: ExecutionResult) -> dict[str, str]:
    return {id: node.status.value for id, node in result.node_results.items()}


def made(name: str = "post.md") -> str:
    """What the runs in the working folder wrote under a name."""
    (path,) = Path("outputs").glob(f"*/*/{name}")
    return path.read_text()


async def test_a_run_waits_for_an_approval_and_goes_on_without_executing_anything_twice() -> None:
    name, result = await run(asking())
    assert result.status is PENDING
    assert not result.is_complete()
    assert statuses(result) == {
        "post": "completed",
        "slogan": "completed",
        "check": "pending",
        "publish": "pending",
        "aside": "completed",
    }, "what does not depend on the answer is done first"
    assert result.node_results["publish"].error == "Dependencies not satisfied: check pending"
    assert result.replan_suggestions == []

    report = await load_report(name, STORAGE)
    assert (report.state, report.status) == ("Waiting", PENDING)
    commands = [step.command for step in next_steps(report)]
    reject_it = f'vibe-prefect reject {name} check --because "..."'
    assert commands == [f"vibe-prefect approve {name} check", reject_it, f"vibe-prefect resume {name}"]
    (waiting,) = await approvals(storage=STORAGE)
    assert (waiting.run_name, waiting.question.node_id, waiting.suspended) == (name, "check", False)
    assert (waiting.question.text, waiting.question.items["post"].text) == ("Is this fine?", POST)

    answered = await approve(name, "check", comment="fits the\ncampaign", by="Ann Lee", storage=STORAGE)
    assert (answered.goes_on, answered.resume_command) == (False, f"vibe-prefect resume {name}")
    assert await approvals(storage=STORAGE) == []
    second, result = await run(asking(), resume_from=name)
    assert result.status is COMPLETED
    assert {id for id, node in result.node_results.items() if not node.reused} == {"check", "publish"}
    assert made() == POST
    (line,) = result.feedback_data["check"]["evidence"]
    assert line.startswith("post: approved by Ann Lee at ")
    assert line.endswith(": fits the campaign")
    assert result.feedback_data["check"]["measured_quality"] == 1.0
    summary = markdown_summary(await load_report(second, STORAGE))
    assert "approved by Ann Lee" in summary


async def test_what_depends_on_an_approval_gets_the_edited_text() -> None:
    name, _ = await run(asking())
    with pytest.raises(UsageError, match="'post': the edited text is empty"):
        await approve(name, "check", text=" ", storage=STORAGE)
    await approve(name, "check", text="An edited post.", storage=STORAGE)
    _, result = await run(asking(), resume_from=name)
    assert made() == "An edited post."
    (line,) = result.feedback_data["check"]["evidence"]
    assert f"approved by {getpass.getuser()} at " in line
    assert "with an edited text" in line


async def test_a_rejection_is_a_refused_gate_with_ways_on() -> None:
    name, _ = await run(asking())
    await reject(name, "check", "too cold", by="Ann Lee", storage=STORAGE)
    second, result = await run(asking(), resume_from=name)
    assert statuses(result)["check"] == "failed"
    assert statuses(result)["publish"] == "skipped"
    assert "'post' was rejected by Ann Lee at " in (result.node_results["check"].error or "")
    assert (result.node_results["check"].error or "").endswith(": too cold")
    report = await load_report(second, STORAGE)
    assert report.by_id["check"].refused
    commands = [step.command for step in next_steps(report)]
    assert commands[0] == f"vibe-prefect edit {second} post"
    assert commands[-1].startswith(f"vibe-prefect accept {second} check")
    await accept(second, "check", "the client asked for it", storage=STORAGE)
    _, result = await run(asking(), resume_from=second)
    assert (result.status, made()) == (COMPLETED, POST)


async def test_an_answer_counts_for_the_content_that_was_shown_alone() -> None:
    name, _ = await run(asking())
    await approve(name, "check", storage=STORAGE)
    other, result = await run(asking("Another post."), resume_from=name)
    assert result.status is PENDING, "another text is asked about again"
    (waiting,) = await approvals(storage=STORAGE)
    assert waiting.question.open_items["post"].text == "Another post."
    with pytest.raises(UsageError, match=f"not by the run '{name}', but by '{other}'"):
        await approve(name, "check", storage=STORAGE)


async def test_several_items_are_answered_one_by_one_and_a_rewritten_one_is_asked_about_alone() -> None:
    plan = asking(needs=("post", "slogan"))
    name, _ = await run(plan)
    with pytest.raises(UsageError, match="name it with --item, one of post, slogan"):
        await approve(name, "check", text="x", storage=STORAGE)
    with pytest.raises(UsageError, match="asks nothing about 'slogn'; did you mean 'slogan'"):
        await approve(name, "check", item="slogn", storage=STORAGE)
    first = await approve(name, "check", item="slogan", text="Drink more tea.", storage=STORAGE)
    assert list(first.question.open_items) == ["post"]
    again, result = await run(plan, resume_from=name)
    assert result.status is PENDING
    (waiting,) = await approvals(storage=STORAGE)
    assert list(waiting.question.open_items) == ["post"], "the slogan's answer was kept"
    await approve(again, "check", storage=STORAGE)
    _, result = await run(plan, resume_from=again)
    assert result.status is COMPLETED
    assert json.loads(made()) == {"post": {"text": POST}, "slogan": {"text": "Drink more tea."}}


@pytest.mark.parametrize(("default", "status"), [("approve", COMPLETED), ("reject", FAILED)])
async def test_the_default_answer_counts_when_nobody_answered_in_time(default: str, status: ExecutionStatus) -> None:
    plan = asking(timeout_hours=1e-9, on_timeout=default)
    name, result = await run(plan)
    if result.status is PENDING:  # it was asked within the second in which its time was over
        _, result = await run(plan, resume_from=name)
    assert result.status is status
    (line,) = result.feedback_data["check"]["evidence"]
    assert " by timeout at " in line
    assert ": no answer until " in line


async def test_a_prompt_answers_within_the_run() -> None:
    asked: list[str] = []

    async def prompt(question: Question) -> Mapping[str, Answer]:
        asked.extend(f"{question.node_id} {id}" for id in question.open_items)
        return question.answered(approved=True, by="Ann Lee")

    _, result = await run(asking(), prompt=prompt)
    assert (result.status, asked, made()) == (COMPLETED, ["check post"], POST)


async def test_a_refresh_asks_again() -> None:
    name, _ = await run(asking())
    await approve(name, "check", storage=STORAGE)
    done, result = await run(asking(), resume_from=name)
    assert result.status is COMPLETED
    again, result = await run(asking(), resume_from=done, choice=Choice(refresh="check"))
    assert statuses(result)["check"] == "pending"
    await approve(again, "check", text="Another text.", storage=STORAGE)
    _, result = await run(asking(), resume_from=again)
    assert (result.status, made()) == (COMPLETED, "Another text."), "the newest answer counts"


async def test_an_approval_is_asked_again_when_what_was_approved_has_changed() -> None:
    name, _ = await run(asking())
    await approve(name, "check", storage=STORAGE)
    done, _ = await run(asking(), resume_from=name)
    await edit(done, "post", "An edited post.", storage=STORAGE)
    again, result = await run(asking(), resume_from=done)
    assert statuses(result)["check"] == "pending"
    third, result = await run(asking(), resume_from=again)
    assert statuses(result)["check"] == "pending", "the answer about the other text never counts"
    await approve(third, "check", storage=STORAGE)
    _, result = await run(asking(), resume_from=third)
    assert (result.status, made()) == (COMPLETED, "An edited post.")


async def test_what_asks_nothing_is_not_answered() -> None:
    name, _ = await run(asking())
    for node, words in {
        "post": "the node 'post' of the run .* asks nothing; its nodes that do: 'check'",
        "checks": "has no node 'checks'; did you mean 'check'",
    }.items():
        with pytest.raises(UsageError, match=words):
            await approve(name, node, storage=STORAGE)
    with pytest.raises(UsageError, match="--because is empty"):
        await reject(name, "check", " ", storage=STORAGE)
    store = await open_store(STORAGE)
    report = await load_report(name, STORAGE)
    with Records(store, report.run_id).hold(), pytest.raises(RunInUseError):
        await approve(name, "check", storage=STORAGE)
    await approve(name, "check", storage=STORAGE)
    with pytest.raises(UsageError, match="'check' is answered already: 'post' was approved by"):
        await reject(name, "check", "too late", storage=STORAGE)


async def test_a_question_that_was_damaged_fails_its_node_alone() -> None:
    name, _ = await run(asking())
    report = await load_report(name, STORAGE)
    path = Path(STORAGE) / report.run_id / "check.question.json"
    path.write_text(path.read_text().replace('"items"', '"other"'))
    with pytest.raises(UsageError, match=r"check\.question\.json is damaged"):
        await read_question(Records(await open_store(STORAGE), report.run_id), "check")
    _, result = await run(asking(), resume_from=name)
    assert statuses(result)["check"] == "failed"
    assert statuses(result)["aside"] == "completed"
