from __future__ import annotations

import asyncio
import logging
import pickle
import signal
import subprocess
import sys
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
    ResultTypeError,
    Simulate,
    UsageError,
    Vibe,
    VibePrefectError,
    WorkflowCheckpoint,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowPersistenceManager,
    WorkflowPlan,
)
from vibe_prefect.checkpoints import CheckpointWriter
from vibe_prefect.errors import (
    CheckpointIdError,
    CheckpointSchemaError,
    DamagedCheckpointError,
    UnknownCheckpointError,
)

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED
RUNNING = ExecutionStatus.RUNNING


def branching() -> WorkflowPlan:
    return plan(node("a"), node("b", needs=["a"]), node("c", needs=["b"]), node("d", needs=["a"]))


def some_result() -> ExecutionResult:
    result = ExecutionResult("plan", FAILED, execution_groups=[["a"], ["b", "d"], ["c"]])
    result.add_node_result(
        NodeResult("a", COMPLETED, {"text": "ä\u2028\n", "n": 1.5}, None, 0.25, "2026-01-01T00:00:00")
    )
    result.add_node_result(NodeResult("b", FAILED, error="no", duration=0.5))
    result.add_node_result(NodeResult("c", SKIPPED, error="Dependencies not satisfied: b failed"))
    result.add_node_result(NodeResult("d", COMPLETED, ["x"]))
    result.add_feedback("a", {"execution_quality": 0.8, "resource_usage": {"cpu_time": 0.1}})
    result.suggest_replan({"node_id": "b"})
    result.completed_at, result.total_duration, result.parallel_efficiency = "2026-01-01T00:00:01", 1.0, 0.5
    return result


@pytest.fixture
def manager(tmp_path: Path) -> WorkflowPersistenceManager:
    return WorkflowPersistenceManager(tmp_path / "deep" / "checkpoints")


def saved(manager: WorkflowPersistenceManager, id: str = "plan-1") -> Path:
    manager.save_checkpoint(WorkflowCheckpoint(branching(), some_result(), id))
    return manager.checkpoint_dir / f"{id}.jsonl"


def test_a_checkpoint_has_a_unique_id_that_starts_with_the_plans() -> None:
    made = [WorkflowCheckpoint(branching(), ExecutionResult("plan")) for _ in range(100)]
    assert len({one.checkpoint_id for one in made}) == 100
    assert all(one.checkpoint_id.startswith("plan-") for one in made)
    assert made[0].schema_version == "1.0"
    assert made[0].created_at.startswith("20")
    assert WorkflowCheckpoint(branching(), ExecutionResult("plan"), "mine").checkpoint_id == "mine"


def test_a_checkpoint_comes_back_from_its_dict() -> None:
    before = WorkflowCheckpoint(branching(), some_result(), node_keys={"a": "k1", "d": "k2"})
    data = before.to_dict()
    after = WorkflowCheckpoint.from_dict(data)
    assert after.execution_result == before.execution_result
    assert after.plan == before.plan
    assert (after.checkpoint_id, after.created_at) == (before.checkpoint_id, before.created_at)
    assert after.node_keys == before.node_keys
    assert after.to_dict() == data
    assert {"schema_version", "checkpoint_id", "created_at", "plan", "execution_result"} <= data.keys()


@pytest.mark.parametrize("version", ["0.9", "2.0", 1.0, None])
def test_another_schema_version_is_a_clear_value_error(version: Any) -> None:
    data = WorkflowCheckpoint(branching(), some_result(), "plan-1").to_dict() | {"schema_version": version}
    with pytest.raises(ValueError, match="schema version") as caught:
        WorkflowCheckpoint.from_dict(data)
    assert str(caught.value) == (
        f"the checkpoint 'plan-1' has the schema version {version!r}, but this version of vibe-prefect reads '1.0' only"
    )


def test_what_is_no_checkpoint_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="plan"):
        WorkflowCheckpoint.from_dict({"schema_version": "1.0", "checkpoint_id": "x"})


def test_a_saved_checkpoint_is_loaded_as_it_was(manager: WorkflowPersistenceManager) -> None:
    before = WorkflowCheckpoint(branching(), some_result())
    assert manager.save_checkpoint(before) == before.checkpoint_id
    after = manager.load_checkpoint(before.checkpoint_id)
    assert after.to_dict() == before.to_dict()
    assert [path.name for path in manager.checkpoint_dir.iterdir()] == [f"{before.checkpoint_id}.jsonl"]


