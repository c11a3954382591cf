"""A file that a storage block does not have is told from a block that does not answer."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, cast

import pytest
from prefect.filesystems import LocalFileSystem, WritableFileSystem

from tests.executors import Worker, executor, run_id
from tests.plans import node, plan
from vibe_prefect import RecordStorageError
from vibe_prefect.engine.records import block_reads
from vibe_prefect.engine.records.block_reads import read_if_there, tells_absence
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import OpaqueResultSerializer, RecordStore


class ClientError(Exception):
    """As boto's: one class for all, with the code in a dict."""

    def __init__(self, code: str) -> None:
        super().__init__(f"An error occurred ({code}) when calling the GetObject operation")
        self.response = {"Error": {"Code": code}}


class BlobNotFoundError(Exception):
    pass


class HTTPError(Exception):
    def __init__(self, status_code: int) -> None:
        super().__init__(str(status_code))
        self.status_code = status_code


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def beside(error: Exception, context: Exception) -> Exception:
    error.__context__ = context
    return error


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (FileNotFoundError(2, "No such file"), True),
        (KeyError("a"), True),
        (ClientError("NoSuchKey"), True),
        (ClientError("404"), True),
        (BlobNotFoundError(), True),
        (HTTPError(404), True),
        (ValueError("Path /records/a does not exist."), True),
        (caused(RuntimeError("read failed"), FileNotFoundError()), True),
        (ClientError("SlowDown"), False),
        (ClientError("AccessDenied"), False),
        (HTTPError(503), False),
        (ConnectionRefusedError(111, "Connection refused"), False),
        (OSError("host not found"), False),
        (TimeoutError(), False),
        (RuntimeError("read failed"), False),
        (beside(ConnectionResetError(), KeyError("not in the cache")), False),
        (caused(ConnectionResetError(), FileNotFoundError()), False),
    ],
    ids=repr,
)
def test_absence_is_told_from_failure(error: Exception, absent: bool) -> None:
    assert tells_absence(error) is absent


async def test_prefects_own_folder_block_says_what_it_lacks(tmp_path: Path) -> None:
    assert await read_if_there(LocalFileSystem(basepath=str(tmp_path)), "a") is None


class Flaky(WritableFileSystem):
    """A block that fails for a while, or for ever, or whose exception for a missing file says nothing."""

    _block_type_name = "flaky"

    content: ClassVar[dict[str, bytes]] = {}
    failures: ClassVar[list[Exception]] = []
    missing: ClassVar[Exception] = FileNotFoundError()
    asked: ClassVar[list[str]] = []

    async def read_path(self, path: str) -> bytes:
        self.asked.append(path)
        if self.failures:
            raise self.failures.pop()
        if path not in self.content:
            raise self.missing
        return self.content[path]

    async def write_path(self, path: str, content: bytes) -> None:
        if self.failures:
            raise self.failures.pop()
        self.content[path] = content

    async def get_directory(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError

    async def put_directory(self, *_: Any, **__: Any) -> None:
        raise NotImplementedError


@pytest.fixture
def block(monkeypatch: pytest.MonkeyPatch) -> Flaky:
    monkeypatch.setattr(block_reads, "PAUSES", (0.0, 0.0, 0.0))
    absent: set[tuple[type, type]] = set()
    monkeypatch.setattr(block_reads, "_absent", absent)
    Flaky.content, Flaky.failures, Flaky.missing, Flaky.asked = {}, [], FileNotFoundError(), []
    return Flaky()


async def test_storage_that_fails_for_a_while_is_asked_again(block: Flaky) -> None:
    block.content["n/a"] = b"1"
    block.failures.extend([ConnectionResetError(), HTTPError(503)])
    assert await read_if_there(block, "n/a") == b"1"


async def test_storage_that_does_not_answer_is_an_error_that_says_what_to_do(block: Flaky) -> None:
    block.failures.extend(ConnectionRefusedError(111, "Connection refused") for _ in range(100))
    with pytest.raises(RecordStorageError, match=r"Connection refused.*nothing was executed: repeat the command"):
        await read_if_there(block, "n/a")
    assert block.asked == ["n/a"] * 4


async def test_unknown_exception_of_a_storage_that_answers_means_that_the_file_is_missing(
    block: Flaky, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Flaky, "missing", RuntimeError("sorry"))
    assert await read_if_there(block, "n/a") is None
    block.asked.clear()
    assert await read_if_there(block, "n/b") is None
    assert block.asked == ["n/b"], "what the exception means is found out once"


async def test_storage_that_answers_at_last_has_no_exception_taken_for_a_missing_file(block: Flaky) -> None:
    block.content["n/a"] = b"1"
    block.failures.extend(ConnectionResetError() for _ in range(3))
    assert await read_if_there(block, "n/a") == b"1"
    block.failures.append(ConnectionResetError())
    assert await read_if_there(block, "n/a") == b"1"


async def test_store_tells_an_outage_from_a_missing_record(block: Flaky) -> None:
    store = RecordStore(result_storage=cast("Any", block), serializer=OpaqueResultSerializer())
    assert await store.read_record("n/a-1") is None
    block.failures.extend(ConnectionResetError() for _ in range(100))
    with pytest.raises(RecordStorageError):
        await store.read_record("n/a-1")
    with pytest.raises(RecordStorageError):  # a budget would count as unspent, and a preflight look at finished nodes
        await Records(store, "n").exists("a", "1")
    with pytest.raises(RecordStorageError):
        await Records(store, "n").report("run-1")
    assert not await store.aexists("n/a-1"), "a run that has begun goes on"
    block.asked.clear()
    assert not await store.aexists("n/b-1")
    assert block.asked == [], "and does not wait for the storage at each node"


@pytest.mark.server
async def test_resume_pays_for_nothing_again_while_the_storage_does_not_answer(
    prefect_server: str, block: Flaky, folder: Path
) -> None:
    name = "flaky-records"
    saving: Any = block.save(name, overwrite=True)
    await saving
    subject = plan(node("a"), node("b", needs=["a"]))
    first = Worker({"b"})
    runner = executor(first, storage=f"flaky/{name}")
    await runner.execute_plan(subject)
    earlier = run_id(runner)

    again = Worker()
    block.failures.extend(ConnectionResetError() for _ in range(1_000))
    with pytest.raises(RecordStorageError):
        await executor(again, storage=f"flaky/{name}").execute_plan(subject, resume_from=earlier)
    assert again.executed == []

    block.failures.clear()
    await executor(again, storage=f"flaky/{name}").execute_plan(subject, resume_from=earlier)
    assert again.executed == ["b"]
