"""The records of one run or resume chain: read, written, reused, priced and held under one namespace."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Generator, Iterable, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID

from pydantic_core import from_json, to_json

from vibe_prefect.core.budget import Spending
from vibe_prefect.core.feedback import usage_in
from vibe_prefect.engine.prefect_seam.storage import write_block
from vibe_prefect.engine.records.record_files import RecordFiles
from vibe_prefect.engine.records.record_lock import Hold, lock_or_warn
from vibe_prefect.engine.records.storage import NodeRecord, OpaqueResult, RecordFolder, RecordStore, record_path
from vibe_prefect.errors import RecordStorageError, UsageError
from vibe_prefect.plan.compiler import CompiledNode
from vibe_prefect.plan.graph import ID_FORM
from vibe_prefect.provenance import NodeProvenance
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.text.json_text import SharedTexts
from vibe_prefect.tools.workspace import Workspace

SHARED_PREFIX = "plan-"
"""Prefix of the namespace that all runs of a plan share."""

READ_AT_ONCE = 64
"""Number of records that are read side by side, where they are not in a folder."""


def record_namespace(root_id: UUID, plan_id: str, *, shared: bool) -> str:
    """Return the namespace of a run's records.

    Args:
        root_id: Id of the first run of its resume chain.
        plan_id: The plan's id.
        shared: Whether the runs of the plan share their records.
    """
    return f"{SHARED_PREFIX}{plan_id}" if shared else str(root_id)


def is_namespace(name: str) -> bool:
    """Return whether `record_namespace` can make a folder's name."""
    if name.startswith(SHARED_PREFIX):
        return ID_FORM.fullmatch(name.removeprefix(SHARED_PREFIX)) is not None
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


@dataclass(frozen=True)
class FoundRecord:
    """The record of a node, as `Records.of_nodes` finds it."""

    node_id: str
    """The node's id."""

    record: NodeRecord
    """The record."""

    problem: str | None
    """Reason why its files forbid its reuse; `None` when each of them is in place."""


