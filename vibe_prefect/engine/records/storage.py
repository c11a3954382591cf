"""Storage of records: Prefect's result persistence, addressed `<namespace>/<node id>-<key>`, files beside them."""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import NoneType
from typing import Any, Literal, NotRequired, TypedDict, cast

from anyio.to_thread import run_sync
from prefect.context import FlowRunContext
from prefect.logging import get_run_logger
from prefect.results import aresolve_result_storage
from prefect.serializers import Serializer
from prefect.settings import get_current_settings
from pydantic import PrivateAttr
from pydantic_core import from_json, to_json

from vibe_prefect.core.feedback import ResourceUsage, usage_in
from vibe_prefect.core.outputs import bytes_of
from vibe_prefect.engine.prefect_seam.storage import OpenResultStore, ResolvingFolder, read_block, write_block
from vibe_prefect.engine.records.block_reads import read_if_there
from vibe_prefect.engine.records.record_files import RecordFile, RecordFiles, file_store, is_record_file, refuse_links
from vibe_prefect.errors import RecordStorageError, shorten
from vibe_prefect.settings.package import VibePrefectSettings, load_settings
from vibe_prefect.text.encodings import PIECE
from vibe_prefect.text.json_text import SharedTexts, is_long, json_pieces, quoted_pieces
from vibe_prefect.text.regular_files import read_regular
from vibe_prefect.tools.workspace import Workspace, replace_file

logger = logging.getLogger(__name__)

RECORD_SCHEMA: Literal[1] = 1
"""Version of a record's meaning, raised at each change; records of another version are not read."""

SERIALIZER = "vibe-prefect-json"
"""The serializer that each record's file names; a file that names another one is not a record."""

MAX_RECORD_BYTES = 256_000_000
"""The largest record that is read; media are files beside the records."""

_SHAPE: Mapping[str, tuple[type, ...]] = {
    "duration": (float, int),
    "started_at": (str,),
    "attempts": (int,),
    "cpu_time": (float, int),
    "memory_usage": (int,),
    "cpu_scope": (str,),
    "usage": (dict, NoneType),
    "files": (list, NoneType),
    "provenance": (dict, NoneType),
    "judged": (str, NoneType),
    "absent": (list, NoneType),
    "made_from": (dict, NoneType),
}
"""Accepted types of the parts of a record."""


_OUTAGE = "outage"
"""Entry among the warnings of a store once its storage did not answer."""


class OpaqueResult:
    """Opaque result of a task: Prefect does not look into it.

    Prefect remembers which task run a result and each of its parts came from by their address in memory. The parts of
    plain data are forgotten one by one, and a later object at the same address would draw an edge that no plan has.
    """

    __slots__ = ("__weakref__", "value")

    def __init__(self, value: Any) -> None:
        self.value = value


class OpaqueResultSerializer(Serializer):  # pyright: ignore[reportMissingTypeArgument] - Prefect registers each made with one
    """Opaque results as JSON and nothing else: Prefect's own decoder would make a class of a dict with `__class__`."""

    type: str = SERIALIZER

    def dumps(self, obj: OpaqueResult) -> bytes:
        """Return the data as JSON."""
        return to_json(obj.value)

    def loads(self, blob: bytes | str) -> OpaqueResult:
        """Return JSON as an opaque record.

        Raises:
            ValueError: It is not JSON, or not a record that this version reads.
        """
        record = _mapping(_json(blob), "a record")
        schema = record.get("schema")
        if schema != RECORD_SCHEMA:
            raise ValueError(f"it has the schema {shorten(schema)}, and this version reads {RECORD_SCHEMA}")
        _check_shape(record)
        return OpaqueResult(record)


