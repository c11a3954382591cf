"""Records that somebody else wrote, and other things in their places: no code runs, nothing outside is touched."""

from __future__ import annotations

import base64
import json
import logging
import os
import pickle
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.plans import node, plan
from vibe_prefect import ToolRegistry, WorkflowExecutor, WorkflowNode, WorkflowNodeType
from vibe_prefect.engine.records import storage
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import open_store, record_path
from vibe_prefect.engine.runs.earlier_runs import kept_nodes
from vibe_prefect.engine.runs.load_report import load_report
from vibe_prefect.errors import UsageError
from vibe_prefect.reporting.media import local_files
from vibe_prefect.run.handlers import NodeHandler

PLAN = plan(node("a"), node("b", needs=["a"]))


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, tuple[str, int]]:
        return os.mkdir, (self.path, 0o755)


def pickled(trace: Path) -> dict[str, bytes]:
    """Files as Prefect writes them with a serializer that unpickles, and with one that imports what the data name."""
    blob = base64.b64encode(pickle.dumps(Touch(trace))).decode()
    imports = {"__class__": "os.mkdir", "data": str(trace)}
    kinds: dict[str, tuple[Any, str]] = {
        "pickle": ({"type": "pickle", "picklelib": "pickle"}, blob),
        "cloudpickle": ({"type": "pickle"}, blob),
        "compressed": ({"type": "compressed/pickle"}, blob),
        "json": ({"type": "json"}, json.dumps(imports)),
        "only a name": ("pickle", blob),
    }
    files = {
        kind: json.dumps({"metadata": {"storage_key": "x", "serializer": serializer}, "result": result}).encode()
        for kind, (serializer, result) in kinds.items()
    }
    files["of an old form"] = json.dumps({"serializer": {"type": "pickle"}, "data": blob}).encode()
    files["without a form"] = pickle.dumps(Touch(trace))
    return files


@pytest.mark.parametrize("kind", pickled(Path("x")))
async def test_a_record_that_names_a_serializer_of_its_own_runs_no_code(
    kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trace = folder / "trace"
    store = await open_store(folder / "records")
    path = folder / "records" / "run" / "a-1"
    path.parent.mkdir(parents=True)
    path.write_bytes(pickled(trace)[kind])
    assert await store.read_record("run/a-1") is None
    assert not await store.aexists("run/a-1")
    with pytest.raises(ValueError, match=r"serializer|metadata|not JSON"):
        await store.aread("run/a-1")
    assert not trace.exists()
    assert "The record run/a-1 cannot be used, so its node runs again: " in caplog.text


def worker(executed: list[str]) -> NodeHandler:
    def work(node: WorkflowNode) -> dict[str, str]:
        executed.append(node.id)
        return {"text": node.id}

    return work


async def run(records: Path, executed: list[str], resume_from: str | None = None) -> str:
    executor = WorkflowExecutor(tool_registry=ToolRegistry(), storage=records)
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, worker(executed))
    await executor.execute_plan(PLAN, resume_from=resume_from)
    assert executor.last_run is not None
    return str(executor.last_run.flow_run_id)


@pytest.mark.server
async def test_resume_forecast_and_report_pass_over_a_pickled_record(prefect_server: str, folder: Path) -> None:
    records, trace = folder / "records", folder / "trace"
    executed: list[str] = []
    first = await run(records, executed)
    (path,) = (records / first).glob("a-*")
    path.write_bytes(pickled(trace)["pickle"])
    executor = WorkflowExecutor(tool_registry=ToolRegistry(), storage=records)
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, worker([]))
    found = await kept_nodes(executor.compile(PLAN), first, folder, records)
    assert found.ids == {"b"}
    await load_report(first, records)
    executed.clear()
    await run(records, executed, first)
    assert executed == ["a"]
    assert not trace.exists()