@dataclass(frozen=True)
class Records:
    """One namespace of a store of records.

    Each method that reads raises `RecordStorageError` where the storage does not answer: a record that only seems
    missing would be paid for again.
    """

    store: RecordStore
    """Store of the records."""

    namespace: str
    """The folder in it; see `record_namespace`."""

    @property
    def files(self) -> RecordFiles:
        """The files of the records; only after `for_workspace`."""
        return self.store.files

    def for_workspace(self, workspace: Workspace, *, restores: bool = True, is_new: bool = False) -> Records:
        """Return these records with the files of a run; see `RecordStore.for_workspace`."""
        return replace(self, store=self.store.for_workspace(workspace, restores=restores, is_new=is_new))

    async def read(self, node_id: str, key: str) -> NodeRecord | None:
        """Return a node's record; `None` when there is none, or, with a warning, a damaged one."""
        return await self.store.read_record(record_path(self.namespace, node_id, key))

    async def exists(self, node_id: str, key: str) -> bool:
        """Return whether a node has a record that can be read."""
        return await self.read(node_id, key) is not None

    async def write(self, node_id: str, key: str, record: NodeRecord) -> None:
        """Write a node's record; a run then reads it like its own."""
        await self.store.awrite(OpaqueResult(record), key=record_path(self.namespace, node_id, key))

    async def of_nodes(self, nodes: Iterable[CompiledNode]) -> AsyncGenerator[FoundRecord]:
        """Yield the record of each recorded node; after `for_workspace`, its files are restored or checked.

        Args:
            nodes: The nodes. A file belongs to its maker, so a node comes before those that depend on it.
        """
        ordered, texts = list(nodes), SharedTexts()
        for batch in (ordered[start : start + READ_AT_ONCE] for start in range(0, len(ordered), READ_AT_ONCE)):
            contents = await asyncio.gather(*(self._read_sharing(node, texts) for node in batch))
            records = [(node, record) for node, record in zip(batch, contents, strict=True) if record is not None]
            problems = await asyncio.gather(*(self._file_problem(node, record) for node, record in records))
            for (node, record), problem in zip(records, problems, strict=True):
                yield FoundRecord(node.id, record, problem)

    async def _read_sharing(self, node: CompiledNode, texts: SharedTexts) -> NodeRecord | None:
        """Return the record of a node; what nodes have passed on is in memory once."""
        return await self.store.read_record(record_path(self.namespace, node.record_id, node.key), texts)

    async def _file_problem(self, node: CompiledNode, record: NodeRecord) -> str | None:
        return await self.store.file_problem(record_path(self.namespace, node.record_id, node.key), record)

    async def costs(self, nodes: Iterable[CompiledNode]) -> dict[str, Spending]:
        """Return the cost of each recorded node that paid for something, models and paid tools alike, by its id."""
        costs = {recorded.node_id: _cost(recorded.record) async for recorded in self.of_nodes(nodes)}
        return {id: cost for id, cost in costs.items() if cost != Spending()}

    async def spent(self, nodes: Iterable[CompiledNode]) -> Spending:
        """Sum the cost of all recorded nodes. A record without a price adds its tokens only."""
        costs = (await self.costs(nodes)).values()
        return sum((Spending(cost.tokens, cost.usd or 0.0) for cost in costs), Spending())

    async def write_beside(self, node_id: str, ending: str, content: bytes) -> None:
        """Write a file beside the records of a node, in place of an earlier one.

        Args:
            node_id: Id under which the node's record is kept.
            ending: End of the file's name.
            content: Its content.

        Raises:
            Exception: The storage refuses it; each kind of storage has its own error.
        """
        await write_block(self.store.result_storage, self.path_beside(node_id, ending), content)

    async def read_beside(self, node_id: str, ending: str) -> bytes | None:
        """Return the content of a file beside the records of a node; `None` where there is none."""
        return await self.store.content(self.path_beside(node_id, ending))

    def path_beside(self, node_id: str, ending: str) -> str:
        """Return the path of a file beside the records of a node in the store."""
        return f"{self.namespace}/{node_id}{ending}"

    def report_path(self, run_id: str) -> str:
        """Return the path of a run's report in the store; each run of a resume chain has its own.

        Args:
            run_id: Id of the flow run.
        """
        return f"{self.namespace}/report-{run_id}.json"

    async def write_report(self, report: RunReport) -> None:
        """Write the report of a run, in place of an earlier one of the same run.

        Raises:
            Exception: The storage refuses it; each kind of storage has its own error.
        """
        await write_block(self.store.result_storage, self.report_path(report.run_id), to_json(report.to_dict()))

    async def report(self, run_id: str) -> RunReport | None:
        """Return the report of a run; `None` when there is none, as for a run that was killed.

        Args:
            run_id: Id of the flow run.

        Raises:
            UsageError: The content is not a report, has another schema, or cannot be read.
        """
        path = self.report_path(run_id)
        try:
            content = await self.store.content(path)
            data = None if content is None else from_json(content)
        except (OSError, ValueError) as error:
            if isinstance(error, UsageError):
                raise
            raise UsageError(f"the report {path} is damaged: {error}; make the run again") from None
        if content is None:
            return None
        return RunReport.from_dict(cast("dict[str, Any]", data) if isinstance(data, dict) else {})

    def failure_path(self, run_id: str, node_id: str) -> str:
        """Return the path of the provenance of a node that failed in a run.

        Args:
            run_id: Id of the flow run.
            node_id: The node's id.
        """
        return f"{self.namespace}/failure-{run_id}-{node_id}.json"

    async def write_failure(self, node_id: str, provenance: NodeProvenance) -> None:
        """Write the provenance of a node whose attempt failed: a run that is killed leaves no report to hold it.

        Raises:
            Exception: The storage refuses it; each kind of storage has its own error.
        """
        assert provenance.run is not None
        path = self.failure_path(provenance.run.run_id, node_id)
        await write_block(self.store.result_storage, path, to_json(provenance.to_dict()))

    async def failure(self, run_id: str, node_id: str) -> NodeProvenance | None:
        """Return the provenance of a node that failed in a run; `None` when there is none that can be read."""
        try:
            content = await self.store.content(self.failure_path(run_id, node_id))
            data = None if content is None else from_json(content)
        except (OSError, ValueError) as error:
            if isinstance(error, RecordStorageError):
                raise
            return None
        return NodeProvenance.from_dict(cast("dict[str, Any]", data) if isinstance(data, dict) else None)

    @contextmanager
    def hold(self, hold: Hold = Hold.ALONE) -> Generator[bool]:
        """Hold the records, so that no other process may execute a run that writes them.

        Args:
            hold: Who else may hold them.

        Yields:
            Whether it is sure that nobody else executes a run with these records; not so for records in a storage
            block, or in a folder that cannot be written.

        Raises:
            RunInUseError: Another process holds them.
            UsageError: The folder of the records cannot be a folder.
        """
        storage = self.store.result_storage
        if not isinstance(storage, RecordFolder):
            yield False
            return
        lock = lock_or_warn(storage.root, self.namespace, hold)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)


def _cost(record: NodeRecord) -> Spending:
    """Return the cost in a record; its own usage includes the attempts that failed."""
    usage = record.get("usage") or usage_in(record["result"])
    if not isinstance(usage, Mapping):
        return Spending()
    tokens = (usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)
    return Spending(tokens, usage.get("cost_usd"))
