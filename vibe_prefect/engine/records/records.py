"""The records of one run or resume chain: what is read, written, reused, paid for and held under one namespace."""

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
from vibe_prefect.engine.prefect_seam import write_block
from vibe_prefect.engine.records.record_files import RecordFiles
from vibe_prefect.engine.records.record_lock import lock_or_warn
from vibe_prefect.engine.records.storage import NodeRecord, RecordFolder, RecordStore, Sealed, record_path
from vibe_prefect.errors import UsageError
from vibe_prefect.plan.compiler import CompiledNode
from vibe_prefect.plan.graph import ID_FORM
from vibe_prefect.reporting.report import RunReport
from vibe_prefect.tools.workspace import Workspace

SHARED_PREFIX = "plan-"
"""How the namespace begins that all runs of a plan share."""

READ_AT_ONCE = 64
"""How many records are read side by side, where they are not in a folder."""


def record_namespace(root_id: UUID, plan_id: str, *, shared: bool) -> str:
    """Return the namespace of a run's records.

    Args:
        root_id: Id of the first run of its resume chain.
        plan_id: The plan's id.
        shared: Whether the runs of the plan share their records.
    """
    return f"{SHARED_PREFIX}{plan_id}" if shared else str(root_id)


def is_namespace(name: str) -> bool:
    """Tell whether a folder's name is one that `record_namespace` makes."""
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
    """Why it cannot be reused for its files; `None` when each of them is in place."""


@dataclass(frozen=True)
class Records:
    """One namespace of a store of records.

    Whatever reads raises `RecordStorageError` where the storage does not answer: a missing record would be paid for
    again.
    """

    store: RecordStore
    """Where the records are."""

    namespace: str
    """The folder in it; see `record_namespace`."""

    @property
    def files(self) -> RecordFiles:
        """The files of the records; only after `for_workspace`."""
        return self.store.files

    def for_workspace(self, workspace: Workspace, *, restores: bool = True) -> Records:
        """Return these records with the files of a run; see `RecordStore.for_workspace`."""
        return replace(self, store=self.store.for_workspace(workspace, restores=restores))

    async def read(self, node_id: str, key: str) -> NodeRecord | None:
        """Return a node's record; `None` when there is none, or, with a warning, a damaged one."""
        return await self.store.read_record(record_path(self.namespace, node_id, key))

    async def exists(self, node_id: str, key: str) -> bool:
        """Tell whether a node has a record that can be read."""
        return await self.read(node_id, key) is not None

    async def write(self, node_id: str, key: str, record: NodeRecord) -> None:
        """Write a node's record, which a run then finds as if it had made it itself."""
        await self.store.awrite(Sealed(record), key=record_path(self.namespace, node_id, key))

    async def of_nodes(self, nodes: Iterable[CompiledNode]) -> AsyncGenerator[FoundRecord]:
        """Yield the record of each node that has one; after `for_workspace`, its files are put in place or looked at.

        Args:
            nodes: The nodes. A file belongs to its maker, so a node comes before those that depend on it.
        """
        wanted = list(nodes)
        for batch in (wanted[start : start + READ_AT_ONCE] for start in range(0, len(wanted), READ_AT_ONCE)):
            read = await asyncio.gather(*(self.read(node.id, node.key) for node in batch))
            records = [(node, record) for node, record in zip(batch, read, strict=True) if record is not None]
            problems = await asyncio.gather(*(self._file_problem(node, record) for node, record in records))
            for (node, record), problem in zip(records, problems, strict=True):
                yield FoundRecord(node.id, record, problem)

    async def _file_problem(self, node: CompiledNode, record: NodeRecord) -> str | None:
        return await self.store.file_problem(record_path(self.namespace, node.id, node.key), record)

    async def costs(self, nodes: Iterable[CompiledNode]) -> dict[str, Spending]:
        """Return the cost of each recorded node that paid for something, models and paid tools alike, by its id."""
        costs = {found.node_id: _cost(found.record) async for found in self.of_nodes(nodes)}
        return {id: cost for id, cost in costs.items() if cost != Spending()}

    async def spent(self, nodes: Iterable[CompiledNode]) -> Spending:
        """Sum the cost of all recorded nodes. A record without a price adds its tokens only."""
        costs = (await self.costs(nodes)).values()
        return sum((Spending(cost.tokens, cost.usd or 0.0) for cost in costs), Spending())

    def report_path(self, run_id: str) -> str:
        """Return where the report of a run lies in the store; runs that resume one another have one each.

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
            UsageError: What lies there is not a report, one of another schema, or cannot be read.
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

    @contextmanager
    def hold(self) -> Generator[bool]:
        """Hold the records: while one process runs what writes them, no other may.

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
        lock = lock_or_warn(storage.root, self.namespace)
        try:
            yield lock is not None
        finally:
            if lock is not None:
                os.close(lock)


def _cost(record: NodeRecord) -> Spending:
    """Return what a record says of its cost; its own usage has the attempts that failed, too."""
    usage = record.get("usage") or usage_in(record["result"])
    if not isinstance(usage, Mapping):
        return Spending()
    tokens = (usage.get("input_tokens") or 0) + (usage.get("output_tokens") or 0)
    return Spending(tokens, usage.get("cost_usd"))
