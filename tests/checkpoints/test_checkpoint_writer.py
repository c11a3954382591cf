"""What is written while a run goes on: heads, their log, and the whole checkpoint at the end."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.paths import ROOT
from tests.plans import node, plan
from vibe_prefect import ExecutionResult, ExecutionStatus, NodeResult, WorkflowPersistenceManager
from vibe_prefect.checkpoints.writer import CheckpointWriter
from vibe_prefect.errors import DamagedCheckpointError

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "deep" / "checkpoints"


def run_through(
    writer: CheckpointWriter, nodes: int, status: ExecutionStatus = COMPLETED, text: str = "", *, end: bool = True
) -> None:
    """Report to a writer what the engine would of a plan whose nodes all end alike."""
    made = plan(*(node(f"n{index}") for index in range(nodes)))
    writer.run_started(made, (tuple(f"n{index}" for index in range(nodes)),), nodes, 0)
    result = ExecutionResult("plan", COMPLETED, execution_groups=[[f"n{index}" for index in range(nodes)]])
    for one in made.root_nodes:
        result.add_node_result(NodeResult(one.id, status, text))
        result.add_feedback(one.id, {"execution_quality": 1.0})
        writer.node_started(one)
        writer.feedback_recorded(one.id, result.feedback_data[one.id], {"node_id": one.id})
        writer.node_finished(one, result.node_results[one.id])
    if end:
        writer.run_finished(result)


def interrupted(place: Path, nodes: int = 5, interval: int = 2) -> list[str]:
    """Write the checkpoints of a run that did not come to its end; return their ids, oldest first."""
    written: list[str] = []
    run_through(CheckpointWriter(place, interval, written=written.append), nodes, end=False)
    return written


@pytest.mark.parametrize(
    ("interval", "counts"), [(1, [1, 2, 3, 4, 5, 5]), (2, [2, 4, 5]), (3, [3, 5]), (5, [5, 5]), (100, [5])]
)
def test_each_interval_has_a_checkpoint_of_its_moment(place: Path, interval: int, counts: list[int]) -> None:
    written: list[str] = []
    run_through(CheckpointWriter(place, interval, written=written.append), 5)
    manager = WorkflowPersistenceManager(place)
    listed = manager.list_checkpoints()
    assert [info["checkpoint_id"] for info in listed] == written[::-1]
    assert [info["status"] for info in listed] == ["completed"] + ["running"] * (len(counts) - 1)
    for id, count in zip(written, counts, strict=True):
        loaded = manager.load_checkpoint(id)
        result, first = loaded.execution_result, [f"n{index}" for index in range(count)]
        assert list(result.node_results) == list(result.ids(COMPLETED)) == first
        assert result.execution_groups == [["n0", "n1", "n2", "n3", "n4"]]
        assert result.feedback_data == {id: {"execution_quality": 1.0} for id in first}
        assert len(loaded.plan.root_nodes) == 5
    assert len(manager.load_checkpoint(written[0]).execution_result.replan_suggestions) == (
        counts[0] if counts[1:] else 0
    )


def test_the_checkpoint_at_the_end_is_whole(place: Path) -> None:
    written: list[str] = []
    run_through(CheckpointWriter(place, 2, written=written.append), 5)
    for path in place.glob("*.log"):
        path.unlink()
    manager = WorkflowPersistenceManager(place)
    assert [info["checkpoint_id"] for info in manager.list_checkpoints()] == written[-1:]
    assert manager.load_checkpoint(written[-1]).execution_result.count(COMPLETED) == 5


def test_nodes_that_did_not_complete_do_not_count_but_are_written(place: Path) -> None:
    written: list[str] = []
    run_through(CheckpointWriter(place, 1, written=written.append), 5, FAILED)
    (id,) = written
    assert WorkflowPersistenceManager(place).load_checkpoint(id).execution_result.count(FAILED) == 5


def test_reused_nodes_do_not_count_and_are_part_of_the_first_checkpoint(place: Path) -> None:
    made = plan(node("a"), node("b"), node("c"))
    earlier = ExecutionResult("plan")
    earlier.add_node_result(NodeResult("a", COMPLETED, "kept", reused=True))
    earlier.add_node_result(NodeResult("c", COMPLETED, "kept", reused=True))
    written: list[str] = []
    writer = CheckpointWriter(place, 1, earlier=earlier, written=written.append)
    writer.run_started(made, (), 3, 2)
    writer.node_reused(made.root_nodes[0], earlier.node_results["a"])
    assert written == []
    writer.node_finished(made.root_nodes[1], NodeResult("b", COMPLETED))
    assert WorkflowPersistenceManager(place).load_checkpoint(written[0]).execution_result.ids(COMPLETED) == (
        "a",
        "b",
        "c",
    )


def test_a_stopped_run_leaves_what_it_had_finished(place: Path) -> None:
    written: list[str] = []
    writer = CheckpointWriter(place, 100, written=written.append)
    run_through(writer, 3, end=False)
    writer.close()
    writer.close()
    (id,) = written
    assert WorkflowPersistenceManager(place).load_checkpoint(id).execution_result.count(COMPLETED) == 3


def test_an_interval_checkpoint_saved_again_is_whole(place: Path, tmp_path: Path) -> None:
    first, _ = interrupted(place)
    loaded = WorkflowPersistenceManager(place).load_checkpoint(first)
    path = WorkflowPersistenceManager(tmp_path / "other").save_checkpoint(loaded)
    assert json.loads(Path(path).read_text()) == loaded.to_dict()
    assert WorkflowPersistenceManager(tmp_path / "other").load_checkpoint(first).to_dict() == loaded.to_dict()


def test_deleting_a_checkpoint_leaves_the_others_and_the_last_takes_the_log(place: Path) -> None:
    manager = WorkflowPersistenceManager(place)
    ids, others = interrupted(place, 6), interrupted(place)
    for index, id in enumerate(ids):
        assert manager.delete_checkpoint(id)
        assert not manager.delete_checkpoint(id)
        left = {info["checkpoint_id"] for info in manager.list_checkpoints()}
        assert left == {*ids[index + 1 :], *others}
        for other in left:
            manager.load_checkpoint(other)
    assert len(list(place.glob("*.log"))) == 1
    assert all(manager.delete_checkpoint(id) for id in others)
    assert list(place.iterdir()) == []


def test_a_run_writes_on_after_its_checkpoints_were_deleted(place: Path) -> None:
    manager = WorkflowPersistenceManager(place)
    deleting = True

    def written(id: str) -> None:
        if deleting:
            manager.delete_checkpoint(id)

    writer = CheckpointWriter(place, 1, written=written)
    made = plan(*(node(f"n{index}") for index in range(4)))
    writer.run_started(made, (), 4, 0)
    for one in made.root_nodes:
        deleting = one.id != "n3"
        writer.node_finished(one, NodeResult(one.id, COMPLETED))
    (info,) = manager.list_checkpoints()
    assert manager.load_checkpoint(info["checkpoint_id"]).execution_result.count(COMPLETED) == 4


def changed(content: bytes) -> bytes:
    return content.replace(b"n0", b"m0")


LOG_DAMAGES: list[tuple[str, Callable[[bytes], bytes] | None, str]] = [
    ("cut off", lambda content: content[:-1], "bytes that belong to it"),
    ("emptied", lambda content: b"", "has 0 of the"),
    ("changed", changed, "was changed"),
    ("zeros", lambda content: b"\0" * len(content), "was changed"),
    ("deleted", None, "is missing; copy it along with the checkpoint"),
]


@pytest.mark.parametrize(("name", "damage", "message"), LOG_DAMAGES, ids=[name for name, *_ in LOG_DAMAGES])
def test_a_checkpoint_whose_log_is_damaged_is_damaged_and_not_shorter(
    place: Path, name: str, damage: Callable[[bytes], bytes] | None, message: str
) -> None:
    *_, newest = interrupted(place)
    (log,) = place.glob("*.log")
    content = log.read_bytes()
    log.unlink()
    if damage is not None:
        log.write_bytes(damage(content))
    manager = WorkflowPersistenceManager(place)
    with pytest.raises(DamagedCheckpointError, match=message):
        manager.load_checkpoint(newest)
    listed = {info["checkpoint_id"] for info in manager.list_checkpoints()}
    assert (newest in listed) is (name in {"changed", "zeros"})  # a listing does not read the logs


@pytest.mark.parametrize("name", ["../secret.log", "/etc/passwd", "a/b.log", "..", "x.json"])
def test_a_log_outside_the_folder_is_not_read(place: Path, name: str) -> None:
    first, *_ = interrupted(place)
    path = place / f"{first}.json"
    head = json.loads(path.read_text())
    head["log"]["file"] = name
    path.write_text(json.dumps(head))
    with pytest.raises(DamagedCheckpointError, match="expected the name of a file"):
        WorkflowPersistenceManager(place).load_checkpoint(first)


def bytes_written(folder: Path, nodes: int) -> int:
    """Return how many bytes this process hands to the operating system while it keeps checkpoints."""

    def so_far() -> int:
        return int(Path("/proc/self/io").read_text().split("wchar: ")[1].split()[0])

    before = so_far()
    run_through(CheckpointWriter(folder, 1), nodes, text="x" * 2000)
    return so_far() - before


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes as Linux does")
def test_twice_the_nodes_cost_twice_the_bytes(tmp_path: Path) -> None:
    small, large = bytes_written(tmp_path, 200), bytes_written(tmp_path, 400)
    assert small > 2 * 200 * 2000
    assert large < 2.2 * small


def test_a_head_stays_small_whatever_the_plan_says(place: Path) -> None:
    writer = CheckpointWriter(place, 1)
    wish = plan(*(node(f"n{index}", description="🎉" * 1000) for index in range(100)), id="p" * 100)
    wish.source_vibe.description = "🎉" * 10_000
    writer.run_started(wish, (), 100, 0)
    writer.node_finished(wish.root_nodes[0], NodeResult("n0", COMPLETED))
    (head,) = place.glob("*.json")
    assert head.stat().st_size < 2000


def test_a_folder_that_cannot_be_written_is_reported_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("a file")
    written: list[str] = []
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        run_through(CheckpointWriter(tmp_path / "taken", 1, written=written.append), 20)
    assert written == []
    (record,) = caplog.records
    assert record.getMessage().startswith(
        f"A checkpoint of 'plan' in {tmp_path / 'taken'} cannot be written; the run goes on: "
    )


def test_a_write_that_failed_halfway_is_made_good_by_the_next(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    writer = CheckpointWriter(place, 1, written=written.append)
    made = plan(*(node(f"n{index}") for index in range(5)))
    writer.run_started(made, (), 5, 0)
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
    manager = WorkflowPersistenceManager(place)
    counts = [manager.load_checkpoint(id).execution_result.count(COMPLETED) for id in written]
    assert counts == [1, 4, 5]


def test_text_that_is_not_unicode_is_kept(place: Path) -> None:
    written: list[str] = []
    writer = CheckpointWriter(place, 1, written=written.append)
    made = plan(node("a"), node("d"))
    writer.run_started(made, (), 2, 0)
    writer.node_finished(made.root_nodes[0], NodeResult("a", FAILED, error="\udcff"))
    writer.node_finished(made.root_nodes[1], NodeResult("d", COMPLETED))
    loaded = WorkflowPersistenceManager(place).load_checkpoint(written[0]).execution_result
    assert loaded.node_results["a"].error == "\udcff"


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.plans import node, plan
from vibe_prefect import ExecutionStatus, NodeResult
from vibe_prefect.checkpoints.writer import CheckpointWriter

writer = CheckpointWriter(sys.argv[1], 1)
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


def test_a_process_killed_while_it_writes_leaves_its_earlier_checkpoints(place: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", KILLED, str(place)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        check=False,
        timeout=120,
    )
    assert ran.returncode == -signal.SIGKILL
    manager = WorkflowPersistenceManager(place)
    listed = [info["checkpoint_id"] for info in manager.list_checkpoints()]
    loaded = [manager.load_checkpoint(id).execution_result for id in listed]
    assert [list(result.node_results) for result in loaded] == [["n0", "n1", "n2"], ["n0", "n1"], ["n0"]]
    assert loaded[0].node_results["n2"].result == "x" * 100
