"""The files of records: copied beside them by their hash, verified and put back before a record is reused."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, Protocol, TypedDict, cast

from anyio.to_thread import run_sync

from vibe_prefect.core.outputs import output_files
from vibe_prefect.engine.prefect_seam.storage import write_block
from vibe_prefect.engine.records.block_reads import read_if_there
from vibe_prefect.errors import OutsideRootError, ToolError
from vibe_prefect.text.regular_files import open_regular
from vibe_prefect.tools.run_files import RunFiles
from vibe_prefect.tools.workspace import NEW_FILE, Workspace, replace_file

logger = logging.getLogger(__name__)

FILES_FOLDER = "files"
"""Folder, below a namespace, for the bytes of its records' files."""

_CHUNK = 1 << 30
"""Bytes that one call copies at most."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


class RecordFile(TypedDict):
    """A file that a node made, as its record names it."""

    path: str
    """Relative to the run's output folder, with `/` between its parts."""

    sha256: str
    """Hash of the content, hexadecimal."""

    bytes: int
    """Size of the content."""


def is_record_file(value: Any) -> bool:
    """Return whether data are those of a `RecordFile`."""
    if not isinstance(value, dict):
        return False
    path, sha256, size = (cast("dict[str, Any]", value).get(name) for name in ("path", "sha256", "bytes"))
    return (
        isinstance(path, str) and isinstance(size, int) and isinstance(sha256, str) and bool(_SHA256.fullmatch(sha256))
    )


def refuse_links(root: Path, target: Path) -> None:
    """Refuse a path below the folder of records on which a link stands, since that may lead out of the folder.

    Raises:
        OSError: A link stands there.
    """
    path = str(root)
    for part in target.relative_to(root).parts:
        path = f"{path}{os.sep}{part}"
        if os.path.islink(path):  # noqa: PTH114 - each node's record comes here; `Path` takes ten times as long
            name = os.path.relpath(path, root)
            raise OSError(errno.ELOOP, f"{name} is a link, and records hold none", path)


class FileStore(Protocol):
    """Keeps the bytes of files by their hash, for each namespace of records."""

    knows_what_is_there: bool
    """Whether `keep` can check cheaply that the bytes are there already."""

    async def keep(self, namespace: str, sha256: str, source: Path) -> None:
        """Keep the bytes of a file, unless they are there already."""
        ...

    async def has(self, namespace: str, sha256: str) -> bool:
        """Return whether there are bytes of that hash."""
        ...

    async def restore(self, namespace: str, sha256: str, target: Path) -> bool:
        """Write the bytes of that hash to a file, whole or not at all; `False` when there are none."""
        ...


class FolderFileStore:
    """Keeps files in the folder of the records, copied without reading them where the file system can."""

    knows_what_is_there = True

    def __init__(self, root: Path) -> None:
        self._root = root

    async def keep(self, namespace: str, sha256: str, source: Path) -> None:
        """Keep the bytes of a file."""
        target = self._root / namespace / FILES_FOLDER / sha256
        refuse_links(self._root, target.parent)
        if target.is_symlink() or not target.is_file():
            await run_sync(_copy, source, target)

    async def has(self, namespace: str, sha256: str) -> bool:
        """Return whether there are bytes of that hash."""
        return await run_sync(lambda: any(self._found(namespace, sha256)))

    async def restore(self, namespace: str, sha256: str, target: Path) -> bool:
        """Put the bytes into a file, from this namespace or, for records that were imported, from any other."""
        return await run_sync(self._restore, namespace, sha256, target)

    def _restore(self, namespace: str, sha256: str, target: Path) -> bool:
        for source in self._found(namespace, sha256):
            if _copy(source, target, sha256):
                return True
            if source.parent == self._root / namespace / FILES_FOLDER:
                source.unlink(missing_ok=True)  # damaged: it makes room for a sound one
        return False

    def _found(self, namespace: str, sha256: str) -> Iterator[Path]:
        own_path = self._root / namespace / FILES_FOLDER / sha256
        all_paths = self._root.glob(f"*/{FILES_FOLDER}/{sha256}")
        for path in (own_path, *(path for path in all_paths if path != own_path)):
            with suppress(OSError):
                refuse_links(self._root, path)
                if path.is_file():
                    yield path


