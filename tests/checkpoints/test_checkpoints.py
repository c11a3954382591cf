"""Checkpoints as values and files."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from tests.plans import node, plan
from vibe_prefect import (
    ExecutionResult,
    ExecutionStatus,
    NodeResult,
    ResultTypeError,
    Vibe,
    VibePrefectError,
    WorkflowCheckpoint,
    WorkflowPersistenceManager,
    WorkflowPlan,
)
from vibe_prefect.checkpoints.checkpoint import new_checkpoint_id
from vibe_prefect.errors import (
    CheckpointFileError,
    CheckpointIdError,
    CheckpointSchemaError,
    DamagedCheckpointError,
    UnknownCheckpointError,
)

COMPLETED, FAILED, SKIPPED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED, ExecutionStatus.SKIPPED


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
def place(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "checkpoints"


@pytest.fixture
def manager(place: Path) -> WorkflowPersistenceManager:
    return WorkflowPersistenceManager(place)


def saved(manager: WorkflowPersistenceManager, id: str = "plan-1") -> Path:
    return Path(manager.save_checkpoint(WorkflowCheckpoint(branching(), some_result(), id)))


def test_checkpoint_ids_are_unique_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = uuid4(), uuid4()
    drawn = iter([first, first, second])
    with monkeypatch.context() as patch:
        patch.setattr("vibe_prefect.checkpoints.checkpoint.uuid4", lambda: next(drawn))
        assert new_checkpoint_id("plan") != new_checkpoint_id("plan")
    made = [WorkflowCheckpoint(branching(), ExecutionResult("plan")) for _ in range(1000)]
    assert len({one.checkpoint_id for one in made}) == 1000
    assert made[0].schema_version == "1.0"
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
        f"Unsupported checkpoint schema version: {version}; this version of vibe-prefect reads 1.0"
    )


def test_what_is_no_checkpoint_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="plan"):
        WorkflowCheckpoint.from_dict({"schema_version": "1.0", "checkpoint_id": "x"})


def test_a_saved_checkpoint_is_loaded_as_it_was(manager: WorkflowPersistenceManager, place: Path) -> None:
    before = WorkflowCheckpoint(branching(), some_result())
    path = manager.save_checkpoint(before)
    after = manager.load_checkpoint(before.checkpoint_id)
    assert after.to_dict() == before.to_dict()
    assert json.loads(Path(path).read_text(encoding="ascii")) == before.to_dict()
    assert [path.name for path in place.iterdir()] == [f"{before.checkpoint_id}.json"]


def test_a_loaded_checkpoint_has_its_nodes_in_plan_order(manager: WorkflowPersistenceManager) -> None:
    tree = plan(node("p", "composite", children=[node("p1"), node("p2")]), node("q"))
    result = ExecutionResult("plan")
    for id in ("q", "p2", "p", "p1"):
        result.add_node_result(NodeResult(id, COMPLETED))
    manager.save_checkpoint(WorkflowCheckpoint(tree, result, "plan-1"))
    assert list(manager.load_checkpoint("plan-1").execution_result.node_results) == ["p", "p1", "p2", "q"]


def test_an_unknown_checkpoint_is_file_not_found(manager: WorkflowPersistenceManager, place: Path) -> None:
    with pytest.raises(FileNotFoundError):
        manager.load_checkpoint("plan-1")
    saved(manager)
    with pytest.raises(UnknownCheckpointError) as caught:
        manager.load_checkpoint("plan-2")
    assert str(caught.value) == f"Checkpoint not found: plan-2 (in {place}); did you mean 'plan-1'?"


Damage = Callable[[bytes], bytes]

DAMAGES: list[tuple[Damage, str]] = [
    (lambda text: b"", "Expecting value"),
    (lambda text: text[:50], "Unterminated string"),
    (lambda text: text[:-20], "Expecting"),
    (lambda text: text + b"{}", "Extra data"),
    (lambda text: b"[]", "expected an object, found []"),
    (lambda text: b"\0" * 100, "Expecting value"),
    (lambda text: b"\xff\xfe\xfa", "decode"),
    (lambda text: b"[" * 100_000, "it is nested too deeply"),
    (lambda text: b'{"schema_version": "1.0"}', "created_at: Field required"),
    (lambda text: b'{"schema_version": "1.0", "created_at": "x", "plan": {}}', "plan.id: Field required"),
    (lambda text: text.replace(b'"completed"', b'"well"'), "execution_result.node_results.a.status: "),
    (lambda text: text.replace(b'"root_nodes": [', b'"root_nodes": [1, '), "plan.root_nodes.0: "),
    (lambda text: text.replace(b'"node_results": {', b'"node_results": 1, "x": {'), "execution_result.node_results: "),
    (lambda text: text.replace(b'"schema_version"', b'"log": 1, "schema_version"'), "LogPart"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGES)
def test_a_damaged_checkpoint_is_a_runtime_error(
    manager: WorkflowPersistenceManager, damage: Damage, message: str
) -> None:
    path = saved(manager)
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(RuntimeError) as caught:
        manager.load_checkpoint("plan-1")
    assert isinstance(caught.value, DamagedCheckpointError)
    assert str(caught.value).startswith(f"Failed to load checkpoint plan-1: {path} is damaged: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", [ValueError, RuntimeError])
def test_a_saved_checkpoint_of_another_schema_is_refused(
    manager: WorkflowPersistenceManager, kind: type[Exception]
) -> None:
    path = saved(manager)
    path.write_bytes(path.read_bytes().replace(b'"schema_version": "1.0"', b'"schema_version": "3"'))
    with pytest.raises(kind) as caught:
        manager.load_checkpoint("plan-1")
    text = "Failed to load checkpoint plan-1: Unsupported checkpoint schema version: 3;"
    assert str(caught.value).startswith(text)
    assert manager.list_checkpoints() == []


def test_checkpoints_are_listed_newest_first(manager: WorkflowPersistenceManager) -> None:
    assert manager.list_checkpoints() == []
    wish = plan(node("a"), id="other")
    wish.source_vibe = Vibe(description="ü" * 60)
    times = {"two": "02T00:00:00", "three": "03T23:00:00-12:00", "one": "01T00:00:00", "zero": "xx", "2.5": "03T09:00"}
    for id, time in times.items():
        made = WorkflowCheckpoint(wish, ExecutionResult("other", COMPLETED), id, created_at=f"2026-01-{time}")
        manager.save_checkpoint(made)
    found = manager.list_checkpoints()
    assert [info["checkpoint_id"] for info in found] == ["three", "2.5", "two", "one", "zero"]
    assert found[0] == {
        "checkpoint_id": "three",
        "plan_id": "other",
        "created_at": "2026-01-03T23:00:00-12:00",
        "status": "completed",
        "vibe_description": "ü" * 50,
    }


def test_a_listing_leaves_out_what_it_cannot_read(
    manager: WorkflowPersistenceManager, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    saved(manager)
    (place / "broken.json").write_text('{"schema_version": "1.0", "plan": {"id": "x"}}')
    (place / "notes.txt").write_text("")
    (place / ".hidden.json").write_text("")
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        assert [info["checkpoint_id"] for info in manager.list_checkpoints()] == ["plan-1"]
    (record,) = caplog.records
    path = place / "broken.json"
    assert record.getMessage() == f"The checkpoint {path} cannot be read and is left out: it has no 'created_at'"


def test_a_checkpoint_is_deleted_once(manager: WorkflowPersistenceManager) -> None:
    assert manager.delete_checkpoint("plan-1") is False
    saved(manager)
    assert manager.delete_checkpoint("plan-1") is True
    assert manager.delete_checkpoint("plan-1") is False
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize(
    "id", ["", ".", "..", "../x", "a/b", "/etc/x", "a\\b", ".hidden", "a\0b", "a\n", "ä", "x" * 201]
)
def test_an_id_that_is_no_plain_name_is_refused(manager: WorkflowPersistenceManager, place: Path, id: str) -> None:
    for use in (manager.load_checkpoint, manager.delete_checkpoint):
        with pytest.raises(ValueError, match="cannot be the id of a checkpoint: expected letters") as caught:
            use(id)
        assert isinstance(caught.value, CheckpointIdError)
    if id:
        with pytest.raises(RuntimeError, match=r"Failed to save checkpoint [\s\S]* cannot be the id") as refused:
            manager.save_checkpoint(WorkflowCheckpoint(branching(), some_result(), id))
        assert isinstance(refused.value, CheckpointFileError)
        assert isinstance(refused.value.__cause__, CheckpointIdError)
    assert list(place.iterdir()) == []


def test_an_id_may_have_two_hundred_characters(manager: WorkflowPersistenceManager) -> None:
    saved(manager, "x" * 200)
    assert manager.load_checkpoint("x" * 200).plan == branching()


def test_a_result_that_json_cannot_hold_is_named(manager: WorkflowPersistenceManager) -> None:
    result = ExecutionResult("plan")
    result.add_node_result(NodeResult("a", COMPLETED, object()))
    with pytest.raises(RuntimeError, match="the result of node 'a', a object, cannot be JSON") as caught:
        manager.save_checkpoint(WorkflowCheckpoint(branching(), result))
    assert isinstance(caught.value.__cause__, ResultTypeError)
    assert manager.list_checkpoints() == []


@pytest.mark.parametrize(
    "error",
    [CheckpointFileError, CheckpointIdError, CheckpointSchemaError, DamagedCheckpointError, UnknownCheckpointError],
)
def test_the_errors_hang_in_the_one_tree_and_survive_pickling(error: type[VibePrefectError]) -> None:
    copied = pickle.loads(pickle.dumps(error("what")))  # noqa: S301
    assert (type(copied), str(copied)) == (error, "what")
    assert issubclass(error, VibePrefectError)
