from __future__ import annotations

import asyncio
import hashlib
import json
import logging
import subprocess
from collections.abc import Callable, Generator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen
from uuid import uuid4

import pytest
import pytest_asyncio
from prefect.client.orchestration import get_client
from prefect.filesystems import RemoteFileSystem

from tests.plans import node, plan
from tests.refusals import gated, refusing
from vibe_prefect import (
    ExecutionStatus,
    FileRef,
    ToolContext,
    ToolRegistry,
    WorkflowExecutor,
    WorkflowNode,
    WorkflowNodeType,
    WorkflowPlan,
    tool,
)
from vibe_prefect.engine.flow import run_plan
from vibe_prefect.engine.records import storage
from vibe_prefect.engine.records.storage import RECORD_SCHEMA, RecordFolder, open_store, record_path
from vibe_prefect.engine.runs.resume_target import CLAIM_PREFIX
from vibe_prefect.errors import ResultTypeError, RunInUseError
from vibe_prefect.operations import accept
from vibe_prefect.text.json_text import json_data

COMPLETED, FAILED = ExecutionStatus.COMPLETED, ExecutionStatus.FAILED


def two() -> WorkflowPlan:
    return plan(node("a"), node("b", needs=["a"]))


class Recorder:
    def __init__(self, failing: str | None = None) -> None:
        self.executed: list[str] = []
        self.failing = failing

    async def __call__(self, node: WorkflowNode) -> dict[str, str]:
        self.executed.append(node.id)
        if node.id == self.failing:
            raise ValueError("told to")
        return {"text": "x" * 3000}


async def run(worker: Recorder, storage: str | Path, resume_from: WorkflowExecutor | None = None) -> WorkflowExecutor:
    executor = WorkflowExecutor(tool_registry=ToolRegistry(), storage=storage)
    executor.node_handlers = dict.fromkeys(WorkflowNodeType, worker)
    earlier = None
    if resume_from is not None:
        assert resume_from.last_run is not None
        earlier = str(resume_from.last_run.flow_run_id)
    await executor.execute_plan(two(), resume_from=earlier)
    return executor


def record_of(executor: WorkflowExecutor, id: str, storage: Path) -> Path:
    assert executor.last_run is not None
    (found,) = (storage / str(executor.last_run.flow_run_id)).glob(f"{id}-*")
    return found


def rewritten(content: bytes, without: str | None = None, **changes: Any) -> bytes:
    """A record's file with other values in the record itself."""
    outer = json.loads(content)
    record = json.loads(outer["result"]) | changes
    outer["result"] = json.dumps({name: value for name, value in record.items() if name != without})
    return json.dumps(outer).encode()