class BlockFileStore:
    """Keeps files in a storage block, which reads and writes whole files."""

    knows_what_is_there = False

    def __init__(self, block: Any) -> None:
        self._block = block
        self._kept: set[str] = set()

    async def keep(self, namespace: str, sha256: str, source: Path) -> None:
        """Keep the bytes of a file."""
        key = _key(namespace, sha256)
        if key in self._kept:
            return
        content = await run_sync(source.read_bytes)
        await write_block(self._block, key, content)
        self._kept.add(key)

    async def has(self, namespace: str, sha256: str) -> bool:
        """Return whether there are bytes of that hash; a block can only be asked for all of them."""
        return await self._content(namespace, sha256) is not None

    async def restore(self, namespace: str, sha256: str, target: Path) -> bool:
        """Put the bytes into a file."""
        content = await self._content(namespace, sha256)
        if content is None:
            return False
        if hashlib.sha256(content).hexdigest() != sha256:
            return False
        await run_sync(_write, content, target)
        return True

    async def _content(self, namespace: str, sha256: str) -> bytes | None:
        return await read_if_there(self._block, _key(namespace, sha256))


class RecordFiles:
    """The files of a run's records, in its output folder and in the store."""

    def __init__(self, store: FileStore, workspace: Workspace, *, most: int, restores: bool = True) -> None:
        """Bind a run's output folder to the store.

        Args:
            store: Keeps the files.
            workspace: The run's folders, with the owners of its files.
            most: The largest file that is kept, in bytes; a larger one is verified, but cannot be put back.
            restores: Whether files are put back; a preview of a run changes nothing.
        """
        self._store = store
        self._workspace = workspace
        self._most = most
        self.restores = restores
        """Whether files are put back."""

    @property
    def run_files(self) -> RunFiles:
        """Owners and hashes of the run's files."""
        return self._workspace.files

    async def made_by(self, node_id: str, result: Any) -> list[RecordFile]:
        """Return the files that a node has just made: those that it wrote, and those that its result refers to.

        A file that another node owns was passed on, not made.
        """
        references = _references(result)
        if not references and not self.run_files.written_by(node_id):
            return []
        return await run_sync(self._made_by, node_id, references)

    async def keep(self, namespace: str, record: Mapping[str, Any]) -> None:
        """Keep the bytes of a record's files.

        Raises:
            Exception: The storage refuses them; each kind of storage has its own error.
        """
        for file in record.get("files", ()):
            if file["bytes"] <= self._most:
                await self._store.keep(namespace, file["sha256"], self._workspace.output_path(file["path"]))

    async def problem(self, namespace: str, node_id: str, record: Mapping[str, Any]) -> str | None:
        """Return the reason why a record's files forbid its reuse; `None` when each of them is in place, or put back.

        Its node owns the files then. What the node only passed on is its maker's business.
        """
        files = self._named_by(node_id, record)
        reason = self._claim(node_id, files)
        for file in files if reason is None else ():
            reason = await self._file_problem(namespace, node_id, file)
            if reason is not None:
                break
        if reason is not None:
            self.run_files.release(node_id)
        return reason

    async def is_outdated(self, node_id: str, result: Any) -> bool:
        """Return whether a result passes on a file of another node that holds something else by now."""
        passed = [file for file in _references(result) if self._passed_on(node_id, file["path"])]
        return bool(passed) and not await run_sync(lambda: all(map(self._is_intact, passed)))

    def _made_by(self, node_id: str, references: list[RecordFile]) -> list[RecordFile]:
        paths = dict.fromkeys(self.run_files.written_by(node_id))
        for file in references:
            path = self._relative(file["path"])
            if path is not None and not self._passed_on(node_id, path):
                paths[path] = None
        current = (self._seen(path) for path in paths)
        files = [file for file in current if file is not None]
        self._claim(node_id, files)
        return files

    def _seen(self, path: str) -> RecordFile | None:
        """Describe a file in its present state; `None` where it is gone."""
        target = self._workspace.output_path(path)
        try:
            return RecordFile(path=path, sha256=self.run_files.sha256(target), bytes=target.stat().st_size)
        except OSError:
            return None

    def _relative(self, path: str) -> str | None:
        """Return a path in the form of the owners' table; `None` for one outside the output folder, such as a URL."""
        try:
            return self._workspace.relative(self._workspace.output_path(path))
        except OutsideRootError:
            return None

    def _passed_on(self, node_id: str, path: str) -> bool:
        relative = self._relative(path)
        return relative is not None and self.run_files.owner(relative) not in (None, node_id)

    def _named_by(self, node_id: str, record: Mapping[str, Any]) -> list[RecordFile]:
        """Return a record's files; a record of an older version names them in its result alone."""
        if "files" in record:
            return list(record["files"])
        references = _references(record["result"])
        return [file for file in references if "://" not in file["path"] and not self._passed_on(node_id, file["path"])]

    def _claim(self, node_id: str, files: list[RecordFile]) -> str | None:
        """Make a node the owner of its files; returns the reason where that cannot be."""
        view = replace(self._workspace, node=node_id)
        for file in files:
            try:
                view.claim(file["path"])
            except (OutsideRootError, ToolError, IsADirectoryError) as error:
                return str(error)
        return None

    async def _file_problem(self, namespace: str, node_id: str, file: RecordFile) -> str | None:
        target = self._workspace.output_path(file["path"])
        sha256 = file["sha256"]
        try:
            if await run_sync(self._is_intact, file):
                if self.restores and self._store.knows_what_is_there and file["bytes"] <= self._most:
                    await self._store.keep(namespace, sha256, target)
                return None
            lacks = "was changed" if target.exists() else "is missing"
            if not self.restores:
                return None if await self._store.has(namespace, sha256) else _lost(file, lacks)
            if not await self._store.restore(namespace, sha256, target):
                return _lost(file, lacks)
        except OSError as error:
            return f"its file {file['path']!r} cannot be put back: {error}"
        self.run_files.note_written(None, file["path"], target, sha256)
        logger.info("The file %r of node %r %s, and was put back from the records", file["path"], node_id, lacks)
        return None

    def _is_intact(self, file: RecordFile) -> bool:
        target = self._workspace.output_path(file["path"])
        try:
            return target.stat().st_size == file["bytes"] and self.run_files.sha256(target) == file["sha256"]
        except OSError:
            return False


