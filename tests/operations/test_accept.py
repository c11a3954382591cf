"""Overrides of gates that refused, on a real server, with records in a folder and in a storage block."""

from __future__ import annotations

import getpass
from pathlib import Path
from typing import Any

import pytest

from tests.refusals import POST, gated, refusing
from vibe_prefect import ExecutionStatus, WorkflowExecutor
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.errors import RunInUseError, UnknownRunError, UsageError
from vibe_prefect.operations import accept
from vibe_prefect.plan.selection import Choice
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.testing import ScriptedModel

pytestmark = pytest.mark.server

COMPLETED = ExecutionStatus.COMPLETED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def executor(model: ScriptedModel, storage: str = "records", **options: Any) -> WorkflowExecutor:
    return WorkflowExecutor(tool_registry=model.registry, simulate="never", storage=storage, **options)


async def refused(storage: str = "records") -> str:
    """The name of a run whose gate refused."""
    first = executor(refusing(), storage)
    result = await first.execute_plan(gated())
    assert result.node_results["tone"].status is ExecutionStatus.FAILED
    assert first.last_run is not None
    return first.last_run.name


async def test_an_accepted_gate_counts_as_completed_and_is_marked() -> None:
    storage = "records"
    name = await refused()
    accepted = await accept(name, "tone", "the client asked\nfor it", by="Ann Lee", storage=storage)
    assert (accepted.acceptance.by, accepted.acceptance.because) == ("Ann Lee", "the client asked for it")
    assert accepted.verdict.startswith("judged 0.40, and 0.7 is needed")

    model = refusing()
    second = executor(model)
    result = await second.execute_plan(gated(), resume_from=name)
    assert result.status is COMPLETED
    assert model.questions == [], "nobody is asked again"
    assert second.last_run is not None
    assert (second.last_run.output_root / "post.md").read_text() == POST
    feedback = result.feedback_data["tone"]
    assert (feedback["measured_quality"], feedback["accepted"]["by"]) == (0.4, "Ann Lee")
    assert feedback["evidence"][0].endswith("the client asked for it")
    report = await load_report(str(second.last_run.flow_run_id), storage)
    tone = report.by_id["tone"]
    assert (tone.remark, tone.reused, tone.acceptance) == ("refusal overridden", True, accepted.acceptance)
    summary = markdown_summary(report)
    assert "1 gate: 0.40; 1 refusal overridden" in summary
    assert "'tone' refused 'post' (0.40); Ann Lee accepted it on " in summary


async def test_an_acceptance_holds_for_what_was_judged_alone() -> None:
    name = await refused()
    await accept(name, "tone", "this text is fine", storage="records")
    model = refusing("Another cold text, which nobody has seen.")
    result = await executor(model).execute_plan(gated(), resume_from=name, choice=Choice(refresh="post"))
    assert result.node_results["tone"].status is ExecutionStatus.FAILED
    assert len(model.questions) == 2, "the new text is judged"


async def test_what_is_no_refused_gate_is_not_accepted() -> None:
    name = await refused()
    for node, words in {
        "post": "the node 'post' of the run .* completed, so there is nothing to accept.*gates that refused: tone",
        "publish": "was skipped .*its gates that refused: tone",
        "tome": "has no node 'tome'; did you mean 'tone'",
    }.items():
        with pytest.raises(UsageError, match=words):
            await accept(name, node, "why not", storage="records")
    with pytest.raises(UnknownRunError):
        await accept("no-such-run", "tone", "why not", storage="records")
    for option in ({"because": " "}, {"because": "x" * 3_000}, {"because": "x", "by": ""}):
        with pytest.raises(UsageError, match=r"--because|--by"):
            await accept(name, "tone", **({"storage": "records"} | option))


async def test_a_gate_is_accepted_once_and_by_default_by_the_login_name() -> None:
    name = await refused()
    first = await accept(name, "tone", "fine", storage="records")
    assert first.acceptance.by == getpass.getuser()
    with pytest.raises(UsageError, match=f"{getpass.getuser()} has accepted 'tone' .*already: fine"):
        await accept(name, "tone", "fine again", storage="records")


async def test_the_newest_refusal_is_the_one_to_accept() -> None:
    name = await refused()
    second = executor(refusing())
    await second.execute_plan(gated(), resume_from=name)
    assert second.last_run is not None
    with pytest.raises(UsageError, match=f"accept {second.last_run.name} tone"):
        await accept(name, "tone", "fine", storage="records")
    await accept(second.last_run.name, "tone", "fine", storage="records")


async def test_nothing_is_accepted_while_another_run_may_write_the_records() -> None:
    name = await refused()
    report = await load_report(name, "records")
    with Records(await open_store("records"), report.run_id).hold(), pytest.raises(RunInUseError):
        await accept(name, "tone", "fine", storage="records")


async def test_a_refusal_that_was_damaged_is_refused() -> None:
    name = await refused()
    report = await load_report(name, "records")
    path = Path("records") / report.run_id / "tone.refused.json"
    path.write_text(path.read_text().replace('"metadata"', '"other"'))
    with pytest.raises(UsageError, match=r"tone\.refused\.json is damaged"):
        await accept(name, "tone", "fine", storage="records")


async def test_what_passed_since_is_not_replaced_by_an_acceptance() -> None:
    name = await refused()
    passing = refusing("A warm text, which passes this time.", 0.9)
    result = await executor(passing).execute_plan(gated(), resume_from=name, choice=Choice(refresh="post+"))
    assert result.status is COMPLETED
    with pytest.raises(UsageError, match="'tone' has completed in a later run"):
        await accept(name, "tone", "fine", storage="records")