class NodeRecord(TypedDict):
    """The record of a node that completed: all that a resumed run needs in place of executing it."""

    schema: int
    """`RECORD_SCHEMA` at the time of writing."""

    result: Any
    """The handler's return value, as JSON data."""

    duration: float
    """Seconds that the node's own work took."""

    started_at: str
    """Start of its first attempt, ISO 8601."""

    attempts: int
    """Number of attempts."""

    cpu_time: float
    """CPU seconds."""

    memory_usage: int
    """Resident memory at its end, in bytes."""

    cpu_scope: str
    """Scope of `cpu_time`: `thread` or `process`."""

    usage: NotRequired[Mapping[str, Any]]
    """Sum of the usage of all model calls, under `MODEL_KEYS`; missing where there was none, and in older records."""

    files: NotRequired[Sequence[RecordFile]]
    """The files that the node made; in older records the result alone names them."""

    provenance: NotRequired[Mapping[str, Any]]
    """How the result came about, as `NodeProvenance.to_dict` returns it; missing in older records."""

    judged: NotRequired[str]
    """Hash of what a gate judged whose refusal was accepted: the acceptance holds for that alone. Missing elsewhere."""

    absent: NotRequired[Sequence[str]]
    """Ids of its optional dependencies that a condition had skipped; missing where there are none."""

    made_from: NotRequired[Mapping[str, str]]
    """Hash of the output of each dependency that no content key speaks of, by id: one for which a fallback stood in, or
    whose output a person edited or approved. Missing where there are none."""

    original: NotRequired[Any]
    """The result as the node made it, where a person has edited it since. Missing elsewhere."""


class RecordFolder(ResolvingFolder):
    """A folder of records: each is written whole or not at all, and its path is resolved once, not for each record."""

    _block_type_name = "vibe_prefect record folder"

    @cached_property
    def root(self) -> Path:
        """The folder itself."""
        return Path(self.basepath or ".").expanduser().resolve()

    @cached_property
    def _root_text(self) -> str:
        return str(self.root)

    def resolve(self, path: str) -> Path:
        """Return the file at a path.

        Raises:
            ValueError: It is outside the folder.
        """
        root = self._root_text
        full = os.path.normpath(os.path.join(root, path))  # noqa: PTH118 - a tenth of pathlib's time
        if full != root and not full.startswith(root + os.sep):
            raise ValueError(f"the record {path!r} lies outside {root}")
        return Path(full)

    async def aread_path(self, path: str) -> bytes:
        """Return a record's bytes; a missing one raises `FileNotFoundError`.

        Raises:
            OSError: It is no regular file of this folder, or larger than `MAX_RECORD_BYTES`.
        """
        target = self.resolve(path)
        refuse_links(self.root, target)
        content = read_regular(target, MAX_RECORD_BYTES)
        if len(content) > MAX_RECORD_BYTES:
            raise OSError(errno.EFBIG, f"it has more than {MAX_RECORD_BYTES:,} bytes", str(target))
        return content

    async def awrite_path(self, path: str, content: bytes) -> str:
        """Write a file atomically."""
        return self.write_pieces(path, iter([content]))

    async def write_record(self, path: str, pieces: Iterator[bytes], *, is_large: bool) -> None:
        """Write a record atomically, a large one in a thread: other nodes go on meanwhile.

        Args:
            path: The file, relative to the folder.
            pieces: Its content.
            is_large: Whether it takes long enough to be worth a thread.
        """
        if is_large:
            await run_sync(self.write_pieces, path, pieces)
        else:
            self.write_pieces(path, pieces)

    def write_pieces(self, path: str, pieces: Iterator[bytes]) -> str:
        """Write a file atomically, piece after piece, and return where it is.

        Args:
            path: The file, relative to the folder.
            pieces: Its content.
        """
        target = self.resolve(path)
        refuse_links(self.root, target.parent)
        try:
            replace_file(target, pieces)
        except FileNotFoundError:  # the first record of a run, or somebody removed the folder: nothing was taken yet
            target.parent.mkdir(parents=True, exist_ok=True)
            replace_file(target, pieces)
        return str(target)


