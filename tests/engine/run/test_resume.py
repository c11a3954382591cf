from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from prefect.client.orchestration import get_client

from tests.executors import Worker, executor, run_id
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionStatus,
    ProgressEvent,
    WorkflowNode,
    WorkflowPlan,
)
from vibe_prefect.engine.records.record_lock import LOCK_FILE
from vibe_prefect.errors import RunInUseError, UnknownRunError

pytestmark = pytest.mark.server

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


@pytest.fixture(autouse=True)
def on_server(prefect_server: str, folder: Path) -> None:
    """Every test here has the server, and an empty folder to work in."""


def branching() -> WorkflowPlan:
    return plan(node("a"), node("b", needs=["a"]), node("c", needs=["b"]), node("d", needs=["a"]))


def twenty(changed: str | None = None) -> WorkflowPlan:
    """Twenty nodes in four chains of five; the third node of each chain also feeds the next chain's end."""
    nodes: list[WorkflowNode] = []
    for chain in range(4):
        for step in range(5):
            id = f"n{chain}-{step}"
            needs = [f"n{chain}-{step - 1}"] if step else []
            if step == 4 and chain:
                needs.append(f"n{chain - 1}-2")
            made = node(id, needs=needs)
            made.description = f"edited {id}" if id == changed else made.description
            nodes.append(made)
    return plan(*nodes)


async def test_a_resumed_run_executes_only_what_had_not_finished() -> None:
    first = Worker(failing={"b"})
    runner = executor(first)
    before = await runner.execute_plan(branching())
    assert (before.node_results["b"].status, before.node_results["c"].status) == (FAILED, SKIPPED)

    events: list[ProgressEvent] = []
    second = Worker()
    resumed = executor(second, progress_callback=events.append)
    after = await resumed.execute_plan(branching(), resume_from=run_id(runner))
    assert after.status is COMPLETED
    assert second.executed == ["b", "c"]
    assert second.inputs["b"] == {"a": {"text": "do a: 0"}}
    for kept in ("a", "d"):
        assert after.node_results[kept] == replace(before.node_results[kept], reused=True)
        assert after.feedback_data[kept] == before.feedback_data[kept]
    assert events[0].message == "Resuming workflow: plan (2 nodes already complete)"
    assert [event.progress_percent for event in events if event.event_type == "node_completed"] == [75.0, 100.0]


async def test_prefect_shows_kept_nodes_as_cached() -> None:
    runner = executor(Worker(failing={"b"}))
    await runner.execute_plan(branching())
    resumed = executor(Worker(), wait_recorded=True)
    await resumed.execute_plan(branching(), resume_from=run_id(runner))
    async with get_client() as client:
        body = {"flow_runs": {"id": {"any_": [run_id(resumed)]}}}
        runs = (await client.request("POST", "/task_runs/filter", json=body)).json()
    states = {run["name"]: run["state_name"] for run in runs}
    assert states == {"a": "Cached", "b": "Completed", "c": "Completed", "d": "Cached"}


async def test_an_edited_node_runs_with_what_depends_on_its_output_and_nothing_else() -> None:
    runner = executor(Worker())
    await runner.execute_plan(twenty())
    worker = Worker()
    result = await executor(worker).execute_plan(twenty(changed="n1-2"), resume_from=run_id(runner))
    assert sorted(worker.executed) == ["n1-2", "n1-3", "n1-4", "n2-4"]
    assert result.count(COMPLETED) == 20


async def test_a_resumed_run_can_be_resumed() -> None:
    plan_ = branching()
    first = executor(Worker(failing={"b"}))
    await first.execute_plan(plan_)
    second = executor(Worker(failing={"c"}))
    await second.execute_plan(plan_, resume_from=run_id(first))
    worker = Worker()
    third = executor(worker)
    result = await third.execute_plan(plan_, resume_from=run_id(second))
    assert worker.executed == ["c"]
    assert result.status is COMPLETED
    assert first.last_run is not None
    assert third.last_run is not None
    assert third.last_run.output_root == first.last_run.output_root


async def test_a_run_can_be_named_instead_of_its_id() -> None:
    runner = executor(Worker(failing={"b"}))
    await runner.execute_plan(branching())
    assert runner.last_run is not None
    worker = Worker()
    await executor(worker).execute_plan(branching(), resume_from=runner.last_run.name)
    assert worker.executed == ["b", "c"]


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "no-such-run",
            "this Prefect server has no run of a plan named 'no-such-run'; 'vibe-prefect runs' lists its runs",
        ),
        (
            "00000000-0000-4000-8000-000000000000",
            "this Prefect server has no flow run with the id 00000000-0000-4000-8000-000000000000",
        ),
    ],
)
async def test_an_unknown_run_is_refused(reference: str, message: str) -> None:
    worker = Worker()
    with pytest.raises(UnknownRunError) as caught:
        await executor(worker).execute_plan(branching(), resume_from=reference)
    assert str(caught.value) == message
    assert worker.executed == []


async def test_a_run_that_goes_on_is_not_resumed_by_another() -> None:
    begun, let_go = asyncio.Event(), asyncio.Event()

    async def slow(node: WorkflowNode) -> str:
        begun.set()
        await asyncio.wait_for(let_go.wait(), 30)
        return node.id

    runner = executor(slow)
    running = asyncio.create_task(runner.execute_plan(plan(node("a"))))
    await asyncio.wait_for(begun.wait(), 30)
    worker = Worker()
    with pytest.raises(RunInUseError, match=f"is being executed by process {os.getpid()} on "):
        await executor(worker).execute_plan(plan(node("a")), resume_from=run_id(runner))
    let_go.set()
    assert (await running).status is COMPLETED
    assert worker.executed == []


async def test_a_record_cut_short_counts_as_missing() -> None:
    runner = executor(Worker())
    await runner.execute_plan(branching())
    (record,) = Path("records").glob(f"{run_id(runner)}/d-*")
    record.write_bytes(record.read_bytes()[:40])
    worker = Worker()
    result = await executor(worker).execute_plan(branching(), resume_from=run_id(runner))
    assert worker.executed == ["d"]
    assert result.status is COMPLETED


async def test_a_finished_run_leaves_records_a_report_and_a_lock_file_only() -> None:
    runner = executor(Worker())
    await runner.execute_plan(plan(node("a")))
    names = [path.name for path in Path("records", run_id(runner)).iterdir()]
    assert sorted(name.split("-")[0] for name in names) == sorted([LOCK_FILE, "a", "report"])
