"""Reuse of records: those with their files in place, as long as the outputs that they were made from stay the same."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vibe_prefect.core.fallback import fallback_of
from vibe_prefect.engine.records.questions import read_question
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.refusals import judged_hash
from vibe_prefect.engine.records.storage import NodeRecord
from vibe_prefect.errors import VibePrefectError
from vibe_prefect.plan.compiler import CompiledNode, CompiledPlan
from vibe_prefect.run.decisions import answers_in
from vibe_prefect.run.handlers import NodeHandler, output_of
from vibe_prefect.run.run_state import Sources, output_hash
from vibe_prefect.text.json_text import json_data

logger = logging.getLogger(__name__)


class ReusableRecords:
    """The records that a run found when it began, by the ids of their nodes."""

    def __init__(self, compiled: CompiledPlan, nodes: Mapping[str, CompiledNode], records: Records) -> None:
        """Begin without records.

        Args:
            compiled: The plan as written.
            nodes: The nodes of the run, as they come to be known.
            records: Records of the run.
        """
        self._compiled = compiled
        self._nodes = nodes
        self._records = records
        self._reusable: dict[str, NodeRecord] = {}
        self._refused: dict[str, NodeRecord] = {}
        self._executed: set[str] = set()
        self._changed: set[str] = set()

    def __contains__(self, id: str) -> bool:
        return id in self._reusable

    def __len__(self) -> int:
        return sum(fallback_of(record["result"]) is None for record in self._reusable.values())

    async def read(self, wanted: Callable[[str], bool]) -> None:
        """Read the records of wanted nodes, and put their files in place.

        A file belongs to its maker, so nodes are read before those that depend on them.
        """
        await self.read_nodes(
            [self._nodes[id] for group in self._compiled.groups for id in group if id in self._nodes and wanted(id)]
        )

    async def read_nodes(self, nodes: Sequence[CompiledNode]) -> None:
        """Read the records of nodes, each after those that it depends on, and put their files in place."""
        async for recorded in self._records.of_nodes(nodes):
            (self._reusable if recorded.problem is None else self._refused)[recorded.node_id] = recorded.record

    def pop(self, id: str) -> NodeRecord:
        """Return a node's record, to reuse it."""
        return self._reusable.pop(id)

    def is_refused(self, id: str) -> bool:
        """Return whether a node has a record that must not be reused."""
        return id in self._refused

    async def refuse_outdated(self, id: str) -> None:
        """Refuse a node's record when a dependency was executed in this run and made something else than before."""
        record = self._reusable.get(id)
        executed = [source for source in self._nodes[id].dependencies if source in self._executed]
        if record is None or not executed:
            return
        changed = next((source for source in executed if source in self._changed), None)
        if changed is None and not await self._records.files.is_outdated(self._nodes[id].record_id, record["result"]):
            return
        logger.warning("Node %r runs again: %r ran again and made something else", id, changed or executed[0])
        self._refuse(id)

    def refuse_other(self, id: str, gather: NodeHandler) -> None:
        """Refuse the record of a composite where its items now make something else than it holds.

        Args:
            id: The composite's id.
            gather: Makes its result.
        """
        record = self._reusable.get(id)
        if record is None:
            return
        try:
            output = json_data(id, output_of(gather(self._nodes[id].node)))
        except VibePrefectError:  # its attempt says so
            self._refuse(id)
            return
        if output_hash(output) != output_hash(output_of(record["result"])):
            self._refuse(id)

    def refuse_fallback(self, id: str) -> None:
        """Refuse a node's record that a fallback stands in for: the node is tried again."""
        if id in self._reusable and fallback_of(self._reusable[id]["result"]) is not None:
            self._refused[id] = self._reusable.pop(id)

    def refuse_other_sources(self, id: str, outputs: Mapping[str, Any], sources: Sources) -> None:
        """Refuse a node's record where its dependencies gave it something else that no content key speaks of.

        So it is where other dependencies were skipped when it was made, where a fallback stood in for one or does so
        now, and where a person has edited what one made since, or answered otherwise what it asks.

        Args:
            id: The id of a node that has a record.
            outputs: Output of each of its dependencies by id as written.
            sources: What is noted of its dependencies now.
        """
        record = self._reusable[id]
        noted = record.get("made_from") or {}
        names = {*noted, *sources.made_from} & outputs.keys()
        is_same = all(noted.get(name) == output_hash(outputs[name]) for name in names)
        if is_same and set(record.get("absent") or ()) == set(sources.absent):
            return
        logger.warning("Node %r runs again: its dependencies give it something else than before", id)
        self._refuse(id)

    def refuse_unjudged(self, id: str, outputs: Mapping[str, Any]) -> None:
        """Refuse the record of an accepted gate where it would have to judge something else than was accepted.

        Args:
            id: The node's id.
            outputs: Output of each of its dependencies by id.
        """
        record = self._reusable.get(id)
        judged = record.get("judged") if record is not None else None
        if judged is None or judged == judged_hash(outputs):
            return
        logger.warning("Node %r runs again: it was accepted for another output than it would get now", id)
        self._refuse(id)

    async def refuse_asked_again(self, id: str) -> None:
        """Refuse the record of a node that has asked again since, or whose question was answered otherwise."""
        record, node = self._reusable.get(id), self._nodes[id]
        answers = answers_in(record["result"]) if record is not None else ()
        question = await read_question(self._records, node.record_id) if answers else None
        if question is None or question.key != node.key:
            return
        lines = [f"{item}: {answer.line}" for item, answer in question.answers.items() if item in question.items]
        if question.open_items or sorted(lines) != sorted(answers):
            self._refuse(id)

    def _refuse(self, id: str) -> None:
        self._refused[id] = self._reusable.pop(id)
        self._records.files.run_files.release(self._nodes[id].record_id)

    def note_executed(self, id: str, output: Any) -> None:
        """Note the output of a node that was executed.

        Args:
            id: The node's id.
            output: Its output.
        """
        self._executed.add(id)
        before = self._refused.get(id)
        if before is not None and output_hash(output_of(before["result"])) != output_hash(output):
            self._changed.add(id)
