"""Earlier runs of a plan and their records, read without changing them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
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
from vibe_prefect.engine.records.storage import open_store
from vibe_prefect.engine.runs.load_report import load_run
from vibe_prefect.engine.runs.resume_target import with_root
from vibe_prefect.errors import UnknownRunError
from vibe_prefect.plan.compiler import CompiledPlan
from vibe_prefect.plan.condition_checks import read_outputs
from vibe_prefect.run.handlers import output_of
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
    read = {id for node in nodes if node.node.when for id in read_outputs(node.node.when, node.dependencies)}
    absent: dict[str, Sequence[str]] = {}
    fallbacks: dict[str, str] = {}
    problems: dict[str, str | None] = {}
    outputs: dict[str, Any] = {}
    async for recorded in records.of_nodes(nodes):
        problems[recorded.node_id] = recorded.problem
        if (fallback := fallback_of(recorded.record["result"])) is not None:
            fallbacks[recorded.node_id] = fallback.error
        absent[recorded.node_id] = recorded.record.get("absent") or ()
        if recorded.node_id in read:
            outputs[recorded.node_id] = output_of(recorded.record["result"])
    lost = {id: problem for id, problem in problems.items() if problem is not None}
    return KeptNodes(frozenset(problems.keys() - lost.keys()), lost, outputs, fallbacks, absent)


async def lost_files(run: PastRun) -> Mapping[str, str]:
    """Return the reasons why files of a run's records forbid their reuse, by the ids of the nodes.

    Args:
        run: The run, with its plan and its root.

    Raises:
        UnknownRunError: It has no plan.
    """
    reusable = await kept_nodes(run.compiled, run.record_namespace, run.output_root)
    return {**{id: f"a fallback stands in: {error}" for id, error in reusable.fallbacks.items()}, **reusable.lost}