@pytest.mark.server
@pytest.mark.parametrize("through", ["name", "link"])
async def test_report_of_a_run_leads_to_no_other_folder_and_to_no_other_command(
    through: str, prefect_server: str, folder: Path
) -> None:
    """Whoever can write a report beside the records names no file that its page holds, and nothing that is typed."""
    records, outside = folder / "records", folder / "outside"
    outside.mkdir()
    (outside / "private").write_text("mine")
    first = await run(records, [])
    (path,) = (records / first).glob("report-*.json")
    found = json.loads(path.read_text())
    own = Path(found["output_root"])
    link = folder / own.parent.name / own.name
    link.parent.mkdir()
    link.symlink_to(outside)
    found["output_root"] = str(link if through == "link" else outside)
    found["resume_command"] = "rm -r ~"
    found["nodes"][0]["files"] = [{"path": "private", "mime": "image/png", "bytes": 4, "sha256": None}]
    path.write_text(json.dumps(found))
    report = await load_report(first, records)
    assert [file.path for file in report.nodes[0].files] == ["private"]
    assert report.output_root == str(own)
    assert report.resume_command is not None
    assert report.resume_command.startswith("vibe-prefect resume ")
    assert local_files(report, Path(report.output_root)) == {}


def put_folder(path: Path, outside: Path) -> None:
    path.mkdir()


def put_pipe(path: Path, outside: Path) -> None:
    os.mkfifo(path)


def put_socket(path: Path, outside: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.path.relpath(path))


def put_link(path: Path, outside: Path) -> None:
    path.symlink_to(outside)


def put_link_to_a_device(path: Path, outside: Path) -> None:
    path.symlink_to("/dev/zero")


def put_much(path: Path, outside: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2_000)


PLACES: dict[Callable[[Path, Path], None], str] = {
    put_folder: "it is a folder",
    put_pipe: "it is not a regular file",
    put_socket: "it is not a regular file",
    put_link: "is a link, and records hold none",
    put_link_to_a_device: "is a link, and records hold none",
    put_much: "it has more than 1,000 bytes",
}


@pytest.mark.parametrize("put", PLACES)
async def test_what_stands_in_the_place_of_a_record_is_named_and_left_alone(
    put: Callable[[Path, Path], None],
    folder: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(storage, "MAX_RECORD_BYTES", 1_000)
    outside = folder / "outside"
    outside.write_text("mine")
    place = folder / "records" / "run" / "a-1"
    place.parent.mkdir(parents=True)
    put(place, outside)
    store = await open_store(folder / "records")
    assert await store.read_record("run/a-1") is None
    assert PLACES[put] in caplog.text
    assert "so its node runs again" in caplog.text
    assert outside.read_text() == "mine"


async def test_a_linked_folder_of_records_is_neither_read_nor_written(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside, root = folder / "outside", folder / "records"
    outside.mkdir()
    root.mkdir()
    (root / "run").symlink_to(outside)
    store = await open_store(root)
    assert store.result_storage is not None
    files: Any = store.result_storage
    with pytest.raises(OSError, match="run is a link, and records hold none"):
        await files.awrite_path(record_path("run", "a", "1"), b"x")
    with pytest.raises(UsageError, match="run is a link"), Records(store, "run").hold():
        pass
    assert await store.read_record("run/a-1") is None
    assert list(outside.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "hard link", "pipe"])
async def test_what_stands_in_the_place_of_a_lock_is_replaced_and_nothing_outside_is_touched(
    kind: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    outside, lock = folder / "outside", folder / "records" / "run" / ".lock"
    outside.write_text("mine")
    lock.parent.mkdir(parents=True)
    match kind:
        case "link":
            lock.symlink_to(outside)
        case "hard link":
            lock.hardlink_to(outside)
        case _:
            os.mkfifo(lock)
    store = await open_store(folder / "records")
    with caplog.at_level(logging.WARNING), Records(store, "run").hold() as alone:
        assert alone
        assert lock.read_text().startswith(f"process {os.getpid()} on ")
    assert outside.read_text() == "mine"
    assert "is a link or no regular file" in caplog.text


async def test_a_folder_in_the_place_of_a_lock_is_told(folder: Path) -> None:
    (folder / "records" / "run" / ".lock").mkdir(parents=True)
    store = await open_store(folder / "records")
    with pytest.raises(UsageError, match=r"is a folder: remove it"), Records(store, "run").hold():
        pass