def file_store(storage: Any, root: Path | None) -> FileStore:
    """Return the file store of a storage of records.

    Args:
        storage: The storage.
        root: The folder of all records; `None` when it is a storage block.
    """
    return BlockFileStore(storage) if root is None else FolderFileStore(root)


def _key(namespace: str, sha256: str) -> str:
    return f"{namespace}/{FILES_FOLDER}/{sha256}"


def _references(result: Any) -> list[RecordFile]:
    """Return the files that a result refers to, at any depth."""
    return [
        RecordFile(path=file.path, sha256=file.sha256, bytes=file.bytes)
        for file in output_files(result, everywhere=True)
        if file.sha256 is not None and file.bytes is not None and _SHA256.fullmatch(file.sha256)
    ]


def _lost(file: RecordFile, lacks: str) -> str:
    return f"its file {file['path']!r} {lacks}, and the records hold no copy of it"


def _copy(source: Path, target: Path, sha256: str | None = None) -> bool:
    """Copy a file, so that the copy appears whole or not at all; `False` when its hash is not the one expected."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=target.parent, prefix=".copy-")
    copy = Path(name)
    try:
        with os.fdopen(handle, "w+b") as file, open_regular(source) as content:
            _fill(file, content)
            if sha256 is not None and hashlib.file_digest(file, "sha256").hexdigest() != sha256:
                return False
        copy.chmod(NEW_FILE)
        copy.replace(target)
        return True
    finally:
        copy.unlink(missing_ok=True)


def _fill(file: BinaryIO, content: BinaryIO) -> None:
    """Copy a file's content, within the file system where possible, and leave the position at the beginning."""
    try:
        while os.copy_file_range(content.fileno(), file.fileno(), _CHUNK):
            pass
    except (AttributeError, OSError):  # another file system, or a platform without it
        content.seek(0)
        file.seek(0)
        shutil.copyfileobj(content, file)
        file.flush()
    file.seek(0)


def _write(content: bytes, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    replace_file(target, content)
