"""Files that others put where this package reads and deletes: links, pipes, devices, names that lead elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import ExecutionResult, WorkflowCheckpoint, WorkflowPersistenceManager
from vibe_prefect.checkpoints.log import CheckpointLog, plan_line
from vibe_prefect.cli.process.settings_files import check_settings_files, may_set_prefect
from vibe_prefect.engine.inputs.plan_store import KeptPlan, recorded_data
from vibe_prefect.engine.records.record_files import FILES_FOLDER, FolderFileStore
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.errors import DamagedCheckpointError, KeptPlanError, UsageError
from vibe_prefect.tools.media.previews import MAX_BYTES, preview
from vibe_prefect.tools.run_files import RunFiles

CONTENT = b"what belongs to somebody else"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def impatient_reader() -> Generator[None]:
    """A reader that waits for a pipe fails its test, and does not hang."""
    signal.alarm(60)
    yield
    signal.alarm(0)


@pytest.fixture
def outside(folder: Path) -> Path:
    """A folder beside that of the records, with a file whose hash is known."""
    outside = folder / "outside"
    outside.mkdir()
    (outside / SHA256).write_bytes(CONTENT)
    return outside


def link_folder(namespace: Path, outside: Path) -> None:
    (namespace / FILES_FOLDER).symlink_to(outside)


def link_file(namespace: Path, outside: Path) -> None:
    (namespace / FILES_FOLDER).mkdir()
    (namespace / FILES_FOLDER / SHA256).symlink_to(outside / SHA256)


@pytest.mark.parametrize("link", [link_folder, link_file])
@pytest.mark.parametrize("whose", ["own", "other"])
@pytest.mark.parametrize("content", [CONTENT, b"something else"])
async def test_linked_copies_of_files_are_neither_restored_nor_deleted(
    folder: Path, outside: Path, link: Callable[[Path, Path], None], whose: str, content: bytes
) -> None:
    (outside / SHA256).write_bytes(content)
    namespace = folder / "records" / whose
    namespace.mkdir(parents=True)
    link(namespace, outside)
    store = FolderFileStore(folder / "records")
    target = folder / "restored"
    assert not await store.has("own", SHA256)
    assert not await store.restore("own", SHA256, target)
    assert not target.exists()
    assert (outside / SHA256).read_bytes() == content


async def test_linked_copy_is_replaced_by_one_of_the_runs_own(folder: Path, outside: Path) -> None:
    (folder / "records" / "own").mkdir(parents=True)
    link_file(folder / "records" / "own", outside)
    store, source = FolderFileStore(folder / "records"), folder / "made"
    source.write_bytes(CONTENT)
    await store.keep("own", SHA256, source)
    assert await store.has("own", SHA256)
    assert not (folder / "records" / "own" / FILES_FOLDER / SHA256).is_symlink()


def test_pipe_among_a_runs_files_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    with pytest.raises(OSError, match="it is not a regular file"):
        RunFiles().sha256(folder / "pipe")
    with pytest.raises(OSError, match="it is not a regular file"):
        preview(folder / "pipe")


def test_preview_is_not_made_of_a_file_of_any_size(folder: Path) -> None:
    with (folder / "huge.png").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    assert preview(folder / "huge.png") is None


def put_pipe(path: Path) -> None:
    os.mkfifo(path)


def put_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("put", [put_pipe, put_device])
def test_checkpoint_that_is_no_regular_file_is_refused(folder: Path, put: Callable[[Path], None]) -> None:
    manager = WorkflowPersistenceManager(folder)
    put(folder / "odd.json")
    with pytest.raises(DamagedCheckpointError, match="it is not a regular file"):
        manager.load_checkpoint("odd")
    assert manager.list_checkpoints() == []
    assert manager.delete_checkpoint("odd")


def head(folder: Path, **log: Any) -> None:
    """Write the head of a checkpoint whose log is as given."""
    made = WorkflowCheckpoint(plan(node("a")), ExecutionResult("plan"), "odd").to_dict()
    result = {key: value for key, value in made["execution_result"].items() if key != "node_results"}
    (folder / "odd.json").write_text(json.dumps(made | {"execution_result": result, "log": log}))


@pytest.mark.parametrize("put", [put_pipe, put_device])
def test_log_that_is_no_regular_file_is_refused(folder: Path, put: Callable[[Path], None]) -> None:
    put(folder / "run.log")
    head(folder, file="run.log", bytes=900_000_000, sha256=SHA256)
    with pytest.raises(DamagedCheckpointError, match="it is not a regular file"):
        WorkflowPersistenceManager(folder).load_checkpoint("odd")


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ({"file": "precious.json"}, "expected the name of a file"),
        ({"file": "../outside/precious.log"}, "expected the name of a file"),
        ({"file": ".."}, "expected the name of a file"),
        ({"bytes": 10**18}, "less than or equal to"),
        ({"bytes": -1}, "greater than or equal to"),
    ],
)
def test_log_of_a_checkpoint_is_a_log_beside_it(
    folder: Path, outside: Path, named: dict[str, Any], reason: str
) -> None:
    """Deleting the checkpoint deletes its log, so the name may lead to nothing else."""
    precious = [folder / "precious.json", outside / "precious.log"]
    for path in precious:
        path.write_text("mine")
    log = CheckpointLog(folder / "run.log", [plan_line(plan(node("a")), [["a"]])]).write()
    head(folder, **(log.model_dump() | named))
    manager = WorkflowPersistenceManager(folder)
    with pytest.raises(DamagedCheckpointError, match=reason):
        manager.load_checkpoint("odd")
    assert manager.delete_checkpoint("odd")
    assert [path.read_text() for path in precious] == ["mine", "mine"]


@pytest.mark.parametrize("content", [b"id: [", b"\xff", b"[1]", b'{"id": "other"}', b"[" * 100_000])
async def test_kept_plan_whose_hash_fits_is_still_no_other_plan(folder: Path, content: bytes) -> None:
    kept = KeptPlan("large", hashlib.sha256(content).hexdigest())
    path = folder / "records" / kept.path
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    with pytest.raises(KeptPlanError, match="is not the plan 'large'"):
        await recorded_data(str(kept), await open_store("records"))


@pytest.mark.parametrize("put", [put_pipe, put_device])
async def test_kept_plan_that_is_no_regular_file_is_not_read(folder: Path, put: Callable[[Path], None]) -> None:
    kept = KeptPlan("large", SHA256)
    (folder / "records" / kept.path).parent.mkdir(parents=True)
    put(folder / "records" / kept.path)
    with pytest.raises(KeptPlanError, match="lacks it"):
        await recorded_data(str(kept), await open_store("records"))


@pytest.mark.parametrize("name", [".env", "prefect.toml"])
def test_pipe_in_the_place_of_settings_is_not_waited_for(folder: Path, name: str) -> None:
    os.mkfifo(folder / name)
    assert not may_set_prefect(Path(name))
    with pytest.raises(UsageError, match=f"the settings file '{name}' cannot be read"):
        check_settings_files()