class RecordStore(OpenResultStore):
    """A result store of node records, which warns of a record that cannot be read or written."""

    _told: set[str] = PrivateAttr(default_factory=set[str])
    _files: RecordFiles | None = PrivateAttr(default=None)
    _is_new: bool = PrivateAttr(default=False)
    _settings: VibePrefectSettings | None = PrivateAttr(default=None)

    @property
    def files(self) -> RecordFiles:
        """The files of a run's records; only in a store that `for_workspace` returned."""
        assert self._files is not None, "the store is bound to no workspace"
        return self._files

    def with_settings(self, settings: VibePrefectSettings) -> RecordStore:
        """Return this store with settings that are read already.

        Args:
            settings: The settings of a run.
        """
        store = self.model_copy()
        store._settings = settings  # noqa: SLF001 - a copy of its own
        return store

    def for_workspace(self, workspace: Workspace, *, restores: bool = True, is_new: bool = False) -> RecordStore:
        """Return this store for a run: it keeps the files of its records, and reuses no record without them.

        Args:
            workspace: The run's folders.
            restores: Whether files that are missing or were changed are put back, and not only checked.
            is_new: Whether the namespace is that of a run which begins, so that no record is there to be looked for.
        """
        storage = self.result_storage
        files = file_store(storage, storage.root if isinstance(storage, RecordFolder) else None)
        store = self.model_copy()
        settings = self._settings or load_settings()
        store._is_new = is_new  # noqa: SLF001 - a copy of its own
        store._files = RecordFiles(files, workspace, most=settings.kept_file_bytes, restores=restores)  # noqa: SLF001 - a copy of its own
        return store

    async def read_record(self, key: str, texts: SharedTexts | None = None) -> NodeRecord | None:
        """Return a usable record, else `None`; a damaged record counts as missing, with a warning.

        Args:
            key: Its key.
            texts: Long texts of other records, which are kept once; `None` where it is read by itself.

        Raises:
            RecordStorageError: The storage does not answer: whatever it has must not be paid for again.
        """
        try:
            content = await self.content(key)
            record = None if content is None else record_in(content)
            is_short = content is None or len(content) <= PIECE
            return record if texts is None or is_short else texts.of(record)
        except RecordStorageError:
            raise
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) else None
            self._tell(key, f"The record {key} cannot be used, so its node runs again: {reason or error}")
            return None

    async def file_problem(self, key: str, record: NodeRecord) -> str | None:
        """Return the reason why a record's files forbid its reuse; `None` when each is in place, or put back."""
        if self._files is None:
            return None
        problem = await self._files.problem(*_namespace_and_node(key), record)
        if problem is not None and self._files.restores:
            self._tell(key, f"The record {key} is not reused, so its node runs again: {problem}")
        return problem

    async def has_record(self, key: str) -> bool:
        """Return whether a record can be used, its files included.

        The records that a run may reuse are read when it begins; later a storage that does not answer stops nothing.
        """
        if self._is_new or _OUTAGE in self._told:
            return False
        try:
            record = await self.read_record(key)
        except RecordStorageError as error:
            self._tell(_OUTAGE, f"Records are not looked for any more in this run: {error.__cause__}")
            return False
        return record is not None and await self.file_problem(key, record) is None

    async def load_record(self, key: str) -> OpaqueResult:
        """Read a record for Prefect, whose own way obeys the serializer that the file names: a pickle runs code."""
        return OpaqueResult(record_in(await read_block(self.result_storage, key)))

    async def save_record(self, key: str, result: Any, metadata: bytes) -> bool:
        """Write a record. A failure does not stop the run: the node's result is still there for its dependents.

        Prefect would also write the exception of each failed node, and the nothing of each cancelled one.
        """
        if not isinstance(result, OpaqueResult):
            return False
        await self._keep_files(key, result.value)
        pieces = _file_pieces(metadata, result.value)
        try:
            if isinstance(self.result_storage, RecordFolder):
                await self.result_storage.write_record(key, pieces, is_large=is_long(result.value))
            else:
                await write_block(self.result_storage, key, b"".join(pieces))
        except Exception as error:  # noqa: BLE001 - each kind of storage has its own
            reason = f"{type(error).__name__}: {error}"
            self._tell(key, f"The record {key} could not be written, so a resumed run repeats its node: {reason}")
            return False
        return True

    async def _keep_files(self, key: str, record: NodeRecord) -> None:
        """Keep the files of a record before it is written; without a copy they count as long as they are in place."""
        if self._files is None:
            return
        try:
            await self._files.keep(_namespace_and_node(key)[0], record)
        except Exception as error:  # noqa: BLE001 - each kind of storage has its own
            reason = f"{type(error).__name__}: {error}"
            self._tell(
                f"{key} files", f"The files of the record {key} are not kept, so nothing can restore them: {reason}"
            )

    async def content(self, key: str) -> bytes | None:
        """Return the bytes of a file in the storage; `None` when there is none.

        Raises:
            OSError: It cannot be read, or is not a regular file.
            RecordStorageError: The storage does not answer.
        """
        if not isinstance(self.result_storage, RecordFolder):
            return await read_if_there(self.result_storage, key)
        try:
            return await self.result_storage.aread_path(key)
        except (FileNotFoundError, NotADirectoryError):
            return None

    def _tell(self, key: str, message: str) -> None:
        """Warn once about a record, in this package's log and in the run's log in Prefect."""
        if key in self._told:
            return
        self._told.add(key)
        logger.warning(message)
        if FlowRunContext.get() is not None:
            get_run_logger().warning(message)


