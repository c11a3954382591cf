"""The contract's sections on the executor and on checkpoints, a statement a test.

Code that was written for the reference runs here after its import line was changed.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from prefect import flow

from tests import reference_checkpoint as reference
from tests.executors import Worker, executor
from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    NodeResult,
    ProgressEvent,
    WorkflowCheckpoint,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPersistenceManager,
    WorkflowPlan,
)

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED
EXECUTION_KEYS = [
    "completed_at",
    "execution_groups",
    "feedback_data",
    "node_results",
    "parallel_efficiency",
    "plan_id",
    "replan_suggestions",
    "started_at",
    "status",
    "total_duration",
]


def served(test: Any) -> Any:
    """Mark a test that runs plans on the server, in an empty folder."""
    return pytest.mark.server(pytest.mark.usefixtures("prefect_server", "folder")(test))


def chain(count: int) -> WorkflowPlan:
    return plan(*(node(f"n{index}", needs=[f"n{index - 1}"] if index else []) for index in range(count)), id="a-plan")


def half_done() -> tuple[WorkflowPlan, ExecutionResult]:
    """A plan of two nodes, and a result that has the first of them."""
    result = ExecutionResult("a-plan")
    result.status = FAILED
    result.add_node_result(NodeResult("n0", COMPLETED, {"text": "from before"}, None, 1.5))
    result.add_node_result(NodeResult("n1", FAILED, None, "no", 0.5))
    return chain(2), result


# --- the executor ------------------------------------------------------------------------------


@served
async def test_a_failing_node_does_not_raise() -> None:
    result = await executor(Worker({"n0"})).execute_plan(chain(2))
    assert result.status is FAILED
    assert (result.node_results["n0"].status, result.node_results["n1"].status) == (FAILED, ExecutionStatus.SKIPPED)


@served
async def test_plans_run_inside_a_prefect_flow_too() -> None:
    @flow
    async def outer() -> str:
        return (await executor(Worker()).execute_plan(chain(2))).status.value

    assert await outer() == "completed"


@served
async def test_a_checkpoint_in_memory_is_resumed_by_position() -> None:
    worker, wanted = Worker(), half_done()
    result = await executor(worker).execute_plan(wanted[0], WorkflowCheckpoint(*wanted))
    assert worker.executed == ["n1"]
    assert worker.inputs["n1"] == {"n0": {"text": "from before"}}
    assert (result.status, result.node_results["n0"].duration) == (COMPLETED, 1.5)
    assert not Path(".vibe_checkpoints").exists()


@served
async def test_a_checkpoint_is_resumed_by_its_id() -> None:
    wanted = half_done()
    checkpoint = WorkflowCheckpoint(*wanted)
    WorkflowPersistenceManager("mine").save_checkpoint(checkpoint)
    worker = Worker()
    await executor(worker, checkpoint_dir="mine").execute_plan(
        wanted[0], resume_from_checkpoint=checkpoint.checkpoint_id
    )
    assert worker.executed == ["n1"]


@served
async def test_an_id_without_a_folder_is_not_found_and_makes_none() -> None:
    with pytest.raises(FileNotFoundError, match=r"^Checkpoint not found: nothing"):
        await executor(Worker()).execute_plan(chain(1), "nothing")
    assert not Path(".vibe_checkpoints").exists()


@served
async def test_handlers_take_the_node_or_the_node_and_a_context_and_may_be_sync() -> None:
    async def alone(node: WorkflowNode) -> dict[str, Any]:
        return {"by": f"alone {node.id}"}

    def sync(node: WorkflowNode, context: Any) -> dict[str, Any]:
        return {"by": f"sync {node.id} {sorted(context.previous_outputs)}"}

    runner = executor()
    runner.node_handlers[WorkflowNodeType.GENERATE] = alone
    runner.node_handlers[WorkflowNodeType.ANALYZE] = sync
    result = await runner.execute_plan(plan(node("a"), node("b", "analyze", needs=["a"])))
    assert [one.result for one in result.node_results.values()] == [{"by": "alone a"}, {"by": "sync b ['a']"}]


@served
@pytest.mark.parametrize("name", ["node_handlers", "_execute_generate"])
async def test_a_handler_can_hand_over_to_the_one_before_it(name: str) -> None:
    runner = executor()
    kept = runner.node_handlers[WorkflowNodeType.GENERATE] if name == "node_handlers" else getattr(runner, name)

    async def sometimes(node: WorkflowNode) -> Any:
        if node.id == "bad":
            raise RuntimeError("Simulated failure")
        return await kept(node)

    runner.node_handlers[WorkflowNodeType.GENERATE] = sometimes
    result = await runner.execute_plan(plan(node("good"), node("bad")))
    good = result.node_results["good"].result
    assert (good["type"], good["result"], good["simulated"]) == ("generation", "Generated content for: do good", True)
    assert result.node_results["bad"].error == "Simulated failure"


@served
async def test_a_subclass_may_set_tools_and_override_a_handler() -> None:
    class Own(WorkflowExecutor):
        def __init__(self) -> None:
            self.tools = {"mine": "before"}
            super().__init__(tool_registry=executor().tool_registry)
            assert self.tools == {"mine": "before"}
            self.tools = {"mine": "after"}

        async def _execute_generate(self, node: WorkflowNode) -> dict[str, Any]:
            made = await super()._execute_generate(node)
            return {**made, "tools": self.tools}

    result = await Own().execute_plan(plan(node("a"), node("b", "analyze")))
    assert result.node_results["a"].result["tools"] == {"mine": "after"}
    assert result.node_results["a"].result["result"] == "Generated content for: do a"
    assert result.node_results["b"].result["result"] == "Analysis completed for: do b"


@served
async def test_attributes_set_after_construction_take_effect_at_the_next_run() -> None:
    runner = WorkflowExecutor()
    assert (runner.progress_callback, runner.checkpoint_interval, runner.tool_registry) == (None, None, None)
    assert runner.checkpoint_dir == ".vibe_checkpoints"
    runner.tool_registry = executor().tool_registry
    await runner.execute_plan(chain(1))
    assert runner.last_checkpoint_id is None
    seen: list[ProgressEvent] = []
    runner.progress_callback = seen.append
    runner.checkpoint_interval = 1
    runner.checkpoint_dir = "later"
    await runner.execute_plan(chain(1))
    assert seen[0].message == "Starting workflow: a-plan"
    assert runner.last_checkpoint_id is not None
    assert Path("later", f"{runner.last_checkpoint_id}.json").is_file()
    runner.progress_callback, runner.checkpoint_interval = None, None
    seen.clear()
    await runner.execute_plan(chain(1))
    assert (seen, len(list(Path("later").glob("*.json")))) == ([], 2)


@served
async def test_independent_nodes_run_side_by_side() -> None:
    all_begun = asyncio.Barrier(3)

    async def meet(node: WorkflowNode) -> dict[str, Any]:
        await asyncio.wait_for(all_begun.wait(), 60)
        return {"text": node.id}

    result = await executor(meet).execute_plan(plan(node("a"), node("b"), node("c")))
    assert result.count(COMPLETED) == 3
    assert result.execution_groups == [["a", "b", "c"]]


# --- checkpoints -------------------------------------------------------------------------------


def test_the_classes_take_the_references_arguments_by_position() -> None:
    assert list(inspect.signature(WorkflowCheckpoint).parameters)[:3] == ["plan", "execution_result", "checkpoint_id"]
    assert str(inspect.signature(WorkflowPersistenceManager)).startswith(
        "(checkpoint_dir: 'str | Path' = '.vibe_checkpoints')"
    )
    assert list(inspect.signature(WorkflowExecutor.execute_plan).parameters)[:3] == [
        "self",
        "plan",
        "resume_from_checkpoint",
    ]


def test_checkpoint_ids_have_the_references_form() -> None:
    checkpoint = WorkflowCheckpoint(*half_done())
    assert re.fullmatch(r"a-plan_\d{8}_\d{6}_[0-9a-f]{8}", checkpoint.checkpoint_id)
    assert datetime.fromisoformat(checkpoint.created_at)
    assert checkpoint.schema_version == "1.0"


def test_to_dict_has_the_references_keys() -> None:
    data = WorkflowCheckpoint(*half_done()).to_dict()
    assert data.keys() == reference.FILE.keys()
    assert data["plan"].keys() == reference.FILE["plan"].keys()
    assert data["plan"]["source_vibe"].keys() == reference.FILE["plan"]["source_vibe"].keys()
    assert data["plan"]["root_nodes"][0].keys() == reference.FILE["plan"]["root_nodes"][0].keys()
    assert data["plan"]["root_nodes"][0]["type"] == "generate"
    assert sorted(data["execution_result"]) == EXECUTION_KEYS == sorted(reference.FILE["execution_result"])
    ours, theirs = (
        from_["node_results"].values() for from_ in (data["execution_result"], reference.FILE["execution_result"])
    )
    assert {frozenset(one) for one in ours} == {frozenset(one) for one in theirs}


def test_from_dict_gives_back_what_to_dict_was_given() -> None:
    data = WorkflowCheckpoint(*half_done()).to_dict()
    assert WorkflowCheckpoint.from_dict(data).to_dict() == data


def test_another_schema_version_is_a_value_error() -> None:
    data = {**WorkflowCheckpoint(*half_done()).to_dict(), "schema_version": "2.0"}
    with pytest.raises(ValueError, match=r"^Unsupported checkpoint schema version: 2\.0"):
        WorkflowCheckpoint.from_dict(data)


def test_the_manager_makes_its_folder(tmp_path: Path) -> None:
    WorkflowPersistenceManager(str(tmp_path / "deep" / "er"))
    assert (tmp_path / "deep" / "er").is_dir()


def test_save_checkpoint_returns_the_path_of_one_json_object(tmp_path: Path) -> None:
    checkpoint = WorkflowCheckpoint(*half_done())
    path = WorkflowPersistenceManager(str(tmp_path)).save_checkpoint(checkpoint)
    assert path == f"{tmp_path}/{checkpoint.checkpoint_id}.json"
    assert json.loads(Path(path).read_text()) == checkpoint.to_dict()


def test_a_checkpoint_that_cannot_be_saved_is_a_runtime_error(tmp_path: Path) -> None:
    manager = WorkflowPersistenceManager(tmp_path / "folder")
    (tmp_path / "folder").rmdir()
    (tmp_path / "folder").write_text("a file")
    checkpoint = WorkflowCheckpoint(*half_done())
    with pytest.raises(RuntimeError, match=f"^Failed to save checkpoint {checkpoint.checkpoint_id}"):
        manager.save_checkpoint(checkpoint)


def test_loading_tells_what_is_missing_from_what_is_damaged(tmp_path: Path) -> None:
    manager = WorkflowPersistenceManager(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"^Checkpoint not found: nothing"):
        manager.load_checkpoint("nothing")
    (tmp_path / "damaged.json").write_text("{ no json }")
    with pytest.raises(RuntimeError, match=r"^Failed to load checkpoint damaged"):
        manager.load_checkpoint("damaged")
    assert manager.list_checkpoints() == []
    assert manager.delete_checkpoint("damaged") is True
    assert manager.delete_checkpoint("damaged") is False


def test_a_listing_has_the_newest_first(tmp_path: Path) -> None:
    manager = WorkflowPersistenceManager(tmp_path)
    ids = [Path(manager.save_checkpoint(WorkflowCheckpoint(*half_done()))).stem for _ in range(3)]
    listed = manager.list_checkpoints()
    assert [info["checkpoint_id"] for info in listed] == ids[::-1]
    assert {key: value for key, value in listed[0].items() if key not in {"checkpoint_id", "created_at"}} == {
        "plan_id": "a-plan",
        "status": "failed",
        "vibe_description": "a test",
    }


@pytest.mark.parametrize("options", [{}, {"newline": "\r\n"}, {"extra": True}])
@served
async def test_a_checkpoint_of_the_reference_loads_lists_and_resumes(options: dict[str, Any]) -> None:
    reference.write(Path("theirs"), **options)
    manager = WorkflowPersistenceManager("theirs")
    assert manager.list_checkpoints() == [
        {
            "checkpoint_id": reference.ID,
            "plan_id": reference.PLAN_ID,
            "created_at": "2026-02-05T23:15:42.123456",
            "status": "failed",
            "vibe_description": "Announce the release to people who have never hear",
        }
    ]
    loaded = manager.load_checkpoint(reference.ID)
    assert loaded.to_dict() == reference.FILE
    worker = Worker()
    result = await executor(worker).execute_plan(loaded.plan, loaded)
    assert worker.executed == ["post"]
    assert result.node_results["facts"].result == reference.FILE["execution_result"]["node_results"]["facts"]["result"]
    assert result.status is COMPLETED


@served
async def test_a_checkpoint_of_ours_is_read_by_the_reference() -> None:
    wanted = plan(
        node("ä-free", parameters={"text": "Ü 🎉"}, policy={"retries": 1}, children=[node("child", "validate")]),
        node("b", "analyze", needs=["ä-free"], estimated_duration=2),
    )
    wanted.root_nodes[0].id, wanted.root_nodes[1].dependencies = "a", ["a"]
    runner = executor(Worker({"b"}), checkpoint_interval=100)
    result = await runner.execute_plan(wanted)
    read = reference.read(f".vibe_checkpoints/{runner.last_checkpoint_id}.json")
    assert (read.checkpoint_id, read.rest["plan_id"], read.rest["status"]) == (
        runner.last_checkpoint_id,
        "plan",
        "failed",
    )
    assert read.vibe == wanted.source_vibe.model_dump()
    assert [(one.id, one.type, one.parameters) for one in read.nodes] == [
        ("a", "generate", {"text": "Ü 🎉"}),
        ("b", "analyze", {}),
    ]
    assert [one.id for one in read.nodes[0].children] == ["child"]
    assert {id: (one.status, one.error) for id, one in read.results.items()} == {
        "a": ("completed", None),
        "child": ("completed", None),
        "b": ("failed", "b fails"),
    }
    assert all(datetime.fromisoformat(one.started_at) for one in read.results.values())
    assert read.results["a"].result == result.node_results["a"].result
    assert read.rest["execution_groups"] == result.execution_groups


@served
async def test_five_nodes_at_interval_two_leave_three_checkpoints() -> None:
    runner = executor(Worker(), checkpoint_interval=2)
    await runner.execute_plan(chain(5))
    manager = WorkflowPersistenceManager()
    listed = [info["checkpoint_id"] for info in manager.list_checkpoints()]
    assert listed[0] == runner.last_checkpoint_id
    loaded = [manager.load_checkpoint(id).execution_result for id in listed]
    assert [result.count(COMPLETED) for result in loaded] == [5, 4, 2]
    assert all(len(result.feedback_data) == len(result.node_results) for result in loaded)


@served
async def test_a_run_goes_on_from_a_checkpoint_of_its_middle() -> None:
    runner = executor(Worker(), checkpoint_interval=2)
    await runner.execute_plan(chain(5))
    oldest = WorkflowPersistenceManager().list_checkpoints()[-1]["checkpoint_id"]
    worker = Worker()
    await executor(worker, storage="elsewhere").execute_plan(chain(5), oldest)
    assert worker.executed == ["n2", "n3", "n4"]


@served
async def test_a_failed_run_has_a_checkpoint_at_its_end() -> None:
    runner = executor(Worker({"n1"}), checkpoint_interval=100)
    await runner.execute_plan(chain(3))
    (info,) = WorkflowPersistenceManager().list_checkpoints()
    assert (info["checkpoint_id"], info["status"]) == (runner.last_checkpoint_id, "failed")
