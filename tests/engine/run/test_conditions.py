"""Conditions on a real server: what Prefect shows, what a resume decides again, and what the forecast says of it."""

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

pytestmark = pytest.mark.server

COMPLETED = ExecutionStatus.COMPLETED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def polished() -> WorkflowPlan:
    return plan(
        node("draft"),
        node("polish", needs=["draft"], when="{{ inputs.polish and outputs.draft.text == 'do draft: 0' }}"),
        node("page", needs=["draft"], optional_dependencies=["polish"]),
        node("print", needs=["page"]),
        inputs={"polish": {"type": "boolean", "default": False}},
    )


async def test_a_resume_decides_again_and_runs_what_had_been_made_without_the_skipped_node() -> None:
    first, worker = executor(Worker(), wait_recorded=True, storage=None), Worker()
    before = await first.execute_plan(polished())
    assert before.status is COMPLETED
    reason = before.node_results["polish"].error
    assert reason == "Condition not met: {{ inputs.polish and outputs.draft.text == 'do draft: 0' }}"
    async with get_client() as client:
        body = {"flow_runs": {"id": {"any_": [run_id(first)]}}}
        task_runs = (await client.request("POST", "/task_runs/filter", json=body)).json()
        flow_run = await client.read_flow_run(UUID(run_id(first)))
        past = await load_run(client, run_id(first), await open_store(None))
        report = await report_on(client, past, await open_store(None))
    shown = {run["name"]: run["state"] for run in task_runs}
    assert flow_run.state_name == "Completed"
    assert (shown["polish"]["name"], shown["polish"]["message"]) == ("Skipped", reason)
    assert (report.status, report.by_id["polish"].error) == (COMPLETED, reason)

    checked = CheckedPlan(
        compile_plan(polished(), tools=ToolRegistry(), handled_types=WorkflowNodeType), ToolRegistry()
    )
    ahead = await forecast(checked, RunOptions(resume_from=run_id(first), inputs={"polish": True}))
    assert {id: (one.action.value, one.reason) for id, one in ahead.forecast.nodes.items()} == {
        "draft": ("reuse", f"record from {past.name}"),
        "polish": ("run", "no record"),
        "page": ("run", "depends on polish, which was skipped before"),
        "print": ("run", "depends on page, which runs again; reused if that makes the same"),
    }

    second = executor(worker, storage=None)
    after = await second.execute_plan(polished(), resume_from=run_id(first), inputs={"polish": True})
    assert worker.executed == ["polish", "page", "print"]
    assert worker.inputs["page"].keys() == {"draft", "polish"}
    assert after.node_results["draft"].reused

    again = Worker()
    third = executor(again, storage=None)
    result = await third.execute_plan(polished(), resume_from=run_id(second), inputs={"polish": False})
    assert again.executed == ["page", "print"], "the records were made with the skipped node"
    assert (again.inputs["page"].keys(), result.status) == ({"draft"}, COMPLETED)
    same = Worker()
    await executor(same, storage=None).execute_plan(polished(), resume_from=run_id(third))
    assert same.executed == []
