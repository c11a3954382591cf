"""Edits of what nodes made: a person's version takes the place of a node's output, and a resume runs what needs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar, cast

from prefect.client.orchestration import get_client

from vibe_prefect.core.edited_output import EditError, editable_text, with_text
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import NodeRecord, open_store
from vibe_prefect.engine.runs.load_report import load_run
from vibe_prefect.engine.runs.recorded_lists import unfold_recorded
from vibe_prefect.engine.runs.resume_target import refuse_claimed
from vibe_prefect.errors import UsageError, did_you_mean, shorten
from vibe_prefect.operations._people import person_name
from vibe_prefect.plan.compiler import Backing, CompiledNode
from vibe_prefect.provenance import Edit, NodeProvenance
from vibe_prefect.results import resume_command
from vibe_prefect.run.handlers import output_of, with_output
from vibe_prefect.tools.secrecy.known import scrubbed

MAX_NAMED = 10
"""Number of nodes that a message names in place of the composite above them."""

T = TypeVar("T")

Editor = Callable[[str], str]
"""Takes the text to edit, and returns it as it was edited."""


@dataclass(frozen=True)
class EditedNode:
    """A node whose output a person has edited."""

    run_name: str
    """Name of the run."""

    node_id: str
    """Id of the node."""

    edit: Edit | None
    """The edit; `None` where the text came back as it was, and nothing was changed."""

    dependents: tuple[str, ...]
    """Nodes that a resume runs again with the edited output."""

    @property
    def resume_command(self) -> str:
        """Command that runs what depends on the node."""
        return resume_command(self.run_name)


async def edit(
    run: str, node: str, text: str | Editor, *, by: str | None = None, storage: str | Path | None = None
) -> EditedNode:
    """Put an edited version in place of what a node made; a resume then runs what depends on it, and nothing else.

    What the node had made itself is kept in its record. A refresh of the node makes it anew.

    Args:
        run: Name or id of the run.
        node: Id of the node, which has completed.
        text: The edited text, JSON where the node made data; or a function that takes the present text.
        by: Name of the person who edits; by default the login name.
        storage: Where records are kept; see `list_runs`.

    Raises:
        UnknownRunError: The Prefect server does not know the run.
        RunInUseError: A run that uses the same records is not over.
        UsageError: The node has made nothing that can be edited, or the edited text does not fit.
    """
    name = person_name(by)
    store = await open_store(storage)
    async with get_client() as client:
        past_run = await load_run(client, run, store)
        records = Records(store, past_run.record_namespace)
        nodes = (await unfold_recorded(past_run.compiled, records)).compiled().nodes
        before = await _record(past_run, nodes, records, node)
        present = _checked(node, lambda: editable_text(output_of(before["result"])))
        edited_text = scrubbed(text if isinstance(text, str) else text(present))
        output = _checked(node, lambda: with_text(output_of(before["result"]), edited_text))
        if output == output_of(before["result"]):
            return EditedNode(past_run.name, node, None, ())
        made = Edit(name, datetime.now(UTC).isoformat(timespec="seconds"), past_run.name)
        with records.hold() as alone:
            if not alone:
                await refuse_claimed(client, records.namespace, by=past_run.id if past_run.suspended else None)
            if await _record(past_run, nodes, records, node) != before:
                raise UsageError(f"the output of {node!r} has changed meanwhile; edit it again")
            await records.write(nodes[node].record_id, nodes[node].key, _edited(before, output, made))
    return EditedNode(past_run.name, node, made, _dependents(nodes, node))


def _checked(node: str, call: Callable[[], T]) -> T:
    try:
        return call()
    except EditError as error:
        raise UsageError(f"the output of {node!r} was not edited: {error}") from None


def _edited(record: NodeRecord, output: object, edit: Edit) -> NodeRecord:
    provenance = NodeProvenance.from_dict(record.get("provenance")) or NodeProvenance()
    original = record["original"] if "original" in record else record["result"]
    edited = {
        **record,
        "result": with_output(record["result"], output),
        "original": original,
        "provenance": replace(provenance, edited=edit).to_dict(),
    }
    return cast("NodeRecord", edited)


async def _record(run: PastRun, nodes: Mapping[str, CompiledNode], records: Records, node: str) -> NodeRecord:
    """Return the record of the node to edit.

    Raises:
        UsageError: There is none.
    """
    if node not in nodes:
        raise UsageError(f"the run {run.name!r} has no node {shorten(node)}{did_you_mean(node, nodes)}")
    if nodes[node].backing is Backing.COMPOSITE or nodes[node].node.for_each is not None:
        of_items = [id for id in nodes if nodes[id].template and id.startswith(f"{node}.")]
        children = ", ".join([*(child.id for child in nodes[node].node.children), *of_items][:MAX_NAMED])
        raise UsageError(f"node {node!r} makes nothing itself, its children do; edit one of {children or 'them'}")
    record = await records.read(nodes[node].record_id, nodes[node].key)
    if record is None:
        raise UsageError(
            f"the node {node!r} of the run {run.name!r} has no record to edit: it has not completed, its records were "
            f"pruned, or it keeps none; 'vibe-prefect report {run.name}' shows how far the run came"
        )
    return record


def _dependents(nodes: Mapping[str, CompiledNode], node: str) -> tuple[str, ...]:
    return tuple(id for id, other in nodes.items() if node in other.dependencies)
