"""Earlier runs of a plan and their records, read without changing them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterName

from vibe_prefect.core.fallback import fallback_of
from vibe_prefect.engine.listing import plan_runs
from vibe_prefect.engine.past_run import PastRun
from vibe_prefect.engine.records.records import Records
from vibe_prefect.engine.records.storage import NodeRecord, open_store
from vibe_prefect.engine.runs.load_report import load_run
from vibe_prefect.engine.runs.resume_target import with_root
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.plan.checks.conditions import read_outputs
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.provenance import NodeProvenance
from vibe_prefect.run.decisions import is_decided
from vibe_prefect.run.handlers import output_of
from vibe_prefect.run.run_state import output_hash
from vibe_prefect.tools.workspace import Workspace

MAX_EARLIER = 5
"""Largest number of earlier runs of a plan that its forecast uses."""

MAX_READ = 20
"""Largest number of runs to read for them: some are simulated, or of a plan whose id begins alike."""


async def earlier_run(reference: str) -> PastRun:
    """Find a run, with its plan and its root.

    Args:
        reference: Its name or id.

    Raises:
        UnknownRunError: The Prefect server does not know it or a run that it resumes, or its plan is not beside its
            records.
    """
    async with get_client() as client:
        return await load_run(client, reference, await open_store(None))


async def earlier_runs(plan_id: str, limit: int = MAX_EARLIER) -> list[PastRun]:
    """Return the newest runs of a plan, newest first, without simulated ones.

    Args:
        plan_id: The plan's id; its content may have been different then.
        limit: Largest number of runs.
    """
    named = FlowRunFilter(name=FlowRunFilterName(like_=f"{plan_id}-"))  # `run_plan` puts the plan's id before each name
    runs: list[PastRun] = []
    store = await open_store(None)
    async with get_client() as client:
        async for run in plan_runs(client, named, limit=MAX_READ):
            if len(runs) == limit:
                break
            if run.plan_id != plan_id or run.parameters.simulate:
                continue
            with suppress(UnknownRunError):  # its plan or a run that it resumes was deleted
                complete = await run.with_plan(store)
                complete = complete if complete.shares else await with_root(client, complete)
                runs += [complete] if complete.plan is not None else []
    return runs


@dataclass(frozen=True)
class KeptNodes:
    """The recorded nodes of a plan."""

    ids: frozenset[str]
    """Ids of nodes with a reusable record."""

    lost: Mapping[str, str]
    """Reasons why the files of records forbid their reuse, by the node's id."""

    outputs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Outputs of those nodes that conditions of the plan read, by id."""

    fallbacks: Mapping[str, str] = field(default_factory=dict[str, str])
    """Errors of the nodes whose record holds a fallback, by the node's id."""

    absent: Mapping[str, Collection[str]] = field(default_factory=dict[str, Collection[str]])
    """Optional dependencies that were skipped when a record was made, by the node's id, where that is known."""

    outdated: Mapping[str, str] = field(default_factory=dict[str, str])
    """Reasons why records must not be reused since a person changed what they were made from, by the node's id."""


async def kept_nodes(
    compiled: CompiledPlan, namespace: str, output_root: Path, storage: str | Path | None = None
) -> KeptNodes:
    """Find the records of a plan's nodes and check their files, without changing anything.

    Args:
        compiled: The plan; its keys decide.
        namespace: Namespace of the records.
        output_root: The run's own output folder.
        storage: Storage of the records; see `open_store`.
    """
    records = Records(await open_store(storage), namespace)
    records = records.for_workspace(Workspace(Path.cwd(), output_root), restores=False)
    nodes = [compiled.nodes[id] for group in compiled.groups for id in group]
    conditions = [(node, node.node.when) for node in nodes if node.node.when is not None]
    read = {node.id_of(name) for node, condition in conditions for name in read_outputs(condition, node.written)}
    found = {recorded.node_id: recorded async for recorded in records.of_nodes(nodes)}
    results = {id: recorded.record for id, recorded in found.items()}
    fallbacks = {
        id: fallback.error for id, record in results.items() if (fallback := fallback_of(record["result"])) is not None
    }
    optional = {id: record for id, record in results.items() if compiled.nodes[id].node.optional_dependencies}
    absent = {id: record.get("absent") or () for id, record in optional.items()}
    outputs = {id: output_of(record["result"]) for id, record in results.items() if id in read}
    lost = {id: recorded.problem for id, recorded in found.items() if recorded.problem is not None}
    changed = _outdated(compiled, {id: record for id, record in results.items() if id not in lost})
    kept = frozenset(found.keys() - lost.keys() - changed.keys())
    return KeptNodes(kept, lost, outputs, fallbacks, absent, changed)


def _outdated(compiled: CompiledPlan, records: Mapping[str, NodeRecord]) -> dict[str, str]:
    """Return why records are outdated, by the ids of their nodes; where a dependency has none, nobody knows yet."""
    decided = {id for id, record in records.items() if _is_decided(record)}
    reasons: dict[str, str] = {}
    for id, record in records.items():
        node, noted = compiled.nodes[id], record.get("made_from") or {}
        sources = {
            name: source
            for name, source in zip(node.written, node.dependencies, strict=True)
            if source in records and (name in noted or source in decided)
        }
        changed = [source for name, source in sources.items() if noted.get(name) != _hash_of(records[source])]
        if changed:
            reasons[id] = f"a person has changed {', '.join(changed)} since"
    return reasons


def _hash_of(record: NodeRecord) -> str:
    return output_hash(output_of(record["result"]))


def _is_decided(record: NodeRecord) -> bool:
    return is_decided(record["result"], NodeProvenance.from_dict(record.get("provenance")))


async def lost_files(run: PastRun) -> Mapping[str, str]:
    """Return the reasons why files of a run's records forbid their reuse, by the ids of the nodes.

    Args:
        run: The run, with its plan and its root.

    Raises:
        UnknownRunError: It has no plan.
    """
    reusable = await kept_nodes(run.compiled, run.record_namespace, run.output_root)
    return {**{id: f"a fallback stands in: {error}" for id, error in reusable.fallbacks.items()}, **reusable.lost}
