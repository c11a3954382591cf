"""Fallbacks on a real server: what Prefect shows and the report says, and that a resume tries the node again."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client

from tests.executors import Worker, executor, run_id
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, ToolRegistry, WorkflowNodeType, WorkflowPlan, compile_plan
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.load_report import load_run, report_on
from vibe_prefect.operations import CheckedPlan, RunOptions, forecast
from vibe_prefect.reporting.explanations.explain import explain
from vibe_prefect.reporting.markdown import markdown_summary
from vibe_prefect.reporting.next_steps import next_steps

pytestmark = pytest.mark.server

COMPLETED = ExecutionStatus.COMPLETED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def rescued() -> WorkflowPlan:
    return plan(
        node("draft"),
        node("costly", needs=["draft"], on_error={"use": "draft"}),
        node("page", needs=["costly"]),
        node("print", needs=["page"]),
    )


async def test_a_resume_tries_a_node_again_for_which_a_fallback_stands_in() -> None:
    first = executor(Worker(failing={"costly"}), wait_recorded=True, storage=None)
    before = await first.execute_plan(rescued())
    assert (before.status, before.count(COMPLETED)) == (COMPLETED, 4)
    assert before.node_results["costly"].result["result"] == {"text": "do draft: 0"}
    async with get_client() as client:
        body = {"flow_runs": {"id": {"any_": [run_id(first)]}}}
        task_runs = (await client.request("POST", "/task_runs/filter", json=body)).json()
        flow_run = await client.read_flow_run(UUID(run_id(first)))
        past = await load_run(client, run_id(first), await open_store(None))
        report = await report_on(client, past, await open_store(None))
    assert flow_run.state_name == "Completed"
    assert sorted(run["state_name"] for run in task_runs if run["name"] == "costly") == ["Failed", "Fallback"]
    told = "'costly' failed, and the output of 'draft' stands in: costly fails"
    assert report.by_id["costly"].status is COMPLETED
    assert (report.by_id["costly"].remark, report.totals.remarks) == ("fallback", {"fallback": 1})
    assert told in markdown_summary(report)
    assert [step.command for step in next_steps(report)] == [f"vibe-prefect resume {report.run_name}"]
    explained = explain(report, "costly")
    assert (explained.decision.value, explained.why) == (
        "replaced",
        "it failed, and the output of 'draft' stands in: ValueError: costly fails",
    )

    tools = ToolRegistry()
    checked = CheckedPlan(compile_plan(rescued(), tools=tools, handled_types=list(WorkflowNodeType)), tools)
    ahead = await forecast(checked, RunOptions(resume_from=run_id(first)))
    assert {id: one.reason for id, one in ahead.forecast.nodes.items() if one.action.value == "run"} == {
        "costly": "tried again, since a fallback stands in: costly fails",
        "page": "depends on costly, which runs again; reused if that makes the same",
        "print": "depends on page, which runs again; reused if that makes the same",
    }
    still = Worker(failing={"costly"})
    second = executor(still, storage=None)
    await second.execute_plan(rescued(), resume_from=run_id(first))
    assert still.executed == ["costly"], "the same output stands in, so that nothing else runs again"
    better = Worker()
    third = executor(better, storage=None)
    after = await third.execute_plan(rescued(), resume_from=run_id(second))
    assert better.executed == ["costly", "page"], "what page makes is the same, so that print does not run again"
    assert "fallback" not in after.feedback_data["costly"]
