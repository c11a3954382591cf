"""What a run reuses: the records whose files are in place, as long as what they were made from stays the same."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from vibe_prefect.compiler import CompiledNode, CompiledPlan
from vibe_prefect.engine.storage import NodeRecord, RecordStore, record_path
from vibe_prefect.handlers import output_of
from vibe_prefect.json_text import jsonable

logger = logging.getLogger(__name__)

READ_AT_ONCE = 64
"""How many records are read side by side, where they are not in a folder."""


class ReusableRecords:
    """The records that a run found when it began, by the ids of their nodes."""

    def __init__(self, compiled: CompiledPlan, store: RecordStore, lineage: str) -> None:
        self._compiled = compiled
        self._store = store
        self._lineage = lineage
        self._records: dict[str, NodeRecord] = {}
        self._refused: dict[str, NodeRecord] = {}
        self._executed: set[str] = set()
        self._changed: set[str] = set()

    def __contains__(self, id: str) -> bool:
        return id in self._records

    def __len__(self) -> int:
        return len(self._records)

    async def read(self, wanted: Callable[[str], bool]) -> None:
        """Read the record of each node that is wanted and has one, and put its files in place.

        A file belongs to its maker, so nodes are read before those that depend on them.
        """
        nodes = [self._compiled.nodes[id] for group in self._compiled.groups for id in group if wanted(id)]
        for batch in (nodes[start : start + READ_AT_ONCE] for start in range(0, len(nodes), READ_AT_ONCE)):
            await self._read(batch)

    def pop(self, id: str) -> NodeRecord:
        """Return a node's record, to reuse it."""
        return self._records.pop(id)

    def is_refused(self, id: str) -> bool:
        """Tell whether a node has a record that it must not be completed with."""
        return id in self._refused

    async def refuse_outdated(self, id: str) -> None:
        """Refuse a node's record when a dependency was executed in this run and made something else than before."""
        record = self._records.get(id)
        executed = [source for source in self._compiled.nodes[id].dependencies if source in self._executed]
        if record is None or not executed:
            return
        changed = next((source for source in executed if source in self._changed), None)
        if changed is None and not await self._store.files.is_outdated(id, record["result"]):
            return
        logger.warning("Node %r runs again: %r ran again and made something else", id, changed or executed[0])
        self._refused[id] = self._records.pop(id)
        self._store.files.run_files.release(id)

    def note_executed(self, id: str, output: bytes) -> None:
        """Note what a node passes on that was executed.

        Args:
            id: The node's id.
            output: Its output, as `jsonable` writes it.
        """
        self._executed.add(id)
        before = self._refused.get(id)
        if before is not None and jsonable(id, output_of(before["result"])) != output:
            self._changed.add(id)

    async def _read(self, nodes: Sequence[CompiledNode]) -> None:
        paths = {node.id: record_path(self._lineage, node.id, node.key) for node in nodes}
        found = zip(paths, await asyncio.gather(*map(self._store.read_record, paths.values())), strict=True)
        records = {id: record for id, record in found if record is not None}
        problems = await asyncio.gather(
            *(self._store.file_problem(paths[id], record) for id, record in records.items())
        )
        for (id, record), problem in zip(records.items(), problems, strict=True):
            (self._records if problem is None else self._refused)[id] = record
