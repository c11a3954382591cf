"""Storage blocks and result stores of Prefect."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from prefect._internal.compatibility.blocks import call_explicitly_async_block_method
from prefect.filesystems import LocalFileSystem
from prefect.results import ResultRecord, ResultStore  # pyright: ignore[reportPrivateImportUsage]


async def read_block(block: Any, path: str) -> bytes:
    """Read a file of a storage block, whether its methods are coroutines, plain functions or both.

    Args:
        block: The block.
        path: The file, relative to the block's folder or prefix.

    Raises:
        Exception: The block cannot read it; each kind of block has its own errors.
    """
    return await call_explicitly_async_block_method(block, "read_path", (path,), {})


async def write_block(block: Any, path: str, content: bytes) -> None:
    """Write a file of a storage block.

    Args:
        block: The block.
        path: The file, relative to the block's folder or prefix.
        content: All of its bytes.

    Raises:
        Exception: The block cannot write it; each kind of block has its own errors.
    """
    await call_explicitly_async_block_method(block, "write_path", (path,), {"content": content})


class ResolvingFolder(LocalFileSystem):
    """A folder as a storage block with its own mapping from paths to files."""

    _block_type_name = "vibe_prefect folder"

    def resolve(self, path: str) -> Path:
        """Return the file at a path.

        Args:
            path: Relative to the folder; empty for the folder itself.
        """
        raise NotImplementedError

    def _resolve_path(self, path: str | None) -> Path:  # pyright: ignore[reportIncompatibleMethodOverride]
        return self.resolve(path or "")


class OpenResultStore(ResultStore):
    """A result store in which a subclass may replace the search for a record, its reading and its writing.

    Prefect calls the private methods alone; the public ones of the same purpose only call these.
    """

    async def has_record(self, key: str) -> bool:
        """Return whether there is a record that can be used.

        Args:
            key: Path of the record in the storage.
        """
        raise NotImplementedError

    async def load_record(self, key: str) -> Any:
        """Return the result in a record.

        Args:
            key: Path of the record in the storage.
        """
        raise NotImplementedError

    async def save_record(self, key: str, result: Any, metadata: bytes) -> bool:
        """Write a record, or leave it; returns whether it is written.

        Args:
            key: Path of the record in the storage.
            result: The result of the task run.
            metadata: Prefect's description of the record, as JSON.
        """
        raise NotImplementedError

    async def _aexists(self, key: str) -> bool:
        return await self.has_record(key)

    async def _aread(self, key: str, holder: str) -> ResultRecord[Any]:
        record = self.create_result_record(await self.load_record(key), key)
        record.mark_persisted()
        return record

    async def _apersist_result_record(self, result_record: ResultRecord[Any], holder: str) -> None:
        # Prefect's own way holds a large result in memory five times at once.
        key = str(result_record.metadata.storage_key)
        if await self.save_record(key, result_record.result, result_record.serialize_metadata()):
            result_record.mark_persisted()