def _file_pieces(metadata: bytes, record: NodeRecord) -> Iterator[bytes]:
    """Yield the file of a record as Prefect would write it, in pieces."""
    yield b'{"metadata":' + metadata + b',"result":'
    yield from quoted_pieces(json_pieces(record))
    yield b"}"


def record_in(content: bytes) -> NodeRecord:
    """Return the record in a record's file: JSON data, whatever serializer the file names.

    Raises:
        ValueError: The content is no record that this version reads.
    """
    file = _mapping(_json(content), "a record's file")
    metadata = _mapping(file.get("metadata"), "its metadata")
    serializer = _mapping(metadata.get("serializer"), "its serializer").get("type")
    result = file.get("result")
    if serializer != SERIALIZER:
        raise ValueError(
            f"it names the serializer {shorten(serializer)}, and records are written by {SERIALIZER!r} alone"
        )
    if not isinstance(result, str):
        raise ValueError("its result is not text")
    return cast("NodeRecord", OpaqueResultSerializer().loads(result).value)


def _json(content: bytes | str) -> Any:
    try:
        return from_json(content)
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from None


def _mapping(value: Any, name: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"expected {name} as a mapping, found {type(value).__name__}")
    return cast("dict[str, Any]", value)


def _check_shape(record: Mapping[str, Any]) -> None:
    """Refuse a record whose parts do not have the types of `NodeRecord`."""
    if "result" not in record:
        raise ValueError("it has no result")
    for name, kinds in _SHAPE.items():
        value = record.get(name)
        if not isinstance(value, kinds):
            raise ValueError(f"its {name!r} is {shorten(value)}")
    for file in cast("Sequence[Any]", record.get("files") or ()):
        if not is_record_file(file):
            raise ValueError(f"it names a file as {shorten(file)}")


async def open_store(storage: str | Path | None, settings: VibePrefectSettings | None = None) -> RecordStore:
    """Return the store for a run's records.

    Args:
        storage: A folder, or a saved storage block as `<block type>/<name>`; by default the one of the settings, then
            Prefect's own default storage block where one is set, else the folder `vibe-prefect` in Prefect's local
            result storage.
        settings: The settings; by default those of this moment.
    """
    settings = settings or load_settings()
    block = storage_block(storage, settings)
    folder = str(storage_folder(storage, settings))
    files = await aresolve_result_storage(block) if block else RecordFolder(basepath=folder)
    return RecordStore(result_storage=files, serializer=OpaqueResultSerializer()).with_settings(settings)


def storage_block(storage: str | Path | None, settings: VibePrefectSettings) -> str | None:
    """Return the block of a storage for records, as `<block type>/<name>`; `None` where it is a folder.

    Args:
        storage: See `open_store`.
        settings: The settings.
    """
    storage = storage or settings.storage
    if storage is None:
        return get_current_settings().results.default_storage_block
    is_slug = isinstance(storage, str) and storage.count("/") == 1 and not storage.startswith((".", "/", "~"))
    return str(storage) if is_slug else None


def storage_folder(storage: str | Path | None, settings: VibePrefectSettings) -> Path:
    """Return the folder of a storage for records that is no block; see `storage_block`."""
    own = storage or settings.storage
    return Path(own).expanduser() if own else get_current_settings().results.local_storage_path / "vibe-prefect"


def record_path(namespace: str, node_id: str, key: str) -> str:
    """Return the path of a node's record in the storage."""
    return f"{namespace}/{node_id}-{key}"


def _namespace_and_node(key: str) -> tuple[str, str]:
    """Split a key of `record_path` into namespace and node id; a storage may put its own folder before it."""
    namespace, name = key.replace("\\", "/").split("/")[-2:]
    return namespace, name.rpartition("-")[0]


def usage_of_record(record: NodeRecord) -> ResourceUsage:
    """Return the resources in a record; a record of an older version has the model's usage in its result alone."""
    result_usage = usage_in(record["result"])
    calls = [call for call in (record.get("usage") or result_usage,) if call is not None]
    usage = ResourceUsage(record["cpu_time"], record["memory_usage"], record["cpu_scope"], record["attempts"])
    return replace(usage, bytes_written=bytes_of(record["result"])).with_calls(calls)
