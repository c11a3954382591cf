"""Runs that write checkpoints, and runs that start from one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from tests.executors import Worker, executor
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    NodeResult,
    ProgressEvent,
    Simulate,
    UsageError,
    WorkflowCheckpoint,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowPersistenceManager,
    WorkflowPlan,
)

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED
RUNNING = ExecutionStatus.RUNNING


def branching() -> WorkflowPlan:
    return plan(node("a"), node("b", needs=["a"]), node("c", needs=["b"]), node("d", needs=["a"]))


@pytest.mark.parametrize("interval", [0, -1, 1.5, True, "2"])
def test_an_interval_that_is_no_number_of_nodes_is_refused(interval: Any) -> None:
    with pytest.raises(UsageError) as caught:
        WorkflowExecutor(checkpoint_interval=interval)
    assert str(caught.value) == f"checkpoint_interval is {interval!r}: expected a number of nodes, 1 or more, or None"


def checkpointing(handler: Callable[..., Any] | None = None, **options: Any) -> WorkflowExecutor:
    return executor(handler, **{"checkpoint_interval": 1, **options})


def newest(runner: WorkflowExecutor) -> str:
    assert runner.last_checkpoint_id is not None
    return runner.last_checkpoint_id


def load(id: str) -> WorkflowCheckpoint:
    return WorkflowPersistenceManager().load_checkpoint(id)


@pytest.fixture
def on_server(prefect_server: str, folder: Path) -> None:
    """The server, and an empty folder to work in."""


def served(test: Any) -> Any:
    """Mark a test that runs plans."""
    return pytest.mark.server(pytest.mark.usefixtures("on_server")(test))


@served
async def test_without_an_interval_nothing_is_written() -> None:
    runner = checkpointing(Worker(), checkpoint_interval=None)
    await runner.execute_plan(branching())
    assert runner.last_checkpoint_id is None
    assert not Path(".vibe_checkpoints").exists()


@served
@pytest.mark.parametrize("failing", [set[str](), {"b"}])
async def test_at_the_end_the_checkpoint_holds_the_whole_result(failing: set[str]) -> None:
    runner = checkpointing(Worker(failing), checkpoint_interval=3, checkpoint_dir="mine")
    result = await runner.execute_plan(branching())
    loaded = WorkflowPersistenceManager("mine").load_checkpoint(newest(runner))
    assert loaded.execution_result == result
    assert list(loaded.execution_result.node_results) == list(result.node_results)
    assert loaded.plan == branching()


@served
async def test_an_empty_plan_has_a_checkpoint_too() -> None:
    runner = checkpointing(Worker())
    await runner.execute_plan(plan())
    assert load(newest(runner)).execution_result.status is COMPLETED


@served
async def test_there_is_no_last_checkpoint_until_one_was_written() -> None:
    seen: list[tuple[str, str | None]] = []

    def note(event: ProgressEvent) -> None:
        seen.append((f"{event.event_type} {event.node_id}", runner.last_checkpoint_id))

    runner = checkpointing(Worker(), checkpoint_interval=2, progress_callback=note)
    await runner.execute_plan(plan(node("a"), node("b", needs=["a"]), node("c", needs=["b"])))
    facts = dict(seen)
    assert facts["workflow_started None"] is None
    assert facts["node_completed a"] is None
    on_the_way = str(facts["node_completed b"])
    assert load(on_the_way).execution_result.ids(COMPLETED) == ("a", "b")
    assert facts["workflow_completed None"] == newest(runner) != on_the_way


@served
async def test_a_folder_that_cannot_be_written_does_not_stop_the_run(caplog: pytest.LogCaptureFixture) -> None:
    Path("taken").write_text("a file")
    runner = checkpointing(Worker(), checkpoint_dir="taken")
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        result = await runner.execute_plan(branching())
    assert result.status is COMPLETED
    assert runner.last_checkpoint_id is None
    assert len([record for record in caplog.records if "cannot be written" in record.getMessage()]) == 1


@served
async def test_a_run_from_a_checkpoint_keeps_what_had_completed_and_runs_the_rest() -> None:
    runner = checkpointing(Worker(failing={"b"}))
    before = await runner.execute_plan(branching())
    assert (before.node_results["b"].status, before.node_results["c"].status) == (FAILED, SKIPPED)

    events: list[ProgressEvent] = []
    worker = Worker()
    resumed = checkpointing(worker, progress_callback=events.append, storage="elsewhere")
    after = await resumed.execute_plan(branching(), newest(runner))
    assert after.status is COMPLETED
    assert worker.executed == ["b", "c"]
    assert worker.inputs["b"] == {"a": {"text": "do a: 0"}}
    for kept in ("a", "d"):
        assert after.node_results[kept] == replace(before.node_results[kept], reused=True)
        assert after.feedback_data[kept] == before.feedback_data[kept]
    assert events[0].message == "Resuming workflow: plan (2 nodes already complete)"
    assert newest(resumed) != newest(runner)
    assert load(newest(resumed)).execution_result == after
    assert load(newest(runner)).execution_result == before


@served
async def test_nodes_that_a_checkpoint_does_not_have_are_executed() -> None:
    runner = checkpointing(Worker())
    await runner.execute_plan(branching())
    checkpoint = load(newest(runner))
    del checkpoint.execution_result.node_results["c"]
    checkpoint.checkpoint_id = "shorter"
    WorkflowPersistenceManager().save_checkpoint(checkpoint)
    worker = Worker()
    result = await checkpointing(worker).execute_plan(branching(), resume_from_checkpoint="shorter")
    assert worker.executed == ["c"]
    assert result.count(COMPLETED) == 4


@served
async def test_an_edited_plan_runs_what_changed_and_what_depends_on_its_output() -> None:
    runner = checkpointing(Worker())
    await runner.execute_plan(branching())
    edited = branching()
    edited.root_nodes[1].description = "edited"
    edited.root_nodes.append(node("e"))
    worker = Worker()
    result = await checkpointing(worker).execute_plan(edited, newest(runner))
    assert sorted(worker.executed) == ["b", "c", "e"]
    assert result.count(COMPLETED) == 5


@served
async def test_a_checkpoint_made_by_hand_is_gone_on_from() -> None:
    result = ExecutionResult("plan", FAILED)
    result.add_node_result(NodeResult("a", COMPLETED, {"text": "by hand"}, duration=1.5))
    worker = Worker()
    after = await checkpointing(worker).execute_plan(branching(), WorkflowCheckpoint(branching(), result))
    assert sorted(worker.executed) == ["b", "c", "d"]
    assert worker.inputs["d"] == {"a": {"text": "by hand"}}
    assert (after.node_results["a"].result, after.node_results["a"].duration) == ({"text": "by hand"}, 1.5)


@served
async def test_what_was_simulated_is_not_kept_by_a_run_that_works() -> None:
    runner = checkpointing(None, simulate=Simulate.ALL)
    await runner.execute_plan(branching())
    worker = Worker()
    result = await checkpointing(worker).execute_plan(branching(), newest(runner))
    assert sorted(worker.executed) == ["a", "b", "c", "d"]
    assert not any("simulated" in cast("dict[str, Any]", one.result) for one in result.node_results.values())


@served
async def test_a_run_from_a_checkpoint_can_be_resumed_by_its_id() -> None:
    first = checkpointing(Worker(failing={"b"}))
    await first.execute_plan(branching())
    second = checkpointing(Worker(failing={"c"}))
    await second.execute_plan(branching(), newest(first))
    assert second.last_run is not None
    worker = Worker()
    await checkpointing(worker).execute_plan(branching(), resume_from=str(second.last_run.flow_run_id))
    assert worker.executed == ["c"]


@served
@pytest.mark.parametrize(
    ("id", "error"), [("no-such", FileNotFoundError), ("../x", ValueError), ("broken", RuntimeError)]
)
async def test_a_checkpoint_that_cannot_be_used_is_refused_before_anything_runs(
    id: str, error: type[Exception]
) -> None:
    Path(".vibe_checkpoints").mkdir()
    Path(".vibe_checkpoints", "broken.json").write_text("{}{}")
    worker = Worker()
    runner = checkpointing(worker)
    with pytest.raises(error):
        await runner.execute_plan(branching(), id)
    assert (worker.executed, runner.last_run) == ([], None)


@served
async def test_a_checkpoint_and_a_run_together_are_refused() -> None:
    worker = Worker()
    with pytest.raises(UsageError, match="from a checkpoint or from a run, not from both"):
        await checkpointing(worker).execute_plan(branching(), "x", resume_from="y")
    assert worker.executed == []


@served
async def test_two_runs_side_by_side_have_a_checkpoint_each() -> None:
    runner = checkpointing(Worker())
    await asyncio.gather(*(runner.execute_plan(plan(node("a"), node("b"), id=id)) for id in ("one", "two")))
    found = WorkflowPersistenceManager().list_checkpoints()
    whole = [info["plan_id"] for info in found if info["status"] == "completed"]
    assert sorted(whole) == ["one", "two"]
    for info in found:
        loaded = load(info["checkpoint_id"])
        assert loaded.plan.id == loaded.execution_result.plan_id == info["plan_id"]


@served
async def test_a_run_that_is_cancelled_leaves_what_it_had_finished() -> None:
    begun = asyncio.Event()

    async def work(node: WorkflowNode) -> str:
        if node.id == "b":
            begun.set()
            await asyncio.sleep(60)
        return node.id

    runner = checkpointing(work, checkpoint_interval=100)
    running = asyncio.create_task(runner.execute_plan(branching()))
    await asyncio.wait_for(begun.wait(), 30)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    loaded = load(newest(runner)).execution_result
    assert loaded.status is RUNNING
    assert "a" in loaded.ids(COMPLETED)