DAMAGES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "cut short": (lambda content: content[: len(content) // 2], "it is not JSON: EOF while parsing"),
    "empty": (lambda _: b"", "it is not JSON: EOF while parsing"),
    "not a record": (lambda _: b"[]", "expected a record's file as a mapping, found list"),
    "without metadata": (lambda content: b'{"result": "{}"}', "expected its metadata as a mapping, found NoneType"),
    "with a result that is not text": (
        lambda content: json.dumps(json.loads(content) | {"result": {"schema": 1}}).encode(),
        "its result is not text",
    ),
    "without a result": (lambda content: rewritten(content, without="result"), "it has no result"),
    "without a duration": (lambda content: rewritten(content, without="duration"), "its 'duration' is None"),
    "with usage of another shape": (lambda content: rewritten(content, usage=[1]), "its 'usage' is [1]"),
    "with a file of another shape": (
        lambda content: rewritten(content, files=[{"path": "a", "sha256": "../../b", "bytes": 1}]),
        "it names a file as {'path': 'a', 'sha256': '../../b', 'bytes': 1}",
    ),
    "nested too deeply": (lambda _: b"[" * 100_000, "it is not JSON: recursion limit exceeded"),
    "of another schema": (
        lambda content: rewritten(content, schema=7),
        f"it has the schema 7, and this version reads {RECORD_SCHEMA}",
    ),
    "of an unknown serializer": (
        lambda content: content.replace(b"vibe-prefect-json", b"somebody-elses"),
        "it names the serializer 'somebody-elses', and records are written by 'vibe-prefect-json' alone",
    ),
}


def test_a_result_with_half_a_character_is_kept_and_any_other_misfit_is_refused() -> None:
    made = {"text": "a \ud83d\ude00 and \ud83d", "when": date(2026, 1, 2), "path": Path("a/b")}
    assert json_data("n", made) == {
        "text": "a \U0001f600 and \ufffd",
        "when": "2026-01-02",
        "path": "a/b",
    }
    with pytest.raises(ResultTypeError, match="node 'n' returned a dict that JSON cannot hold"):
        json_data("n", {"text": "\ud83d", "made": object()})


@pytest.mark.server
@pytest.mark.parametrize("damage", DAMAGES)
async def test_a_record_that_cannot_be_used_is_named_and_its_node_runs_again(
    damage: str, prefect_server: str, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    spoil, reason = DAMAGES[damage]
    first = await run(Recorder(), folder)
    path = record_of(first, "b", folder)
    path.write_bytes(spoil(path.read_bytes()))
    worker = Recorder()
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        await run(worker, folder, first)
    assert worker.executed == ["b"]
    (message,) = (record.getMessage() for record in caplog.records if record.name.startswith("vibe_prefect"))
    assert f"/{path.name} cannot be used, so its node runs again: " in message
    assert reason in message


@pytest.mark.server
async def test_what_a_killed_write_left_behind_is_not_a_record(prefect_server: str, folder: Path) -> None:
    first = await run(Recorder(failing="b"), folder)
    path = record_of(first, "a", folder)
    (path.parent / f".{path.name}.abc123").write_bytes(path.read_bytes()[:100])
    worker = Recorder()
    await run(worker, folder, first)
    assert worker.executed == ["b"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Generator[Path]:
    """A file system of a few pages."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "tmpfs", str(disk)], check=False)
    if mounted.returncode:
        pytest.skip("mounting a file system is not allowed here")
    yield disk
    subprocess.run(["umount", "--lazy", str(disk)], check=True)


@pytest.mark.server
async def test_a_full_disk_is_told_and_the_run_goes_on(
    prefect_server: str, folder: Path, small_disk: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filler = small_disk / "filler"
    filler.write_bytes(b"x" * (32 * 1024 - 2 * 4096))
    with caplog.at_level(logging.WARNING, "vibe_prefect"):
        first = await run(Recorder(), small_disk)
    messages = [record.getMessage() for record in caplog.records if record.name == storage.__name__]
    assert messages
    assert all(
        "could not be written, so a resumed run repeats its node: OSError: [Errno 28]" in one for one in messages
    )
    filler.unlink()
    worker = Recorder()
    await run(worker, small_disk, first)
    assert len(worker.executed) == len(messages)


async def test_a_record_is_written_whole_also_when_its_folder_vanished(folder: Path) -> None:
    store = RecordFolder(basepath=str(folder / "records"))
    await store.awrite_path("run/a-1", b"one")
    (folder / "records" / "run" / "a-1").unlink()
    (folder / "records" / "run").rmdir()
    await store.awrite_path("run/a-1", b"two")
    assert await store.aread_path("run/a-1") == b"two"
    assert [path.name for path in (folder / "records" / "run").iterdir()] == ["a-1"]


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "a/../../outside"])
async def test_no_record_lies_outside_its_folder(path: str, folder: Path) -> None:
    store = RecordFolder(basepath=str(folder / "records"))
    with pytest.raises(ValueError, match="lies outside"):
        await store.aread_path(path)


@pytest.fixture(scope="module")
def s3() -> Generator[str]:
    """The address of a server with the S3 API, with an empty bucket `records`."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    address = f"http://{host}:{port}"
    with urlopen(Request(f"{address}/records", method="PUT")):  # noqa: S310 - an http address
        pass
    yield address
    server.stop()


@pytest_asyncio.fixture
async def bucket(prefect_server: str, s3: str) -> str:
    """A storage block for records in the bucket."""
    settings = {"key": "test", "secret": "test", "client_kwargs": {"endpoint_url": s3, "region_name": "us-east-1"}}
    block: Any = RemoteFileSystem(basepath="s3://records/runs", settings=settings)
    name = f"records-{uuid4().hex[:8]}"
    await block.save(name)
    return f"remote-file-system/{name}"


leaves_sockets_open = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""For s3fs."""


@leaves_sockets_open
@pytest.mark.server
async def test_records_in_an_s3_bucket_serve_a_resume(folder: Path, bucket: str) -> None:
    first = await run(Recorder(failing="b"), bucket)
    assert first.last_run is not None
    store = await open_store(bucket)
    key = first.compile(two()).nodes["a"].key
    assert await store.aexists(record_path(str(first.last_run.flow_run_id), "a", key))

    worker = Recorder()
    second = await run(worker, bucket, first)
    assert worker.executed == ["b"]
    assert second.last_run is not None


@leaves_sockets_open
@pytest.mark.server
async def test_a_refusal_in_an_s3_bucket_can_be_accepted(folder: Path, bucket: str) -> None:
    def executor() -> WorkflowExecutor:
        return WorkflowExecutor(tool_registry=refusing().registry, simulate="never", storage=bucket)

    first = executor()
    await first.execute_plan(gated())
    assert first.last_run is not None
    name = first.last_run.name
    async with get_client() as client:
        claimed = [f"{CLAIM_PREFIX}{first.last_run.flow_run_id}"]
        other = await client.create_flow_run(run_plan, parameters={}, tags=claimed)
        with pytest.raises(RunInUseError, match=other.name):
            await accept(name, "tone", "fine", storage=bucket)
        await client.delete_flow_run(other.id)
    await accept(name, "tone", "fine", storage=bucket)
    result = await executor().execute_plan(gated(), resume_from=name)
    assert result.status is ExecutionStatus.COMPLETED
    assert result.feedback_data["tone"]["accepted"]["because"] == "fine"


@leaves_sockets_open
@pytest.mark.server
async def test_files_of_records_in_an_s3_bucket_are_put_back_or_made_again(folder: Path, bucket: str) -> None:
    made: list[str] = []

    @tool(version="1")
    def draw(context: ToolContext) -> FileRef:
        """Draw something new each time."""
        made.append(f"picture {len(made)}")
        return context["workspace"].write("a.txt", made[-1].encode())  # pyright: ignore[reportTypedDictNotRequiredAccess]

    subject = plan(node("a", parameters={"tool": "draw"}))
    executor = WorkflowExecutor(tool_registry=ToolRegistry([draw]), storage=bucket)
    await executor.execute_plan(subject)
    assert executor.last_run is not None
    target, id = executor.last_run.output_root / "a.txt", str(executor.last_run.flow_run_id)
    target.write_text("edited")
    await executor.execute_plan(subject, resume_from=id)
    assert (target.read_text(), len(made)) == ("picture 0", 1)

    storage: Any = (await open_store(bucket)).result_storage
    await storage.write_path(f"{id}/files/{hashlib.sha256(b'picture 0').hexdigest()}", b"damaged")
    target.unlink()
    await executor.execute_plan(subject, resume_from=id)
    assert (target.read_text(), len(made)) == ("picture 1", 2)


@leaves_sockets_open
@pytest.mark.server
async def test_with_records_in_a_bucket_a_run_that_goes_on_is_not_resumed_by_another(folder: Path, bucket: str) -> None:
    class Slow(Recorder):
        begun, let_go = asyncio.Event(), asyncio.Event()

        async def __call__(self, node: WorkflowNode) -> dict[str, str]:
            self.begun.set()
            await asyncio.wait_for(self.let_go.wait(), 30)
            return await super().__call__(node)

    first = await run(Recorder(failing="b"), bucket)
    slow, late = Slow(), Recorder()
    resumed = asyncio.create_task(run(slow, bucket, first))
    await asyncio.wait_for(slow.begun.wait(), 30)
    with pytest.raises(RunInUseError, match="is Running, and its records lie where no lock can be held"):
        await run(late, bucket, first)
    slow.let_go.set()
    await resumed
    assert (slow.executed, late.executed) == (["b"], [])


@leaves_sockets_open
@pytest.mark.server
async def test_of_two_runs_that_resume_at_the_same_moment_one_at_most_executes_a_node(
    folder: Path, bucket: str
) -> None:
    class Patient(Recorder):
        """Is at work until the other run has ended."""

        other: asyncio.Task[WorkflowExecutor]

        async def __call__(self, node: WorkflowNode) -> dict[str, str]:
            await asyncio.wait([self.other], timeout=30)
            return await super().__call__(node)

    first = await run(Recorder(failing="b"), bucket)
    workers = [Patient(), Patient()]
    one, two = (asyncio.create_task(run(worker, bucket, first)) for worker in workers)
    workers[0].other, workers[1].other = two, one
    ends = await asyncio.gather(one, two, return_exceptions=True)
    refused = [end for end in ends if isinstance(end, BaseException)]
    assert refused
    assert all(isinstance(end, RunInUseError) for end in refused)
    executed = [id for worker in workers for id in worker.executed]
    assert executed == ["b"] * (2 - len(refused))