def test_a_loaded_checkpoint_has_its_nodes_in_plan_order(manager: WorkflowPersistenceManager) -> None:
    tree = plan(node("p", "composite", children=[node("p1"), node("p2")]), node("q"))
    result = ExecutionResult("plan")
    for id in ("q", "p2", "p", "p1"):
        result.add_node_result(NodeResult(id, COMPLETED))
    manager.save_checkpoint(WorkflowCheckpoint(tree, result, "plan-1"))
    assert list(manager.load_checkpoint("plan-1").execution_result.node_results) == ["p", "p1", "p2", "q"]


def test_an_unknown_checkpoint_is_file_not_found(manager: WorkflowPersistenceManager) -> None:
    with pytest.raises(FileNotFoundError):
        manager.load_checkpoint("plan-1")
    saved(manager)
    with pytest.raises(UnknownCheckpointError) as caught:
        manager.load_checkpoint("plan-2")
    folder = manager.checkpoint_dir
    assert str(caught.value) == f"there is no checkpoint 'plan-2' in {folder}; did you mean 'plan-1'?"


Damage = Callable[[list[bytes]], list[bytes]]

DAMAGES: list[tuple[Damage, str]] = [
    (lambda lines: [], "it has no line"),
    (lambda lines: [lines[0][:50]], "it has no line"),
    (lambda lines: [*lines[:2], lines[2][:20] + b"\n", *lines[3:]], "line 3: EOF while parsing"),
    (lambda lines: [*lines, b'{"what": 1}\n'], "expected a part of a checkpoint, found {'what': 1}"),
    (lambda lines: [*lines, b"[]\n"], "expected an object, found []"),
    (lambda lines: [*lines, b"\0\0\0\0\n"], "line 8: expected value"),
    (lambda lines: [b'{"schema_version": "1.0"}\n', *lines[1:]], "it has no 'execution_result'"),
    (lambda lines: [lines[0], b'{"node": {"node_id": "a", "status": "well"}}\n'], "node_results.a.status: "),
    (lambda lines: [*lines, b'{"run": 1}\n'], "is damaged"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_checkpoint_is_a_runtime_error(
    manager: WorkflowPersistenceManager, damage: Damage, message: str
) -> None:
    path = saved(manager)
    path.write_bytes(b"".join(damage(path.read_bytes().splitlines(keepends=True))))
    with pytest.raises(RuntimeError) as caught:
        manager.load_checkpoint("plan-1")
    assert isinstance(caught.value, DamagedCheckpointError)
    assert str(caught.value).startswith(f"the checkpoint {path} is damaged: ")
    assert message in str(caught.value)


def test_a_saved_checkpoint_of_another_schema_is_a_value_error(manager: WorkflowPersistenceManager) -> None:
    path = saved(manager)
    path.write_bytes(path.read_bytes().replace(b'"schema_version":"1.0"', b'"schema_version":"3"'))
    with pytest.raises(CheckpointSchemaError, match="'3'"):
        manager.load_checkpoint("plan-1")


def test_wherever_the_last_line_is_torn_the_rest_is_there(manager: WorkflowPersistenceManager) -> None:
    path = saved(manager)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    last_node = len(b"".join(lines[:4]))
    for size in range(last_node, last_node + len(lines[4])):
        path.write_bytes(whole[:size])
        assert list(manager.load_checkpoint("plan-1").execution_result.node_results) == ["a", "b", "c"]
        assert manager.list_checkpoints()[0]["status"] == "failed"


def test_checkpoints_are_listed_newest_first(manager: WorkflowPersistenceManager) -> None:
    assert manager.list_checkpoints() == []
    wish = plan(node("a"), id="other")
    wish.source_vibe = Vibe(description="ü" * 60)
    for day, id in ((2, "two"), (3, "three"), (1, "one")):
        manager.save_checkpoint(
            WorkflowCheckpoint(wish, ExecutionResult("other", COMPLETED), id, created_at=f"2026-01-0{day}T00:00:00")
        )
    found = manager.list_checkpoints()
    assert [info["checkpoint_id"] for info in found] == ["three", "two", "one"]
    assert found[0] == {
        "checkpoint_id": "three",
        "plan_id": "other",
        "created_at": "2026-01-03T00:00:00",
        "status": "completed",
        "vibe_description": "ü" * 50,
    }


def test_a_listing_leaves_out_what_it_cannot_read(
    manager: WorkflowPersistenceManager, caplog: pytest.LogCaptureFixture
) -> None:
    saved(manager)
    (manager.checkpoint_dir / "broken.jsonl").write_text("{}\n")
    (manager.checkpoint_dir / "notes.txt").write_text("")
    (manager.checkpoint_dir / ".hidden.jsonl").write_text("")
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        assert [info["checkpoint_id"] for info in manager.list_checkpoints()] == ["plan-1"]
    (record,) = caplog.records
    path = manager.checkpoint_dir / "broken.jsonl"
    assert record.getMessage() == f"The checkpoint {path} cannot be read and is left out: it has no 'execution_result'"


def test_a_checkpoint_is_deleted_once(manager: WorkflowPersistenceManager) -> None:
    assert manager.delete_checkpoint("plan-1") is False
    saved(manager)
    assert manager.delete_checkpoint("plan-1") is True
    assert manager.delete_checkpoint("plan-1") is False
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../x", "a/b", "/etc/x", "a\\b", ".hidden", "a\0b", "a\n", "ä", "x" * 201]
)
def test_an_id_that_is_no_plain_name_is_refused(manager: WorkflowPersistenceManager, id: str) -> None:
    for use in (manager.load_checkpoint, manager.delete_checkpoint):
        with pytest.raises(ValueError, match="cannot be the id of a checkpoint: expected letters") as caught:
            use(id)
        assert isinstance(caught.value, CheckpointIdError)
    if id:
        with pytest.raises(CheckpointIdError):
            manager.save_checkpoint(WorkflowCheckpoint(branching(), some_result(), id))
    assert not manager.checkpoint_dir.exists()


def test_an_id_may_have_two_hundred_characters(manager: WorkflowPersistenceManager) -> None:
    saved(manager, "x" * 200)
    assert manager.load_checkpoint("x" * 200).plan == branching()


def test_a_result_that_json_cannot_hold_is_named(manager: WorkflowPersistenceManager) -> None:
    result = ExecutionResult("plan")
    result.add_node_result(NodeResult("a", COMPLETED, object()))
    with pytest.raises(ResultTypeError, match="the result of node 'a', a object, cannot be JSON"):
        manager.save_checkpoint(WorkflowCheckpoint(branching(), result))
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize(
    "error", [CheckpointIdError, CheckpointSchemaError, DamagedCheckpointError, UnknownCheckpointError]
)
def test_the_errors_hang_in_the_one_tree_and_survive_pickling(error: type[UsageError]) -> None:
    copied = pickle.loads(pickle.dumps(error("what")))  # noqa: S301
    assert (type(copied), str(copied)) == (error, "what")
    assert issubclass(error, VibePrefectError)


def run_through(writer: CheckpointWriter, nodes: int, status: ExecutionStatus = COMPLETED, text: str = "") -> None:
    """Tell a writer what the engine would of a plan whose nodes all end alike."""
    made = plan(*(node(f"n{index}") for index in range(nodes)))
    writer.run_started(made, (tuple(f"n{index}" for index in range(nodes)),), nodes, 0)
    result = ExecutionResult("plan", COMPLETED)
    for one in made.root_nodes:
        result.add_node_result(NodeResult(one.id, status, text))
        result.add_feedback(one.id, {"execution_quality": 1.0})
        writer.node_started(one)
        writer.node_finished(one, result.node_results[one.id])
    writer.run_finished(result)


@pytest.mark.parametrize(("interval", "writes"), [(1, 8), (2, 4), (3, 3), (7, 2), (8, 1), (100, 1)])
def test_a_checkpoint_is_written_every_n_completed_nodes_and_at_the_end(
    manager: WorkflowPersistenceManager, interval: int, writes: int
) -> None:
    written: list[tuple[str, int]] = []

    def note(id: str) -> None:
        written.append((id, len(manager.load_checkpoint(id).execution_result.node_results)))

    run_through(CheckpointWriter(manager, interval, written=note), 7)
    assert len(written) == writes
    assert [count for _, count in written] == [*range(interval, 8, interval), 7]
    (info,) = manager.list_checkpoints()
    assert {id for id, _ in written} == {info["checkpoint_id"]}
    assert info["status"] == "completed"


def test_nodes_that_did_not_complete_do_not_count_but_are_written(manager: WorkflowPersistenceManager) -> None:
    written: list[str] = []
    run_through(CheckpointWriter(manager, 1, written=written.append), 5, FAILED)
    assert len(written) == 1
    assert manager.load_checkpoint(written[0]).execution_result.ids(FAILED) == tuple(f"n{index}" for index in range(5))


def bytes_written(folder: Path, nodes: int) -> int:
    """Return how many bytes this process hands to the operating system while it keeps a checkpoint."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])

    before = so_far()
    run_through(CheckpointWriter(WorkflowPersistenceManager(folder), 1), nodes, text="x" * 2000)
    return so_far() - before


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes as Linux does")
def test_twice_the_nodes_cost_twice_the_bytes(tmp_path: Path) -> None:
    small, large = bytes_written(tmp_path, 200), bytes_written(tmp_path, 400)
    assert small > 200 * 2000
    assert large < 2.5 * small


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("a file")
    written: list[str] = []
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        run_through(CheckpointWriter(WorkflowPersistenceManager(tmp_path / "taken"), 1, written=written.append), 20)
    assert written == []
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"The checkpoint of 'plan' in {tmp_path / 'taken'} cannot be written, or not in full; the run goes on: "
    )


def test_a_write_that_failed_halfway_is_made_good_by_the_next(
    manager: WorkflowPersistenceManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[str] = []
    writer = CheckpointWriter(manager, 1, written=written.append)
    made = plan(*(node(f"n{index}") for index in range(4)))
    writer.run_started(made, (), 4, 0)
    whole = Path.open

    def open_on_a_full_disk(path: Path, mode: str = "r", *rest: Any) -> Any:
        with whole(path, "ab") as file:
            file.write(b'{"node":{"nod')
        raise OSError(28, "No space left on device")

    for index, one in enumerate(made.root_nodes):
        with monkeypatch.context() as patch:
            if index == 1:
                patch.setattr(Path, "open", open_on_a_full_disk)
            writer.node_finished(one, NodeResult(one.id, COMPLETED))
        if index == 1:
            assert list(manager.load_checkpoint(written[0]).execution_result.node_results) == ["n0"]
    writer.run_finished(ExecutionResult("plan", COMPLETED))
    loaded = manager.load_checkpoint(written[0]).execution_result
    assert (loaded.status, list(loaded.node_results)) == (COMPLETED, ["n0", "n1", "n2", "n3"])


def test_a_line_that_cannot_be_written_costs_that_line_only(
    manager: WorkflowPersistenceManager, caplog: pytest.LogCaptureFixture
) -> None:
    written: list[str] = []
    writer = CheckpointWriter(manager, 1, written=written.append)
    writer.run_started(branching(), (), 4, 0)
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        writer.node_finished(node("a"), NodeResult("a", FAILED, error="\udcff"))
        writer.node_finished(node("d"), NodeResult("d", COMPLETED))
    assert manager.load_checkpoint(written[0]).execution_result.ids(COMPLETED) == ("d",)
    assert len(caplog.records) == 1


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, NodeResult, WorkflowPersistenceManager
from vibe_prefect.checkpoints import CheckpointWriter

writer = CheckpointWriter(WorkflowPersistenceManager(sys.argv[1]), 1)
made = plan(*(node(f"n{index}") for index in range(5)))
writer.run_started(made, (), 5, 0)
for one in made.root_nodes[:3]:
    writer.node_finished(one, NodeResult(one.id, ExecutionStatus.COMPLETED, "x" * 100))

class HalfWritten:
    def __init__(self, file): self.file = file
    def __enter__(self): return self
    def __exit__(self, *_): pass
    def truncate(self, size): self.file.truncate(size)
    def seek(self, size): self.file.seek(size)
    def write(self, content):
        self.file.write(content[: len(content) // 2])
        self.file.flush()
        os.kill(os.getpid(), signal.SIGKILL)

whole = Path.open
Path.open = lambda path, mode: HalfWritten(whole(path, mode))
writer.node_finished(made.root_nodes[3], NodeResult("n3", ExecutionStatus.COMPLETED, "x" * 100))
"""


def test_a_process_killed_while_it_appends_loses_the_last_line_only(manager: WorkflowPersistenceManager) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(manager.checkpoint_dir)],
        cwd=Path(__file__).parent.parent,
        check=False,
        timeout=60,
    )
    assert ran.returncode == -signal.SIGKILL
    (info,) = manager.list_checkpoints()
    assert info["status"] == "running"
    path = manager.checkpoint_dir / f"{info['checkpoint_id']}.jsonl"
    assert not path.read_bytes().endswith(b"\n")
    loaded = manager.load_checkpoint(info["checkpoint_id"]).execution_result
    assert list(loaded.node_results) == ["n0", "n1", "n2"]
    assert loaded.node_results["n2"].result == "x" * 100


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
    assert newest(runner).startswith("plan-")


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
    assert facts["node_completed b"] == newest(runner)
    assert facts["workflow_completed None"] == newest(runner)


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
    id = WorkflowPersistenceManager().save_checkpoint(WorkflowCheckpoint(branching(), result))
    worker = Worker()
    after = await checkpointing(worker).execute_plan(branching(), id)
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
    Path(".vibe_checkpoints", "broken.jsonl").write_text("{}{}\n")
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
    assert sorted(info["plan_id"] for info in found) == ["one", "two"]
    assert all(load(info["checkpoint_id"]).execution_result.count(COMPLETED) == 2 for info in found)


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
